"""A model's header as a file of its own: the real bytes before the weights, then a hole up to the real length.

llama.cpp works out its memory from it like from the whole model (`llama-fit-params`), though a 131 GiB model takes
a few MB of disk. Needs a file system with holes (ext4, xfs, btrfs, tmpfs).
"""

import os
from pathlib import Path

from r1tui.gguf.errors import GgufError
from r1tui.gguf.parse import parse_shard
from r1tui.gguf.source import CHUNK_BYTES, ByteSource


class _Copying:
    """A source whose bytes land in a file as they are read; `copied` is how far that file has them without a gap."""

    def __init__(self, source: ByteSource, file: int) -> None:
        self.name = source.name
        self.size_bytes = source.size_bytes
        self.copied = 0
        self._source = source
        self._file = file

    def read_at(self, offset: int, length: int) -> bytes:
        data = self._source.read_at(offset, length)
        os.pwrite(self._file, data, offset)
        if offset <= self.copied:
            self.copied = max(self.copied, offset + len(data))
        return data


def write_stub(source: ByteSource, path: Path) -> Path:
    """Write the stub of one file; it appears under its name when it is whole. Raises GgufError for a broken header."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            copying = _Copying(source, file.fileno())
            shard = parse_shard(copying)
            while copying.copied < shard.data_offset:  # what the parser did not need
                if not copying.read_at(copying.copied, min(CHUNK_BYTES, shard.data_offset - copying.copied)):
                    raise GgufError.broken(source.name, "it ends in the middle of its header")
            os.truncate(file.fileno(), source.size_bytes)
        return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
