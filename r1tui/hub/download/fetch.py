"""One download: what is missing is fetched, checked against the hub's sha256, and put in its place file by file."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.events import Emit, Notice
from r1tui.hub.download.failures import Manners
from r1tui.hub.download.part import PART, PartialFile, in_thread, is_file_of
from r1tui.hub.download.report import Report
from r1tui.hub.download.staging import pin, staging_folder, unpin
from r1tui.hub.download.transfer import Transfer
from r1tui.hub.listing.remembered import MAIN
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles, check_sizes
from r1tui.hub.local.records import FetchRecord, KnownFile, own_folder, same_file_elsewhere
from r1tui.system.children import cancelled
from r1tui.system.files import make_folder, read_json_if_any, write_json
from r1tui.system.outside import inside
from r1tui.system.paths import Paths
from r1tui.text import duration, size

ATTEMPTS = 3
"""Times that a file is fetched before the hub or the way to it is called broken."""
CHUNK_BYTES = 4 << 20


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
        self._manners = manners
        self._rate_file = paths.download_rate
        self._record = FetchRecord.load(self._folder)
        self._one_at_a_time = asyncio.Lock()
        here = [file for file in listing.files if self._is_here(file) or self._is_linked(file)]
        self.parts = [self._part(file) for file in listing.files if file not in here]
        self._report = Report(listing, here, self.parts, emit)

    async def run(self) -> Path:
        """The (first) file, when all are here and right. Raises R1tuiError, OSError."""
        check_sizes(self._listing)
        pin(self._variant, self._root, self._listing)
        self._announce()
        transfer = Transfer(self._listing, self.parts, self._manners, self._notify, self._is_right)
        self._report.transfer = transfer
        reporting = asyncio.create_task(self._report.go_on())
        try:
            await transfer.run()
        finally:
            reporting.cancel()
            self._report.now()
            self._remember_rate()
        unpin(self._variant, self._root)
        remove_empty_folders(self._staging)
        return inside(self._folder, self._listing.files[0].path)

    def _notify(self, text: str) -> None:
        self._emit(Notice("model", text))

    def _is_here(self, file: RemoteFile) -> bool:
        """Whether the file in its place is this one, and was found right when it was last changed."""
        known, place = self._record.files.get(file.path), inside(self._folder, file.path)
        if known is None and place.is_symlink():  # another's file, which is neither moved nor written to
            return is_file_of(place, file)
        return known is not None and known.sha256 == file.sha256 and known.is_at(place)

    def _is_linked(self, file: RemoteFile) -> bool:
        """Whether the very file of another revision could be given its place here too, without fetching it again."""
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
        """Files, bytes, place, room and time, before the first byte."""
        total, count = self._listing.size_bytes, len(self._listing.files)
        needed = sum(part.missing_bytes for part in self.parts)
        words = [f"{count} {'file' if count == 1 else 'files'}, {size(total)}"]
        if needed < total:
            words.append(f"{size(total - needed)} here already, {size(needed)} to fetch")
        words.append(f"into {self._folder} ({size(shutil.disk_usage(self._staging).free)} free)")
        if needed and (rate := last_rate(self._rate_file)):
            words.append(f"about {duration(needed / rate)} at the last rate, {size(rate)}/s")
        self._notify("; ".join(words) + ".")

    def _remember_rate(self) -> None:
        if (rate := self._report.average) is not None and self._report.came_bytes > 16 << 20:
            with suppress(OSError):
                write_json(self._rate_file, {"bytes_per_s": rate})

    async def _is_right(self, part: PartialFile) -> bool:
        """Read a complete part again and put it in its place, unless it is wrong."""
        file = part.file
        async with self._one_at_a_time:
            # small files that the hub keeps in git have no sha256
            digest = None if file.sha256 is None else await self._digest(part)
            if digest == file.sha256:
                await in_thread(self._accept, part)
                self._report.right.add(file.path)
                return True
        if part.attempts >= ATTEMPTS:
            part.discard()
            raise R1tuiError(
                f"{file.path} arrived damaged {ATTEMPTS} times (its sha256 differs from the hub's).",
                "Try another network or proxy; with HF_ENDPOINT set, try without it.",
            )
        self._notify(f"{part.path.name.removesuffix(PART)} arrived damaged (its sha256 differs): fetching it again.")
        return False

    async def _digest(self, part: PartialFile) -> str:
        task, path = asyncio.current_task(), part.file.path

        def read(done: int) -> None:  # called in the thread that reads
            self._report.checked[path] = done
            if task is not None and task.cancelling():
                raise cancelled("Checking")

        self._report.checked[path] = 0
        try:
            return await in_thread(sha256_with_progress, part.path, read)
        finally:
            del self._report.checked[path]

    def _accept(self, part: PartialFile) -> None:
        place = inside(self._folder, part.file.path)
        part.move_to(place)
        self._note(part.file, place)

    def _note(self, file: RemoteFile, place: Path) -> None:
        """Record that the file in its place is right."""
        self._record.files[file.path] = KnownFile(
            file.size_bytes,
            file.sha256,
            self._listing.revision,
            place.stat().st_mtime_ns,
            self._variant.pinned or MAIN,
        )
        self._record.save(self._folder)


def last_rate(file: Path) -> float | None:
    """Bytes a second of the last download; None where that is not known."""
    rate = (read_json_if_any(file, dict[str, float]) or {}).get("bytes_per_s", 0.0)
    return rate if rate > 0 else None


def remove_empty_folders(folder: Path) -> None:
    """The folder and those in it, as far as they hold no file; other downloads have theirs there too."""
    for one in (*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder):
        with suppress(OSError):
            one.rmdir()


def sha256_with_progress(path: Path, progress: Callable[[int], None]) -> str:
    """The file's sha256; `progress` is called with the bytes read so far."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            progress(file.tell())
    return digest.hexdigest()
