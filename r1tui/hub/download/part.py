"""A file on its way: its bytes in a file with holes, and beside it a journal of the ranges that are safely on disk."""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from r1tui.hub.listing.remote import RemoteFile
from r1tui.hub.local.folders import RESERVE_BYTES
from r1tui.system.files import delete, make_folder, make_way, read_json_if_any, write_json
from r1tui.system.paths import inside

P = ParamSpec("P")
T = TypeVar("T")
Range = tuple[int, int]
"""Start and stop in bytes; the stop is not part of it."""
Ranges = tuple[Range, ...]
"""In order, none empty, none touching the next: equal sets of bytes are equal values."""

VERSION = 1
SAVE_BYTES = 8 << 20
"""Bytes of one file that are written and not yet safe, before they are made safe."""
SMALLEST_PIECE_BYTES = 16 << 20
LARGEST_PIECE_BYTES = 256 << 20
PART, JOURNAL = ".part", ".journal"
"""Suffixes of a file on its way and of its journal."""
_sync = getattr(os, "fdatasync", os.fsync)


def merge_ranges(ranges: Iterable[Range]) -> Ranges:
    """The same bytes in order, with what overlaps or touches made one."""
    whole: list[Range] = []
    for start, stop in sorted(ranges):
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], stop))
        elif start < stop:
            whole.append((start, stop))
    return tuple(whole)


def find_gaps(here: Ranges, size_bytes: int) -> Ranges:
    """The bytes below `size_bytes` that are not here."""
    edges = [0, *(edge for one in here for edge in one), size_bytes]
    return tuple((start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop)


def count_bytes(ranges: Iterable[Range]) -> int:
    """The number of bytes in them."""
    return sum(stop - start for start, stop in ranges)


def piece_bytes(remaining_bytes: int, connections: int) -> int:
    """The size of one request: large, so that its round trip does not count; smaller near the end, so that all
    connections end together."""
    return min(max(remaining_bytes // (4 * connections), SMALLEST_PIECE_BYTES), LARGEST_PIECE_BYTES)


class Journal(msgspec.Struct, frozen=True):
    """The state of a part; of use only for a file of this content."""

    version: int
    revision: str
    size_bytes: int
    sha256: str | None
    saved: Ranges


class PartialFile:
    """One file that arrives. `written` may be lost with the process, `saved` survives a loss of power."""

    def __init__(self, staging: Path, file: RemoteFile, revision: str) -> None:
        self.file = file
        self.path = inside(staging, f"{file.path}{PART}")
        self.claimed: list[Range] = []
        """Ranges that connections are fetching now."""
        self.attempts = 1
        """Number of times that the file has been fetched, this one included."""
        self._revision = revision
        self._journal = inside(staging, f"{file.path}{JOURNAL}")
        self._saving = asyncio.Lock()
        self._fd: int | None = None
        known = _read(self._journal)
        same = known is not None and (known.size_bytes, known.sha256) == (file.size_bytes, file.sha256)
        usable = same and known is not None and (known.sha256 is not None or known.revision == revision)
        self.saved: Ranges = known.saved if known is not None and usable and is_file_of(self.path, file) else ()
        self.written = self.saved

    @property
    def arrived_bytes(self) -> int:
        """Bytes that have come."""
        return count_bytes(self.written)

    @property
    def missing_bytes(self) -> int:
        """Bytes that have not come."""
        return self.file.size_bytes - count_bytes(self.written)

    @property
    def unsaved_bytes(self) -> int:
        """Bytes that would be fetched again if the process were killed now."""
        return count_bytes(self.written) - count_bytes(self.saved)

    def open(self) -> None:
        """Make the file at its full length, as far as it is not there; call it before the first write."""
        if self._fd is None:
            make_folder(self.path.parent)
            make_way(self.path)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            os.ftruncate(self._fd, self.file.size_bytes)

    def is_there(self) -> bool:
        """True while the file's name stands for the open one, into which the bytes go."""
        try:
            return self._fd is not None and os.path.samestat(os.fstat(self._fd), self.path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def close(self) -> None:
        """Let go of the file; what is not saved may be lost."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def adopt(self, whole: Path) -> None:
        """Take a file that may be this one as all that has come; it still has to be checked."""
        make_folder(self.path.parent)
        make_way(self.path)
        whole.replace(self.path)
        self.open()
        self.written = merge_ranges([(0, self.file.size_bytes)])
        self._save(self.written)

    def next_piece(self, most_bytes: int) -> Range | None:
        """The first bytes that nobody has or fetches; the caller adds them to `claimed`."""
        gaps = find_gaps(merge_ranges([*self.written, *self.claimed]), self.file.size_bytes)
        return (gaps[0][0], min(gaps[0][1], gaps[0][0] + most_bytes)) if gaps else None

    def write(self, start: int, chunks: Sequence[bytes]) -> None:
        """Write the chunks one after the other from an offset on; blocks. Call `arrived` afterwards."""
        assert self._fd is not None  # noqa: S101  open() comes first
        total = sum(map(len, chunks))
        done = os.pwritev(self._fd, chunks, start)
        if done < total:  # the disk became full in the middle, or a signal came
            left = memoryview(b"".join(chunks))
            while done < total:
                done += os.pwrite(self._fd, left[done:], start + done)

    def arrived(self, start: int, stop: int) -> int:
        """Count these bytes as written; how many of them are new."""
        before = count_bytes(self.written)
        self.written = merge_ranges([*self.written, (start, stop)])
        return count_bytes(self.written) - before

    async def save(self) -> None:
        """Make all that is written safe. Raises OSError."""
        async with self._saving:
            if self.unsaved_bytes:
                await in_thread(self._save, self.written)

    async def save_when_due(self, connections: int) -> None:
        """Make what is written safe once it is much; while another caller does that, wait only when it is too much.

        So that no connection has more than SAVE_BYTES to lose, on the average.

        Raises OSError, ENOSPC too when the disk is nearly full: a full one would stop others.
        """
        if self.unsaved_bytes < SAVE_BYTES or (self._saving.locked() and self.unsaved_bytes < SAVE_BYTES * connections):
            return
        async with self._saving:
            if self.unsaved_bytes < SAVE_BYTES:
                return
            await in_thread(self._save, self.written)
        if self.missing_bytes and shutil.disk_usage(self.path.parent).free < RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def start_again(self) -> None:
        """Forget all bytes: they are not the right ones."""
        delete(self._journal)
        self.saved = self.written = ()
        self.attempts += 1
        if self._fd is not None:
            os.ftruncate(self._fd, self.file.size_bytes)  # somebody may have made it longer

    def move_to(self, place: Path) -> None:
        """Put the file in its place; the part is gone then."""
        self.close()
        make_folder(place.parent)
        make_way(place)
        self.path.replace(place)
        delete(self._journal)

    def discard(self) -> None:
        """Delete what has come."""
        self.close()
        delete(self._journal)
        make_way(self.path)
        self.path.unlink(missing_ok=True)

    def _save(self, written: Ranges) -> None:
        """Bytes first, then the word that they are there."""
        assert self._fd is not None  # noqa: S101  open() comes first
        _sync(self._fd)
        file = self.file
        write_json(self._journal, Journal(VERSION, self._revision, file.size_bytes, file.sha256, written))
        self.saved = written


def _read(journal: Path) -> Journal | None:
    found = read_json_if_any(journal, Journal)
    return found if found is not None and found.version == VERSION else None


def saved_bytes(staging: Path, file: RemoteFile) -> int:
    """The bytes of a file that are safely on disk, by its journal alone."""
    known = _read(staging / f"{file.path}{JOURNAL}")
    return 0 if known is None else min(count_bytes(known.saved), file.size_bytes)


def is_file_of(path: Path, file: RemoteFile) -> bool:
    """True when a file of the hub's length is there."""
    try:
        return path.is_file() and path.stat().st_size == file.size_bytes
    except OSError:
        return False


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run as asyncio.to_thread does, but end only with the work: a cancelled one would use a closed file."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # seen: nobody else asks for it
        raise
