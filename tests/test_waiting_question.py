"""A question that is sent while its model comes up: it waits in its place, and is asked when the model is ready."""

import os
import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from r1tui.catalog.variants import variant_of_file
from r1tui.chat.prompt_files import PromptHistory
from r1tui.chat.typed import Typed
from r1tui.config import Config, VariantSettings
from r1tui.launch.stages import Launch
from r1tui.messages import ServerSpec
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.widgets.stages import Stages
from tests.conftest import TinyModel
from tests.ptys import Terminal
from tests.supervisor_rig import Toy
from tests.supervisor_rig import until as until_so
from tests.tui_rig import ANSWER, answers, ask, config, notices, on_screen, opened, ready, until

__all__ = ["config"]


@dataclass
class Gate:
    """Holds back every llama-server that is started while it is shut."""

    file: Path

    def open(self) -> None:
        self.file.touch()

    def shut(self) -> None:
        self.file.unlink()

    def hold(self, spec: ServerSpec) -> ServerSpec:
        """The same server, which looks for the gate's file first."""
        server = self.file.with_name("llama-server")
        go_on = f'exec -a "$0" {shlex.quote(spec.argv[0])} "$@"'  # a server is known by its command
        server.write_text(
            f"#!/usr/bin/env bash\nuntil [ -e {shlex.quote(str(self.file))} ]; do sleep 0.05; done\n{go_on}\n"
        )
        server.chmod(0o700)
        return msgspec.structs.replace(spec, argv=[str(server), *spec.argv[1:]])


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, spec = Gate(tmp_path / "open"), Launch.spec
    monkeypatch.setattr(Launch, "spec", lambda self: gate.hold(spec(self)))
    yield gate
    gate.open()


async def send(app: R1App, pilot: Pilot[None], text: str) -> None:
    """Send it while a model comes up."""
    await until(pilot, lambda: app.chat.models.launching)
    app.chat.composer.prompt.text = text
    await pilot.press("enter")


async def sent_and_waits(app: R1App, pilot: Pilot[None], text: str, model: str) -> None:
    await send(app, pilot, text)
    await until(pilot, lambda: f"Waiting: {model} is" in on_screen(pilot))
    assert f"❯ {text}" in on_screen(pilot)
    assert "Esc takes the question back." in on_screen(pilot)
    assert app.chat.composer.prompt.text == ""


async def test_it_is_sent_when_the_model_is_ready_and_is_a_draft_before(
    paths: Paths, config: Config, tiny_r1: TinyModel, gate: Gate
) -> None:
    app = R1App(paths, config, variant=variant_of_file(file := tiny_r1(answer=ANSWER)))
    async with opened(app) as pilot:
        composer = app.chat.composer
        await sent_and_waits(app, pilot, "early question", file.stem)
        await until(pilot, lambda: composer.is_settled)
        assert PromptHistory(paths.prompt).entries() == composer.prompt.recall.entries == []
        assert [app.chat.conversation.every, composer.draft] == [[], Typed("early question")]
        await send(app, pilot, "more")
        refused = "A question is waiting; Esc takes it back. Your question is still here."
        await until(pilot, lambda: notices(app)[-1:] == [refused])
        assert composer.prompt.text == "more"
        assert composer.draft.whole.split() == ["early", "question", "more"]
        gate.open()
        await until(pilot, lambda: [answer.state for answer in answers(app)] == ["done"])
        assert "Waiting" not in on_screen(pilot)
        assert (answers(app)[0].content.text, composer.prompt.text) == (ANSWER, "more")
        assert [one.question for one in app.chat.conversation.every] == ["early question"]
        assert composer.draft == Typed("more")
        await until(pilot, lambda: PromptHistory(paths.prompt).entries() == [Typed("early question")])


async def test_a_key_takes_it_back_and_the_model_goes_on_coming_up(
    paths: Paths, config: Config, tiny_r1: TinyModel, gate: Gate
) -> None:
    app = R1App(paths, config, variant=variant_of_file(file := tiny_r1(answer=ANSWER)))
    async with opened(app, (80, 24)) as pilot:
        await sent_and_waits(app, pilot, "early", file.stem)
        await pilot.press("escape")
        await until(pilot, lambda: app.chat.composer.prompt.text == "early")
        assert "Waiting" not in on_screen(pilot)
        assert app.chat.models.launching
        gate.open()
        await until(pilot, lambda: app.chat.models.ready and not app.chat.models.launching)
        assert app.chat.conversation.every == []
        assert app.chat.composer.prompt.text == "early"
        await pilot.press("enter")
        await until(pilot, lambda: [answer.state for answer in answers(app)] == ["done"])


async def test_a_load_that_fails_gives_it_back_and_says_why(
    paths: Paths, config: Config, tiny_r1: TinyModel, gate: Gate
) -> None:
    bad = VariantSettings(title="Bad", file=str(tiny_r1()), extra_args=["--lora", "/nowhere.gguf"])
    app = R1App(paths, msgspec.structs.replace(config, variants={"bad": bad}))
    app.wanted = app.services.models.catalog.find("bad")
    async with opened(app) as pilot:
        await sent_and_waits(app, pilot, "early", "bad")
        gate.open()
        await until(pilot, lambda: not app.chat.models.launching)
        await until(pilot, lambda: app.chat.composer.prompt.text == "early")
        assert app.chat.conversation.every == []
        assert "Waiting" not in on_screen(pilot)
        assert "✗" in "\n".join(str(row) for row in app.chat.query_one(Stages).rows(100, 30))
        await pilot.press("enter")  # nothing comes up now
        await until(pilot, lambda: notices(app)[-1].startswith("No model is ready yet."))
        assert app.chat.composer.prompt.text == "early"


async def test_after_a_switch_the_model_that_was_chosen_answers(
    paths: Paths, config: Config, tiny_r1: TinyModel, gate: Gate
) -> None:
    files = {name: VariantSettings(title=name, file=str(tiny_r1(answer=name))) for name in ("one", "two")}
    app = R1App(paths, msgspec.structs.replace(config, variants=files))
    app.wanted = app.services.models.catalog.find("one")
    gate.open()
    async with opened(app) as pilot:
        await ready(app, pilot, "one")
        await until(pilot, lambda: not app.chat.models.launching)
        gate.shut()
        await pilot.press("f4")
        await sent_and_waits(app, pilot, "which?", "two")
        gate.open()
        await until(pilot, lambda: [answer.state for answer in answers(app)] == ["done"])
        assert [(one.model, one.answer.content.text) for one in app.chat.conversation.every] == [("two", "two")]


async def test_it_waits_for_a_server_that_is_restarted_and_leaving_its_conversation_gives_it_back(
    paths: Paths, config: Config, tiny_r1: TinyModel, gate: Gate
) -> None:
    app = R1App(paths, config, variant=variant_of_file(file := tiny_r1(answer=ANSWER)))
    gate.open()
    async with opened(app) as pilot:
        await ready(app, pilot)
        first = await ask(app, pilot, "first")
        await until(pilot, lambda: first.state == "done" and app.chat.answers.why_not_now() is None)
        gate.shut()
        pid = supervisor.status(paths).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await sent_and_waits(app, pilot, "second", file.stem)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: app.chat.composer.prompt.text == "second")
        assert notices(app)[-1] == "Not asked: another conversation is open now."
        assert "Waiting" not in on_screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "Waiting" in on_screen(pilot))
        gate.open()
        await until(pilot, lambda: [answer.state for answer in answers(app)] == ["done"])


async def test_it_goes_on_waiting_while_a_killed_supervisor_is_replaced(
    paths: Paths, config: Config, tiny_r1: TinyModel, gate: Gate
) -> None:
    app = R1App(paths, config, variant=variant_of_file(file := tiny_r1(answer=ANSWER)))
    async with opened(app) as pilot:
        await sent_and_waits(app, pilot, "early", file.stem)
        await until(pilot, lambda: supervisor.status(paths).pid is not None)
        killed = supervisor.status(paths).supervisor_pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(pilot, lambda: app.chat.models.server.supervisor_pid not in (None, killed))
        gate.open()
        await until(pilot, lambda: [answer.state for answer in answers(app)] == ["done"])
        assert app.chat.composer.prompt.text == ""


async def test_it_is_in_the_prompt_at_the_next_start(paths: Paths, config: Config, tmp_path: Path) -> None:
    toy = Toy(paths, tmp_path)
    toy.acts({"loads": True})
    supervisor.start(toy.spec(), paths)
    app = R1App(paths, config)
    async with opened(app) as pilot:
        await sent_and_waits(app, pilot, "early", "toy")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)
    again = R1App(paths, config)
    async with opened(again) as pilot:
        await until(pilot, lambda: again.chat.composer.prompt.text == "early")
        assert (PromptHistory(paths.prompt).entries(), again.chat.conversation.every) == ([], [])


def test_it_outlives_kill_9(paths: Paths, config: Config, tmp_path: Path) -> None:
    toy = Toy(paths, tmp_path)
    toy.acts({"loads": True})
    supervisor.start(toy.spec(), paths)
    with Terminal() as terminal:
        terminal.wait_for("llama-server with toy")
        terminal.type("precious")
        until_so(lambda: any("precious" in one.read_text() for one in paths.prompt.glob("draft-*.json")))
        terminal.type("\r")
        terminal.wait_for("Waiting:")
        terminal.kill()
    assert [one.read_text() for one in paths.prompt.glob("draft-*.json")] != []
    with Terminal() as terminal:
        terminal.wait_for("precious")
