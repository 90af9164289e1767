"""Texts that name keys name those that the actions have: none is written down, and another key is said everywhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Label, OptionList

import r1tui.tui
from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.config import Config, UiSettings
from r1tui.errors import R1tuiError
from r1tui.events import Content, Finished, Notice, StageFailed, StageStarted
from r1tui.remedies import AskAgain, GiveUp, NewChat, ShowLog, StartServer
from r1tui.tui.app import R1App
from r1tui.tui.commands import COMMANDS
from r1tui.tui.controllers.answers import STILL_COMING
from r1tui.tui.messages import StageReported
from r1tui.tui.questions import STOP_FOREIGN
from r1tui.tui.remedies import NAMED, in_keys
from r1tui.tui.screens.dialogs import AskScreen, AsksLine, LineScreen, SaveScreen
from r1tui.tui.widgets.stages import Stages
from r1tui.tui.widgets.transcript import Transcript
from tests.screen_rig import StillApp
from tests.tui_rig import notices, opened, until

A_KEY = re.compile(
    r"\b((Ctrl|Alt|Shift)\+\w|F\d{1,2}\b|Esc\b|Enter\b|[A-Z] (restores|saves|checks|estimates|reads|deletes)\b)"
)
FIXED = {
    "Esc",  # how `keymap` writes it
    "Enter",
    "Tab inserts it · Esc closes",  # the list of files takes its keys from the prompt
    "Enter keeps it, <theme.back> cancels",  # Enter is Textual's in a list and in a line of text
    "Enter accepts, <",
    "Enter inserts it · prompts: in the config",
    "Enter chooses the model for the next questions",
    "Cleared. Ctrl+Z brings it back.",  # Textual's in a text area
}
SOURCES = sorted(Path(r1tui.tui.__file__).parent.rglob("*.py"))


def texts(path: Path) -> Iterator[str]:
    """The strings of a module; of its docstrings the first lines of actions, which the help shows."""
    tree = ast.parse(path.read_text())
    docs: set[ast.Constant] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        docs |= {one.value for one in body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("action_"):
            yield (ast.get_docstring(node) or "").partition("\n")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
            yield node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_text_has_a_key_written_down_and_each_action_that_one_names_is_there(path: Path) -> None:
    for text in texts(path):
        assert text in FIXED or not A_KEY.search(text), text
        assert set(NAMED.findall(text)) <= COMMANDS.keys(), text


OTHER = {
    "chat.new": "f3",
    "chat.previous": "ctrl+n",
    "chat.stop": "ctrl+x",
    "chat.start": "ctrl+w",
    "chat.again": "ctrl+k",
    "chat.continue": "ctrl+u",
    "chat.log": "ctrl+t",
    "chat.thinking": "f6",
    "chat.select": "f8",
    "prompt.send": "ctrl+e",
    "select.save": "w",
    "select.undo": "z",
    "ask.back": "q",
    "line.back": "f3",
    "save.back": "f4",
}


def rebound(tmp_path: Path) -> StillApp:
    return StillApp(tmp_path, Config(ui=UiSettings(keys=OTHER)))


async def told(app: R1App, pilot: Pilot[None], text: str) -> None:
    await until(pilot, lambda: text in " ".join(notices(app)))


async def test_notices_name_the_keys_that_actions_have_now(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.chat.is_complete)
        app.notify("<chat.new> starts a new chat, <nothing.known> does not.")
        await told(app, pilot, "F3 starts a new chat, <nothing.known> does not.")
        app.chat.notify(STILL_COMING)
        await told(app, pilot, "Esc leaves the selection, then Ctrl+X stops the answer.")
        app.show_error(R1tuiError("The server is failed.", StartServer(), AskAgain()))
        await told(app, pilot, "Start it again. Ctrl+K asks again.")
        app.show_error(R1tuiError("It broke.", ShowLog()))
        await told(app, pilot, "It broke. The server's log shows why.")  # which is not here


async def test_the_prompt_says_which_key_sends(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with opened(app):
        assert str(app.chat.composer.prompt.placeholder) == "Ask something. Ctrl+E sends."


async def test_questions_name_the_keys_that_actions_have_now(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with opened(app) as pilot:
        app.push_screen(AskScreen(STOP_FOREIGN.text, STOP_FOREIGN.choices))
        await until(pilot, lambda: isinstance(app.screen, AskScreen) and bool(app.screen.query(OptionList)))
        options = [str(option.prompt) for option in app.screen.query_one(OptionList).options]
        assert options == ["[s]  Stop it (Ctrl+W starts it again)", "[Q]  Go back"]
        assert "Stop it anyway" in str(app.screen.query_one(Label).render())
        await pilot.press("q")
        await until(pilot, lambda: app.screen is app.chat)


async def test_lines_that_are_asked_for_name_the_key_that_goes_back_now(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with opened(app) as pilot:
        forms: dict[str, AsksLine[str] | AsksLine[Path]] = {
            "f3": LineScreen("Its title?"),
            "f4": SaveScreen("x = 1\n", "x.py", tmp_path),
        }
        for key, screen in forms.items():
            await app.push_screen(screen)
            hint = str(screen.query_one(".hint", Label).render())
            assert hint == f"Enter accepts, {key.upper()} goes back."
            await pilot.press(key)
            await until(pilot, lambda: app.screen is app.chat)


async def test_what_stands_below_an_answer_names_the_keys_that_actions_have_now(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with opened(app) as pilot:
        transcript = app.chat.query_one(Transcript)

        def shown() -> str:
            lines = (transcript.render_line(y).text[:-1].strip() for y in range(transcript.size.height))
            return " ".join(filter(None, lines))

        app.show_answer(Content("Hi"), Finished("length", 1, 0, 1, 1.0, 1.0, 1.0))
        await until(pilot, lambda: "Ctrl+U continues it." in shown())
        failed = Answer.past("")
        failed.state, failed.cause, failed.remedies = "failed", "It broke.", (NewChat(), AskAgain())
        app.chat.conversations.shown = conversation = Conversation("c", [Exchange("hi", failed)])
        transcript.show(conversation)
        await until(pilot, lambda: "F3 starts a new chat. Ctrl+K asks again." in shown())
        assert failed.remedy == "Start a new conversation. Ask again."

        begun = Answer.past("Hi")
        begun.state, begun.cause, begun.remedies = "failed", "It broke.", (StartServer(), AskAgain())
        conversation.every[0].answer = begun
        transcript.show(conversation)
        await until(pilot, lambda: "Ctrl+U continues it (" in shown())
        conversation.ask("And then?").answer = Answer.past("No more.")
        transcript.show(conversation)
        await until(pilot, lambda: "No more." in shown())
        assert "continues" not in shown()


async def test_stages_of_a_launch_name_the_keys_that_actions_have_now(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with opened(app) as pilot:
        app.chat.add_class("-launching")
        for event in (
            StageStarted("server", "demo"),
            Notice.of("server", "It does nothing. Still waiting.", GiveUp()),
            StageFailed("server", "Cancelled.", "<chat.start> continues it.", 130),
        ):
            app.chat.post_message(StageReported(event))

        def shown() -> str:
            stages = app.chat.query_one(Stages)
            return " ".join(" ".join(stages.render_line(y).text.split()) for y in range(stages.size.height))

        await until(pilot, lambda: "Ctrl+W continues it." in shown())
        assert "Still waiting. Ctrl+X cancels." in shown()


async def test_the_line_that_marks_names_the_keys_that_actions_have_now(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with opened(app) as pilot:
        app.show_chat()
        await until(pilot, lambda: app.chat.query_one(Transcript).settled)
        await pilot.press("f8", "home", "d")
        await until(pilot, lambda: "Z restores it." in str(app.chat.query_one("Selection").render()))


async def test_another_key_stops_though_the_prompt_has_a_use_for_it(tmp_path: Path) -> None:
    app = rebound(tmp_path)
    async with opened(app) as pilot:
        app.show_chat()
        await until(pilot, lambda: app.chat.query_one(Transcript).settled)
        app.chat.models.ready = True
        await pilot.press("f8", "home", "e")
        await until(pilot, lambda: app.chat.composer.edited is not None)
        title = str(app.chat.composer.prompt.border_title)
        assert title == "Editing question 1: Ctrl+E asks again, Ctrl+X cancels"
        await pilot.press("ctrl+x")
        await until(pilot, lambda: app.chat.composer.edited is None)
        assert app.clipboard == ""


async def test_esc_closes_the_list_of_files_and_leaves_the_marking_before_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    app = StillApp(tmp_path / "home")
    async with opened(app) as pilot:
        app.show_chat()
        await until(pilot, lambda: app.chat.query_one(Transcript).settled)
        app.chat.models.ready = True
        await pilot.press("ctrl+y", "home", "e", "space", "@", "f")
        await until(pilot, lambda: app.chat.composer.edited is not None and app.chat.composer.prompt.is_completing)
        app.chat.query_one(Transcript).focus()
        await until(pilot, lambda: not app.chat.composer.prompt.has_focus)
        await pilot.press("escape")  # the list does not get it
        await until(pilot, lambda: app.chat.composer.edited is None)
        await pilot.press("ctrl+y", "home", "e", "space", "@", "f")
        await until(pilot, lambda: app.chat.composer.edited is not None and app.chat.composer.prompt.is_completing)
        await pilot.press("escape")
        await until(pilot, lambda: not app.chat.composer.prompt.is_completing)
        assert app.chat.composer.edited is not None
        await pilot.press("ctrl+y")
        await until(pilot, lambda: app.chat.widgets.selection.display)
        await pilot.press("escape")
        await until(pilot, lambda: not app.chat.widgets.selection.display)
        assert app.chat.composer.edited is not None
        await pilot.press("escape")
        await until(pilot, lambda: app.chat.composer.edited is None)


async def test_a_key_of_its_own_is_said_by_its_first_name(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app):
        assert in_keys("<prompt.newline>, <chat.stop>, <select.last>", app) == "Ctrl+J, Esc, End"
