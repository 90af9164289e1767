"""The instruments on a whole screen: everything there is, in as many columns as it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from textual.content import Content

from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import Ink
from r1tui.tui.widgets.instrument_rows import groups, less, stacked
from r1tui.tui.widgets.instrument_sheet import GAP, Group, Sheet
from r1tui.tui.widgets.rows import Rows

NARROWEST, WIDEST = 36, 72
"""Columns of text that one column of the board has; wider ones only where there is nothing else to show."""
TALL = (12, 8, 6, 4, 3, 2)
"""Rows of a course, where there is room."""


class Board(Rows):
    """Shows the figures that the chat's instruments have; `touch` it when they may have changed."""

    DEFAULT_CSS = """
    Board { width: 1fr; height: 1fr; padding: 0 1; }
    """

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures = figures

    def on_mount(self) -> None:
        self.set_interval(1.0, self.touch)

    def rows(self, width: int, height: int) -> list[Content]:
        return board(self._figures, width, height, self.ink)


def board(figures: Figures, width: int, height: int, ink: Ink) -> Group:
    """Everything in columns, as large as there is room for."""
    most = max(1, (width + GAP) // (NARROWEST + GAP))
    fewest = min(most, max(1, round(width / WIDEST)))
    columns: list[Group] = []
    column_width = width
    for spaced, sheet in _sheets(ink):
        for count in range(fewest, most + 1):
            column_width = (width - GAP * (count - 1)) // count
            columns = _placed(groups(figures, replace(sheet, width=column_width)), count, spaced=spaced)
            if len(columns) <= count and max(map(len, columns), default=0) <= height:
                return _beside(columns, column_width, height)
    return _beside(columns, column_width, height)


def _sheets(ink: Ink) -> Iterator[tuple[bool, Sheet]]:
    yield from ((True, Sheet(NARROWEST, ink, tall=tall, facts=True)) for tall in TALL)
    yield from less(Sheet(NARROWEST, ink, facts=True))


def _placed(sections: Sequence[Group], count: int, *, spaced: bool) -> list[Group]:
    """The groups in columns of about the same height; more than `count` where that cannot be."""
    rows = sum(map(len, sections)) + (len(sections) if spaced else 0)
    columns: list[list[Group]] = []
    for height in range(max(1, rows // count), rows + 1):
        columns = [[]]
        for group in sections:
            if columns[-1] and len(stacked([*columns[-1], group], spaced=spaced)) > height:
                columns.append([])
            columns[-1].append(group)
        if len(columns) <= count:
            break
    return [stacked(column, spaced=spaced) for column in columns]


def _beside(columns: Sequence[Group], width: int, height: int) -> Group:
    tallest = min(max(map(len, columns), default=0), height)
    rows = []
    for y in range(tallest):
        cells = [
            (column[y] if y < len(column) else Content("")).truncate(width, ellipsis=True, pad=True)
            for column in columns
        ]
        rows.append(Content(" " * GAP).join(cells))
    return rows
