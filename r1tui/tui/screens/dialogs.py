"""The small dialogs over the chat: a question with a few answers, a line to type, the name of a file."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.widget import Widget
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from r1tui.chat.export import write_file
from r1tui.errors import R1tuiError
from r1tui.text import plain
from r1tui.tui.beneath import Beneath
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.questions import Choice
from r1tui.tui.remedies import in_keys
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.still_input import StillInput
from r1tui.tui.widgets.transcript_rows import safe_text


class Dialog(Guarded, Beneath, ModalScreen[ScreenResultType | None]):
    """A box over the chat; None when the user goes back."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        & > Vertical, & > Horizontal, & > VerticalScroll, & > OptionList, & > OptionList:focus {
            max-width: 96%;
            height: auto;
            border: round $primary;
            background: $surface;
            padding: 0 1;
        }
        &:ansi {
            & > Vertical, & > Horizontal, & > VerticalScroll, & > OptionList, & > OptionList:focus {
                border: double $primary;
            }
        }
        & > VerticalScroll, & > OptionList, & > OptionList:focus { padding-right: 0; }
        VerticalScroll, OptionList { scrollbar-size: 0 1; scrollbar-gutter: stable; }
        VerticalScroll > Static, OptionList > .option-list--option { padding-right: 1; }
    }
    """
    """A scrollbar has its column whether it is there or not, and one beside it without text. Sixteen colours have no
    shade to dim the chat with: there the border is another one."""

    @on(events.Mount)
    def _show_own_keys(self) -> None:
        """Cover the chat's keys, which do nothing now."""
        if not self.query(KeyLine):
            self.mount(KeyLine())


class AskScreen(Dialog[str]):
    """The answer is the chosen value."""

    DEFAULT_CSS = """
    AskScreen {
        & > Vertical { width: 64; max-width: 94%; padding: 1 2; }
        Label { width: 1fr; margin-bottom: 1; }
        OptionList, OptionList:focus { height: auto; border: none; background: $surface; padding: 0; }
    }
    """
    BINDINGS = bindings_of("ask")

    def __init__(self, question: str, choices: Sequence[Choice]) -> None:
        super().__init__()
        self._question = question
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(safe_text(in_keys(self._question, self.app)), markup=False)
            rows = [
                Option(safe_text(in_keys(f"[{choice.key}]  {choice.text}", self.app)), id=choice.value)
                for choice in self._choices
            ]
            yield OptionList(*rows, Option(in_keys("[<ask.back>]  Go back", self.app)), markup=False)

    def on_key(self, event: events.Key) -> None:
        for choice in self._choices:
            if event.key == choice.key:
                event.stop()
                self.dismiss(choice.value)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


class AsksLine(Dialog[ScreenResultType]):
    """A question and a line; the answer is what `_take` makes of it."""

    DEFAULT_CSS = """
    AsksLine {
        & > Vertical { width: 72; max-width: 94%; padding: 1 2; }
        Label { width: 1fr; margin-bottom: 1; }
        Input, Input:focus { height: 1; border: none; padding: 0 1; background: $panel; }
        .hint { color: $text-muted; margin: 1 0 0 0; }
        .wrong { color: $error; margin: 1 0 0 0; display: none; }
    }
    """

    BACK: ClassVar[str]
    """The id of the binding that goes back."""

    def __init__(self, question: str, line: str = "") -> None:
        super().__init__()
        self._question = question
        self._line = line

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(self._question, markup=False)
            yield StillInput(self._line, select_on_focus=False)
            yield Label("", classes="wrong", markup=False)
            yield Label(in_keys(f"Enter accepts, <{self.BACK}> goes back.", self.app), classes="hint")

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        message.stop()
        self._take(message.value)

    def _take(self, line: str) -> object:
        raise NotImplementedError


class SearchScreen(Beneath, Screen[ScreenResultType]):
    """Has a line to search with and the widget of what is `FOUND`; going back ends the search first."""

    FOUND: ClassVar[type[Widget]]

    def _search(self, wanted: str) -> None:
        raise NotImplementedError

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        self._search(message.value)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._enter()

    def _enter(self) -> None:
        """Go on from the line to what was found."""
        self.action_to_list()

    def action_to_list(self) -> None:
        self.query_one(self.FOUND).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In the line the key of the search is a character like others."""
        if action == "search" and isinstance(self.focused, Input):
            return False
        return super().check_action(action, parameters)

    def action_search(self) -> None:
        self.add_class("-searching")
        self.query_one(Input).focus()

    def action_back(self) -> None:
        if self.has_class("-searching"):
            self.remove_class("-searching")
            self.query_one(Input).clear()
            self.action_to_list()
        else:
            self.dismiss(None)


class LineScreen(AsksLine[str]):
    """The answer is the line."""

    BACK = "line.back"
    BINDINGS = bindings_of("line")

    def _take(self, line: str) -> None:
        self.dismiss(line)


class AsksPath(AsksLine[ScreenResultType]):
    """The line is a path, with what is wrong with it below."""

    BACK = "save.back"
    BINDINGS = bindings_of("save")

    @contextmanager
    def _telling(self, wanted: str) -> Iterator[None]:
        """Tell what the block raises, and ask for another file or folder."""
        try:
            yield
        except R1tuiError as error:
            self._say(f"{plain(error.cause)} Another {wanted}?")
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._say(f"It cannot be saved there: {plain(reason)}. Another {wanted}?")

    def _say(self, text: str) -> None:
        wrong = self.query_one(".wrong", Label)
        wrong.update(text)
        wrong.display = True


class SaveScreen(AsksPath[Path]):
    """The answer is the file in which the text is now."""

    def __init__(self, text: str, name: str, folder: Path | None = None) -> None:
        self._folder = folder or _current_folder()
        """Base of relative paths."""
        super().__init__(f"Save to a file in {plain(str(self._folder))}, or elsewhere:", name)
        self._text = text

    async def on_mount(self) -> None:
        name = await asyncio.to_thread(free_name, self._folder, self._line)
        field = self.query_one(Input)
        if field.value == self._line:  # nobody has typed another meanwhile
            field.value = name

    @work(name="Saving the file", exclusive=True)
    async def _take(self, line: str) -> None:
        with self._telling("path"):
            path = await asyncio.to_thread(target, line, self._folder, self._line)
            if await self._has_folder(path) and await self._has_written(path):
                self.dismiss(path)

    async def _has_folder(self, path: Path) -> bool:
        """True if the path's folder is there; where it is not the user may have it made."""
        folder = path.parent
        if not await asyncio.to_thread(folder.exists):
            if not await self._may(
                f"The folder {folder} does not exist.", Choice("m", "make", "Create it and save there")
            ):
                return False
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        return True

    async def _has_written(self, path: Path) -> bool:
        """True if the text is in the file now; what is there already is replaced when the user wants it."""
        if await asyncio.to_thread(write_file, path, self._text):
            return True
        if not await asyncio.to_thread(path.is_file):
            raise OSError("it is not a regular file")
        if not await self._may(f"{path} already exists.", Choice("o", "replace", "Overwrite it")):
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
