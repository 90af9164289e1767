"""The screen's event loop touches no disk: one that hangs would stop the keys."""

import asyncio
import builtins
import io
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets import DataTable

from r1tui.catalog.variants import Variant
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.conversations import ConversationsScreen
from r1tui.tui.screens.download import DownloadScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.models import ModelsScreen, WelcomeScreen
from tests.tui_rig import opened, until

OF_A_PATH = ("open", "stat", "lstat", "unlink", "rename", "replace", "mkdir", "scandir", "listdir")
LOOK = "_status"
"""The look at the server's state, one small file and a lock: the keys show what is true at this moment."""


@pytest.fixture
def touched(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the event loop touches a file of this home."""
    found: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(where: Any, *args: Any, **options: Any) -> Any:
            path = os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else ""
            on_loop = threading.current_thread() is threading.main_thread() and asyncio._get_running_loop() is not None
            if on_loop and path.startswith(str(paths.state.parent)):
                stack = [frame for frame in traceback.extract_stack() if "/r1tui/" in frame.filename]
                if stack and not any(frame.name == LOOK for frame in stack):
                    found.append(f"{name} {path}: {[f'{frame.name}:{frame.lineno}' for frame in stack[-4:]]}")
            return real(where, *args, **options)

        return called

    for name in OF_A_PATH:
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    monkeypatch.setattr(io, "open", watched("open", io.open))
    monkeypatch.setattr(builtins, "open", watched("open", builtins.open))
    return found


async def test_no_screen_touches_the_disk_on_the_event_loop(
    paths: Paths, empty_home: object, touched: list[str]
) -> None:
    from r1tui.config import Config  # noqa: PLC0415

    paths.logs.mkdir(parents=True)
    paths.server_log.write_text("0.00.001.000 I all is well\n" * 1000)
    paths.prompt.mkdir(parents=True)
    (paths.prompt / "draft-0.json").write_text('{"text":"left"}')
    app = R1App(paths, Config())
    touched.clear()  # of the moments before there is a screen
    async with opened(app) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))
        await until(pilot, lambda: app.chat.composer.prompt.text == "left")
        await pilot.press("escape")
        await pilot.press(*"typed", "enter", "up")
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, LogScreen) and bool(app.screen._lines.all))
        await pilot.press("escape", "ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, ConversationsScreen) and bool(app.screen.query(DataTable)))
        await pilot.press("escape", "f2")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        await pilot.press("escape", "f7", "ctrl+s", "escape", "f12", "escape", "ctrl+underscore", "down", "enter")
        variant = Variant("demo", "A model", repo="someone/something", size_gib=0.1)
        screen = DownloadScreen(variant, paths, Config())
        await app.push_screen(screen)
        await until(pilot, lambda: not screen.running)
        await pilot.press("escape", "ctrl+n")
        await pilot.pause(1.2)  # a draft, a sample, a look for a server
    assert touched == []
