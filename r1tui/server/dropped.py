"""Where to go on in a stream of which llama-server has dropped what comes next: it keeps only the newest bytes."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec

LOOKUP = "/v1/streams/lookup"
BUFFER_BYTES = 4 << 20
"""What llama-server b11434 keeps of a stream (tools/server/server-stream.cpp); the oldest bytes are dropped first."""
LEAST_MARGIN_BYTES = 4 << 10


def stream_target(conversation_id: str) -> str:
    """Where the stream of an answer is, to be read on or ended."""
    return f"/v1/stream?conv_id={quote(conversation_id, safe='')}"


class FoundStream(msgspec.Struct, frozen=True):
    """What llama-server says of a stream."""

    total_bytes: int = 0
    """What it has had so far, dropped or not."""


def lookup_body(conversation_id: str) -> dict[str, Any]:
    """What to post to `LOOKUP`, which answers with a list of at most one FoundStream."""
    return {"conversation_ids": [conversation_id]}


def first_kept(total_bytes: int, margin_bytes: int) -> int:
    """About the first byte that is still there; with a margin for what comes while it is asked for."""
    return max(total_bytes - BUFFER_BYTES, 0) + margin_bytes


def margins_bytes() -> Iterator[int]:
    """The margins to try in turn, each larger than the one before."""
    yield 0
    margin_bytes = LEAST_MARGIN_BYTES
    while margin_bytes <= BUFFER_BYTES:
        yield margin_bytes
        margin_bytes *= 2
