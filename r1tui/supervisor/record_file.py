"""The file of one answer's record, as its one writer sees it. Every method touches the disk: not for an event loop."""

import os
from contextlib import suppress
from pathlib import Path
from time import time

from r1tui.server.record import DONE_EVENT, gap_event, resumes_at

MOST_RECORDS = 1000
MOST_BYTES = 512 << 20
LONGEST_AGE_S = 14 * 86400.0
_TAIL_BYTES = 1 << 16


class RecordFile:
    """Whole events of a stream, each appended once, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 0
        self._last_event = b""
        self._is_open = False
        self.offset = 0
        """Of the stream: where what comes next belongs."""

    @property
    def is_whole(self) -> bool:
        """Whether it says how the answer ended."""
        return self._last_event.startswith((DONE_EVENT, b'data: {"error"', b"error:"))

    @property
    def began(self) -> bool:
        return self._bytes > 0

    def open(self) -> None:
        """Go on where an earlier writer of it was. Raises OSError."""
        if self._is_open:
            return
        with suppress(FileNotFoundError):
            data = self._path.read_bytes()
            self._bytes = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
            if self._bytes < len(data):  # the power went in the middle of an event
                os.truncate(self._path, self._bytes)
            whole = data[: self._bytes]
            self._last_event = _last_event(whole[-_TAIL_BYTES:])
            self.offset = resumes_at(whole)
        self._is_open = True

    def append(self, data: bytes) -> None:
        """Add whole events of the stream; raises OSError, with the file as it was, when there is no room for them."""
        self._write(data)
        self.offset += len(data)

    def skip(self, offset: int, data: bytes) -> None:
        """Add whole events that come only at `offset`, with a word on what is missing before them. Raises OSError."""
        self._write(gap_event(offset - self.offset, offset) + data)
        self.offset = offset + len(data)

    def finish(self, event: bytes) -> None:
        """Write how it ended, unless it says so already, and make it safe. Raises OSError."""
        self.open()
        if not self.is_whole:
            self._write(event)
        self.sync()

    def sync(self) -> None:
        """Have it survive a power failure. Raises OSError."""
        with suppress(FileNotFoundError):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _write(self, data: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                written = os.pwrite(fd, data, self._bytes)
                while written < len(data):
                    written += os.pwrite(fd, data[written:], self._bytes + written)
            except OSError:
                os.ftruncate(fd, self._bytes)
                raise
        finally:
            os.close(fd)
        self._bytes += len(data)
        self._last_event = _last_event(data)


def prune(folder: Path, keep: list[Path]) -> None:
    """Remove the oldest records: those beyond the number, the size, or the age that are kept."""
    found = sorted(
        ((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.sse") if path not in keep),
        reverse=True,
    )
    total_bytes = 0
    for number, (changed_s, size_bytes, path) in enumerate(found, 1):
        total_bytes += size_bytes
        if number >= MOST_RECORDS or total_bytes > MOST_BYTES or time() - changed_s > LONGEST_AGE_S:
            path.unlink(missing_ok=True)


def _last_event(data: bytes) -> bytes:
    return data.rstrip(b"\n").rpartition(b"\n\n")[2]
