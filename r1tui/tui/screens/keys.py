"""The keys of what is on the screen: each with what it does and the id by which the config gives it another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from r1tui.tui.commands import SHARED, Command, bindings_of
from r1tui.tui.keymap import keys_of

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
    BINDINGS = bindings_of("keys")

    def __init__(self, rows: Iterable[Command], own: Mapping[str, str]) -> None:
        """List the commands that have keys; `own` are the user's keys."""
        super().__init__()
        self._rows = sorted((row for row in rows if row.keys), key=lambda row: row.context in SHARED)
        self._own = own

    def compose(self) -> ComposeResult:
        groups = [self._group(heading, rows, is_first=not n) for n, (heading, rows) in enumerate(self._headed())]
        with VerticalScroll() as frame:
            frame.border_title = "Keys"
            frame.border_subtitle = "ui.keys in the config gives an id another key"
            yield Static(Group(*groups))

    def _group(self, heading: str, rows: Sequence[Command], *, is_first: bool) -> Group:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=KEYS_WIDTH)
        table.add_column()
        for keys, does, name in self._lines(rows):
            table.add_row(Text(keys, "bold"), Text.assemble(does, "  ", (name, "dim italic")))
        return Group(*([] if is_first else [""]), Text(heading, "bold underline"), table)

    def _headed(self) -> Iterator[tuple[str, list[Command]]]:
        """The commands with keys under their headings; those that only this screen has come first."""
        for heading, group in groupby(self._rows, lambda row: row.heading):
            yield heading, list(group)

    def _lines(self, rows: Sequence[Command]) -> Iterator[tuple[str, str, str]]:
        """Keys, sentence and id of each command; a row of alike ones is one line."""
        for _, group in groupby(rows, lambda row: row.help if row.is_numbered else row.id):
            first, *others = group
            keys, name = keys_of(first, self._own), first.id
            if others:
                keys, name = f"{keys} … {keys_of(others[-1], self._own)}", f"{name} …"
            yield keys, first.help, name
