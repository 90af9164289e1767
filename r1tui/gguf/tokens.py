"""The control tokens of a model, read from its token list on demand."""

import struct
from pathlib import Path

from r1tui.gguf.header import shard_paths
from r1tui.gguf.parse import List, parse_shard
from r1tui.gguf.source import Cursor, FileSource

CONTROL = 3  # LLAMA_TOKEN_TYPE_CONTROL
MAX_TOKENS = 1 << 22
_INT32, _UINT32 = 5, 4
_STRING = 8


def special_tokens(path: Path) -> frozenset[str]:
    """The texts that this model's tokeniser reads as control tokens, such as `<｜User｜>`; none where it lists none."""
    with FileSource(shard_paths(path)[0]) as source:
        lists = parse_shard(source).lists
        texts, types = lists.get("tokenizer.ggml.tokens"), lists.get("tokenizer.ggml.token_type")
        if texts is None or types is None or texts.type != _STRING or types.type not in (_INT32, _UINT32):
            return frozenset()
        control = _control_places(source, types, min(texts.count, MAX_TOKENS))
        cursor = Cursor(source, texts.offset)
        found: set[str] = set()
        place = 0
        for wanted in control:
            cursor.skip_strings(wanted - place)
            found.update(cursor.strings(1))
            place = wanted + 1
        return frozenset(found - {""})


def _control_places(source: FileSource, types: List, n_tokens: int) -> list[int]:
    raw = source.read_at(types.offset, min(types.count, n_tokens) * 4)
    values = struct.unpack(f"<{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
    return [place for place, value in enumerate(values) if value == CONTROL]
