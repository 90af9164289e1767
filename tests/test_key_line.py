"""The line of keys: whole at every width, with what matters in each state, and the help always."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from r1tui.catalog.variants import Variant
from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.config import Config, UiSettings
from r1tui.events import Content, Failed, Finished, Reasoning, StreamEvent
from r1tui.tui.controllers.answers import Receiving
from r1tui.tui.screens.conversations import ConversationsScreen
from r1tui.tui.screens.overlays import KeysScreen, PanelScreen, ProcessesScreen
from r1tui.tui.services.session import Session
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.transcript import Transcript
from tests.screen_rig import StillApp
from tests.tui_rig import opened, until

State = Callable[[StillApp, pytest.MonkeyPatch], None]


def line(app: StillApp) -> str:
    return app.screen.query_one(KeyLine).render_line(0).text


def answer(*events: StreamEvent, comes: bool = False) -> State:
    def begin(app: StillApp, patch: pytest.MonkeyPatch) -> None:
        app.show_answer(*events)
        if comes:
            shown = app.chat.conversation
            app.chat.answers.receiving = Receiving(shown, shown.exchanges[-1])
            app.chat.refresh_bindings()

    return begin


def nothing(app: StillApp, patch: pytest.MonkeyPatch) -> None:
    app.chat.refresh_bindings()


def launch_failed(app: StillApp, patch: pytest.MonkeyPatch) -> None:
    app.chat.models.ready = False
    app.chat.models.last = app.chat.models.replaced = Variant("demo", "Demo")
    app.show_answer(Failed("The server ended.", ""))


IDLE = "f2 Models", "^n New chat", "^l Chats", "^q Quit"
STATES: dict[str, tuple[State, tuple[str, ...]]] = {
    "nothing yet": (nothing, IDLE),
    "an answer": (answer(Content("Hi."), Finished("stop", 1, 0, 1, 1.0, 1.0, 1.0)), (*IDLE, "^y Select")),
    "with thinking": (
        answer(Reasoning("Hm."), Content("Hi."), Finished("stop", 1, 1, 1, 1.0, 1.0, 1.0)),
        (*IDLE, "^y Select", "^t Thinking"),
    ),
    "waits": (answer(comes=True), ("esc Stop", "^q Quit")),
    "thinks": (answer(Reasoning("Hm."), comes=True), ("esc Stop", "^d End thinking", "^t Thinking", "^q Quit")),
    "answers": (answer(Reasoning("Hm."), Content("Hi"), comes=True), ("esc Stop", "^t Thinking", "^l Chats")),
    "failed": (answer(Failed("It broke.", "")), ("f8 Ask again", "^l Chats", "f2 Models", "^q Quit")),
    "cut": (answer(Content("Hi"), Finished("length", 1, 0, 1, 1.0, 1.0, 1.0)), ("f8 Continue", "^l Chats", "^q Quit")),
    "launch failed": (launch_failed, ("^r Start", "f9 Bring back", "f2 Models", "^q Quit")),
}


@pytest.mark.parametrize("state", STATES)
async def test_at_80_columns_what_matters_is_there_and_nothing_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    app = StillApp(tmp_path)
    begin, wanted = STATES[state]
    async with opened(app, (80, 24)) as pilot:
        monkeypatch.setattr(Session, "attached", False)  # whose models are others'
        begin(app, monkeypatch)
        await until(pilot, lambda: all(f" {one} " in line(app) for one in wanted))
        assert line(app).endswith(" f1 Help ")
        assert_whole(app)


def assert_whole(app: StillApp) -> None:
    """Each key on the line with all of its word, and no word that is not one."""
    active = app.screen.active_bindings.values()
    whole = {f"{app.get_key_display(one.binding)} {one.binding.description}" for one in active} | {"f1 Help"}
    assert len(line(app)) == app.size.width
    assert {part.strip() for part in line(app).split("  ") if part.strip()} <= whole


@pytest.mark.parametrize("width", [24, 40, 60, 80, 81, 100, 132, 200])
async def test_no_width_cuts_a_word_and_the_help_is_always_there(tmp_path: Path, width: int) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (width, 24)) as pilot:
        app.show_answer(Reasoning("Hm."), Content("Hi"), Finished("length", 1, 1, 1, 1.0, 1.0, 1.0))
        await until(pilot, lambda: " f8 Continue " in line(app))
        assert line(app).endswith(" f1 Help ")
        assert_whole(app)
        await pilot.resize_terminal(300, 24)
        await until(pilot, lambda: " ^p Commands " in line(app) and " ^n New chat " in line(app))
        await pilot.resize_terminal(width, 24)
        await until(pilot, lambda: len(line(app)) == width and line(app).endswith(" f1 Help "))


@pytest.mark.parametrize("width", [80, 200])
async def test_while_something_is_marked_only_its_keys_are_shown(tmp_path: Path, width: int) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (width, 24)) as pilot:
        exchanges = [
            Exchange("One?", Answer.past("1.\n\n```python\nx\n```\n", "Hm.")),
            Exchange("Two?", Answer.past("2.", "Hm.")),
        ]
        app.chat.conversations.shown = conversation = Conversation("c", exchanges)
        other = conversation.ask_instead(exchanges[1], "Two, again?")
        other.answer = Answer.past("Two.", "Hm.")
        app.chat.query_one(Transcript).show(conversation)
        await until(pilot, lambda: app.chat.query_one(Transcript).settled)
        await pilot.press("ctrl+y")
        wanted = ("esc Done", "y Copy", "s Save", "e Edit", "r Retry", "d Delete", "←→ Branch")
        await until(pilot, lambda: all(f" {one} " in line(app) for one in wanted))
        assert_whole(app)
        assert not re.search(r"\^[tlyn]", line(app))
        assert line(app).endswith(" f1 Help ")
        await pilot.press("up")
        await until(pilot, lambda: " c Check " in line(app))
        assert "Edit" not in line(app)
        assert not re.search(r"\^[tlyn]", line(app))
        await pilot.press("ctrl+y")
        await until(pilot, lambda: " ^y Select " in line(app))


async def test_other_keys_are_written_and_a_long_one_takes_no_room_from_the_help(tmp_path: Path) -> None:
    keys = {"app.keys": "ctrl+underscore", "app.theme": "f11", "chat.new": "f1,ctrl+n"}
    app = StillApp(tmp_path, Config(ui=UiSettings(keys=keys)))
    async with opened(app, (80, 24)) as pilot:
        await until(pilot, lambda: line(app).endswith(" ^_ Help "))
        assert " f1 New chat " in line(app)
        await pilot.press("ctrl+underscore")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))


async def test_the_help_is_on_the_line_of_a_list_too(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (80, 24)) as pilot:
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, ConversationsScreen) and "Rename" in line(app))
        assert line(app).endswith(" f1 Help ")


async def test_a_dialog_shows_its_own_keys_and_not_those_of_the_chat_below(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (80, 24)) as pilot:
        for key, dialog in (("f1", KeysScreen), ("f11", ProcessesScreen)):
            await pilot.press(key)
            await until(pilot, lambda dialog=dialog: isinstance(app.screen, dialog) and bool(app.screen.query(KeyLine)))  # type: ignore[misc]
            await until(pilot, lambda: line(app).startswith(" esc Back"))
            assert "Models" not in line(app)
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.chat)


async def click(pilot: Pilot[None], app: StillApp, word: str) -> None:
    await pilot.click(KeyLine, offset=(line(app).index(word), 0))


async def test_a_key_that_is_clicked_is_pressed(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (80, 24)) as pilot:
        await until(pilot, lambda: "Chats" in line(app))
        await click(pilot, app, "Chats")
        await until(pilot, lambda: isinstance(app.screen, ConversationsScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.chat)
        await click(pilot, app, "Help")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        await pilot.press("escape", "ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, PanelScreen) and "Back" in line(app))
        await click(pilot, app, "Back")
        await until(pilot, lambda: app.screen is app.chat)
