"""Downloads that run or were stopped: their jobs, the list of files that each has begun with, and how much is here.

The list is kept until all files are here, so a new upload half-way changes nothing, and going on needs no list from
the hub.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.events import Emit, StageEvent, encode_event
from r1tui.gguf.header import SHARD_NAME
from r1tui.hub.download.part import PartialFile, is_file_of, saved_bytes
from r1tui.hub.listing.names import choose_by_name
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles, known_files
from r1tui.hub.local.folders import ModelDisk, fitting_disks, model_disks
from r1tui.hub.local.found import download_lock, find_model
from r1tui.hub.local.places import gguf_files, model_roots
from r1tui.hub.local.records import folder_name, own_folder
from r1tui.system.files import delete, read_json_if_any, write_json
from r1tui.system.jobs import Job
from r1tui.system.locks import locked
from r1tui.system.paths import Paths, is_relative

_JOB = "model-"
LONGEST_JOB_NAME = 200
"""With what is added to it, a file's name still."""


class _Pinned(msgspec.Struct, frozen=True):
    asked: list[str | None]
    listing: RemoteFiles


def download_job(variant: Variant, paths: Paths) -> Job:
    """The job of fetching the variant, running or not."""
    name = _JOB + quote(variant.name, safe="", errors="backslashreplace")
    if len(name) > LONGEST_JOB_NAME:
        name = f"{name[: LONGEST_JOB_NAME - 20]}-{sha256(name.encode()).hexdigest()[:16]}"
    return Job(paths.jobs, name)


def running_downloads(paths: Paths) -> list[str]:
    """The names of the variants that are being fetched now, the last begun first."""
    logs = sorted(paths.jobs.glob(f"{_JOB}*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [unquote(log.stem.removeprefix(_JOB)) for log in logs if Job(paths.jobs, log.stem).running()]


def log_events(job: Job, emit: Emit) -> Callable[[StageEvent], None]:
    """An `emit` that also writes the job's log, for a process that does the job in the foreground."""

    def both(event: StageEvent) -> None:
        with suppress(OSError), job.log.open("a", encoding="utf-8") as log:  # a full disk must not end the download
            log.write(encode_event(event) + "\n")
        emit(event)

    return both


def staging_folder(variant: Variant, root: Path) -> Path:
    """The folder of unfinished files of the variant's repository and revision, below a folder for models."""
    return root / ".incoming" / folder_name(variant.repo or "", variant.pinned).replace("/", "--")


def pin(variant: Variant, root: Path, listing: RemoteFiles) -> None:
    """Keep the list that the download goes by."""
    write_json(_list_file(variant, root), _Pinned(_asked(variant), listing))


def unpin(variant: Variant, root: Path) -> None:
    """Forget the list: the download is over, or begins anew."""
    delete(_list_file(variant, root))


def find_begun(variant: Variant, paths: Paths, config: Config) -> tuple[RemoteFiles, Path] | None:
    """The list that an unfinished download goes by, and the root that it goes below."""
    for root in model_roots(paths, config):
        found = read_json_if_any(_list_file(variant, root), _Pinned)
        if found is None or found.asked != _asked(variant):
            continue
        files = found.listing.files
        sound = all(is_relative(file.path) and file.size_bytes >= 0 for file in files)
        if files and sound and is_relative(found.listing.revision):
            return found.listing, root
    return None


def unfinished(variant: Variant, paths: Paths, config: Config) -> tuple[int, int] | None:
    """Bytes of the variant that are safely here, and of all its files; None when no download of it was begun."""
    if (begun := find_begun(variant, paths, config)) is None:
        return None
    listing, root = begun
    return bytes_here(variant, root, paths, listing.files), listing.size_bytes


def progress_of(variant: Variant, paths: Paths, config: Config) -> float | None:
    """The share of an unfinished model that is here, above 0; None for nothing, and where it is not known."""
    if variant.repo is None:
        return None
    return max((_share(variant, root, paths) for root in model_roots(paths, config)), default=0.0) or None


def check_room(variant: Variant, size_bytes: float, disks: list[ModelDisk], paths: Paths) -> None:
    """Raise NoRoomError when what is lacking of a model of this size has no room on any of these disks."""
    fitting_disks(variant.name, round(size_bytes), disks, lambda root: round(_share(variant, root, paths) * size_bytes))


def check_room_for(variant: Variant, paths: Paths, config: Config) -> None:
    """Raise NoRoomError when a model of the hub is not here, its size is known and no disk has room for its rest."""
    known = known_files(variant, paths)
    size_bytes = known.listing.size_bytes if known else (variant.size_gib or 0.0) * 2**30
    if variant.repo is not None and size_bytes and find_model(variant, paths, config) is None:
        check_room(variant, size_bytes, model_disks(paths, config), paths)


def bytes_here(variant: Variant, root: Path, paths: Paths, files: tuple[RemoteFile, ...]) -> int:
    """The bytes of the hub's files below a root: whole files, and the safe part of the others."""
    done, coming = own_folder(variant, paths, root), staging_folder(variant, root)
    return sum(
        file.size_bytes
        if is_file_of(done / file.path, file) or is_file_of(coming / file.path, file)
        else saved_bytes(coming, file)
        for file in files
    )


def discard(variant: Variant, paths: Paths, config: Config) -> int:
    """Delete what an unfinished download has left, whole files in their place not; the bytes that came.

    Raises R1tuiError while the download runs.
    """
    with locked(download_lock(variant, paths), f"The download of {variant.name}"):
        if (begun := find_begun(variant, paths, config)) is None:
            return 0
        listing, root = begun
        staging = staging_folder(variant, root)
        parts = [PartialFile(staging, file, listing.revision) for file in listing.files]
        gone = sum(part.arrived_bytes for part in parts)
        for part in parts:
            part.discard()
        finish(variant, root)
        return gone


def finish(variant: Variant, root: Path) -> None:
    """Forget the list, and remove folders without files; other downloads have theirs there too."""
    unpin(variant, root)
    folder = staging_folder(variant, root)
    for one in (*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder):
        with suppress(OSError):
            one.rmdir()


def _share(variant: Variant, root: Path, paths: Paths) -> float:
    if (known := known_files(variant, paths)) is not None:
        listing = known.listing
        return bytes_here(variant, root, paths, listing.files) / max(listing.size_bytes, 1)
    folder = own_folder(variant, paths, root)  # nothing is known of the sizes: by the number of shards
    here = [path.relative_to(folder).as_posix() for path in gguf_files(folder)]
    chosen = choose_by_name(here, variant.repo or "", variant.pattern or "")
    match = SHARD_NAME.match(PurePosixPath(chosen[0]).name) if chosen else None
    return len(chosen) / max(int(match["count"]), 1) if match else 0.0


def _asked(variant: Variant) -> list[str | None]:
    return [variant.repo, variant.pattern, variant.revision]


def _list_file(variant: Variant, root: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", variant.pattern or "").strip("_")
    return staging_folder(variant, root) / f"{name}.files.json"
