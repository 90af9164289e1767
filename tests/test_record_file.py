"""The file of an answer's record: what its writer makes of it, and the next writer after a kill."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.events import Content, Finished, Reasoning, StreamEvent
from r1tui.server.answer import AnswerReader
from r1tui.server.record import LOST_EVENT, gap_event, read_record, resumes_at
from r1tui.server.sse import EventSplitter
from r1tui.supervisor.recorder import RecordFile

DONE = b"data: [DONE]\n\n"


def piece(number: int, text: str = "x", *, thinking: bool = False) -> bytes:
    field = "reasoning_content" if thinking else "content"
    chunk = '{"choices":[{"delta":{"%s":"%s"}}],"timings":{"predicted_n":%d}}' % (field, text, number)  # noqa: UP031
    return f"data: {chunk}\n\n".encode()


def told(record: bytes) -> list[StreamEvent]:
    reader, splitter = AnswerReader(), EventSplitter()
    return [event for payload in splitter.feed(record) for event in reader.read(payload)]


def opened(path: Path) -> RecordFile:
    file = RecordFile(path)
    file.open()
    return file


def test_the_next_writer_goes_on_where_the_stream_was(tmp_path: Path) -> None:
    path = tmp_path / "a.sse"
    first = opened(path)
    assert (first.began, first.is_whole, first.offset) == (False, False, 0)
    first.append(piece(1))
    first.append(piece(9), 1000)
    assert first.offset == 1000 + len(piece(9))
    second = opened(path)
    assert second.offset == first.offset
    second.append(piece(10))
    second.append(DONE, 5000)
    third = opened(path)
    assert (third.began, third.is_whole, third.offset) == (True, True, 5000 + len(DONE))


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3))))
def test_any_number_of_gaps_is_counted(parts: list[tuple[int, int]]) -> None:
    record, offset = b"", 0
    for missing, events in parts:
        data = b"".join(piece(number) for number in range(events))
        record += (gap_event(missing, offset + missing) if missing else b"") + data
        offset += missing + len(data)
        assert resumes_at(record) == offset


async def test_a_record_tells_of_the_first_token_by_the_server_s_own_times(tmp_path: Path) -> None:
    path = tmp_path / "a.sse"
    path.write_bytes(piece(1).replace(b'"timings":{', b'"timings":{"prompt_ms":4200.0,') + DONE)
    batches = [batch async for batch in read_record(path, lambda: False, inside_thinking=False)]
    end = batches[-1][-1]
    assert isinstance(end, Finished)
    assert (end.ttft_ms, end.waited_ms, end.first_token_s) == (4200.0, None, 4.2)


def test_words_of_a_model_are_no_gap() -> None:
    data = piece(1, r"data: {\"r1tui_gap\":{}}") + b'data: {"choices":[{"delta":{"content":"data: {"r1tui_gap":'
    assert resumes_at(data) == len(data)


def test_an_event_that_the_power_cut_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "a.sse"
    path.write_bytes(piece(1) + piece(2)[:-9])
    assert opened(path).offset == len(piece(1))
    assert path.read_bytes() == piece(1)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sse"
    file = opened(path)
    file.append(piece(1))
    real, calls = os.pwrite, 0

    def full_after_ten_bytes(fd: int, data: bytes, at: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(28, "No space left on device")
        return real(fd, data[:10], at)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full_after_ten_bytes)
        with pytest.raises(OSError, match="No space"):
            file.append(piece(2))
    assert path.read_bytes() == piece(1)
    file.append(piece(2))
    file.finish(LOST_EVENT)
    file.finish(LOST_EVENT)
    assert path.read_bytes() == piece(1) + piece(2) + LOST_EVENT


def test_a_gap_is_told_where_it_is_and_as_large_as_it_is() -> None:
    record = piece(1, "one", thinking=True) + gap_event(520_000, 520_100) + piece(1002, "two") + DONE
    events = told(record)
    said = [event for event in events if isinstance(event, Content)]
    assert "About 1,000 tokens are missing here" in said[0].text
    assert said[1].text == "two"
    assert isinstance(events[-1], Finished)
    thought = told(piece(1, "one", thinking=True) + gap_event(9, 9) + piece(5, "two", thinking=True))
    assert [event.text for event in thought if isinstance(event, Reasoning)][1].strip().startswith("[About 3 tokens")
    uncounted = told(gap_event(5 << 20, 5 << 20) + b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
    assert "About 5.0 MiB are missing here" in next(one.text for one in uncounted if isinstance(one, Content))
