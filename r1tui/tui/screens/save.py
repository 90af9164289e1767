"""Where a text is to be saved: one line for the path, with what is wrong with it below."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from textual import work
from textual.widgets import Input

from r1tui.chat.export import write_file
from r1tui.errors import R1tuiError
from r1tui.text import plain
from r1tui.tui.commands import bindings_of
from r1tui.tui.screens.ask import AskScreen, Choice
from r1tui.tui.screens.line import AsksLine


class SaveScreen(AsksLine[Path]):
    """The answer is the file that was written."""

    BACK = "save.back"
    BINDINGS = bindings_of("save")

    def __init__(self, text: str, name: str, folder: Path | None = None) -> None:
        self._folder = folder or _current_folder()
        """Where a relative path begins."""
        super().__init__(f"Save to a file in {plain(str(self._folder))}, or elsewhere:", name)
        self._text = text

    async def on_mount(self) -> None:
        name = await asyncio.to_thread(free_name, self._folder, self._line)
        field = self.query_one(Input)
        if field.value == self._line:  # nobody has typed another meanwhile
            field.value = name

    @work(name="Saving the file", exclusive=True)
    async def _take(self, line: str) -> None:
        try:
            path = await asyncio.to_thread(target, line, self._folder, self._line)
            if await self._has_folder(path) and await self._has_written(path):
                self.dismiss(path)
        except R1tuiError as error:
            self._say_what_is_wrong(f"{plain(error.cause)} Another path?")
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._say_what_is_wrong(f"It cannot be saved there: {reason}. Another path?")

    async def _has_folder(self, path: Path) -> bool:
        """Whether the path's folder is there; where it is not the user may have it made."""
        folder = path.parent
        if not await asyncio.to_thread(folder.exists):
            if not await self._may(f"There is no folder {folder}.", Choice("m", "make", "Make it, and save there")):
                return False
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        return True

    async def _has_written(self, path: Path) -> bool:
        """Whether the text is in the file now; what is there already is replaced when the user wants it."""
        if await asyncio.to_thread(write_file, path, self._text):
            return True
        if not await asyncio.to_thread(path.is_file):
            raise OSError("it is no ordinary file")
        if not await self._may(f"{path} is there already.", Choice("o", "replace", "Overwrite it")):
            return False
        return await asyncio.to_thread(write_file, path, self._text, replace=True)

    async def _may(self, question: str, choice: Choice) -> bool:
        return await self.app.push_screen_wait(AskScreen(plain(question), (choice,))) is not None


def target(typed: str, folder: Path, name: str) -> Path:
    """The path that was typed, `~` and what is relative resolved; a folder means a file in it."""
    if not typed.strip():
        raise ValueError("a name is missing")
    path = folder / Path(typed.strip()).expanduser()
    return path / name if path.is_dir() or typed.strip().endswith("/") else path


def free_name(folder: Path, name: str) -> str:
    """The name, with a number when it is taken; as it is where the folder does not say."""
    path = Path(name)
    names = (name, *(f"{path.stem}-{number}{path.suffix}" for number in range(2, 100)))
    with suppress(OSError):
        return next((one for one in names if not (folder / one).exists()), name)
    return name


def _current_folder() -> Path:
    """The home folder where the current one is gone."""
    try:
        return Path.cwd()
    except OSError:
        return Path.home()
