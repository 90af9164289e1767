"""Unfinished downloads: the list of files that each has begun with, and how much of them is here.

The list is kept until all files are here, so a new upload half-way changes nothing, and going on needs no list from
the hub.
"""

import re
from pathlib import Path, PurePosixPath

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.gguf.header import SHARD_NAME
from r1tui.hub.download.part import is_file_of, saved_bytes
from r1tui.hub.listing.names import choose_by_name
from r1tui.hub.listing.remembered import known_files
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles
from r1tui.hub.local.places import gguf_files, model_roots
from r1tui.hub.local.records import folder_name, own_folder
from r1tui.system.files import delete, read_json_if_any, write_json
from r1tui.system.outside import is_relative
from r1tui.system.paths import Paths


class _Pinned(msgspec.Struct, frozen=True):
    asked: list[str | None]
    listing: RemoteFiles


def staging_folder(variant: Variant, root: Path) -> Path:
    """Where files of the variant's repository and revision are on their way, below a folder for models."""
    return root / ".incoming" / folder_name(variant.repo or "", variant.pinned).replace("/", "--")


def pin(variant: Variant, root: Path, listing: RemoteFiles) -> None:
    """Keep the list that the download goes by."""
    write_json(_place(variant, root), _Pinned(_asked(variant), listing))


def unpin(variant: Variant, root: Path) -> None:
    """Forget the list: the download is over, or begins anew."""
    delete(_place(variant, root))


def find_begun(variant: Variant, paths: Paths, config: Config) -> tuple[RemoteFiles, Path] | None:
    """The list that an unfinished download goes by, and the root that it goes below."""
    for root in model_roots(paths, config):
        found = read_json_if_any(_place(variant, root), _Pinned)
        if found is None or found.asked != _asked(variant):
            continue
        files = found.listing.files
        sound = all(is_relative(file.path) and file.size_bytes >= 0 for file in files)
        if files and sound and is_relative(found.listing.revision):
            return found.listing, root
    return None


def progress_of(variant: Variant, paths: Paths, config: Config) -> float | None:
    """The share of an unfinished model that is here, above 0; None for nothing, and where it cannot be told."""
    if variant.repo is None:
        return None
    return max((_share(variant, root, paths) for root in model_roots(paths, config)), default=0.0) or None


def bytes_here(variant: Variant, root: Path, paths: Paths, files: tuple[RemoteFile, ...]) -> int:
    """How much of the hub's files is below a root already: whole ones, and what is safe of the others."""
    done, coming = own_folder(variant, paths, root), staging_folder(variant, root)
    return sum(
        file.size_bytes
        if is_file_of(done / file.path, file) or is_file_of(coming / file.path, file)
        else saved_bytes(coming, file)
        for file in files
    )


def _share(variant: Variant, root: Path, paths: Paths) -> float:
    if (known := known_files(variant, paths)) is not None:
        listing = known.listing
        return bytes_here(variant, root, paths, listing.files) / max(listing.size_bytes, 1)
    folder = own_folder(variant, paths, root)  # nothing is known of the sizes: by the number of shards
    here = [path.relative_to(folder).as_posix() for path in gguf_files(folder)]
    chosen = [PurePosixPath(name).name for name in choose_by_name(here, variant.repo or "", variant.pattern or "")]
    match = SHARD_NAME.match(chosen[0]) if chosen else None
    return len(chosen) / max(int(match["count"]), 1) if match else 0.0


def _asked(variant: Variant) -> list[str | None]:
    return [variant.repo, variant.pattern, variant.revision]


def _place(variant: Variant, root: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", variant.pattern or "").strip("_")
    return staging_folder(variant, root) / f"{name}.files.json"
