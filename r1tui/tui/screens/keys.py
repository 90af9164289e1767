"""The keys of what is on the screen: each with what it does and the id by which the config gives it another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from r1tui.tui.keymap import spelled
from r1tui.tui.wordbook import heading_of, place_of

if TYPE_CHECKING:
    from r1tui.tui.actions import Action

KEYS_WIDTH = 20


class KeysScreen(ModalScreen[None]):
    """A list to read; the arrow keys scroll it."""

    DEFAULT_CSS = """
    KeysScreen {
        align: center middle;
        & > VerticalScroll {
            width: 104;
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
    BINDINGS = [Binding("escape,q", "dismiss", "Back", id="keys.back", tooltip="Go back.")]

    def __init__(self, rows: Sequence[Action], own: Mapping[str, str]) -> None:
        super().__init__()
        self._rows = rows
        self._own = own

    def compose(self) -> ComposeResult:
        groups = [self._group(heading, rows, is_first=not n) for n, (heading, rows) in enumerate(self._headed())]
        with VerticalScroll() as frame:
            frame.border_title = "Keys"
            frame.border_subtitle = "ui.keys in the config gives an id another key"
            yield Static(Group(*groups))

    def _group(self, heading: str, rows: Sequence[Action], *, is_first: bool) -> Group:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=KEYS_WIDTH)
        table.add_column()
        for keys, does, name in self._lines(rows):
            table.add_row(Text(keys, "bold"), Text.assemble(does, "  ", (name, "dim italic")))
        return Group(*([] if is_first else [""]), Text(heading, "bold underline"), table)

    def _headed(self) -> Iterator[tuple[str, list[Action]]]:
        """The actions with keys under their headings, as the wordbook has them one after the other."""
        rows = sorted((row for row in self._rows if row.keys), key=lambda row: place_of(row.name))
        for heading, group in groupby(rows, lambda row: heading_of(row.name)):
            yield heading, list(group)

    def _lines(self, rows: Sequence[Action]) -> Iterator[tuple[str, str, str]]:
        """Keys, sentence and id of each action; a row of alike ones is one line."""
        for does, group in groupby(rows, lambda row: row.does if row.is_one_of_many else row):
            first, *others = group
            keys = spelled(self._own.get(first.name, first.keys))
            if others:
                last = others[-1]
                yield f"{keys} … {spelled(self._own.get(last.name, last.keys))}", str(does), f"{first.name} …"
            else:
                yield keys, first.does, first.name
