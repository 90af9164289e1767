"""Keys and palette: every action is in both, with words; no key means two things, or is one that terminals swallow."""

import re
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.config import Config, UiSettings
from r1tui.events import Finished, Reasoning
from r1tui.messages import Status
from r1tui.tui.app import R1App
from r1tui.tui.commands import COMMANDS, SHARED, Command, of_context
from r1tui.tui.controllers.answers import Receiving
from r1tui.tui.keymap import GIVES_WAY, clashes, keys_in, spelled
from r1tui.tui.palette import ActionsProvider, actions
from r1tui.tui.screens.overlays import KeysScreen, PanelScreen
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.transcript import Transcript
from tests.screen_rig import STATUS, StillApp
from tests.tools.keys import README, made
from tests.tui_rig import notices, opened, until

SWALLOWED = re.compile(r"ctrl\+(shift\+|[abhim]$|space|tab)|shift\+f|super|hyper")
"""Sent as another key or not at all, or the prefixes of screen and tmux."""


KEYS = {
    "app.slow_link": "f10,ctrl+backslash",
    "app.theme": "ctrl+underscore,ctrl+slash",
    "app.commands": "ctrl+p",
    "app.quit": "ctrl+q",
    "app.keys": "f1",
    "chat.edit": "ctrl+g",
    "chat.attach": "ctrl+f",
    "chat.sampling": "ctrl+s",
    "chat.prompts": "f12",
    "chat.stop": "escape",
    "chat.interrupt": "ctrl+c",
    "chat.thinking": "ctrl+t",
    "chat.continue": "f8",
    "chat.again": "f8",
    "chat.end_thinking": "ctrl+d",
    "chat.select": "ctrl+y",
    "chat.copy_last": "ctrl+right_square_bracket,alt+c",
    "chat.new": "ctrl+n",
    "chat.conversations": "ctrl+l",
    "chat.variants": "f2",
    "chat.previous": "f3",
    "chat.next": "f4",
    "chat.log": "f6",
    "chat.download": "f7",
    "chat.start": "ctrl+r",
    "chat.stop_server": "alt+s,ctrl+circumflex_accent",
    "chat.back": "f9",
    "chat.panel": "f5",
    "chat.whole_panel": "ctrl+o",
    "chat.dismiss": "escape,alt+x",
    "chat.processes": "f11,alt+g",
    "prompt.send": "enter",
    "prompt.newline": "ctrl+j,alt+enter",
    "prompt.older": "up",
    "prompt.newer": "down",
    "transcript.line_up": "up,k",
    "transcript.line_down": "down,j",
    "transcript.half_up": "ctrl+up,u",
    "transcript.half_down": "ctrl+down,d",
    "transcript.page_up": "pageup,b",
    "transcript.page_down": "pagedown,space",
    "transcript.start": "home,g",
    "transcript.end": "end,G",
    "select.figures": "i",
    "select.leave": "escape,q",
    "select.copy": "y",
    "select.save": "s",
    "select.check": "c",
    "select.edit": "e",
    "select.anew": "r",
    "select.thinking": "t",
    "select.branch_before": "left,h",
    "select.branch_after": "right,l",
    "select.delete": "d",
    "select.undo": "u",
    "select.up": "up,k",
    "select.down": "down,j",
    "select.first": "home,g",
    "select.last": "end,G",
    "select.page_up": "pageup",
    "select.page_down": "pagedown",
    "ask.back": "escape",
    "conversations.back": "escape",
    "conversations.choose": "enter",
    "conversations.search": "slash",
    "conversations.rename": "r",
    "conversations.delete": "d",
    "conversations.restore": "u,ctrl+z",
    "conversations.export": "x",
    "conversations.to_list": "down",
    "download.pause": "p",
    "download.give_up": "x",
    "download.choose": "enter",
    "download.back": "escape,q",
    "figures.back": "escape,q,i",
    "keys.back": "escape,q",
    "line.back": "escape",
    "log.back": "escape,q",
    "log.search": "slash",
    "log.level": "l",
    "log.notices": "n",
    "processes.back": "escape,q,f11,alt+g",
    "panel.back": "escape,q,ctrl+o",
    "prompts.back": "escape",
    "sampling.back": "escape",
    "sampling.reset": "ctrl+r",
    "sampling.page": "pagedown,pageup",
    "settings.apply": "enter",
    "settings.auto": "ctrl+r",
    "sampling.up": "up",
    "sampling.down": "down",
    "switch.change": "right,space,enter,plus",
    "switch.change_back": "left,minus",
    "save.back": "escape",
    "server_models.back": "escape",
    "theme.back": "escape",
    "list.up": "up,k",
    "list.down": "down,j",
    "list.first": "home,g,ctrl+home",
    "list.last": "end,G,ctrl+end",
    "list.page_up": "pageup",
    "list.page_down": "pagedown",
    "variants.back": "escape",
    "variants.choose": "enter",
    "variants.delete": "d",
    "variants.ask_hub": "r",
    **{f"chat.model{n}": f"alt+{n}" for n in range(1, 10)},
    **{f"variants.pick{n}": str(n) for n in range(1, 10)},
}


async def test_every_action_of_the_chat_is_in_the_palette_and_in_the_help(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        listed = {action.command for action in actions(app.screen_stack[0])}
        shown = " ".join(help_lines(app))
        await pilot.press("escape")
        wanted = {command for context in SHARED for command in of_context(context)}
        assert wanted == listed  # of the selection too, though nothing is selected
        assert all(one.id in shown for one in wanted if one.keys and not one.is_numbered)
        provider = ActionsProvider(app.chat)
        for command in wanted:
            found = [hit.text async for hit in provider.search(command.title)]
            assert found[0] == command.title or command.title in found


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_is_told_in_a_sentence(command: Command) -> None:
    assert command.help[0].isupper()
    assert command.help.endswith(".")
    assert command.title not in ("", command.help)
    assert command.heading


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
    "delete exchange": "Delete question",
    "help": "Help",
    "new chat": "New chat",
    "temprature": "Sampling",
    "conversatons": "Conversations",
}


async def test_the_palette_knows_an_action_by_other_words_too(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app):
        provider = ActionsProvider(app.chat)
        for wanted, title in OTHER_WORDS.items():
            hits = [hit async for hit in provider.search(wanted)]
            hits.sort(key=lambda hit: -hit.score)
            assert title in [hit.text for hit in hits[:3]], wanted


async def test_the_palette_offers_nothing_for_what_is_no_command(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app):
        provider = ActionsProvider(app.chat)
        for letters in ("xyzzy", "log xyzzy", " "):
            assert [hit.text async for hit in provider.search(letters)] == [], letters


async def test_the_palette_opens_with_what_can_be_done_now(tmp_path: Path) -> None:
    app = StillApp(tmp_path)

    async def offered() -> list[str]:
        return [hit.text or "" async for hit in ActionsProvider(app.chat).discover()]

    async with opened(app):
        app.chat.models.take_status(Status())
        nothing_runs = await offered()
        assert nothing_runs[0] == "Models"
        assert nothing_runs[-4:] == ["Help", "Quit", "Theme", "Slow link"]
        never = {"Commands", "Interrupt", "Send", "Model 1", "Line up", "Select the next"}
        assert not ({"Stop", "Continue", "Start", "Bring back", "Stop server"} | never) & set(nothing_runs)
        app.chat.models.take_status(STATUS)
        ready = await offered()
        assert ready.index("Editor") < ready.index("New chat") < ready.index("Models") < ready.index("Help")
        app.show_answer(Reasoning("Hm."), Finished("cancelled", None, 0, 0, None, None, None))
        assert (await offered())[:2] == ["Continue", "Ask again"]
        exchange = app.chat.conversation.ask("Once more.", "id")
        exchange.answer.apply(Reasoning("Hm."))
        app.chat.answers.receiving = Receiving(app.chat.conversation, exchange)
        assert (await offered())[:2] == ["Stop", "End thinking"]
        assert not never & set(await offered())


async def test_keys_of_the_user_are_text_in_the_palette(tmp_path: Path) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(keys={"chat.log": "[,]", "chat.new": "f12,[b]"})))
    async with opened(app) as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette) and bool(app.screen.query(Input)))
        options = app.screen.query_one(OptionList)
        app.screen.query_one(Input).value = "new chat"
        await until(pilot, lambda: any("(F12)" in str(option.prompt) for option in options.options))
        app.screen.query_one(Input).value = "log"
        await until(pilot, lambda: any("([, ])" in str(option.prompt) for option in options.options))


async def test_the_help_begins_with_what_matters_most_and_has_a_heading_for_all_of_the_chat(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        lines = help_lines(app)
        headings = list(dict.fromkeys(one.heading for one in COMMANDS.values() if one.context in SHARED))
        assert lines[0] == headings[0]
        firsts = [line.split()[0] for line in lines[1 : lines.index("")] if line[0] != " "]
        assert firsts == ["Enter", "Ctrl+J,", "Esc", "Ctrl+P", "F1", "Ctrl+Q"]
        assert [line for line in lines if line in headings] == headings


async def test_the_help_of_another_screen_begins_with_its_own_keys(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await pilot.press("ctrl+l", "f1")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        lines = help_lines(app)
        assert lines[0] == COMMANDS["conversations.rename"].heading
        assert "conversations.rename" in " ".join(lines[: lines.index("")])
        assert COMMANDS["app.keys"].heading in lines


def help_lines(app: R1App) -> list[str]:
    text = app.screen.query_one("Static")
    return [text.render_line(y).text.rstrip() for y in range(text.size.height)]


async def test_the_palette_finds_an_action_by_its_words_and_does_it(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await chosen(app, pilot, "full screen")
        await until(pilot, lambda: isinstance(app.screen, PanelScreen))
        await pilot.press("escape")
        await chosen(app, pilot, "ask again")  # there is no question
        await until(pilot, lambda: app.screen is app.chat)


async def chosen(app: R1App, pilot: Pilot[None], words: str) -> None:
    await pilot.press("ctrl+p")
    await until(pilot, lambda: isinstance(app.screen, CommandPalette) and bool(app.screen.query(Input)))
    app.screen.query_one(Input).value = words
    await until(pilot, lambda: app.screen.query_one(OptionList).option_count > 0)
    await pilot.press("enter")
    await until(pilot, lambda: not isinstance(app.screen, CommandPalette))


async def test_what_cannot_be_done_now_is_said(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.chat.is_complete)
        await chosen(app, pilot, "Bring back")
        await until(pilot, lambda: any("not possible now" in told for told in notices(app)))


def test_no_key_means_two_things_from_the_start() -> None:
    takes_turns = [("chat.continue", "chat.again"), ("chat.stop", "chat.dismiss")] * 2
    takes_turns += [("sampling.reset", "settings.auto"), ("conversations.to_list", "list.down")]
    assert [(first.id, second.id) for _, first, second in clashes({})] == takes_turns


def test_no_key_is_one_that_a_terminal_swallows() -> None:
    for command in COMMANDS.values():
        keys = keys_in(command.keys)
        for key in keys:
            assert not SWALLOWED.search(key), f"{command.id}: {key}"
        assert list(keys) != [GIVES_WAY]


@pytest.mark.parametrize(
    ("keys", "written"),
    [
        ("ctrl+j,alt+enter", "Ctrl+J, Alt+Enter"),
        ("g,G", "G, Shift+G"),
        ("escape,pageup,f10", "Esc, Page Up, F10"),
        ("slash,ctrl+backslash,ctrl+underscore", "/, Ctrl+\\, Ctrl+_"),
        ("ctrl+right_square_bracket,plus", "Ctrl+], +"),
    ],
)
def test_keys_are_written_for_people(keys: str, written: str) -> None:
    assert spelled(keys) == written


def test_ids_and_default_keys_stay_what_they_are() -> None:
    """Users' configs name them."""
    assert {name: command.keys for name, command in COMMANDS.items() if command.keys} == KEYS


def test_the_table_of_the_readme_is_the_one_that_is_made() -> None:
    text = README.read_text()
    assert text == made(text), "make it anew: python -m tests.tools.keys"
    assert all(f"`{name}`" in text for name, command in COMMANDS.items() if not command.is_numbered and command.keys)


def conversation() -> Conversation:
    return Conversation("c", [Exchange("hi", Answer.past("\n\n".join(f"line {n}" for n in range(200))))])


@pytest.mark.parametrize("vim", [True, False])
async def test_letters_scroll_or_are_typed_as_the_user_likes(tmp_path: Path, vim: bool) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(vim=vim)))
    async with opened(app) as pilot:
        transcript, prompt = app.chat.query_one(Transcript), app.chat.query_one(Prompt)
        app.chat.conversations.shown = conversation()
        transcript.show(app.chat.conversation)
        await until(pilot, lambda: transcript.settled and transcript.size.height > 20)

        def top() -> str:
            return "|".join(transcript.render_line(y).text.strip() for y in range(2))

        async def after(key: str) -> tuple[str, str]:
            transcript.focus()
            transcript.action_scroll("all", -1)
            for _ in range(3):
                transcript.action_scroll("page", 1)
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
