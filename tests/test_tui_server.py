"""The screen and a server that crashes, hangs, comes up meanwhile, cannot be switched, or is somebody else's too."""

import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from textual.widgets import DataTable, Label

from r1tui.catalog.variants import variant_of_file
from r1tui.config import Config, PlanSettings, ServerSettings, VariantSettings
from r1tui.launch.stages import Launch
from r1tui.supervisor import client, stopping
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.system.processes import identify
from r1tui.tui import questions
from r1tui.tui.app import R1App
from r1tui.tui.remedies import format_remedies, to_go_on
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.widgets.stages import Stages
from tests.conftest import TinyModel
from tests.supervisor_rig import SocketConnection, Toy, call, open_stream, slowed, spec_for, start_ready
from tests.tui_rig import ANSWER, THINK, answers, ask, config, opened, ready, to_model, until

__all__ = ["config"]


async def test_a_server_that_dies_comes_back_by_itself_and_its_answer_goes_on_with_a_key(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    model = tiny_r1(think=THINK, answer="one two three four ", loop=True, reachable=True)
    app = R1App(
        paths, msgspec.structs.replace(config, plan=PlanSettings(ctx_size=65536)), variant=variant_of_file(model)
    )
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: "one two" in answer.content.text)
        pid = supervisor.status(paths).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(pilot, lambda: answer.state == "failed")
        before = answer.content.text
        assert "ended in the middle" in answer.cause
        assert answer.remedy == "`r1tui logs` shows why."
        said = format_remedies(to_go_on(answer.remedies), app)
        assert said == "F6 (the log) shows why. F8 continues it (Ctrl+Y, then R, asks again)."
        await until(pilot, lambda: app.services.monitor.status.pid not in (None, pid) and app.chat.models.ready)
        await until(pilot, lambda: not app.chat.models.launching)
        await pilot.press("f8")
        await until(pilot, lambda: len(answer.content.text) > len(before) + 100)
        await pilot.press("escape")
        await until(pilot, lambda: not app.services.session.answering)
        assert answers(app) == [answer]
        assert answer.content.text.startswith(before)
        assert ("one two three four " * 20_000).startswith(answer.content.text)
        await pilot.press("ctrl+y", "r")
        await until(pilot, lambda: answers(app) != [answer] and bool(answers(app)[0].content))
        assert [exchange.answer for exchange in app.chat.conversation.every] == [answer, answers(app)[0]]


async def test_a_server_without_restarts_that_dies_is_started_again_with_a_key(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    once = Config(engine=config.engine, server=ServerSettings(threads=1, on_exit="stop", restart=False))
    app = R1App(paths, once, variant=variant_of_file(tiny_r1(answer=ANSWER)))
    async with opened(app) as pilot:
        await ready(app, pilot)
        await until(pilot, lambda: not app.chat.models.launching)
        figures = app.chat.instruments.figures
        await until(pilot, lambda: figures.sample is not None and figures.sample.server is not None)
        pid = supervisor.status(paths).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(pilot, lambda: supervisor.status(paths).state == "failed" and not app.chat.models.ready)
        await pilot.press("ctrl+r")
        await ready(app, pilot)


async def test_a_key_stops_the_server_asks_first_where_an_answer_runs_and_another_starts_it_again(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    model = tiny_r1(think=THINK, answer="one two three four ", loop=True, reachable=True)
    app = R1App(
        paths, msgspec.structs.replace(config, plan=PlanSettings(ctx_size=65536)), variant=variant_of_file(model)
    )
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: "one two" in answer.content.text)
        await pilot.press("alt+s")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.chat)
        assert answer.running
        await pilot.press("alt+s")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("s")
        await until(pilot, lambda: answer.state == "stopped")
        await until(pilot, lambda: not supervisor.status(paths).running and not app.chat.models.ready)
        assert answer.content.text.startswith("one two")
        await until(pilot, lambda: app.chat.check_action("do", ("models", "start")) is True)
        await pilot.press("ctrl+r")
        await ready(app, pilot)
        await until(pilot, lambda: not app.chat.models.launching)
        await pilot.press("ctrl+circumflex_accent")  # nothing runs and it loaded quickly: no question
        await until(pilot, lambda: not supervisor.status(paths).running)
        assert app.screen is app.chat
        await until(pilot, lambda: app.chat.check_action("do", ("models", "stop_server")) is False)


async def test_a_server_that_was_long_loading_is_neither_stopped_nor_replaced_unasked(
    paths: Paths, config: Config, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "LONG_LOAD_S", 0.0)
    own = {name: VariantSettings(title=name, file=str(tiny_r1())) for name in ("one", "two")}
    app = R1App(paths, msgspec.structs.replace(config, variants=own))
    app.wanted = app.services.models.catalog.find("one")
    async with opened(app) as pilot:
        await ready(app, pilot, "one")
        await until(pilot, lambda: not app.chat.models.launching)
        pid = supervisor.status(paths).pid
        replaces, stops = "Start two instead?", "Stop the server?"

        async def to_two() -> None:
            await pilot.press("f2")
            await to_model(app, pilot, "two")

        async def from_the_list() -> None:
            await to_two()
            await pilot.press("enter")

        async def by_digit() -> None:
            await to_two()
            table = app.screen.query_one(DataTable)
            await until(pilot, lambda: bool(str(table.get_cell("two", "n")).strip()))
            await pilot.press(str(table.get_cell("two", "n")).strip())

        async def by_the_palette() -> None:
            await app.chat.run_action("do('models', 'next')")

        def by(key: str) -> Callable[[], Awaitable[object]]:
            return lambda: pilot.press(key)

        switches = (by("f3"), by("f4"), by("alt+2"), by_digit, from_the_list, by_the_palette)
        for way, asked in (*((way, replaces) for way in switches), (by("alt+s"), stops)):
            await way()
            await until(pilot, lambda: isinstance(app.screen, AskScreen) and bool(app.screen.query(Label)))
            said = str(app.screen.query_one(Label).render())
            assert re.fullmatch(rf"one: [\d.]+ MiB, took \d+ s to load\. {re.escape(asked)}", said)
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.chat)
            await pilot.pause()
        assert supervisor.status(paths).pid == pid
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("s")
        await ready(app, pilot, "two")


async def test_a_switch_to_a_broken_file_leaves_what_runs_and_its_answer(
    paths: Paths, config: Config, tiny_r1: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(tiny_r1().read_bytes()[:8_000_000])
    files = {"good": tiny_r1(answer="one two ", loop=True), "bad": bad}
    own = {name: VariantSettings(title=name, file=str(path)) for name, path in files.items()}
    app = R1App(paths, Config(engine=config.engine, server=config.server, variants=own))
    app.wanted = app.services.models.catalog.find("good")
    said: list[str] = []
    async with opened(app) as pilot:
        await ready(app, pilot, "good")
        pid = supervisor.status(paths).pid
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.content))
        monkeypatch.setattr(app, "notify", lambda text, **_: said.append(text))
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(app.screen, AskScreen) and bool(app.screen.query(Label)))
        asked = str(app.screen.query_one(Label).render())
        assert asked == "An answer is running and ends with it. Start bad instead?"
        await pilot.press("s")
        await until(pilot, lambda: any("incomplete" in text for text in said))
        came = len(answer.content.text)
        await until(pilot, lambda: len(answer.content.text) > came)
        assert app.chat.answers.is_shown
        assert app.chat.models.ready
        assert supervisor.status(paths).pid == pid
        assert not app.chat.has_class("-launching")


async def test_a_switch_that_fails_is_undone_with_a_key(paths: Paths, config: Config, tiny_r1: TinyModel) -> None:
    model = str(tiny_r1(answer=ANSWER))
    fails = VariantSettings(title="bad", file=model, extra_args=["--lora", "/nowhere.gguf"])
    own = {"good": VariantSettings(title="good", file=model), "bad": fails}
    app = R1App(paths, Config(engine=config.engine, server=config.server, variants=own))
    app.wanted = app.services.models.catalog.find("good")
    async with opened(app) as pilot:
        await ready(app, pilot, "good")
        await pilot.press("f4")
        await until(pilot, lambda: not app.chat.models.launching and not supervisor.status(paths).running)
        assert not app.chat.models.ready
        await pilot.press("f9")
        await ready(app, pilot, "good")


async def test_a_screen_that_the_config_gives_a_model_leaves_another_that_runs(
    paths: Paths, config: Config, tiny_r1: TinyModel, llama_server: Path
) -> None:
    start_ready(spec_for(llama_server, tiny_r1(answer=ANSWER), paths), paths)
    pid = supervisor.status(paths).pid
    other = variant_of_file(tiny_r1(answer="another"))
    app = R1App(paths, config, variant=other)
    async with opened(app) as pilot:
        await ready(app, pilot)
        assert supervisor.status(paths).pid == pid
    app = R1App(paths, config, variant=other, insists=True)
    async with opened(app) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        assert supervisor.status(paths).pid == pid
        await pilot.press("s")
        await until(pilot, lambda: supervisor.status(paths).pid not in (pid, None))
        await ready(app, pilot)


async def test_another_clients_answer_is_told_and_stopping_it_is_asked_about(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    config = msgspec.structs.replace(config, plan=PlanSettings(ctx_size=65536))  # full long after the test
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(think=THINK, answer="one two ", loop=True)))
    async with opened(app) as pilot:
        await ready(app, pilot)
        transcript, prompt = app.chat.widgets.transcript, app.chat.composer.prompt

        def waits() -> int:
            """Tokens of the other's answer, as they are said where ours will be."""
            rows = " ".join(transcript.render_line(y).text.strip() for y in range(transcript.size.height))
            said = re.search(r"Waiting: another client's answer is running, ([\d,]+) tokens so far", rows)
            return int(said[1].replace(",", "")) if said else 0

        server = supervisor.status(paths).pid
        assert server is not None
        with slowed(server):  # its answer lasts as long as all of this
            stream = open_stream(paths.server_socket, "of another tool")
            await ask(app, pilot, "hi")
            await until(pilot, lambda: waits() > 0)
            first = waits()
            await until(pilot, lambda: waits() > first)
            await pilot.press("escape")
            await until(pilot, lambda: prompt.text == "hi" and not answers(app))
            await pilot.press("enter")
            await until(pilot, lambda: waits() > first)
            await pilot.press("ctrl+q")
            await until(pilot, lambda: isinstance(app.screen, AskScreen))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        stream.close()
        assert call(SocketConnection(paths.server_socket), "DELETE", "/v1/stream?conv_id=of+another+tool")[0] == 204
        await until(pilot, lambda: bool(answers(app)[-1].content))
        assert not waits()
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)
    assert supervisor.status(paths).state == "stopped"


async def test_another_s_server_is_not_stopped_unasked_while_it_loads(
    paths: Paths, config: Config, tmp_path: Path
) -> None:
    toy = Toy(paths, tmp_path)
    toy.acts({"loads": True})
    supervisor.start(toy.spec(), paths)
    app = R1App(paths, config)
    async with opened(app) as pilot:
        await until(pilot, lambda: app.chat.query_one(Stages).running("server"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert supervisor.status(paths).state == "loading"
        await pilot.press("escape", "s")
        await until(pilot, lambda: supervisor.status(paths).state == "stopped")


async def test_a_switch_while_a_model_loads_brings_the_other_up(
    paths: Paths, config: Config, tiny_r1: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(paths, tmp_path)
    toy.acts({"loads": True}, {})
    monkeypatch.setattr(Launch, "spec", lambda self: msgspec.structs.replace(toy.spec(), variant=self.variant.name))
    files = {"first": tiny_r1(answer=ANSWER), "second": tmp_path / "second.gguf"}
    files["second"].write_bytes(files["first"].read_bytes())
    own = {name: VariantSettings(title=name, file=str(path)) for name, path in files.items()}
    app = R1App(paths, msgspec.structs.replace(config, variants=own))
    app.wanted = app.services.models.catalog.find("first")
    async with opened(app) as pilot:
        await until(pilot, lambda: app.chat.query_one(Stages).running("server"))
        await until(pilot, lambda: supervisor.status(paths).state == "loading" and bool(toy.starts))
        await pilot.press("f4")
        await ready(app, pilot, "second")


async def test_a_question_stopped_before_it_is_sent_is_never_answered(
    paths: Paths, config: Config, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(think=THINK, answer="one two ", loop=True)))
    told, go_on = threading.Event(), threading.Event()

    def waits(*_: object) -> None:
        told.set()
        go_on.wait(120)

    monkeypatch.setattr(supervisor, "answer_started", waits)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, told.is_set)
        await pilot.press("escape")
        go_on.set()
        await until(pilot, lambda: not app.services.session.answering)
        assert (answer.state, answer.content.text) == ("stopped", "")


async def test_a_server_that_comes_up_is_followed_by_a_screen_that_is_opened_meanwhile(
    paths: Paths, config: Config, tmp_path: Path
) -> None:
    toy = Toy(paths, tmp_path)
    toy.acts({"loads": True})
    supervisor.start(toy.spec(), paths)
    app = R1App(paths, config)
    async with opened(app) as pilot:
        await until(pilot, lambda: app.chat.query_one(Stages).running("server"))
        toy.acts({})
        supervisor.restart(paths)
        await until(pilot, lambda: app.chat.models.ready and not app.chat.models.launching)


async def test_a_server_that_hangs_is_shown_and_started_again_with_a_key(
    paths: Paths, config: Config, tmp_path: Path
) -> None:
    toy = Toy(paths, tmp_path)
    supervisor.start(toy.spec(silence_s=0.3), paths)
    app = R1App(paths, config)
    async with opened(app) as pilot:
        await ready(app, pilot)
        pid = supervisor.status(paths).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(pilot, lambda: "hangs" in panel(app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: app.services.monitor.status.pid not in (None, pid) and app.chat.models.ready)


def panel(app: R1App) -> str:
    return "\n".join(str(row) for row in app.chat.instruments.rows(36, 30))


async def test_a_supervisor_that_hangs_is_shown_and_a_key_starts_both_again(
    paths: Paths, config: Config, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(think=THINK, answer=ANSWER)))
    async with opened(app) as pilot:
        await ready(app, pilot)
        before = supervisor.status(paths)
        assert before.supervisor_pid is not None
        os.kill(before.supervisor_pid, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            for module in (client, stopping):
                patch.setattr(module, "REPLY_S", 1.0)
            patch.setattr(client, "SILENCE_S", 1.0)
            await until(pilot, lambda: "hangs" in panel(app))
        assert "does not answer" in (app.services.monitor.status.cause or "")
        await pilot.press("ctrl+r")
        now = app.services.monitor
        await until(pilot, lambda: app.chat.models.ready and now.status.pid not in (None, before.pid))
        await until(pilot, lambda: not now.status.hangs)  # a busy machine may take longer than its second
        assert identify(before.supervisor_pid) is None
        assert before.pid is not None
        assert identify(before.pid) is None
