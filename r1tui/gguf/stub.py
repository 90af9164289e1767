"""A model's header as a file of its own: the real bytes before the weights, then a hole up to the real length.

llama.cpp works out its memory from it like from the whole model (`llama-fit-params`), though a 131 GiB model takes
a few MB of disk. Needs a file system with holes (ext4, xfs, btrfs, tmpfs).
"""

import os
from pathlib import Path

from r1tui.gguf.parse import parse_shard
from r1tui.gguf.source import Source

CHUNK_BYTES = 1 << 20


def write_stub(source: Source, path: Path) -> Path:
    """Write the stub of one file; it appears under its name when it is whole. Raises GgufError for a broken header."""
    shard = parse_shard(source)
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        offset = 0
        while offset < shard.data_offset:
            offset += file.write(source.read_at(offset, min(CHUNK_BYTES, shard.data_offset - offset)))
        file.flush()
        os.truncate(file.fileno(), source.size_bytes)
    return temporary.replace(path)
