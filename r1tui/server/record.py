"""The record of an answer: the bytes of its stream in a file, whole events only, written by the supervisor.

A record that ended other than by `[DONE]` has one event of ours at its end, which says how; where a piece is missing
in the middle, one says how much.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.events import Content, Reasoning, StreamEvent, Timings
from r1tui.messages import decode
from r1tui.remedies import AskAgain
from r1tui.server.answer import AnswerReader
from r1tui.server.sse import EventSplitter
from r1tui.server.wire import (
    ENDED_ERROR,
    LOST_ERROR,
    SERVER_STOPPED_ERROR,
    STOPPED_ERROR,
    UNRECORDED_ERROR,
    Chunk,
    Gap,
)
from r1tui.system.paths import stem_of

POLL_S = 0.1
PIECE_BYTES = 1 << 18
DONE_EVENT = b"data: [DONE]"
_BROKEN = "The rest of this answer was not recorded."


def _event_of(error_type: str) -> bytes:
    return b"data: " + msgspec.json.encode({"error": {"type": error_type}}) + b"\n\n"


STOPPED_EVENT, SERVER_STOPPED_EVENT = _event_of(STOPPED_ERROR), _event_of(SERVER_STOPPED_ERROR)
SERVER_ENDED_EVENT, LOST_EVENT = _event_of(ENDED_ERROR), _event_of(LOST_ERROR)
UNRECORDED_EVENT = _event_of(UNRECORDED_ERROR)
_GAP = b'data: {"r1tui_gap":'  # no text of a model: there a newline is two characters


def gap_event(missing_bytes: int, resumes_at: int) -> bytes:
    """The record's event for missing bytes of the stream, which continues at an offset."""
    return _GAP + msgspec.json.encode(Gap(missing_bytes, resumes_at)) + b"}\n\n"


def resumes_at(record: bytes) -> int:
    """The offset in the stream of what comes after these bytes of its record."""
    start = record.rfind(_GAP)
    if start < 0 or record[max(start - 2, 0) : start] not in (b"", b"\n\n"):
        return len(record)
    end = record.index(b"\n\n", start) + 2
    gap = decode(record[start + len(b"data: ") : end], Chunk).r1tui_gap
    return (gap.resumes_at if gap else end) + len(record) - end


def record_file(folder: Path, conversation_id: str) -> Path:
    """File with the answer's bytes; any id makes a valid name."""
    return folder / f"{stem_of(conversation_id)}.sse"


async def read_record(
    path: Path, is_running: Callable[[], bool], *, inside_thinking: bool, goes_on: bool = False
) -> AsyncGenerator[list[StreamEvent], None]:
    """The answer's events from its first on, in batches, and on while it is recorded; the last is Finished or Failed.

    `is_running` says whether the supervisor still writes. A batch holds what had been written: neighbouring pieces of
    text come as one. A record that `goes_on` is that of the rest of an answer.
    """
    reader = AnswerReader(inside_thinking=inside_thinking, goes_on=goes_on, is_live=False)
    splitter = EventSplitter()
    file: int | None = None
    try:
        while not reader.done:
            running = is_running()  # asked before reading: what was written until then is read
            if file is None:
                file = await asyncio.to_thread(_opened, path)
            data = await asyncio.to_thread(os.read, file, PIECE_BYTES) if file is not None else b""
            events = [event for payload in splitter.feed(data) for event in reader.read(payload)]
            if not data and not running:
                events += reader.fail(_BROKEN, AskAgain())
            if events:
                yield merged_text(events)
            if not data and not reader.done:
                await asyncio.sleep(POLL_S)
    finally:
        if file is not None:
            os.close(file)


def _opened(path: Path) -> int | None:
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


def merged_text(events: Iterable[StreamEvent]) -> list[StreamEvent]:
    """The same events in fewer: neighbouring pieces of the same text are one, with the newest counters after it."""
    merged: list[StreamEvent] = []
    text: Reasoning | Content | None = None
    counters: Timings | None = None
    for event in events:
        match event:
            case Timings():
                counters = event
            case Reasoning() | Content() if type(event) is type(text) and text is not None:
                text = type(text)(text.text + event.text)
            case _:
                merged += [one for one in (text, counters) if one is not None]
                text = counters = None
                if isinstance(event, Reasoning | Content):
                    text = event
                else:
                    merged.append(event)
    return merged + [one for one in (text, counters) if one is not None]
