"""Keys that arrive together, as over a slow link, act in the order in which they were typed."""

from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.events import Key
from textual.widget import Widget

from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.still_input import StillInput
from tests.screen_rig import StillApp
from tests.tui_rig import opened, until

NAMES = {"<": "left", ">": "right", "\b": "backspace", "^": "home", "$": "end", "~": "delete", "\x17": "ctrl+w",
         "\x1a": "ctrl+z"}  # fmt: skip
BURSTS = [("abX\bcY\bd", "abcd"), ("hello<<X", "helXlo"), ("b^a$c", "abc"), ("one two\x17three", "one three"),
          ("ac<b>d^~", "bcd")]  # fmt: skip


class Line(App[None]):
    def compose(self) -> ComposeResult:
        yield StillInput()


def send(app: App[None], keys: str) -> None:
    for key in keys:
        name = NAMES.get(key)
        app.post_message(Key(name or key, key if name is None else None))


def text_of(field: Widget) -> str:
    return field.text if isinstance(field, Prompt) else field.value if isinstance(field, StillInput) else ""


@pytest.mark.parametrize(("keys", "text"), BURSTS)
async def test_in_a_line(keys: str, text: str) -> None:
    app = Line()
    async with app.run_test() as pilot:
        field = app.query_one(StillInput).focus()
        await until(pilot, lambda: field.has_focus)
        send(app, keys)
        await until(pilot, lambda: text_of(field) == text)


@pytest.mark.parametrize(("keys", "text"), [*BURSTS, ("ab\x1acd", "cd")])
async def test_in_the_prompt(keys: str, text: str, tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (100, 30)) as pilot:
        await until(pilot, lambda: app.chat.composer.is_settled)
        field = app.chat.composer.prompt
        await until(pilot, lambda: field.has_focus)
        send(app, keys)
        await until(pilot, lambda: text_of(field) == text)
