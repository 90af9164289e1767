"""Server-sent events as bytes: cut into payloads, and counted."""

import re
from collections.abc import Iterator

MAX_EVENT_BYTES = 1 << 24
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
"""The end of an event, whichever of the three line ends of the WHATWG's specification a server writes."""


class EventSplitter:
    """Cuts a stream of server-sent events into payloads and counts the bytes of the whole ones.

    The count is what `/v1/stream?from=` wants, which is why httpx2's own reader, which hides it, does not serve here.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        """Bytes of the stream up to the end of the last whole event."""
        self._buffer = bytearray()
        self._has_returns = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads of the events that the data completes; raises ValueError for an event beyond 16 MiB."""
        self._buffer += data
        self._has_returns = self._has_returns or b"\r" in data
        while (end := self._end_of_event()) is not None:
            event = bytes(self._buffer[: end[0]])
            del self._buffer[: end[1]]
            self.offset += end[1]
            if payload := _payload(event):
                yield payload
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise ValueError("the server sent an endless event")

    def rest(self) -> bytes:
        """The payload of an event that the stream's end left without its blank line; empty where there is none."""
        event = bytes(self._buffer)
        self._buffer.clear()
        return _payload(event)

    def _end_of_event(self) -> tuple[int, int] | None:
        """Where the first whole event ends, without its blank line and with it."""
        if not self._has_returns:
            end = self._buffer.find(b"\n\n")
            return (end, end + 2) if end >= 0 else None
        found = _BLANK_LINE.search(self._buffer)
        return found.span() if found is not None else None


def _payload(event: bytes) -> bytes:
    lines = event.splitlines()
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
