"""Headers of models that are not here: a few MB by range from the hub, kept as files of full length without weights."""

import os
from collections.abc import Callable
from pathlib import Path
from time import time

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.gguf.parse import read_architecture
from r1tui.gguf.stub import write_stub
from r1tui.hub.download.part import is_file_of
from r1tui.hub.download.source import HubSource
from r1tui.hub.listing.names import choose_by_name, is_complete, is_gguf
from r1tui.hub.listing.remote import ask_hub, known_files
from r1tui.hub.local.records import other_commits
from r1tui.system.files import make_folder
from r1tui.system.paths import Paths, component, inside


def known_headers(variant: Variant, paths: Paths, within_s: float | None = None) -> Path | None:
    """The (first) file of the variant's headers that were fetched before (so recently); None without.

    Asks no network. An earlier revision's will do for the newest where the files are as long.
    """
    if variant.repo is None or variant.pattern is None:
        return None
    known, others = known_files(variant, paths), other_commits(variant, paths)
    revisions = sorted(_folder(variant, paths).glob("*/"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in revisions:
        if within_s is not None and time() - folder.stat().st_mtime > within_s:
            break
        if variant.pinned is None and folder.name in others:
            continue
        wanted = known.listing.revision if known else variant.pinned
        if variant.pinned is not None and folder.name != wanted:
            continue
        if known is not None:
            if all(is_file_of(inside(folder, file.path), file) for file in known.listing.files):
                return inside(folder, known.listing.files[0].path)
            continue
        here = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_gguf(path.name)]
        chosen = choose_by_name(here, variant.repo, variant.pattern)
        if chosen and is_complete(chosen):
            return folder / chosen[0]
    return None


def fetch_headers(
    variant: Variant, paths: Paths, check_architecture: Callable[[str], None] = lambda architecture: None
) -> Path:
    """The headers of the variant's files as the hub has them now, as one file of full length for each.

    What was fetched before is used again, and alone where the hub cannot be reached. Raises R1tuiError, and what
    `check_architecture` raises for what stands in the first bytes; nothing else is fetched then.
    """
    try:
        listing = ask_hub(variant, paths)
    except R1tuiError:
        if (known := known_headers(variant, paths)) is not None:
            return known
        raise
    folder = _folder(variant, paths) / component(listing.revision)
    first = listing.files[0]
    if not inside(folder, first.path).is_file() and (said := read_architecture(HubSource(listing, first))) is not None:
        check_architecture(said)
    for file in listing.files:
        target = inside(folder, file.path)
        if not is_file_of(target, file):
            make_folder(target.parent)
            write_stub(HubSource(listing, file), target)
    os.utime(folder)
    return folder / listing.files[0].path


def place_in_repository(stub: Path, variant: Variant, paths: Paths) -> Path:
    """The path in its repository of a file that this module made."""
    _, *parts = stub.relative_to(_folder(variant, paths)).parts
    return Path(*parts)


def _folder(variant: Variant, paths: Paths) -> Path:
    return paths.cache / "headers" / (variant.repo or "").replace("/", "--")
