"""`--attach` to servers of others, from the command line and on the screen."""

import json
import re
from pathlib import Path

import pytest
from textual.widgets import OptionList

from r1tui.cli.chat import _ShowText
from r1tui.config import Config
from r1tui.events import Content, ContentWasThinking
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.overlays import ServerModelsScreen
from r1tui.tui.services import chat_client
from tests.conftest import CommandLine
from tests.odd_refusals import REFUSALS
from tests.odd_server import THINKERS, THOUGHT, OddServer, Reply, chunk, events, odd_server
from tests.store_rig import FINISHED
from tests.tui_rig import ask, on_screen, opened, until


@pytest.fixture
def r1tui(paths: Paths) -> CommandLine:
    """The command line in folders of its own; nothing is started."""
    return CommandLine(paths)


@pytest.mark.parametrize("habit", ["no opening tag, in pieces", "reasoning", "tags"])
def test_stdout_has_the_answer_and_nothing_else(r1tui: CommandLine, habit: str) -> None:
    with odd_server(THINKERS[habit], models=["m"]) as server:
        ran = r1tui("chat", "--attach", server.url, "hi")
        lines = r1tui("chat", "--attach", server.url, "--json", "hi").stdout.splitlines()
    assert (ran.returncode, ran.stdout) == (0, "Hello.\n")
    assert THOUGHT in ran.stderr
    said = [json.loads(line) for line in lines]
    assert "".join(one["text"] for one in said if one.get("event") == "reasoning") == THOUGHT
    assert "".join(one["text"] for one in said if one.get("event") == "content") == "Hello."
    figures = ("prompt_tokens", "completion_tokens", "prompt_tps", "tps")
    assert [said[-1][name] for name in figures] == [None] * 4
    assert all(one.json["model"] == "m" for one in server.chats)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (events(chunk("Hel"), chunk(finish="length")), "Cut off at the token limit"),
        (events(chunk(reasoning=THOUGHT), chunk(finish="MAX_TOKENS")), "Cut off at the token limit"),
        (events(chunk(reasoning=THOUGHT), chunk(finish="stop")), "The answer has no text."),
        (events(chunk(finish="stop")), "The answer has no text."),
        (events(chunk("Hello."), chunk(finish="stop")), ""),
    ],
)
def test_an_answer_that_is_none_or_not_whole_is_not_passed_over(r1tui: CommandLine, reply: bytes, said: str) -> None:
    with odd_server(Reply(reply)) as server:
        ran = r1tui("chat", "--attach", server.url, "hi")
    assert ran.returncode == 0
    assert ran.stderr.removeprefix(f"{THOUGHT}\n").strip().startswith(said)
    assert bool(said) == bool(ran.stderr)


def test_text_that_turns_out_to_be_thinking_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    show = _ShowText()
    for event in (Content(THOUGHT), ContentWasThinking(), FINISHED):
        show(event)
    assert "The answer has no text." in capsys.readouterr().err


def test_a_refusal_is_the_server_s_own(r1tui: CommandLine) -> None:
    with odd_server(REFUSALS["escapes"][0]) as server:
        ran = r1tui("chat", "--attach", server.url, "hi")
    assert ran.returncode == 1
    assert "red" in ran.stderr
    assert "\x1b" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_one_of_several_models_is_named_with_an_option(r1tui: CommandLine) -> None:
    with odd_server(models=["one", "two"]) as server:
        unnamed = r1tui("chat", "--attach", f"{server.url}/v1/chat/completions", "hi")
        named = r1tui("chat", "--attach", server.url, "--model-name", "two", "hi")
    assert unnamed.returncode == 2
    assert "one, two" in unnamed.stderr
    assert "--model-name" in unnamed.stderr
    assert named.stdout == "Hello.\n"
    assert [one.json["model"] for one in server.chats] == ["two"]


def test_the_name_of_a_model_needs_a_server(r1tui: CommandLine) -> None:
    for arguments in (("chat", "--model-name", "x", "hi"), ("--model-name", "x")):
        ran = r1tui(*arguments)
        assert ran.returncode in (1, 2), arguments
        assert "Traceback" not in ran.stderr


def app_for(server: OddServer, paths: Paths) -> R1App:
    return R1App(paths, Config(), attach=Endpoint.parse(server.url))


async def test_the_screen_asks_which_model(paths: Paths) -> None:
    with odd_server(models=["llama3:8b", "deepseek-r1:70b"]) as server:
        app = app_for(server, paths)
        async with opened(app) as pilot:
            await until(pilot, lambda: isinstance(app.screen, ServerModelsScreen))
            await pilot.press("down", "enter")
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
            assert answer.content.text == "Hello."
            assert app.services.session.model == "deepseek-r1:70b"
            await pilot.press("f2")
            await until(pilot, lambda: isinstance(app.screen, ServerModelsScreen))
            models = app.screen.query_one(OptionList)
            assert models.highlighted == 1
            assert (models.has_focus, models.styles.border_top[0]) == (True, "round"), "framed like all lists"
            await pilot.press("escape")
    assert [one.json["model"] for one in server.chats] == ["deepseek-r1:70b"]


async def test_a_question_without_a_model_says_how_to_choose_one(paths: Paths) -> None:
    with odd_server(models=["a", "b"]) as server:
        app = app_for(server, paths)
        async with opened(app) as pilot:
            await until(pilot, lambda: isinstance(app.screen, ServerModelsScreen))
            await pilot.press("escape")
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "failed")
            assert "2 models" in answer.cause
    assert server.chats == []


async def test_esc_stops_the_answer_of_a_server_that_has_no_call_for_it(paths: Paths) -> None:
    with odd_server(Reply(b"", endless=True)) as server:
        app = app_for(server, paths)
        async with opened(app) as pilot:
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: bool(answer.content.text))
            await pilot.press("escape")
            await until(pilot, lambda: answer.state == "stopped")
            await until(pilot, server.closed.is_set)


async def test_a_server_that_says_nothing_is_waited_for_aloud_and_not_asked(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_client, "SILENT_S", 0.3)
    monkeypatch.setattr(chat_client, "TURN_S", 0.1)
    with odd_server(Reply(b"", late=True)) as server:
        app = app_for(server, paths)
        async with opened(app) as pilot:
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: bool(server.chats))
            await until(pilot, lambda: (answer.waited_s or 0.0) > 1.0)
            waits = re.compile(r"Waiting for the server: \d+ s\. Esc stops\.")
            await until(pilot, lambda: waits.search(on_screen(pilot)) is not None)
            assert not [one for one in server.seen if one.path.startswith("/slots")]
            await pilot.press("escape")
            await until(pilot, lambda: answer.state == "stopped")
            await until(pilot, server.closed.is_set)


async def test_content_that_was_thinking_moves_there_on_the_screen(paths: Paths) -> None:
    with odd_server(THINKERS["no opening tag, in pieces"]) as server:
        app = app_for(server, paths)
        async with opened(app) as pilot:
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
            assert (answer.thinking.text, answer.content.text) == (THOUGHT, "Hello.")
            await until(pilot, lambda: "Hello." in app.export_screenshot())
            assert "well." not in app.export_screenshot()


async def test_an_answer_without_text_is_told_on_the_screen(paths: Paths) -> None:
    with odd_server(Reply(events(chunk(finish="stop")))) as server:
        app = app_for(server, paths)
        async with opened(app) as pilot:
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
            await until(pilot, lambda: "The answer has no text." in on_screen(pilot))


async def test_an_answer_that_failed_leaves_no_figure_of_the_context(paths: Paths) -> None:
    with odd_server(Reply(events(chunk("Hel"), done=False))) as server:
        app = app_for(server, paths)
        async with opened(app) as pilot:
            assert app.chat.instruments.figures.context_used == 0
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "failed")
            await until(pilot, lambda: app.chat.instruments.figures.context_used is None)


async def test_figures_that_are_not_given_are_dashes(paths: Paths, tmp_path: Path) -> None:
    with odd_server() as server:
        app = app_for(server, paths)
        async with opened(app, (120, 40)) as pilot:
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done" and "Hello." in app.export_screenshot())
            assert not re.search(r"(?<![0-9.])0\.0(?![0-9.])", app.export_screenshot())
            assert app.chat.instruments.figures.context_used is None
