"""Keys and palette: every action is in both, with words; no key means two things, or is one that terminals swallow."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Turn
from r1tui.config import Config, UiSettings
from r1tui.tui.actions import actions, bindings
from r1tui.tui.app import R1App
from r1tui.tui.keys import TAKING_TURNS, TOGETHER, Nodes
from r1tui.tui.palette import ActionsProvider
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.keys import KeysScreen
from r1tui.tui.screens.panel import PanelScreen
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.select_bar import SelectBar
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.wordbook import HEADINGS, HERE, PLACES
from tests.screen_rig import StillApp
from tests.tui_rig import opened, seat, until

README = Path(__file__).parent.parent / "README.md"
SWALLOWED = re.compile(r"ctrl\+(shift\+|[abhim]$|space|tab)|shift\+f|super|hyper|f11")
"""Sent as another key or not at all, or the prefixes of screen and tmux."""


def ids(*nodes: type[DOMNode]) -> list[str]:
    return [binding.id or "" for node in nodes for binding in bindings(node)]


async def test_every_action_of_the_chat_is_in_the_palette_and_in_the_help(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        listed = {row.name for row in actions(app.screen_stack[0])}
        shown = " ".join(help_lines(app))
        await pilot.press("escape")
        wanted = {*ids(ChatScreen, R1App, Prompt, Transcript)}
        assert wanted <= listed
        assert all(name in shown for name in wanted if not name.startswith("chat.model"))
        assert set(ids(SelectBar)) <= listed  # of the marking too, though nothing is marked
        assert all(name in shown for name in ids(SelectBar))
        provider = ActionsProvider(seat(app))
        for action in actions(seat(app)):
            found = [hit.text async for hit in provider.search(action.title)]
            assert action.title in found


async def test_every_action_is_told_in_a_sentence(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app):
        for action in actions(seat(app)):
            assert action.does.endswith("."), action.name
            assert action.does[0].isupper()
            assert action.title != action.does


OTHER_WORDS = {
    "temperature": "Sampling",
    "top_p": "Sampling",
    "seed": "Sampling",
    "export": "Conversations",
    "rename": "Conversations",
    "conv": "Conversations",
    "regenerate": "Ask again",
    "retry": "Ask again",
    "exit": "Quit",
    "colours": "Theme",
    "model": "Models",
    "download a model": "Models",
    "fetch": "Models",
    "vim": "Editor",
    "upload": "Attach a file",
    "file": "Attach a file",
    "log": "Log",
    "stop": "Stop",
    "think": "Thinking",
    "vram": "All instruments",
    "change question": "Edit question",
    "clipboard": "Copy the last code block",
    "delete exchange": "Delete exchange",
    "help": "Help",
    "new chat": "New chat",
    "temprature": "Sampling",
    "conversatons": "Conversations",
}


async def test_the_palette_knows_an_action_by_other_words_too(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app):
        provider = ActionsProvider(seat(app))
        for wanted, title in OTHER_WORDS.items():
            hits = [hit async for hit in provider.search(wanted)]
            best = max((hit.score for hit in hits), default=0.0)
            assert title in [hit.text for hit in hits if hit.score == best][:3], wanted


async def test_the_palette_offers_nothing_for_letters_that_are_no_word_of_an_action(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app):
        provider = ActionsProvider(seat(app))
        for letters in ("etn", "oe", "xyzzy", "log xyzzy"):
            assert [hit.text async for hit in provider.search(letters)] == [], letters


async def test_the_help_begins_with_what_matters_most_and_has_a_heading_for_all_of_the_chat(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        lines = help_lines(app)
        assert lines[0] == next(iter(HEADINGS))
        firsts = [line.split()[0] for line in lines[1 : lines.index("")] if line[0] != " "]
        assert firsts == ["Enter", "Ctrl+J,", "Esc", "Ctrl+P", "F1", "Ctrl+Q"]
        assert [line for line in lines if line in HEADINGS] == list(HEADINGS)
        assert HERE not in lines
    own = {*ids(ChatScreen, R1App, Prompt, Transcript, SelectBar), *(action for _, action in ChatScreen.KEYLESS)}
    assert own == set(PLACES)


async def test_the_help_of_another_screen_begins_with_its_own_keys(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await pilot.press("ctrl+l", "f1")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        lines = help_lines(app)
        assert lines[0] == HERE
        assert "conversations.rename" in " ".join(lines[: lines.index("")])
        assert next(iter(HEADINGS)) in lines


def help_lines(app: R1App) -> list[str]:
    text = app.screen.query_one("Static")
    return [text.render_line(y).text.rstrip() for y in range(text.size.height)]


async def test_the_palette_finds_an_action_by_its_words_and_does_it(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await chosen(app, pilot, "all that is known")
        await until(pilot, lambda: isinstance(app.screen, PanelScreen))
        await pilot.press("escape")
        await chosen(app, pilot, "ask again")  # there is no question
        await until(pilot, lambda: app.screen is seat(app))


async def chosen(app: R1App, pilot: Pilot[None], words: str) -> None:
    await pilot.press("ctrl+p")
    await until(pilot, lambda: isinstance(app.screen, CommandPalette) and bool(app.screen.query(Input)))
    app.screen.query_one(Input).value = words
    await until(pilot, lambda: app.screen.query_one(OptionList).option_count > 0)
    await pilot.press("enter")
    await until(pilot, lambda: not isinstance(app.screen, CommandPalette))


async def test_what_cannot_be_done_now_is_said(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: seat(app).furnished)
        await chosen(app, pilot, "Bring back")
        await until(pilot, lambda: any("nothing to do" in str(toast.render()) for toast in app.screen.query("Toast")))


def defaults(*nodes: type[DOMNode]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        for binding in bindings(node):
            for key in binding.key.split(","):
                yield key.strip(), binding.id or ""


@pytest.mark.parametrize("nodes", TOGETHER, ids=lambda nodes: nodes[0].__name__)
def test_no_key_means_two_things_from_the_start(nodes: Nodes) -> None:
    screen = nodes[0]
    for focused in nodes[1:] or nodes:
        found = {*defaults(R1App), *defaults(screen), *defaults(focused)}
        keys = Counter(key for key, _ in found)
        twice = [pair for pair in sorted(found) if keys[pair[0]] > 1]
        assert [name for _, name in twice if not any(name in names for names in TAKING_TURNS)] == []


def test_no_key_is_one_that_a_terminal_swallows() -> None:
    for key, name in defaults(R1App, *(node for nodes in TOGETHER for node in nodes)):
        assert not SWALLOWED.search(key), f"{name}: {key}"


def test_ids_are_of_one_action_each() -> None:
    found = Counter(ids(R1App, *{node for nodes in TOGETHER for node in nodes}))
    assert [name for name, count in found.items() if count > 1] == []


def test_the_readme_names_actions_that_there_are() -> None:
    known = set(ids(R1App, *{node for nodes in TOGETHER for node in nodes}))
    table = README.read_text().partition("## The screen")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z]+\.[a-z_0-9]+)`", table)) - {f"ui.{key}" for key in UiSettings.__struct_fields__}
    assert len(named) > 20
    assert named <= known
    assert {name for name in known if name.startswith(("app.", "chat."))} - named <= {
        f"chat.model{n}" for n in range(10)
    }


def conversation() -> Conversation:
    return Conversation("c", [Turn("hi", Answer.past("\n\n".join(f"line {n}" for n in range(200))))])


@pytest.mark.parametrize("vim", [True, False])
async def test_letters_scroll_or_are_typed_as_the_user_likes(tmp_path: Path, vim: bool) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(vim=vim)))
    async with opened(app) as pilot:
        transcript, prompt = seat(app).query_one(Transcript), seat(app).query_one(Prompt)
        seat(app).conversation = conversation()
        transcript.show(seat(app).conversation)
        await until(pilot, lambda: transcript.settled and transcript.size.height > 20)

        def top() -> str:
            return "|".join(transcript.render_line(y).text.strip() for y in range(2))

        async def after(key: str) -> tuple[str, str]:
            transcript.focus()
            transcript.action_to_start()
            for _ in range(3):
                transcript.action_page_down()
            await until(pilot, lambda: transcript.settled and app.focused is transcript)
            before, text = top(), prompt.text
            await pilot.press(key)
            await until(pilot, lambda: top() != before or prompt.text != text)
            return ("scrolled", top()) if top() != before else ("typed", prompt.text[len(text) :])

        arrows = {"up": "k", "down": "j", "pageup": "b", "pagedown": "space", "home": "g", "end": "G"}
        for arrow, letter in arrows.items():
            scrolled = await after(arrow)
            assert scrolled[0] == "scrolled"
            typed = " " if letter == "space" else letter
            assert await after(letter) == (scrolled if vim else ("typed", typed))
        assert (await after("u"))[0] == (await after("d"))[0] == ("scrolled" if vim else "typed")
        assert await after("x") == ("typed", "x")
        assert await after("K") == ("typed", "K")
        assert app.focused is prompt
