"""What the hub said about a repository, kept for the lists and for when it does not answer; never required."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.hub.listing.remote import RemoteFiles, Tree, fetch_tree, select
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.paths import Paths

MAIN = "main"


class _Noted(msgspec.Struct, frozen=True):
    """A repository's GGUF files in one revision, and when the hub said so (seconds since 1970)."""

    tree: Tree
    asked_s: float


@dataclass(frozen=True)
class Known:
    """A model's files as the hub gave them `age_s` ago."""

    listing: RemoteFiles
    age_s: float


def ask_hub(variant: Variant, paths: Paths) -> RemoteFiles:
    """The variant's files as the hub has them now, which is remembered. Raises R1tuiError."""
    tree = fetch_tree(variant)
    place = _place(tree.repo, paths)
    notes = read_json_if_any(place, dict[str, _Noted]) or {}
    save_note(place, notes | {variant.revision or MAIN: _Noted(tree, time())})
    return select(tree, variant)


def latest_files(variant: Variant, paths: Paths) -> RemoteFiles:
    """The variant's files as the hub has them now, or as it said last where it cannot be asked. Raises R1tuiError."""
    try:
        return ask_hub(variant, paths)
    except R1tuiError:
        if (known := known_files(variant, paths)) is not None:
            return known.listing
        raise


def known_files(variant: Variant, paths: Paths) -> Known | None:
    """What the hub said last about the variant's files; asks no network. None: nothing that is any use."""
    if variant.repo is None:
        return None
    noted = (read_json_if_any(_place(variant.repo, paths), dict[str, _Noted]) or {}).get(variant.revision or MAIN)
    if noted is None:
        return None
    try:
        return Known(select(noted.tree, variant), max(0.0, time() - noted.asked_s))
    except R1tuiError:
        return None


def known_commits(repo: str, paths: Paths) -> dict[str, str]:
    """The commit that each revision of a repository was when the hub was asked last, by the revision's name."""
    notes = read_json_if_any(_place(repo, paths), dict[str, _Noted]) or {}
    return {name: noted.tree.revision for name, noted in notes.items()}


def save_note(path: Path, value: object) -> None:
    """Remember a value, whole or not at all; where that is impossible it is not remembered."""
    with suppress(OSError, UnicodeEncodeError):  # what is no text cannot be kept as JSON
        write_json(path, value)


def _place(repo: str, paths: Paths) -> Path:
    return paths.cache / "hub" / f"{repo.replace('/', '--')}.json"
