"""What the screen's tests share: settings, the app in a pilot's hands, asking and waiting."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import DataTable, Input

from r1tui.chat.answer import Answer
from r1tui.config import Config, EngineSettings, ServerSettings
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.text import one_line
from r1tui.tui import questions
from r1tui.tui.app import R1App
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.widgets.prompt import Prompt

THINK = "Hm, 日本 and 🦙.\n"
ANSWER = "Hello ✅ there."
PATIENCE_S = 90.0


@pytest.fixture
def config(llama_server: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """Settings with the built engine; in the file too, which the processes that the screen starts read.

    Whatever server the test leaves running is stopped.
    """
    monkeypatch.setattr(questions, "LONG_LOAD_S", 3600.0)  # a busy machine takes its time over the smallest model
    settings = Config(engine=EngineSettings(source=str(llama_server)), server=ServerSettings(threads=1, on_exit="stop"))
    paths.config_file.parent.mkdir(parents=True)
    paths.config_file.write_bytes(msgspec.json.encode(settings))
    yield settings
    supervisor.stop(paths)


async def until(pilot: Pilot[None], fact: Callable[[], bool]) -> None:
    """Wait for a fact, and for what is in the screen on top; what was on the screen instead is told."""
    deadline_s, pause_s = monotonic() + PATIENCE_S, 0.01
    while not (fact() and all(screen.is_mounted for screen in pilot.app.screen_stack[-1:])):
        assert monotonic() < deadline_s, f"it did not happen; on the screen was\n{on_screen(pilot)}"
        await pilot.pause(pause_s)
        pause_s = min(pause_s * 1.2, 0.1)


def on_screen(pilot: Pilot[None]) -> str:
    """The screen's rows as text."""
    return "\n".join(strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips())


async def to_model(app: R1App, pilot: Pilot[None], name: str) -> None:
    """The cursor of the list of models on one of them, once it is listed."""

    def is_listed() -> bool:
        tables = app.screen.query(DataTable) if isinstance(app.screen, ModelsScreen) else ()
        return any(name in table.rows for table in tables)

    await until(pilot, is_listed)
    table = app.screen.query_one(DataTable)
    table.move_cursor(row=table.get_row_index(name))


async def fill(app: R1App, pilot: Pilot[None], screen: type[Screen[Any]], text: str) -> None:
    """Have the line of this screen hold the text, once it is on top and has a line."""
    await until(pilot, lambda: isinstance(app.screen, screen) and bool(app.screen.query(Input)))
    app.screen.query_one(Input).value = text


@asynccontextmanager
async def opened(app: R1App, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[None]]:
    """The app, once its chat is there."""
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.chat.is_complete and app.is_whole)
        yield pilot


def notices(app: R1App) -> list[str]:
    """All that was told, the oldest first, each on one line."""
    return [one_line(one.text) for one in app.notices.kept]


def answers(app: R1App) -> list[Answer]:
    return [exchange.answer for exchange in app.chat.conversation.exchanges]


async def ready(app: R1App, pilot: Pilot[None], variant: str | None = None) -> None:
    def fact() -> bool:
        status = app.chat.models.status
        return app.chat.models.ready and status is not None and (variant is None or status.variant == variant)

    await until(pilot, fact)


async def ask(app: R1App, pilot: Pilot[None], question: str) -> Answer:
    await until(pilot, lambda: not app.services.session.answering)
    count = len(answers(app))
    app.chat.query_one(Prompt).text = question
    await pilot.press("enter")
    await until(pilot, lambda: len(answers(app)) > count)
    return answers(app)[-1]
