"""The instruments on a whole screen: everything there is, in as many columns as it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from r1tui.text import rough
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import Ink, elided, one_line
from r1tui.tui.widgets.instrument_rows import Group, Sheet, groups, stacked
from r1tui.tui.widgets.rows import Rows

if TYPE_CHECKING:
    from r1tui.keeper.state import Status

NARROWEST, WIDEST = 36, 72
"""Columns of text that one column of the board has; wider ones only where there is nothing else to show."""
GAP = 3


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
    """Everything in columns; with little room it loses first its empty rows, then courses, then details of GPUs."""
    most = max(1, (width + GAP) // (NARROWEST + GAP))
    fewest = min(most, max(1, round(width / WIDEST)))
    columns: list[Group] = []
    column_width = width
    for spaced, detail in ((True, 2), (False, 2), (True, 1), (False, 1), (False, 0)):
        for count in range(fewest, most + 1):
            column_width = (width - GAP * (count - 1)) // count
            sheet = Sheet(column_width, ink, detail)
            sections = groups(figures, sheet)
            details = _details(figures, sheet)
            columns = _placed([*sections[:1], *([details] if details else []), *sections[1:]], count, spaced=spaced)
            if len(columns) <= count and max(map(len, columns), default=0) <= height:
                return _beside(columns, column_width, height)
    return _beside(columns, column_width, height)


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


def _details(figures: Figures, sheet: Sheet) -> Group:
    """What the server was started with, and why it was started again."""
    status = figures.status
    if status is None or not sheet.detail:
        return []
    rows = [Content.styled("Plan", sheet.ink.strong)] if figures.plan else []
    rows += [sheet.row(label, value) for label, value in _plan_rows(figures.plan) if value]
    rows += [
        sheet.row(label, elided(one_line(value), sheet.width - 11)) for label, value in _server_rows(status) if value
    ]
    for ending in status.endings[-3:]:
        rows += sheet.words(f"{ending.cause} {ending.next}", 3)
    return rows


def _plan_rows(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    caches = [plan.get(key) for key in ("cache_type_k", "cache_type_v")]
    speeds = plan.get("tps")
    expected = [
        f"{rough(*pair)} tok/s {kind}"
        for kind in ("prompt", "answer")
        if isinstance(speeds, Mapping) and isinstance(pair := speeds.get(kind), list) and len(pair) == 2 and any(pair)
    ]
    return [
        ("verdict", one_line(str(plan.get("verdict") or ""))),
        ("KV cache", f"K {caches[0]}, V {caches[1]}" if all(isinstance(one, str) for one in caches) else ""),
        ("threads", str(plan.get("threads") or "")),
        ("prompt batch", str(plan.get("ubatch_size") or "")),
        *(("expected", words) for words in expected),
    ]


def _server_rows(status: Status) -> list[tuple[str, str]]:
    pids = [f"{pid} {name}" for pid, name in ((status.pid, "server"), (status.keeper_pid, "keeper")) if pid]
    return [
        ("processes", ", ".join(pids)),
        ("model file", status.model or ""),
        ("endpoint", status.endpoint or ""),
        ("port", status.tcp or ""),
        ("log", status.log or ""),
    ]
