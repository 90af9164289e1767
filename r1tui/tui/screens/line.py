"""Asks for one line of text: a title, a file's name."""

from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.remedies import in_keys
from r1tui.tui.widgets.still_input import StillInput

T = TypeVar("T")


class AsksLine(Guarded, ModalScreen[T | None]):
    """A question and a line; the answer is what `_take` makes of it, or None when the user goes back."""

    DEFAULT_CSS = """
    AsksLine {
        align: center middle;
        & > Vertical {
            width: 72;
            max-width: 94%;
            height: auto;
            border: round $primary;
            background: $surface;
            padding: 1 2;
        }
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
            yield Label(in_keys(f"Enter takes it, <{self.BACK}> goes back.", self.app), classes="hint")

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        message.stop()
        self._take(message.value)

    def _take(self, line: str) -> object:
        raise NotImplementedError

    def _say_what_is_wrong(self, text: str) -> None:
        wrong = self.query_one(".wrong", Label)
        wrong.update(text)
        wrong.display = True

    def action_back(self) -> None:
        """Give no line."""
        self.dismiss(None)


class LineScreen(AsksLine[str]):
    """The answer is the line."""

    BACK = "line.back"
    BINDINGS = bindings_of("line")

    def _take(self, line: str) -> None:
        self.dismiss(line)
