"""What happens to words that the disk refuses when r1tui is left: try again, another folder, or give them up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual import work

from r1tui.chat.rescue import Unsaved, places, rescue
from r1tui.errors import R1tuiError
from r1tui.system.paths import expand
from r1tui.text import one_line, plain
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.screens.ask import AskScreen, Choice
from r1tui.tui.screens.line import AsksLine
from r1tui.tui.screens.save import SaveScreen

AGAIN_S = 2.0


class UnsavedScreen(Guarded, AskScreen):
    """The answer is `again`, `elsewhere` or `lose`; it is `again` by itself when all is saved meanwhile."""

    def __init__(self, unsaved: Unsaved, still: Callable[[], Awaitable[Unsaved | None]]) -> None:
        choices = (
            Choice("r", "again", "Try again"),
            Choice("f", "elsewhere", "Save them in another folder, and leave"),
            Choice("l", "lose", f"Leave and lose {unsaved.said}"),
        )
        super().__init__(f"Not saved: {unsaved.said}. {one_line(str(unsaved.why))}", choices)
        self._still = still

    def on_mount(self) -> None:
        self.set_interval(AGAIN_S, self._try)

    @work(exclusive=True, name="Saving again")
    async def _try(self) -> None:
        if await self._still() is None and self.is_current:
            self.dismiss("again")


class ElsewhereScreen(AsksLine[list[Path]]):
    """The answer is the files that were written."""

    BACK = SaveScreen.BACK
    BINDINGS = bindings_of("save")

    def __init__(self, unsaved: Unsaved) -> None:
        super().__init__(f"Save {unsaved.said} in this folder, as Markdown and as JSON:", str(places()[0]))
        self._unsaved = unsaved

    @work(exclusive=True, name="Saving elsewhere")
    async def _take(self, line: str) -> None:
        try:
            self.dismiss(await asyncio.to_thread(_written_to, line, self._unsaved))
        except R1tuiError as error:
            self._say_what_is_wrong(f"{plain(error.cause)} Another folder?")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._say_what_is_wrong(f"It cannot be saved there: {plain(reason)}. Another folder?")


def _written_to(line: str, unsaved: Unsaved) -> list[Path]:
    """Raises R1tuiError, OSError and ValueError."""
    if not line.strip():
        raise ValueError("a folder is missing")
    folder = expand(line.strip())
    folder.mkdir(parents=True, exist_ok=True)
    return rescue(unsaved, [folder])
