"""Server-sent events as bytes: cut into payloads, counted, and found again in a stream that broke off."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from urllib.parse import quote

import msgspec

MAX_EVENT_BYTES = 1 << 24
BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
"""The end of an event, whichever of the three line ends of the WHATWG's specification a server writes."""
_JSON_LINE = re.compile(rb"\}(?:\r\n|\n|\r)")
"""The end of a line that may be whole JSON."""
_MOST_LINES = 16
"""Lines of an event that are tried; longer JSON is known by its blank line alone."""
_SHORT_BYTES = 64
LOOKUP = "/v1/streams/lookup"
BUFFER_BYTES = 4 << 20
"""What llama-server b11434 keeps of a stream (tools/server/server-stream.cpp); the oldest bytes are dropped first."""
MARGINS_BYTES = (0, *(4 << 10 + power for power in range(11)))
"""The margins to try in turn, up to all of the buffer."""


class EventSplitter:
    """Cuts a stream of server-sent events into payloads and counts the bytes of the whole ones.

    The count is what `/v1/stream?from=` wants, which is why httpx2's own reader, which hides it, does not serve here.
    With `by_lines` an event may lack its blank line: a line whose data is whole JSON is one, too.
    """

    def __init__(self, offset: int = 0, *, by_lines: bool = False) -> None:
        self.offset = offset
        """Bytes of the stream up to the end of the last whole event."""
        self._buffer = bytearray()
        self._searched_bytes = 0
        """Length of the part of the buffer that has been searched: an event may be long, and come in many pieces."""
        self._by_lines = by_lines
        self._n_tried = 0
        """Number of lines of the buffer that have been tried as the end of an event."""
        self._has_returns = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads of the events that the data completes; raises ValueError for an event beyond 16 MiB."""
        self._buffer += data
        self._has_returns = self._has_returns or b"\r" in data
        while (end := self._end_of_event()) is not None:
            event = bytes(self._buffer[: end[0]])
            del self._buffer[: end[1]]
            self._searched_bytes = self._n_tried = 0
            event = event if self.offset else event.removeprefix(BOM)
            self.offset += end[1]
            if payload := _payload(event):
                yield payload
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise ValueError("the server sent an event without end")

    def all(self, data: bytes) -> list[bytes]:
        """The payloads of what is a whole stream."""
        payloads = [*self.feed(data), self.rest()] if len(data) <= MAX_EVENT_BYTES else []
        return [one for one in payloads if one]

    def rest(self) -> bytes:
        """The payload of an event that the stream's end left without its blank line; empty where there is none."""
        event = self.pending
        self._buffer.clear()
        self._searched_bytes = self._n_tried = 0
        return _payload(event)

    @property
    def pending(self) -> bytes:
        """The received part of an incomplete event."""
        return bytes(self._buffer) if self.offset else bytes(self._buffer).removeprefix(BOM)

    @property
    def last_line(self) -> bytes:
        """The data of the last line of what is pending, without a line end; of a long line only its end."""
        lines = self._buffer[-_SHORT_BYTES:].splitlines()
        return bytes(lines[-1]).removeprefix(BOM).removeprefix(b"data:") if lines else b""

    def _end_of_event(self) -> tuple[int, int] | None:
        start, length = max(self._searched_bytes - 3, 0), len(self._buffer)
        self._searched_bytes = length
        if self._has_returns:
            found = _BLANK_LINE.search(self._buffer, start)
            span = found.span() if found is not None else None
        else:
            end = self._buffer.find(b"\n\n", start)
            span = (end, end + 2) if end >= 0 else None
        return self._end_of_line(start, span[0] if span else length) or span if self._by_lines else span

    def _end_of_line(self, start: int, stop: int) -> tuple[int, int] | None:
        """The first end of a line, up to the blank one, up to which the data is whole JSON."""
        for end in islice(_JSON_LINE.finditer(self._buffer, start, stop), _MOST_LINES - self._n_tried):
            self._n_tried += 1
            with suppress(ValueError, RecursionError):
                json.loads(_payload(bytes(self._buffer[: end.start() + 1])).decode(errors="replace"), strict=False)
                return end.start() + 1, end.end()
        return None


def _payload(event: bytes) -> bytes:
    """An event's data. Text that an `error` event has is put into JSON; other text with a name is no answer's."""
    fields = [
        (name, value.removeprefix(b" ")) for name, _, value in (line.partition(b":") for line in event.splitlines())
    ]
    # one `data:` too many is of servers that wrap what is wrapped already
    data = b"\n".join(value.removeprefix(b"data: ") for name, value in fields if name == b"data")
    kind = next((value for name, value in reversed(fields) if name == b"event"), b"message")
    if not data:  # so wrote llama-server once
        kind, data = b"error", next((value for name, value in fields if name == b"error"), b"")
    if not data or kind == b"message" or data.startswith((b"{", DONE)):
        return data
    return json.dumps({"error": data.decode(errors="replace")}).encode() if kind == b"error" else b""


def stream_target(conversation_id: str) -> str:
    """HTTP path of an answer's stream, to continue or end it."""
    return f"/v1/stream?conv_id={quote(conversation_id, safe='')}"


class FoundStream(msgspec.Struct, frozen=True):
    """One entry of llama-server's answer to `LOOKUP`: `{"conversation_ids": [ID]}` asks for one."""

    total_bytes: int = 0
    """What it has had so far, dropped or not."""

    def first_kept(self, margin_bytes: int) -> int:
        """About the first byte that is still there; with a margin for what comes while it is asked for."""
        return max(self.total_bytes - BUFFER_BYTES, 0) + margin_bytes
