"""Fetches a variant's files and checks them; what stands under its final name is whole and right."""

from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import CancelledError, R1tuiError, os_error
from r1tui.events import Emit, Meter, Notice, StageDone, StageStarted
from r1tui.gguf import read_header
from r1tui.gguf.header import shard_paths
from r1tui.hub.download.checksum import sha256_with_progress
from r1tui.hub.download.failures import Manners
from r1tui.hub.download.fetch import Fetch, remove_empty_folders
from r1tui.hub.download.package import download_packaged
from r1tui.hub.download.part import PartialFile
from r1tui.hub.download.pin import pinned, unpin
from r1tui.hub.download.progress import bytes_here, staging_folder
from r1tui.hub.listing.answers import FilesGoneError
from r1tui.hub.listing.remembered import ask_hub, latest_files
from r1tui.hub.listing.remote import RemoteFiles, check_online
from r1tui.hub.local.fetched import FetchRecord, KnownFile
from r1tui.hub.local.folders import choose_folder
from r1tui.hub.local.found import download_lock, find_model, own_folder, own_folders
from r1tui.hub.local.places import model_roots
from r1tui.remedies import FetchModel
from r1tui.system.children import sigterm_raises
from r1tui.system.locks import locked
from r1tui.system.paths import Paths
from r1tui.system.signals import run_async

LISTINGS = 3
"""Times that a download begins with a new list because the hub has the old one's files no more."""


def download(
    variant: Variant,
    paths: Paths,
    emit: Emit,
    *,
    config: Config | None = None,
    verify: bool = False,
    manners: Manners | None = None,
) -> Path:
    """The variant's (first) file, fetched if it is not here; `verify` reads and checks one that is.

    Raises R1tuiError (its subclass CancelledError when a signal stops it); what came is not fetched again.
    """
    emit(StageStarted("model", variant.title or variant.name))
    with sigterm_raises(f"Downloading {variant.name}"):
        path = _Download(variant, paths, emit, config or Config(), manners).run(verify=verify)
    emit(StageDone("model", str(path)))
    return path


def unfinished(variant: Variant, paths: Paths, config: Config) -> tuple[int, int] | None:
    """Bytes of the variant that are safely here, and of all its files; None when no download of it was begun."""
    begun = _begun(variant, paths, config)
    if begun is None:
        return None
    listing, root = begun
    return bytes_here(variant, root, paths, listing.files), listing.size_bytes


def discard(variant: Variant, paths: Paths, config: Config) -> int:
    """Delete what an unfinished download has left, whole files in their place not; the bytes that came.

    Raises R1tuiError while the download runs.
    """
    with locked(download_lock(variant, paths), f"The download of {variant.name}"):
        begun = _begun(variant, paths, config)
        if begun is None:
            return 0
        listing, root = begun
        staging = staging_folder(listing.repo, root, variant.pinned)
        parts = [PartialFile(staging, file, listing.revision) for file in listing.files]
        gone = sum(part.arrived_bytes for part in parts)
        for part in parts:
            part.discard()
        unpin(staging, variant)
        remove_empty_folders(staging)
        return gone


def _begun(variant: Variant, paths: Paths, config: Config) -> tuple[RemoteFiles, Path] | None:
    """The list that an unfinished download goes by, and the root that it goes below."""
    for root in model_roots(paths, config):
        if (listing := pinned(staging_folder(variant.repo or "", root, variant.pinned), variant)) is not None:
            return listing, root
    return None


class _Download:
    def __init__(
        self, variant: Variant, paths: Paths, emit: Emit, config: Config, manners: Manners | None = None
    ) -> None:
        self._variant = variant
        self._paths = paths
        self._emit = emit
        self._config = config
        self._folder = own_folder(variant, paths)
        settings = config.download
        self._manners = manners or Manners(settings.connections, settings.stall_s)

    def run(self, *, verify: bool) -> Path:
        found = self._find()
        if self._variant.file is not None:
            return self._local(found, verify=verify)
        if found is not None and not verify and not self._changed(found):
            return found
        with locked(download_lock(self._variant, self._paths), f"The download of {self._variant.name}", self._waiting):
            if (found := self._find()) is not None:
                self._folder = self._own_folder_of(found)
                known = read_known(found, self._variant, self._folder, self._paths) if verify else self._changed(found)
                self._check(found, known)
            return self._find() or self._fetch()

    def _find(self) -> Path | None:
        return find_model(self._variant, self._paths, self._config)

    def _waiting(self, pid: int) -> None:
        self._notice(f"Another r1tui (process {pid}) is downloading it; waiting.")

    def _notice(self, text: str) -> None:
        self._emit(Notice("model", text))

    def _local(self, found: Path | None, *, verify: bool) -> Path:
        """A file of the user's: nothing says what it should be, so its header has to be sound."""
        if found is not None and not verify:
            return found
        header = read_header(found or self._variant.file or Path())
        self._notice("No checksum is known for a file of your own; its header and length are sound.")
        return header.path

    def _fetch(self) -> Path:
        if self._variant.package is not None:
            return download_packaged(self._variant, self._paths, self._emit)
        check_online(self._variant)
        begun = _begun(self._variant, self._paths, self._config)
        listing = begun[0] if begun else ask_hub(self._variant, self._paths)
        for attempt in range(LISTINGS):
            try:
                return self._transfer(listing)
            except FilesGoneError:
                if attempt == LISTINGS - 1:
                    raise
                self._notice("The hub has other files now: the list is fetched anew.")
                listing = self._listed_anew(listing)
        raise AssertionError  # the last attempt has returned or raised

    def _listed_anew(self, old: RemoteFiles) -> RemoteFiles:
        """The files as the hub has them now; what has come of files that it has no more is deleted."""
        listing = ask_hub(self._variant, self._paths)
        if begun := _begun(self._variant, self._paths, self._config):
            staging = staging_folder(old.repo, begun[1], self._variant.pinned)
            unpin(staging, self._variant)
            for file in old.files:
                if file not in listing.files:
                    PartialFile(staging, file, old.revision).discard()
        return listing

    def _transfer(self, listing: RemoteFiles) -> Path:
        chosen = choose_folder(
            self._variant.name, listing.size_bytes, self._paths, self._config,
            lambda root: bytes_here(self._variant, root, self._paths, listing.files),
        )  # fmt: skip
        if chosen.reason:
            self._notice(chosen.reason)
        staging = staging_folder(listing.repo, chosen.root, self._variant.pinned)
        for root in model_roots(self._paths, self._config):
            if root != chosen.root:
                unpin(staging_folder(listing.repo, root, self._variant.pinned), self._variant)
        fetch = Fetch(
            self._variant,
            listing,
            self._emit,
            self._manners,
            folder=own_folder(self._variant, self._paths, chosen.root),
            staging=staging,
            rate_file=self._paths.download_rate,
        )
        try:
            return run_async(fetch.run())
        except KeyboardInterrupt:
            raise CancelledError(
                f"The download of {self._variant.name} was stopped; what came is kept.",
                FetchModel(self._variant.name),
                "It goes on where it was.",
            ) from None
        except OSError as error:
            raise os_error(error, staging) from error

    def _own_folder_of(self, first: Path) -> Path:
        """The folder of ours that the model is in; the usual one for a model of another's."""
        folders = own_folders(self._variant, self._paths, self._config)
        return next((folder for folder in folders if first.is_relative_to(folder)), self._folder)

    def _changed(self, first: Path) -> dict[Path, KnownFile]:
        """Those of our files that have changed since they were found right; quick, reads no content."""
        folder = self._own_folder_of(first)
        known = FetchRecord.load(folder).files
        if not known:
            return {}
        shards = {path: known.get(_relative(path, folder)) for path in shard_paths(first)}
        return {path: file for path, file in shards.items() if file is not None and not file.is_at(path)}

    def _check(self, first: Path, files: dict[Path, KnownFile]) -> None:
        """Read files again; a wrong one of ours is set aside, a wrong one of another's is an error."""
        meter = Meter("model", "bytes", self._emit, total=sum(known.size_bytes for known in files.values()))
        record = FetchRecord.load(self._folder)
        done = 0
        for path, known in files.items():
            name = _relative(path, self._folder)
            if not _is_right(path, known.size_bytes, known.sha256, meter, done):
                if not name:
                    raise R1tuiError(f"{path} is damaged (its sha256 differs).", f"Delete {path} and fetch it again.")
                aside = path.replace(path.with_name(f"{path.name}.damaged"))
                self._notice(f"{path.name} was damaged: it is now {aside.name}, and is fetched again.")
            elif name and self._variant.package is None:
                record.files[name] = msgspec.structs.replace(known, mtime_ns=path.stat().st_mtime_ns)
                record.save(self._folder)
            done += known.size_bytes


def read_known(first: Path, variant: Variant, folder: Path, paths: Paths) -> dict[Path, KnownFile]:
    """What each file of a model on disk should be: by the package's pin, our record, or else the hub."""
    if variant.package is not None:
        return {first: KnownFile(first.stat().st_size, variant.sha256 or None, "")}
    record = FetchRecord.load(folder)
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
    """The path in its repository of a file that is ours; empty for another's."""
    with suppress(ValueError):
        return path.relative_to(folder).as_posix()
    return ""


def _is_right(path: Path, size_bytes: int, sha256: str | None, meter: Meter, before: int) -> bool:
    if not path.is_file() or path.stat().st_size != size_bytes:
        return False
    digest = sha256_with_progress(path, lambda so_far: meter.update(before + so_far))
    return sha256 in (digest, None)
