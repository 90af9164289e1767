"""Fetches a variant's files and checks them; what stands under its final name is whole and right."""

import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

from r1tui.catalog import Variant
from r1tui.children import sigterm_raises
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import Emit, Meter, Notice, StageDone, StageStarted
from r1tui.gguf import read_header
from r1tui.gguf.header import shard_paths
from r1tui.hub.checksum import KnownFile, Record, sha256_with_progress
from r1tui.hub.folders import choose_folder
from r1tui.hub.found import download_lock, find_model, own_folder, own_folders
from r1tui.hub.package import download_packaged
from r1tui.hub.progress import bytes_here, staging_folder
from r1tui.hub.remembered import ask_hub, latest_files
from r1tui.hub.remote import Listing, RemoteFile
from r1tui.hub.transfer import fetch_file, remove_leftovers
from r1tui.locks import locked
from r1tui.paths import Paths


def download(variant: Variant, paths: Paths, emit: Emit, *, config: Config | None = None, verify: bool = False) -> Path:
    """The variant's (first) file, fetched if it is not here; `verify` reads and checks one that is.

    Raises R1tuiError (its subclass CancelledError for SIGTERM); what was whole by then is not fetched again.
    """
    emit(StageStarted("model", variant.title or variant.name))
    with sigterm_raises(f"Downloading {variant.name}"):
        path = _Download(variant, paths, emit, config or Config()).run(verify=verify)
    emit(StageDone("model", str(path)))
    return path


class _Download:
    def __init__(self, variant: Variant, paths: Paths, emit: Emit, config: Config) -> None:
        self._variant = variant
        self._paths = paths
        self._emit = emit
        self._config = config
        self._folder = own_folder(variant, paths)

    def run(self, *, verify: bool) -> Path:
        found = self._find()
        if found is not None and not verify:
            return found
        if self._variant.file is not None:
            return self._local(found)
        lock = download_lock(self._variant, self._paths)
        with locked(lock, f"The download of {self._variant.name}", self._waiting):
            if verify and (found := self._find()) is not None:
                self._verify(found)
            return self._find() or self._fetch()

    def _find(self) -> Path | None:
        return find_model(self._variant, self._paths, self._config)

    def _waiting(self, pid: int) -> None:
        self._notice(f"Another r1tui (process {pid}) is downloading it; waiting.")

    def _notice(self, text: str) -> None:
        self._emit(Notice("model", text))

    def _local(self, found: Path | None) -> Path:
        """A file of the user's: nothing says what it should be, so its header has to be sound."""
        header = read_header(found or self._variant.file or Path())
        self._notice("No checksum is known for a file of your own; its header and length are sound.")
        return header.path

    def _fetch(self) -> Path:
        if self._variant.package is not None:
            return download_packaged(self._variant, self._paths, self._emit)
        listing = ask_hub(self._variant, self._paths)
        chosen = choose_folder(
            self._variant.name, listing.size_bytes, self._paths, self._config,
            lambda root: bytes_here(self._variant, root, self._paths, listing.files),
        )  # fmt: skip
        if chosen.reason:
            self._notice(chosen.reason)
        self._folder = own_folder(self._variant, self._paths, chosen.root)
        staging = staging_folder(listing.repo, chosen.root)
        remove_leftovers(staging)
        missing = [file for file in listing.files if not _has(self._folder, file)]
        self._transfer(listing, missing, staging)
        self._admit(listing, missing, staging)
        shutil.rmtree(staging, ignore_errors=True)
        return self._folder / listing.files[0].path

    def _transfer(self, listing: Listing, missing: list[RemoteFile], staging: Path) -> None:
        here = sum(file.size_bytes for file in missing if _has(staging, file))
        done = listing.size_bytes - sum(file.size_bytes for file in missing)
        meter = Meter("model", "bytes", self._emit, total=listing.size_bytes, already=done + here)
        for file in missing:
            fetch_file(listing, file, staging, partial(_advance, meter, done))
            done += file.size_bytes
            meter.update(done)

    def _admit(self, listing: Listing, fetched: list[RemoteFile], staging: Path) -> None:
        """Check what was fetched and move it to its place."""
        self._notice("Checking the files against the hub's sha256.")
        meter = Meter("model", "bytes", self._emit, total=sum(file.size_bytes for file in fetched))
        record = Record.load(self._folder)
        done = 0
        for file in fetched:
            arrived = staging / file.path
            if not _is_right(arrived, file.size_bytes, file.sha256, meter, done):
                arrived.unlink(missing_ok=True)
                raise R1tuiError(f"{file.path} arrived damaged (its sha256 differs).", "Start again to fetch it anew.")
            done += file.size_bytes
            place = self._folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(place)
            record.files[file.path] = KnownFile(file.size_bytes, file.sha256, listing.revision)
            record.save(self._folder)

    def _verify(self, first: Path) -> None:
        """Read the model's files again; a wrong one of ours is set aside, a wrong one of another's is an error."""
        folders = own_folders(self._variant, self._paths, self._config)
        self._folder = next((folder for folder in folders if first.is_relative_to(folder)), self._folder)
        files = read_known(first, self._variant, self._folder, self._paths)
        meter = Meter("model", "bytes", self._emit, total=sum(known.size_bytes for known in files.values()))
        done = 0
        for path, known in files.items():
            if not _is_right(path, known.size_bytes, known.sha256, meter, done):
                if not path.is_relative_to(self._folder):
                    raise R1tuiError(f"{path} is damaged (its sha256 differs).", f"Delete {path} and fetch it again.")
                aside = path.replace(path.with_name(f"{path.name}.damaged"))
                self._notice(f"{path.name} was damaged: it is now {aside.name}, and is fetched again.")
            done += known.size_bytes


def read_known(first: Path, variant: Variant, folder: Path, paths: Paths) -> dict[Path, KnownFile]:
    """What each file of a model on disk should be: by the package's pin, our record, or else the hub."""
    if variant.package is not None:
        return {first: KnownFile(first.stat().st_size, variant.sha256 or None, "")}
    record = Record.load(folder)
    shards = shard_paths(first)
    known = {path: record.files.get(_relative(path, folder)) for path in shards}
    if None not in known.values():
        return {path: file for path, file in known.items() if file is not None}
    files = latest_files(variant, paths).files
    if len(files) != len(shards):
        raise R1tuiError(
            f"{first} is another file than the hub has for {variant.name} now.", "Use it by its path: --model FILE."
        )
    return {
        path: KnownFile(file.size_bytes, file.sha256, "") for path, file in zip(shards, files, strict=True)
    }  # shards in order: other programs give them other names


def _relative(path: Path, folder: Path) -> str:
    with suppress(ValueError):
        return path.relative_to(folder).as_posix()
    return ""


def _advance(meter: Meter, before: int, so_far: int) -> None:
    meter.update(before + so_far)


def _has(folder: Path, file: RemoteFile) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size_bytes


def _is_right(path: Path, size_bytes: int, sha256: str | None, meter: Meter, before: int) -> bool:
    if not path.is_file() or path.stat().st_size != size_bytes:
        return False
    return sha256_with_progress(path, partial(_advance, meter, before)) == sha256 or sha256 is None
