"""The keys of what is on the screen: each with what it does and the id by which the config gives it another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from r1tui.tui.keys import KeyRow

SPELLED = {"escape": "Esc", "pageup": "Page Up", "pagedown": "Page Down"}


class KeysScreen(ModalScreen[None]):
    """A list to read; the arrow keys scroll it."""

    DEFAULT_CSS = """
    KeysScreen {
        align: center middle;
        & > VerticalScroll {
            width: 72;
            max-width: 96%;
            height: auto;
            max-height: 90%;
            border: round $primary;
            background: $surface;
            padding: 0 1;
        }
        Static { width: 1fr; }
    }
    """
    BINDINGS = [Binding("escape,q", "dismiss", "Back", id="keys.back")]

    def __init__(self, rows: list[KeyRow], own: Mapping[str, str]) -> None:
        super().__init__()
        self._rows = rows
        self._own = own

    def compose(self) -> ComposeResult:
        with VerticalScroll() as frame:
            frame.border_title = "Keys"
            frame.border_subtitle = "ui.keys in the config gives an id another key"
            yield Static(Content("\n").join(self._line(row) for row in self._rows))

    def _line(self, row: KeyRow) -> Content:
        keys = ", ".join(map(spelled, self._own.get(row.name, row.keys).split(",")))
        return Content.assemble((f"{keys:<20} ", "bold $accent"), f"{row.does:<22} ", (row.name, "$foreground 70%"))


def spelled(key: str) -> str:
    """`ctrl+j` as `Ctrl+J`."""
    return "+".join(SPELLED.get(part, part.capitalize()) for part in key.strip().split("+"))
