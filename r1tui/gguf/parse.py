"""The header of one GGUF file: its metadata and where its tensors lie.

The layout is that of llama.cpp's gguf.cpp: magic, version, counts, key/value pairs, tensor descriptions, padding, data.
"""

import struct
from dataclasses import dataclass
from math import prod

from r1tui.gguf.errors import GgufError
from r1tui.gguf.source import LENGTH, ByteSource, HeaderCursor
from r1tui.gguf.types import TENSOR_TYPES

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_PAIRS = 1 << 14
MAX_TENSORS = 1 << 17
MAX_NAME_BYTES = 63  # GGML_MAX_NAME with its closing NUL
MAX_DIMENSIONS = 4
MAX_KEY_BYTES = (1 << 16) - 1
BEGINNING_BYTES = 4096
KEPT_NUMBERS = 4096
"""Longer lists of numbers are skipped: per-layer lists are short, per-token lists are not."""

_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
"""`enum gguf_type` of gguf.h."""
_U32 = _NUMBERS[4]

Value = str | int | float | bool | tuple[int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the header describes it; `shape` has the fastest dimension first, `offset` is in its file."""

    name: str
    shape: tuple[int, ...]
    type: str
    size_bytes: int
    offset: int
    shard: int = 0


@dataclass(frozen=True)
class Shard:
    """One file's header."""

    metadata: dict[str, Value]
    lists: dict[str, int]
    """Number of elements of each list in its settings."""
    tensors: tuple[Tensor, ...]
    size_bytes: int
    data_offset: int
    """Offset of the weights, after the header."""


def parse_shard(source: ByteSource, index: int = 0) -> Shard:
    """Read one file's header; raises GgufError for anything that llama.cpp would refuse, in bounded time and memory."""
    cursor = HeaderCursor(source)
    n_tensors, n_pairs = _counts(cursor)
    metadata: dict[str, Value] = {}
    lists: dict[str, int] = {}
    for _ in range(n_pairs):
        _pair(cursor, metadata, lists)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise cursor.error(f"its alignment is {alignment!r}, not a power of two")
    described = [_description(cursor) for _ in range(n_tensors)]
    if len({name for name, *_ in described}) < len(described):
        raise cursor.error("two of its tensors have the same name")
    start = _padded(cursor.offset, alignment)
    tensors: list[Tensor] = []
    expected = 0
    for name, shape, kind, offset in described:
        if offset != expected:
            raise cursor.error(f"tensor {name!r} does not start where the previous one ends")
        size_bytes = _size(cursor, name, shape, kind)
        tensors.append(Tensor(name, shape, TENSOR_TYPES[kind].name, size_bytes, start + offset, index))
        expected = _padded(offset + size_bytes, alignment)
    end = tensors[-1].offset + tensors[-1].size_bytes if tensors else 0
    if end > source.size_bytes:
        raise cursor.error(f"it is incomplete: {end - source.size_bytes:,} of {end:,} bytes are missing")
    return Shard(metadata, lists, tuple(tensors), source.size_bytes, min(start, source.size_bytes))


def read_architecture(source: ByteSource) -> str | None:
    """The `general.architecture` in the first bytes of a file; None where it does not stand there."""
    cursor = HeaderCursor(_Beginning(source.name, source.read_at(0, BEGINNING_BYTES)))
    metadata: dict[str, Value] = {}
    try:
        for _ in range(_counts(cursor)[1]):
            _pair(cursor, metadata, {})
            if (found := metadata.get("general.architecture")) is not None:
                return str(found)
    except GgufError:
        pass
    return None


class _Beginning:
    """The first bytes of a file as a file."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.size_bytes = len(data)
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def _counts(cursor: HeaderCursor) -> tuple[int, int]:
    if cursor.source.size_bytes == 0:
        raise cursor.error("it is empty")
    if cursor.source.size_bytes < len(MAGIC) or cursor.take(len(MAGIC)) != MAGIC:
        raise cursor.error("it is not a GGUF file (its first bytes are different)")
    version = int(cursor.number(_U32))
    if version & 0xFFFF == 0:
        raise cursor.error("it was written for big-endian machines")
    if version not in VERSIONS:
        raise cursor.error(f"its GGUF version is {version}; 2 and 3 can be read")
    n_tensors, n_pairs = int(cursor.number(LENGTH)), int(cursor.number(LENGTH))
    if n_tensors > MAX_TENSORS or n_pairs > MAX_PAIRS:
        raise cursor.error(f"it claims {n_tensors:,} tensors and {n_pairs:,} settings, which is impossible")
    return n_tensors, n_pairs


def _pair(cursor: HeaderCursor, metadata: dict[str, Value], lists: dict[str, int]) -> None:
    key = cursor.string()
    if not key or len(key) > MAX_KEY_BYTES:
        raise cursor.error("one of its settings has an empty or too long name")
    if key in metadata or key in lists:
        raise cursor.error(f"it has the setting {key!r} twice")
    kind = int(cursor.number(_U32))
    if kind == _ARRAY:
        _list(cursor, key, metadata, lists)
    elif kind == _STRING:
        metadata[key] = cursor.string() or ""
    elif kind in _NUMBERS:
        metadata[key] = cursor.number(_NUMBERS[kind])
    else:
        raise cursor.error(f"its setting {key!r} is of the unknown type {kind}")


def _list(cursor: HeaderCursor, key: str, metadata: dict[str, Value], lists: dict[str, int]) -> None:
    kind, count = int(cursor.number(_U32)), int(cursor.number(LENGTH))
    if kind != _STRING and kind not in _NUMBERS:
        raise cursor.error(f"its setting {key!r} is a list of the unknown type {kind}")
    lists[key] = count
    if kind == _STRING:
        cursor.skip_strings(count)
    elif count <= KEPT_NUMBERS:
        metadata[key] = tuple(cursor.number(_NUMBERS[kind]) for _ in range(count))
    else:
        cursor.skip(count * _NUMBERS[kind].size)


def _description(cursor: HeaderCursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, type and offset within the data, as stored."""
    name = cursor.string()
    if name is None or len(name.encode()) > MAX_NAME_BYTES:
        raise cursor.error("one of its tensors has a too long name")
    dimensions = int(cursor.number(_U32))
    if dimensions > MAX_DIMENSIONS:
        raise cursor.error(f"tensor {name!r} has {dimensions} dimensions; the limit is {MAX_DIMENSIONS}")
    shape = tuple(int(cursor.number(LENGTH)) for _ in range(dimensions))
    return name, shape, int(cursor.number(_U32)), int(cursor.number(LENGTH))


def _size(cursor: HeaderCursor, name: str, shape: tuple[int, ...], kind: int) -> int:
    """The tensor's bytes."""
    if kind not in TENSOR_TYPES:
        raise GgufError(
            f"{cursor.source.name}: tensor {name!r} is of type {kind}, which llama.cpp b11434 does not know.",
            "Use a file made for this llama.cpp, or a newer r1tui.",
        )
    row = shape[0] if shape else 1
    _, block, block_bytes = TENSOR_TYPES[kind]
    if row % block or prod(shape) >= 1 << 63:
        raise cursor.error(f"tensor {name!r} has the impossible shape {shape}")
    return prod(shape) // block * block_bytes


def _padded(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
