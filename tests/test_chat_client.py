"""One answer asked of a real llama-server, without a screen."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.events import Failed, Finished, StreamEvent, Waits
from r1tui.server.client import ServerClient
from r1tui.server.wire import Slot
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.services import chat_client
from r1tui.tui.services.chat_client import AnswerRequest
from tests.answer_rig import client_of, served, text_of, until
from tests.conftest import TinyModel
from tests.supervisor_rig import spec_for

ANSWER = "One two three four five six."
HELLO = AnswerRequest([("user", "Hello.")], "a1")
begun: list[bool] = []


async def begins(inside_thinking: bool) -> None:
    begun.append(inside_thinking)


async def test_an_answer_comes_in_batches_and_its_end_is_told_to_the_supervisor(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    batches: list[list[StreamEvent]] = []
    running: list[bool] = []
    async with served(llama_server, tiny_r1(think="Hm.\n", answer=ANSWER * 30), paths):
        client = client_of(paths, [])

        def take(events: list[StreamEvent]) -> None:
            batches.append(events)
            running.append("a1" in supervisor.status(paths).answers)

        await client.ask(HELLO, begins, take)
        await until(lambda: "a1" not in supervisor.status(paths).answers)
    assert any(running)
    events = [event for batch in batches for event in batch]
    assert text_of(events).endswith(ANSWER * 30)
    assert isinstance(events[-1], Finished)
    assert len(batches) < len(events)
    assert client.answer_id is None


async def test_an_answer_whose_client_is_gone_goes_on_and_another_reads_all_of_it(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    seen: list[StreamEvent] = []
    whole: list[StreamEvent] = []
    async with served(llama_server, tiny_r1(answer=ANSWER * 30), paths):
        client = client_of(paths, [])
        asking = asyncio.create_task(client.ask(HELLO, begins, seen.extend))
        await until(lambda: seen)
        asking.cancel()
        await asyncio.wait([asking])
        await client_of(paths, []).read_on("a1", whole.extend, inside_thinking=begun[-1])
    assert text_of(whole).endswith(ANSWER * 30)
    assert text_of(whole).startswith(text_of(seen))
    assert isinstance(whole[-1], Finished)


async def test_an_answer_that_is_stopped_ends_and_keeps_what_came(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    events: list[StreamEvent] = []
    async with served(llama_server, tiny_r1(answer="on and on ", loop=True), paths, context_tokens=65536):
        client = client_of(paths, [])
        asking = asyncio.create_task(client.ask(HELLO, begins, events.extend))
        await until(lambda: text_of(events))
        assert await client.others_answers() == 0
        await client.stop()
        async with asyncio.timeout(60):
            await asking
    assert "on and on" in text_of(events)
    assert isinstance(events[-1], Finished)
    assert events[-1].finish_reason == "cancelled"


async def test_a_question_that_waits_for_a_stopped_one_is_not_told_of_another_client(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow server reads a batch of the prompt to its end, minutes with a large model, before it sees the stop."""
    computed = [Slot(is_processing=True, id_task=7)]
    before: list[StreamEvent] = []
    seen: list[StreamEvent] = []

    async def slots(_: ServerClient) -> list[Slot]:
        return computed

    monkeypatch.setattr(chat_client, "UNHEARD_S", -1.0)  # it is not only just stopped
    async with served(llama_server, tiny_r1(answer="on and on ", loop=True), paths, context_tokens=65536):
        client = client_of(paths, [])
        asking = asyncio.create_task(client.ask(HELLO, begins, before.extend))
        await until(lambda: text_of(before))
        monkeypatch.setattr(ServerClient, "slots", slots)
        await client.stop()
        await asking
        assert await client.others_answers() == 0
        for task, wait in ((7, Waits(None, stops=True)), (8, Waits(0))):
            computed[:] = [Slot(is_processing=True, id_task=task)]
            seen.clear()
            asked = replace(HELLO, answer_id=f"a{task}")
            asking = asyncio.create_task(client.ask(asked, begins, seen.extend))
            await until(lambda: text_of(seen))
            assert seen[0] == wait
            await client.stop()
            await asking
        computed[:] = [Slot(is_processing=True, id_task=9)]
        assert await client.others_answers() == 1
    answer = Answer()
    answer.apply(Waits(None, stops=True))
    assert answer.waits_for == "the server has not ended the stopped answer yet"


async def test_an_answer_of_a_model_that_sleeps_waits_for_it(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    seen: list[StreamEvent] = []
    spec = spec_for(llama_server, tiny_r1(answer=ANSWER), paths, "--sleep-idle-seconds", "1", sleeps=True)
    await asyncio.to_thread(supervisor.start, spec, paths)
    try:
        await until(lambda: supervisor.status(paths).state == "sleeping")
        await client_of(paths, []).ask(HELLO, begins, seen.extend)
    finally:
        await asyncio.to_thread(supervisor.stop, paths)
    assert seen[0] == Waits(None, loads=True)
    assert text_of(seen).endswith(ANSWER)
    answer = Answer()
    answer.apply(seen[0])
    assert answer.waits_for == "the model was unloaded while idle, and is loading"
    for event in seen[1:]:
        answer.apply(event)
    assert (answer.waits_for, answer.state) == ("", "done")


async def test_room_is_counted_where_it_may_be_little(llama_server: Path, tiny_r1: TinyModel, paths: Paths) -> None:
    async with served(llama_server, tiny_r1(), paths, context_tokens=512):
        client = client_of(paths, [])
        assert await client.room([("user", "Hello.")]) is None
        room = await client.room([("user", "a " * 300)])
    assert room is not None
    assert room.is_full
    assert room.context_tokens == 512
    assert await client.room([("user", "a " * 300)]) is None  # nobody can say


async def test_what_no_server_answers_ends_with_the_reason(paths: Paths) -> None:
    events: list[StreamEvent] = []
    await client_of(paths, []).ask(HELLO, begins, events.extend)
    [failed] = events
    assert isinstance(failed, Failed)
    assert failed.cause == "The server is stopped."
