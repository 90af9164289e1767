"""A list in a frame over the chat: a table to choose from, and below it what is to be said of the row at the cursor."""

from collections.abc import Iterable
from typing import ClassVar

from rich.console import RenderableType
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ScreenResultType
from textual.widgets import DataTable, Label

from r1tui.tui.commands import bindings_of
from r1tui.tui.screens.dialogs import Dialog
from r1tui.tui.widgets.gauges import one_line
from r1tui.tui.widgets.instruments import PANEL_COLUMNS, VAST_COLUMNS, WIDE_PANEL_COLUMNS
from r1tui.tui.widgets.key_line import KeyLine

BESIDE_TABLE = 6
"""Lines of the screen that are neither the table's nor said of it: frame, footer and a little air."""
WIDEST = 116
"""Columns of a list beside the instruments."""


class ListTable(DataTable[RenderableType], inherit_bindings=False):
    """A table of rows to choose from; Enter is its screen's."""

    BINDINGS = bindings_of("list")

    def __init__(self, cell_padding: int) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, cell_padding=cell_padding)


class TableScreen(Dialog[ScreenResultType]):
    """Subclasses fill the table, and `_say` what is under the cursor."""

    TABLE_TITLE: ClassVar[str] = ""
    SAID_ROWS: ClassVar[int] = 4
    CELL_PADDING: ClassVar[int] = 1
    DEFAULT_CSS = f"""
    TableScreen {{
        & > Vertical {{ width: 100%; max-width: 100%; }}
        &.-beside {{ align-horizontal: left; & > Vertical {{ width: {WIDEST}; }} }}
        DataTable {{ height: auto; min-height: 3; background: $surface; }}
        Label {{
            width: 1fr;
            color: $text-muted;
            margin-top: 1;
            text-wrap: nowrap;
            text-overflow: ellipsis;
        }}
    }}
    """

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self.TABLE_TITLE
            yield from self._heading()
            yield ListTable(cell_padding=self.CELL_PADDING)
            said = Label(markup=False)
            said.styles.height = self.SAID_ROWS
            yield said
        yield KeyLine()

    def _heading(self) -> ComposeResult:
        """Widgets above the table."""
        yield from ()

    @property
    def _heading_rows(self) -> int:
        """Rows that are taken by it."""
        return 0

    @property
    def cursor(self) -> int:
        """The row under the cursor."""
        return max(0, self.query_one(DataTable).cursor_row)

    @property
    def _is_beside_panel(self) -> bool:
        """True if all of the instruments have room beside the list; of a part of them nothing could be read."""
        width = self.size.width
        return width - WIDEST >= (WIDE_PANEL_COLUMNS if width >= VAST_COLUMNS else PANEL_COLUMNS)

    @property
    def _columns(self) -> int:
        """Room that the table has, beside frame and scroll bar."""
        return (WIDEST if self._is_beside_panel else self.size.width) - 6

    def on_resize(self) -> None:
        self.set_class(self._is_beside_panel, "-beside")
        rows = self.size.height - BESIDE_TABLE - self.SAID_ROWS - self._heading_rows
        if (table := self.query_one_optional(DataTable)) is not None:
            table.styles.max_height = max(3, rows)

    def _say(self, lines: Iterable[str]) -> None:
        self.query_one(Label).update(Content("\n".join(map(one_line, lines))))

    def action_choose(self) -> None:
        self.query_one(DataTable).action_select_cursor()
