"""Prompts kept and taken up again, with the real llama-server: across a stop, a sleep, another conversation."""

import json
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from r1tui.catalog.variants import variant_of_file
from r1tui.chat.answer import Answer
from r1tui.config import Config, ServerSettings
from r1tui.events import StreamEvent, Timings
from r1tui.messages import HostPlan, PlanSummary, Status
from r1tui.server.prompt_cache import FLAG, PromptCacheFolder, SlotContent, identity_of, prompt_of
from r1tui.supervisor import client as supervisor
from r1tui.supervisor import prompts
from r1tui.supervisor.status import read_record
from r1tui.system.paths import Paths
from r1tui.system.processes import identify
from r1tui.tui.app import R1App
from r1tui.tui.services import prompt_cache
from r1tui.tui.services.prompt_cache import PromptCache
from tests.conftest import TinyModel
from tests.store_rig import let_deletions_age
from tests.supervisor_rig import SocketConnection, call, open_stream, spec_for, start_ready
from tests.supervisor_rig import until as until_true
from tests.tui_rig import ask, config, opened, ready, until

__all__ = ["config"]

LONG = "Tell me about " + " ".join(f"thing {number}" for number in range(120))
MESSAGES = [{"role": "user", "content": LONG}]
MIB = 1 << 20


def answer(paths: Paths, messages: list[dict[str, str]]) -> tuple[dict[str, str], dict[str, Any]]:
    """A whole answer's message and timings."""
    body = {"messages": messages, "max_tokens": 200, "timings_per_token": True}
    status, data = call(SocketConnection(paths.server_socket), "POST", "/v1/chat/completions", body)
    assert status == 200, data
    reply = json.loads(data)
    return reply["choices"][0]["message"], reply["timings"]


def slot(paths: Paths) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(SocketConnection(paths.server_socket), "GET", "/slots")[1])[0]
    return found


def start(server: Path, model: Path, paths: Paths, *extra: str) -> Status:
    paths.kept_prompts.mkdir(parents=True, exist_ok=True)
    spec = spec_for(server, model, paths, FLAG, str(paths.kept_prompts), "--ctx-size", "4096", *extra)
    return start_ready(msgspec.structs.replace(spec, sleeps="--sleep-idle-seconds" in extra), paths)


def note_held(paths: Paths, now: Status, tokens: int, messages: list[dict[str, str]] | None = None) -> SlotContent:
    """What a screen notes of an answer: its prompt is read at ten tokens a second."""
    said = [(one["role"], one["content"]) for one in messages or MESSAGES]
    prompt = msgspec.structs.replace(prompt_of(identity_of(now.argv or []), said), tokens=tokens, tps=10.0)
    server = identify(now.pid or 0)
    assert server is not None
    held = SlotContent(
        prompt=prompt, server=server, task=slot(paths)["id_task"], bytes_per_token=2000.0, limit_bytes=64 * MIB
    )
    PromptCacheFolder(paths.kept_prompts).hold(held)
    return held


@pytest.fixture
def kept(paths: Paths) -> PromptCacheFolder:
    return PromptCacheFolder(paths.kept_prompts)


@pytest.mark.parametrize("mla", [True, False])
async def test_a_stop_keeps_the_prompt_and_the_next_server_reads_it_no_second_time(
    mla: bool, llama_server: Path, tiny_r1: TinyModel, paths: Paths, kept: PromptCacheFolder
) -> None:
    model = tiny_r1(mla=mla)
    now = start(llama_server, model, paths)
    first, timings = answer(paths, MESSAGES)
    held = note_held(paths, now, timings["prompt_n"])
    supervisor.stop(paths)
    assert kept.file(held.prompt).exists()
    more = [*MESSAGES, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": "Go on."}]
    start(llama_server, model, paths)
    without, cold = answer(paths, more)
    supervisor.stop(paths)
    start(llama_server, model, paths)
    note = kept.best(prompt_of(held.prompt.identity, [(one["role"], one["content"]) for one in more]))
    assert note is not None
    assert await prompts.restore(kept, note, paths.server_socket, None)
    again, warm = answer(paths, more)
    supervisor.stop(paths)
    assert again == without
    assert cold["cache_n"] == 0
    # All of the first prompt but its last two tokens, `<think>` and a newline: the template drops past thoughts.
    assert warm["cache_n"] == timings["prompt_n"] - 2


async def test_a_file_that_is_refused_is_deleted_and_the_question_answered(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, kept: PromptCacheFolder
) -> None:
    now = start(llama_server, tiny_r1(), paths)
    _, timings = answer(paths, MESSAGES)
    held = note_held(paths, now, timings["prompt_n"])
    supervisor.stop(paths)
    note = kept.best(held.prompt)
    assert note is not None
    start(llama_server, tiny_r1(), paths, "--cache-type-k", "q8_0", "--cache-type-v", "q8_0")
    assert not await prompts.restore(kept, note, paths.server_socket, None)
    assert not kept.file(held.prompt).exists()
    assert answer(paths, MESSAGES)[1]["cache_n"] == 0
    supervisor.stop(paths)


async def test_what_somebody_else_has_put_into_the_slot_is_not_kept(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, kept: PromptCacheFolder
) -> None:
    now = start(llama_server, tiny_r1(), paths)
    held = note_held(paths, now, answer(paths, MESSAGES)[1]["prompt_n"])
    answer(paths, [{"role": "user", "content": "Another client."}])
    assert await prompts.save_prompt(kept, held, paths.server_socket, None) == "no"
    supervisor.stop(paths)
    assert not list(paths.kept_prompts.glob("*.kv*"))


async def test_a_busy_slot_is_left_alone_and_keeps_what_was_read_when_the_server_is_stopped(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, kept: PromptCacheFolder
) -> None:
    model = tiny_r1(answer="one two three four.\n\n", loop=True)
    now = start(llama_server, model, paths, "--ctx-size", "32768")  # as much as may be kept
    stream = open_stream(paths.server_socket, "1-busy", messages=MESSAGES)
    reading = threading.Thread(target=stream.read, daemon=True)
    reading.start()  # a reader that does not read would keep llama-server from stopping
    until_true(lambda: slot(paths)["is_processing"] and slot(paths)["n_prompt_tokens"] > 100)
    supervisor.answer_started(paths, "1-busy")
    held = note_held(paths, now, 1000)
    assert await prompts.save_prompt(kept, held, paths.server_socket, None) == "busy"
    supervisor.stop(paths)
    reading.join()
    assert kept.file(held.prompt).exists()


def test_a_server_keeps_the_prompt_before_it_falls_asleep_and_is_not_woken_for_it(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, kept: PromptCacheFolder
) -> None:
    now = start(llama_server, tiny_r1(), paths, "--sleep-idle-seconds", "4")
    held = note_held(paths, now, answer(paths, MESSAGES)[1]["prompt_n"])
    until_true(lambda: kept.file(held.prompt).exists())
    until_true(lambda: supervisor.status(paths).state == "sleeping")
    kept.hold(held)  # as if it were not kept
    supervisor.stop(paths)
    log = paths.server_log.read_text(errors="replace")
    assert "entering sleeping state" in log
    assert "exiting sleeping state" not in log


def slow_reading(timings: Timings, before_tps: float) -> float:
    """A model that reads ten tokens a second."""
    return 10.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_cache, "reading_tps", slow_reading)


def noted(paths: Paths) -> bool:
    """Whether a screen has noted what the running server's slot holds."""
    record = read_record(paths)
    return bool(record and record.server and PromptCacheFolder(paths.kept_prompts).held(record.server))


@pytest.mark.usefixtures("slow")
async def test_the_screen_takes_up_where_its_server_was_stopped(
    paths: Paths, config: Config, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(R1App, "notify", lambda _, message, **__: said.append(message))

    async def sit(question: str) -> Answer:
        app = R1App(paths, config, variant=variant_of_file(tiny_r1()))
        async with opened(app) as pilot:
            await ready(app, pilot)
            last = await ask(app, pilot, question)
            await until(pilot, lambda: not app.services.session.answering and noted(paths))
            await pilot.press("ctrl+q")
            await until(pilot, lambda: not supervisor.status(paths).running)
        return last

    await sit(LONG)
    last = await sit("Go on.")
    assert last.timings is not None
    assert last.timings.cached_tokens > 300
    assert f"Prompt restored from disk: {last.timings.cached_tokens:,} tokens." in said


@pytest.mark.usefixtures("slow")
async def test_a_conversation_that_is_left_is_kept_and_found_again_by_its_words(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1()))
    async with opened(app) as pilot:
        await ready(app, pilot)
        first = await ask(app, pilot, LONG)
        await until(pilot, lambda: not app.services.session.answering and noted(paths))
        assert first.state == "done"
        await pilot.press("ctrl+n")
        await until(pilot, lambda: len(list(paths.kept_prompts.glob("*.kv"))) == 1)
        short = await ask(app, pilot, "Something else.")
        await until(pilot, lambda: not app.services.session.answering and short.state == "done")
        await app.services.monitor.restart()
        await until(pilot, lambda: supervisor.status(paths).restarts == 1 and not app.chat.models.launching)
        await ready(app, pilot)
        await pilot.press("ctrl+n")
        again = await ask(app, pilot, LONG)
        await until(pilot, lambda: again.state == "done")
    assert again.timings is not None
    assert again.timings.cached_tokens > 300


@pytest.mark.usefixtures("slow")
async def test_a_conversation_that_is_deleted_for_good_takes_its_kept_prompt_with_it(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    def n_kept() -> int:
        return len(list(paths.kept_prompts.glob("*.kv")))

    app = R1App(paths, config, variant=variant_of_file(tiny_r1()))
    async with opened(app) as pilot:
        await ready(app, pilot)
        await ask(app, pilot, LONG)
        await until(pilot, lambda: not app.services.session.answering and noted(paths))
        conversation = app.chat.conversation
        await pilot.press("ctrl+n")
        await until(pilot, lambda: n_kept() == 1)
        await app.services.saved.written(conversation.id, lambda store: store.delete(conversation.id))
    app = R1App(paths, config)
    async with opened(app):
        assert len(await app.services.saved.read(lambda store: store.newest(deleted=True))) == 1
        assert n_kept() == 1
    let_deletions_age(paths.conversations)
    app = R1App(paths, config)
    async with opened(app) as pilot:
        assert await app.services.saved.read(lambda store: store.newest(deleted=True)) == []
        await until(pilot, lambda: n_kept() == 0)


@pytest.mark.usefixtures("slow")
async def test_a_server_that_slept_takes_up_what_it_had_read(paths: Paths, config: Config, tiny_r1: TinyModel) -> None:
    settings = ServerSettings(threads=1, on_exit="stop", idle_unload=4)
    app = R1App(paths, Config(engine=config.engine, server=settings), variant=variant_of_file(tiny_r1()))
    async with opened(app) as pilot:
        await ready(app, pilot)
        first = await ask(app, pilot, LONG)
        await until(pilot, lambda: first.state == "done" and supervisor.status(paths).state == "sleeping")
        again = await ask(app, pilot, "Go on.")
        await until(pilot, lambda: again.state == "done")
    assert again.timings is not None
    assert again.timings.cached_tokens > 300


@pytest.mark.usefixtures("slow")
async def test_nothing_is_kept_when_it_is_turned_off(paths: Paths, config: Config, tiny_r1: TinyModel) -> None:
    settings = ServerSettings(threads=1, on_exit="stop", kv_cache_gib=0)
    app = R1App(paths, Config(engine=config.engine, server=settings), variant=variant_of_file(tiny_r1()))
    async with opened(app) as pilot:
        await ready(app, pilot)
        assert FLAG not in (supervisor.status(paths).argv or [])
        answered = await ask(app, pilot, LONG)
        await until(pilot, lambda: not app.services.session.answering)
        assert answered.state == "done"
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not supervisor.status(paths).running)
    assert not paths.kept_prompts.exists()


async def test_a_model_that_uses_nothing_of_restored_prompts_is_said_once_and_left_alone(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, kept: PromptCacheFolder
) -> None:
    """The files hold another text than their notes say, as a cache would that the model cannot use."""
    now = start(llama_server, tiny_r1(), paths, "--cache-ram", "0")  # its own memory of prompts would help out
    plan = PlanSummary(host=HostPlan(kv_mib=8), ctx_size=4096)
    told: list[object] = []
    session = PromptCache(paths, Config(), told.append)
    other = [{"role": "user", "content": "Nothing of it."}]
    for _ in range(3):
        held = note_held(paths, now, answer(paths, other)[1]["prompt_n"] + 1000)
        await prompts.save_prompt(kept, held, paths.server_socket, None)
        answer(paths, [{"role": "user", "content": "Another client."}])
        await session.make_ready(msgspec.structs.replace(supervisor.status(paths), plan=plan), [("user", LONG)])

        async def events() -> AsyncIterator[StreamEvent]:
            yield Timings(1000, answer(paths, MESSAGES)[1]["cache_n"], 10.0, 1, 10.0)

        assert [type(event) async for event in session.noting(events())] == [Timings]  # type: ignore[arg-type]
    supervisor.stop(paths)
    assert kept.is_off(held.prompt.identity)
    assert [getattr(message, "why", "") for message in told] == [
        "This model cannot reuse saved prompts; r1tui no longer saves them for it."
    ]


async def test_a_lost_folder_costs_nothing_but_a_reading(
    paths: Paths, config: Config, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_cache, "reading_tps", slow_reading)
    app = R1App(paths, config, variant=variant_of_file(tiny_r1()))
    async with opened(app) as pilot:
        await ready(app, pilot)
        shutil.rmtree(paths.kept_prompts)
        paths.kept_prompts.write_text("in the way")
        for _ in range(2):
            answered = await ask(app, pilot, LONG)
            await until(pilot, lambda: not app.services.session.answering)
            assert answered.state == "done"
            await pilot.press("ctrl+n")
        paths.kept_prompts.unlink()
