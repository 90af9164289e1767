"""An answer outlives its reader: the supervisor records it to its end; whoever comes reads it from the first byte."""

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.events import Content, Failed, Finished, PromptProgress, Reasoning, ServerStopped, StreamEvent, Timings
from r1tui.server.answer import AnswerReader
from r1tui.server.record import merged_text, read_record, record_file, resumes_at
from r1tui.server.sse import EventSplitter
from r1tui.supervisor import client
from r1tui.supervisor.protocol import new_conversation_id
from r1tui.supervisor.recorder import LONGEST_AGE_S, MOST_RECORDS, prune
from r1tui.supervisor.status import read_record as read_state
from r1tui.system.paths import Paths
from r1tui.system.processes import wait
from tests.conftest import TinyModel
from tests.supervisor_rig import SocketConnection, Toy, call, open_stream, slowed, spec_for, start_ready, until

THINK = "Hm, 日本 and 🦙.\n"
WORDS = "one two three four "
PATIENCE_S = 120.0


@pytest.fixture
def kept(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> Iterator[Paths]:
    """A ready server whose answers are as long as they are asked to be."""
    start_ready(spec_for(llama_server, tiny_r1(think=THINK, answer=WORDS, loop=True), paths), paths)
    yield paths
    client.stop(paths)


def ask_and_leave(paths: Paths, conversation_id: str, max_tokens: int) -> None:
    """Ask, see the answer begin, and go away without a word."""
    client.answer_started(paths, conversation_id)
    open_stream(paths.server_socket, conversation_id, max_tokens=max_tokens).close()


def answered(paths: Paths, conversation_id: str) -> list[StreamEvent]:
    """Everything that whoever comes later sees of the answer."""

    async def read() -> list[StreamEvent]:
        path = record_file(paths.answers, conversation_id)
        running = lambda: conversation_id in client.status(paths).answers  # noqa: E731
        batches = read_record(path, running, inside_thinking=False)
        return [event async for batch in batches for event in batch]

    return asyncio.run(asyncio.wait_for(read(), PATIENCE_S))


def recorded(paths: Paths, conversation_id: str) -> list[StreamEvent]:
    """What of the answer is recorded by now."""
    reader, splitter = AnswerReader(), EventSplitter()
    data = record_file(paths.answers, conversation_id).read_bytes()
    return [event for payload in splitter.feed(data) for event in reader.read(payload)]


def text(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Content))


def undisturbed(paths: Paths, max_tokens: int) -> str:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": max_tokens}
    code, answer = call(SocketConnection(paths.server_socket), "POST", "/v1/chat/completions", body)
    assert code == 200
    return str(json.loads(answer)["choices"][0]["message"]["content"])


def test_an_answer_that_nobody_reads_is_whole_when_one_comes_back(kept: Paths) -> None:
    name = new_conversation_id()
    ask_and_leave(kept, name, 800)
    events = answered(kept, name)
    assert text(events) == undisturbed(kept, 800)
    assert isinstance(events[-1], Finished)
    assert (events[-1].finish_reason, events[-1].completion_tokens) == ("length", 800)
    until(lambda: client.status(kept).answers == [], PATIENCE_S)
    record = record_file(kept.answers, name)
    assert record.stat().st_mode & 0o077 == record.parent.stat().st_mode & 0o077 == 0
    client.stop(kept)
    assert text(answered(kept, name)) == text(events)  # without a server, too


def test_an_answer_goes_on_under_the_next_supervisor_when_one_is_killed(kept: Paths) -> None:
    name = new_conversation_id()
    ask_and_leave(kept, name, 1000)
    record = record_file(kept.answers, name)
    until(lambda: record.exists() and record.stat().st_size > 5_000, PATIENCE_S)
    state = read_state(kept)
    assert state is not None
    assert state.supervisor is not None
    os.kill(state.supervisor.pid, signal.SIGKILL)
    assert wait(state.supervisor, PATIENCE_S)
    client.adopt(kept)
    events = answered(kept, name)
    assert text(events) == undisturbed(kept, 1000)
    assert isinstance(events[-1], Finished)


def test_an_answer_whose_asker_goes_at_once_is_recorded_all_the_same(kept: Paths) -> None:
    name = new_conversation_id()
    client.answer_started(kept, name)
    stream = open_stream(kept.server_socket, name, max_tokens=50)
    client.answer_ended(kept, name)
    stream.close()
    assert text(answered(kept, name)) == undisturbed(kept, 50)


def test_two_who_come_while_it_runs_see_the_same(kept: Paths) -> None:
    name = new_conversation_id()
    ask_and_leave(kept, name, 1000)
    seen: list[str] = []
    readers = [threading.Thread(target=lambda: seen.append(text(answered(kept, name)))) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert seen == [undisturbed(kept, 1000)] * 2


def test_an_answer_that_was_stopped_ends_as_stopped(kept: Paths) -> None:
    name = new_conversation_id()
    ask_and_leave(kept, name, 100_000)
    until(lambda: record_file(kept.answers, name).exists(), PATIENCE_S)
    assert call(SocketConnection(kept.server_socket), "DELETE", f"/v1/stream?conv_id={name}")[0] == 204
    last = answered(kept, name)[-1]
    assert isinstance(last, Finished)
    assert last.finish_reason == "cancelled"
    until(lambda: client.status(kept).answers == [], PATIENCE_S)


def test_stopping_the_server_stops_its_answers(kept: Paths) -> None:
    name = new_conversation_id()
    ask_and_leave(kept, name, 100_000)
    until(lambda: record_file(kept.answers, name).exists(), PATIENCE_S)
    client.stop(kept)
    assert isinstance(answered(kept, name)[-1], ServerStopped)


def test_a_part_that_the_server_has_dropped_is_told_and_what_it_still_has_is_kept(kept: Paths) -> None:
    name = new_conversation_id()
    tokens = 1_500
    client.answer_started(kept, name)
    large = {"logprobs": True, "top_logprobs": 40}  # some 5 kB a token: the server keeps the last 800
    record, state = record_file(kept.answers, name), read_state(kept)
    assert state is not None
    assert state.supervisor is not None
    assert state.server is not None
    with slowed(state.server.pid):  # so that most of it is still to come
        stream = open_stream(kept.server_socket, name, max_tokens=tokens, **large)
        until(lambda: record.exists() and record.stat().st_size > 5_000, PATIENCE_S)
        os.kill(state.supervisor.pid, signal.SIGSTOP)
    assert stream.read().endswith(b"data: [DONE]\n\n")
    os.kill(state.supervisor.pid, signal.SIGKILL)
    assert wait(state.supervisor, PATIENCE_S)
    client.adopt(kept)
    events = answered(kept, name)
    assert isinstance(events[-1], Finished)
    assert events[-1].completion_tokens == tokens
    shown = text(events)
    before, told, after = re.split(r"\n\n\[About ([\d,]+) tokens are missing here[^]]*]\n\n", shown)
    expected = undisturbed(kept, tokens)
    assert expected.startswith(before)
    assert expected.endswith(after)
    missing = len(expected) - len(before) - len(after)
    assert missing == pytest.approx(int(told.replace(",", "")) * len(expected) / tokens, rel=0.02)
    asked = {"conversation_ids": [name]}
    code, found = call(SocketConnection(kept.server_socket), "POST", "/v1/streams/lookup", asked)
    assert code == 200
    total_bytes = json.loads(found)[0]["total_bytes"]
    assert resumes_at(record.read_bytes()) == total_bytes
    assert len(after) / len(expected) == pytest.approx((4 << 20) / total_bytes, rel=0.05)


def test_an_answer_whose_server_was_killed_keeps_what_came_and_says_so(kept: Paths) -> None:
    name = new_conversation_id()
    ask_and_leave(kept, name, 100_000)
    until(lambda: record_file(kept.answers, name).exists() and WORDS in text(recorded(kept, name)), PATIENCE_S)
    pid = client.status(kept).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: client.status(kept).state == "failed")
    events = answered(kept, name)
    assert WORDS in text(events)
    assert isinstance(events[-1], Failed)
    assert "ended in the middle" in events[-1].cause


def test_an_answer_that_never_begins_is_forgotten_with_its_asker(paths: Paths, tmp_path: Path) -> None:
    start_ready(Toy(paths, tmp_path).spec(), paths)
    client.answer_started(paths, "mine")
    assert client.status(paths).answers == ["mine"]
    client.answer_ended(paths, "mine")
    until(lambda: client.status(paths).answers == [])
    client.answer_started(paths, "999999999-nobody")
    until(lambda: client.status(paths).answers == [])
    assert list(paths.answers.iterdir()) == []
    client.stop(paths)


def test_any_id_has_a_file_of_its_own_in_the_folder(tmp_path: Path) -> None:
    names = ["1-ab", "../../etc/passwd", "a/b", "x" * 256, "conversation 1/&x", ""]
    files = [record_file(tmp_path, name) for name in names]
    assert len(set(files)) == len(names)
    assert all(file.parent == tmp_path and len(file.name) < 120 for file in files)


def test_records_are_few_and_young(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.sse" for number in range(MOST_RECORDS + 10)]
    for age, file in enumerate(files):
        file.write_bytes(b"x")
        os.utime(file, (2e9 - age, 2e9 - age))
    old = tmp_path / "old.sse"
    old.write_bytes(b"x")
    os.utime(old, (1.0, 1.0))
    kept = tmp_path / "running.sse"
    kept.write_bytes(b"x")
    os.utime(kept, (1.0, 1.0))
    prune(tmp_path, keep=[kept])
    assert sorted(tmp_path.iterdir()) == sorted([*files[: MOST_RECORDS - 1], kept])
    assert LONGEST_AGE_S > 0


EVENTS = st.one_of(
    st.builds(Reasoning, st.text(max_size=3)),
    st.builds(Content, st.text(max_size=3)),
    st.builds(Timings, st.just(1), st.just(0), st.just(1.0), st.integers(1, 99), st.just(2.0)),
    st.just(PromptProgress(9, 0, 3, 1.0)),
    st.just(Failed("x")),
)


@given(st.lists(EVENTS, max_size=30))
def test_fewer_events_say_the_same(events: list[StreamEvent]) -> None:
    merged = merged_text(events)

    def told(some: list[StreamEvent]) -> tuple[Any, ...]:
        texts = ["".join(e.text for e in some if isinstance(e, kind)) for kind in (Reasoning, Content)]
        others = [event for event in some if not isinstance(event, Reasoning | Content | Timings)]
        counters = [event for event in some if isinstance(event, Timings)]
        return (*texts, others, counters[-1:])

    assert told(merged) == told(events)
    assert len(merged) <= len(events)
