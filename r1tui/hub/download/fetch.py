"""One download: what is missing is fetched, checked against the hub's sha256, and put in its place file by file."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.events import Emit, FileProgress, FilesProgress, Meter, Notice
from r1tui.hub.download.part import PART, PartialFile, in_thread, is_file_of
from r1tui.hub.download.staging import finish, pin, staging_folder
from r1tui.hub.download.transfer import Manners, Transfer
from r1tui.hub.listing.remote import MAIN, RemoteFile, RemoteFiles, check_sizes
from r1tui.hub.local.records import FetchRecord, KnownFile, own_folder, same_file_elsewhere
from r1tui.remedies import FetchModel
from r1tui.system.children import cancelled
from r1tui.system.files import make_folder, read_json_if_any, write_json
from r1tui.system.paths import Paths, inside
from r1tui.text import duration, size

ATTEMPTS = 3
"""Times that a file is fetched before the hub or the way to it is called broken."""
CHUNK_BYTES = 4 << 20
INTERVAL_S = 1.0
"""Between two reports."""


class Fetch:
    """A listing's files on their way below one of the folders for models. Made and run in one event loop."""

    def __init__(
        self, variant: Variant, listing: RemoteFiles, emit: Emit, manners: Manners, *, root: Path, paths: Paths
    ) -> None:
        self._variant = variant
        self._listing = listing
        self._root = root
        self._folder = own_folder(variant, paths, root)
        self._staging = staging_folder(variant, root)
        self._emit = emit
        self._rate_file = paths.download_rate
        self._record = FetchRecord.load(self._folder)
        self._one_at_a_time = asyncio.Lock()
        self._right = {file.path for file in listing.files if self._is_here(file) or self._is_linked(file)}
        self.parts = [self._part(file) for file in listing.files if file.path not in self._right]
        self._transfer = Transfer(listing, self.parts, manners, self._notify, self._is_right)
        self._read_bytes: dict[str, int] = {}
        """Bytes of each file that is being checked that have been read."""
        self._already_bytes = listing.size_bytes - sum(part.missing_bytes for part in self.parts)
        self._arrival = Meter("model", "bytes", emit, listing.size_bytes, self._already_bytes)
        self._check: Meter | None = None

    async def run(self) -> Path:
        """The (first) file, when all are complete. Raises R1tuiError, OSError."""
        check_sizes(self._listing)
        pin(self._variant, self._root, self._listing)
        self._announce()
        reporting = asyncio.create_task(self._report_often())
        try:
            await self._transfer.run()
        finally:
            reporting.cancel()
            self._report()
            rate, came_bytes = self._arrival.average, self._arrived_bytes() - self._already_bytes
            if rate is not None and came_bytes > 16 << 20:
                with suppress(OSError):
                    write_json(self._rate_file, {"bytes_per_s": rate})
        finish(self._variant, self._root)
        return inside(self._folder, self._listing.files[0].path)

    def _notify(self, text: str) -> None:
        self._emit(Notice("model", text))

    def _is_here(self, file: RemoteFile) -> bool:
        """True when the file in its place is this one, unchanged since it was found right."""
        known, place = self._record.files.get(file.path), inside(self._folder, file.path)
        if known is None and place.is_symlink():  # another's file, which is neither moved nor written to
            return is_file_of(place, file)
        return known is not None and known.sha256 == file.sha256 and known.is_at(place)

    def _is_linked(self, file: RemoteFile) -> bool:
        """Link the very file of another revision here, if there is one; False where that is impossible."""
        place = inside(self._folder, file.path)
        if place.exists() or place.is_symlink():
            return False
        if (same := same_file_elsewhere(self._folder, self._listing.repo, file.sha256)) is None:
            return False
        try:
            make_folder(place.parent)
            os.link(same, place)
        except OSError:  # this file system has none, or the other revision lies on another one
            return False
        self._note(file, place)
        return True

    def _part(self, file: RemoteFile) -> PartialFile:
        """The file as far as it has come; one in its place that may be it is checked before it is fetched."""
        part = PartialFile(self._staging, file, self._listing.revision)
        known, place = self._record.files.get(file.path), inside(self._folder, file.path)
        may_be = known is None or known.sha256 == file.sha256
        if may_be and not place.is_symlink() and is_file_of(place, file):
            part.adopt(place)
        elif not part.written:
            part.discard()  # of another content, or without a journal to know it by
        return part

    def _announce(self) -> None:
        total, count, here = self._listing.size_bytes, len(self._listing.files), self._already_bytes
        words = [f"{count} {'file' if count == 1 else 'files'}, {size(total)}"]
        if here:
            words.append(f"{size(here)} already here, {size(total - here)} to download")
        words.append(f"into {self._folder} ({size(shutil.disk_usage(self._staging).free)} free)")
        if here < total and (rate := last_rate(self._rate_file)):
            words.append(f"about {duration((total - here) / rate)} at the last speed, {size(rate)}/s")
        self._notify("; ".join(words) + ".")

    def _arrived_bytes(self) -> int:
        return self._listing.size_bytes - sum(part.missing_bytes for part in self.parts)

    async def _report_often(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(INTERVAL_S)

    def _report(self) -> None:
        parts = {part.file.path: part for part in self.parts}
        files = tuple(self._progress_of(file, parts.get(file.path)) for file in self._listing.files)
        total, known_bytes = self._listing.size_bytes, sum(file.done for file in files)
        arrived = sum(file.total if file.state in ("checking", "done") else file.done for file in files)
        if arrived < total:
            self._check, meter = None, self._arrival
            meter.update(arrived)
        else:
            if self._check is None:
                self._arrival.update(total)
                self._check = Meter("model", "bytes", self._emit, total, known_bytes)
            meter = self._check
            meter.update(known_bytes)
        retries, paused = self._transfer.retries, self._transfer.paused
        self._emit(FilesProgress("model", files, meter.rate, self._arrival.average, meter.eta_s, retries, paused))

    def _progress_of(self, file: RemoteFile, part: PartialFile | None) -> FileProgress:
        name, size_bytes = PurePosixPath(file.path).name, file.size_bytes
        if part is None or file.path in self._right:
            return FileProgress(name, size_bytes, size_bytes, "done")
        if file.path in self._read_bytes:
            return FileProgress(name, self._read_bytes[file.path], size_bytes, "checking")
        return FileProgress(name, part.arrived_bytes, size_bytes, "arriving" if part.claimed else "waiting")

    async def _is_right(self, part: PartialFile) -> bool:
        """Read a complete part again and put it in its place, unless it is wrong."""
        file = part.file
        if not part.is_there():
            raise R1tuiError(
                f"{part.path} was removed or replaced during the download.", FetchModel(self._variant.name)
            )
        async with self._one_at_a_time:
            # small files that the hub keeps in git have no sha256
            digest = None if file.sha256 is None else await self._digest(part)
            if digest == file.sha256:
                await in_thread(self._accept, part)
                self._right.add(file.path)
                return True
        if part.attempts >= ATTEMPTS:
            part.discard()
            raise R1tuiError(
                f"{file.path} arrived damaged {ATTEMPTS} times (its sha256 differs from the hub's).",
                "Try another network or proxy; with HF_ENDPOINT set, try without it.",
            )
        self._notify(f"{part.path.name.removesuffix(PART)} arrived damaged (its sha256 differs). Downloading it again…")
        return False

    async def _digest(self, part: PartialFile) -> str:
        task, path = asyncio.current_task(), part.file.path

        def read(done: int) -> None:  # called in the thread that reads
            self._read_bytes[path] = done
            if task is not None and task.cancelling():
                raise cancelled("Checking")

        self._read_bytes[path] = 0
        try:
            return await in_thread(sha256_with_progress, part.path, read)
        finally:
            del self._read_bytes[path]

    def _accept(self, part: PartialFile) -> None:
        place = inside(self._folder, part.file.path)
        part.move_to(place)
        self._note(part.file, place)

    def _note(self, file: RemoteFile, place: Path) -> None:
        mtime_ns, revision = place.stat().st_mtime_ns, self._listing.revision
        self._record.files[file.path] = KnownFile(
            file.size_bytes, file.sha256, revision, mtime_ns, self._variant.pinned or MAIN
        )
        self._record.save(self._folder)


def last_rate(file: Path) -> float | None:
    """Bytes a second of the last download; None where that is not known."""
    rate = (read_json_if_any(file, dict[str, float]) or {}).get("bytes_per_s", 0.0)
    return rate if rate > 0 else None


def sha256_with_progress(path: Path, progress: Callable[[int], None]) -> str:
    """The file's sha256; `progress` is called with the bytes read so far."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            progress(file.tell())
    return digest.hexdigest()
