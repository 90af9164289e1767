"""What happens to words that the disk refuses when r1tui is left: try again, another folder, or give them up."""

import asyncio
from pathlib import Path
from typing import Any

from textual import work
from textual.app import App

from r1tui.chat.export import Unsaved, rescue, rescue_folders
from r1tui.system.paths import expand
from r1tui.text import one_line
from r1tui.tui.questions import Choice
from r1tui.tui.screens.dialogs import AskScreen, AsksPath
from r1tui.tui.services.unsaved import UnsavedWork

AGAIN_S = 2.0


async def may_leave(app: App[Any], work: UnsavedWork) -> bool:
    """True if r1tui may end: all is saved, saved elsewhere, or the user gives it up."""
    while (unsaved := await work.write()) is not None:
        match await app.push_screen_wait(UnsavedScreen(unsaved, work)):
            case "elsewhere":
                if files := await app.push_screen_wait(ElsewhereScreen(unsaved)):
                    work.settle(unsaved, files)
                    return True
            case "lose":
                work.is_settled = True
                return True
            case None:
                return False
    return True


class UnsavedScreen(AskScreen):
    """The answer is `again`, `elsewhere` or `lose`; it is `again` by itself when all is saved meanwhile."""

    def __init__(self, unsaved: Unsaved, work: UnsavedWork) -> None:
        choices = (
            Choice("r", "again", "Try again"),
            Choice("f", "elsewhere", "Save them in another folder and quit"),
            Choice("l", "lose", f"Quit and lose {unsaved.said}"),
        )
        super().__init__(f"Not saved: {unsaved.said}. {one_line(str(unsaved.why))}", choices)
        self._work = work

    def on_mount(self) -> None:
        self.set_interval(AGAIN_S, self._try)

    @work(exclusive=True, name="Saving again")
    async def _try(self) -> None:
        if await self._work.write() is None and self.is_current:
            self.dismiss("again")


class ElsewhereScreen(AsksPath["list[Path]"]):
    """The answer is the files that were written."""

    def __init__(self, unsaved: Unsaved) -> None:
        super().__init__(f"Save {unsaved.said} in this folder, as Markdown and as JSON:", str(rescue_folders()[0]))
        self._unsaved = unsaved

    @work(exclusive=True, name="Saving elsewhere")
    async def _take(self, line: str) -> None:
        with self._telling("folder"):
            self.dismiss(await asyncio.to_thread(_written_to, line, self._unsaved))


def _written_to(line: str, unsaved: Unsaved) -> list[Path]:
    """Raises R1tuiError, OSError and ValueError."""
    if not line.strip():
        raise ValueError("a folder is missing")
    folder = expand(line.strip())
    folder.mkdir(parents=True, exist_ok=True)
    return rescue(unsaved, [folder])
