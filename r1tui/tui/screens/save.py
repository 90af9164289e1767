"""Where a text is to be saved: one line for the path, with what is wrong with it below."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from r1tui.text import plain
from r1tui.tui.screens.ask import AskScreen, Choice
from r1tui.tui.widgets.still_input import StillInput


class SaveScreen(ModalScreen[Path | None]):
    """The answer is the file that was written; None when the user goes back."""

    DEFAULT_CSS = """
    SaveScreen {
        align: center middle;
        & > Vertical {
            width: 72;
            max-width: 94%;
            height: auto;
            border: round $primary;
            background: $surface;
            padding: 1 2;
        }
        Label { width: 1fr; }
        Input { margin-top: 1; }
        #wrong { color: $error; margin-top: 1; display: none; }
    }
    """
    BINDINGS = [Binding("escape", "back", "Back", id="save.back")]

    def __init__(self, text: str, name: str, folder: Path | None = None) -> None:
        super().__init__()
        self._text = text
        self._file_name = name
        self._folder = folder or _current_folder()
        """Where a relative path begins."""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(f"Save to a file in {plain(str(self._folder))}, or elsewhere (Enter saves):", markup=False)
            yield StillInput(self._file_name, select_on_focus=False)
            yield Label("", id="wrong", markup=False)

    async def on_mount(self) -> None:
        name = await asyncio.to_thread(free_name, self._folder, self._file_name)
        field = self.query_one(Input)
        if field.value == self._file_name:  # nobody has typed another meanwhile
            field.value = name

    def action_back(self) -> None:
        """Save nothing."""
        self.dismiss(None)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._save(event.value)

    @work(exit_on_error=False, exclusive=True)
    async def _save(self, typed: str) -> None:
        try:
            path = await asyncio.to_thread(target, typed, self._folder, self._file_name)
            if not await asyncio.to_thread(write, path, self._text, replace=False):
                question = f"{plain(str(path))} is there already."
                choices = (Choice("o", "replace", "Overwrite it"),)
                if await self.app.push_screen_wait(AskScreen(question, choices)) is None:
                    return
                await asyncio.to_thread(write, path, self._text, replace=True)
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            wrong = self.query_one("#wrong", Label)
            wrong.update(f"It cannot be saved there: {reason}. Another path?")
            wrong.display = True
        else:
            self.dismiss(path)


def target(typed: str, folder: Path, name: str) -> Path:
    """The path that was typed, `~` and what is relative resolved; a folder means a file in it."""
    if not typed.strip():
        raise ValueError("a name is missing")
    path = folder / Path(typed.strip()).expanduser()
    return path / name if path.is_dir() else path


def write(path: Path, text: str, *, replace: bool) -> bool:
    """Write the text; False when there is a file already and it may not be replaced. Raises OSError."""
    if replace and not path.is_file():
        raise OSError("it is no ordinary file")
    try:
        with path.open("w" if replace else "x", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


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
