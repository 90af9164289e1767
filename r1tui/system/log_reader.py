"""A log that somebody else writes, line by line as it grows."""

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import islice
from pathlib import Path

from r1tui.system.files import check_is_file
from r1tui.system.lazy import asyncio

POLL_S = 0.1
LONGEST_LINE_BYTES = 1 << 20
HEAD_BYTES = 256
SLICE_LINES = 500


async def follow(log: Path, from_offset: int, is_alive: Callable[[], bool]) -> AsyncGenerator[str]:
    """The log's lines from a byte offset on, as they are written, until `is_alive` says no and all is read.

    It is read in threads. A line is given out when it is whole, or when nothing can be added to it any more. A log that
    was started afresh, in place or as a new file, is read from its beginning, after what its predecessor `NAME.1` still
    holds of it.
    """
    reader = LogReader(log, from_offset)
    try:
        while True:
            running = await asyncio.to_thread(is_alive)  # asked before reading: what was written until then is read
            lines = reader.lines()
            while some := await asyncio.to_thread(list, islice(lines, SLICE_LINES)):
                for line in some:
                    yield line
            if not running:
                break
            await asyncio.sleep(POLL_S)
        if rest := reader.take_partial():
            yield rest
    finally:
        reader.close()


class LogReader:
    """Reads a log's new lines whenever asked, through both ways of starting a log afresh."""

    def __init__(self, log: Path, from_offset: int = 0) -> None:
        self._log = log
        self._offset = from_offset
        self._fd: int | None = None
        self._older: int | None = None
        self._partial = b""

    def lines(self) -> Iterator[str]:
        """The lines that have become whole since the last call."""
        if self._fd is None and not self._open():
            return
        if self._emptied():
            yield from self._read_older()
            self._offset = 0
        yield from self._read()
        if self._replaced():
            yield from self._read()
            if rest := self.take_partial():
                yield rest
            self.close()
            self._offset = 0
            if self._open():
                yield from self._read()

    def take_partial(self) -> str:
        """The text after the last newline; it is forgotten here."""
        rest, self._partial = self._partial, b""
        return rest.decode(errors="replace")

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> bool:
        try:
            self._fd = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._older = _inode(older_log(self._log))
        return True

    def _emptied(self) -> bool:
        """True when the file was emptied in place, its content copied to a new older log or given up."""
        if self._fd is None:
            return False
        older = _inode(older_log(self._log))
        if older in (self._older, os.fstat(self._fd).st_ino):
            return os.fstat(self._fd).st_size < self._offset
        if _head(older_log(self._log)) == os.pread(self._fd, HEAD_BYTES, 0):
            return False  # copied, about to be emptied
        self._older = older
        return True

    def _replaced(self) -> bool:
        try:
            return self._fd is not None and not os.path.samestat(os.fstat(self._fd), self._log.stat())
        except FileNotFoundError:
            return False

    def _read(self) -> Iterator[str]:
        while self._fd is not None and (data := os.pread(self._fd, 1 << 16, self._offset)):
            self._offset += len(data)
            yield from self._split(data)

    def _read_older(self) -> Iterator[str]:
        try:
            with older_log(self._log).open("rb") as older:
                older.seek(self._offset)
                while data := older.read(1 << 16):
                    yield from self._split(data)
        except FileNotFoundError:
            pass
        if rest := self.take_partial():
            yield rest

    def _split(self, data: bytes) -> Iterator[str]:
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")
        if len(self._partial) > LONGEST_LINE_BYTES:
            yield self.take_partial()


def read_tail(log: Path, most_bytes: int) -> tuple[bytes, int]:
    """The last bytes of a log, and where they end. Raises OSError, also for what is no regular file."""
    fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place would make us wait
    try:
        check_is_file(fd, log)
        begin = max(0, os.fstat(fd).st_size - most_bytes)
        data = os.pread(fd, most_bytes, begin)
        return data, begin + len(data)
    finally:
        os.close(fd)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def older_log(log: Path) -> Path:
    """The place of the one older log: `server.log.1` beside `server.log`."""
    return log.with_name(log.name + ".1")
