"""Bytes that can be read in ranges, and a cursor that walks through them with every length checked."""

import os
import struct
from pathlib import Path
from typing import Protocol, Self

from r1tui.gguf.errors import GgufError

CHUNK_BYTES = 1 << 20
MAX_STRING_BYTES = 4 << 20
MAX_SKIPPED_STRINGS = 8 << 20
"""Strings of all arrays of one file; the largest vocabularies have 262,144 tokens and twice as many merges."""


class ByteSource(Protocol):
    """A file, here or behind HTTP."""

    name: str
    """Name in messages."""
    size_bytes: int

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the end."""


class FileSource:
    """A file on this machine; raises GgufError when it cannot be opened or read."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._file = path.open("rb", buffering=0)
            self.size_bytes = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise GgufError(f"{path}: {error.strerror}.", "Use a GGUF file that you can read.") from error

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), length, offset)
        except OSError as error:
            raise GgufError(f"{self.name}: {error.strerror}.", "Check its disk.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class HeaderCursor:
    """A place in a source that moves on with each read; whatever goes past the end raises GgufError."""

    def __init__(self, source: ByteSource, offset: int = 0) -> None:
        self.source = source
        self._size_bytes = source.size_bytes
        self._buffer = b""
        self._start = offset
        self._place = 0
        self._strings_left = MAX_SKIPPED_STRINGS

    @property
    def offset(self) -> int:
        return self._start + self._place

    def error(self, what: str) -> GgufError:
        return GgufError.broken(self.source.name, what)

    def take(self, length: int) -> bytes:
        """The next bytes; `length` is at most MAX_STRING_BYTES."""
        self._want(length)
        taken = self._buffer[self._place : self._place + length]
        self._place += length
        return taken

    def number(self, layout: struct.Struct) -> int | float:
        """The next number in the given layout."""
        self._want(layout.size)
        value: int | float = layout.unpack_from(self._buffer, self._place)[0]
        self._place += layout.size
        return value

    def string(self) -> str | None:
        """The next string; None, and skipped, where it is longer than MAX_STRING_BYTES."""
        length = int(self.number(LENGTH))
        if length <= MAX_STRING_BYTES:
            return self.take(length).decode(errors="replace")
        self.skip(length)
        return None

    def skip(self, length: int) -> None:
        """Move on without reading."""
        if length > self._size_bytes - self.offset:
            raise self._cut()
        self._place += length
        if self._place > len(self._buffer):
            self._start, self._buffer, self._place = self.offset, b"", 0

    def skip_strings(self, count: int) -> None:
        """Move over so many strings; a vocabulary of 129,280 takes 20 ms."""
        if count > self._strings_left:
            raise self.error(f"it holds lists of more than {MAX_SKIPPED_STRINGS:,} strings")
        if count * LENGTH.size > self._size_bytes - self.offset:
            raise self._cut()
        self._strings_left -= count
        length_at = LENGTH.unpack_from
        while count:
            buffer, place = self._buffer, self._place
            last = len(buffer) - LENGTH.size
            while count and place <= last:
                place += LENGTH.size + length_at(buffer, place)[0]
                count -= 1
            self.skip(place - self._place)
            if count:
                self._want(LENGTH.size)

    def _want(self, length: int) -> None:
        """Have so many bytes at the place in the buffer."""
        if len(self._buffer) - self._place >= length:
            return
        offset = self.offset
        if length > self._size_bytes - offset:
            raise self._cut()
        wanted = min(max(length, CHUNK_BYTES), self._size_bytes - offset)
        self._buffer = self.source.read_at(offset, wanted)
        self._start, self._place = offset, 0
        if len(self._buffer) < length:
            raise self._cut()

    def _cut(self) -> GgufError:
        return self.error(f"it ends in the middle of its header (it has {self._size_bytes:,} bytes)")


LENGTH = struct.Struct("<Q")
