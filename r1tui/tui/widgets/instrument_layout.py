"""How the instruments' rows are drawn in a given room: on one line, one below the other, or in columns.

A row says what it shows and how much that matters. Room decides how wide it is, which rows give way, and how tall a
curve is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from textual.content import Content

from r1tui.tui.widgets.gauges import Ink, Share, bar, curve, elided, levels, sides, stacked_bar

COLUMN, GAP = 36, 3
"""Columns of text that one column of rows has at least, and those between two."""
FACT = 34
"""Columns of a figure that stands beside others."""
LABEL, VALUE = 8, 17
AXIS = 4
"""Columns of a curve's scale."""
RANKS, SPACES = 9, 5
"""The highest rank, and that of empty rows."""
TALL, TALLEST, TALLEST_NAMED = 3, 24, 12
"""Rows of a curve: so many before what ranks behind empty rows is shown, and at most; of one with a name at most."""

Draw = Callable[[int, Ink], "list[Content]"]


@dataclass(frozen=True)
class InstrumentRow:
    """Text rows of any width. Where room is short rows of the highest rank go first; 0 stays."""

    rank: int
    draw: Draw


EMPTY = InstrumentRow(SPACES, lambda _width, _ink: [Content("")])


@dataclass(frozen=True)
class Curve:
    """A figure's course, in as many rows as there is room for."""

    rank: int
    values: Sequence[float]
    top: float
    style: str = ""


@dataclass(frozen=True)
class NamedCurve:
    """Label, a figure's course, and the value: in one row, and in more where a column has rows to spare; a quiet one
    unless there is a style."""

    course: Curve
    label: str
    value: str

    @property
    def rank(self) -> int:
        return self.course.rank

    def draw(self, width: int, tall: int, ink: Ink) -> list[Content]:
        """The rows, `tall` of them."""
        course = self.course
        lines = curve(course.values, width - LABEL - max(VALUE, len(self.value)) - 1, tall, course.top, ink)
        named = [(self.label, self.value), *[("", "")] * (tall - 1)]
        return [
            _labelled(label, value, Content.styled(line, course.style or ink.quiet), width, ink)
            for (label, value), line in zip(named, lines, strict=True)
        ]


Row = InstrumentRow | Curve | NamedCurve


@dataclass(frozen=True)
class Group:
    """Rows that belong together, and what of them is said on a single line."""

    rows: Sequence[Row] = ()
    gist: Content | None = None


@dataclass
class Page:
    """Groups one below the other, where bands of several stand beside each other."""

    width: int
    ink: Ink
    bands: list[list[_Column]] = field(default_factory=list)

    def add(self, *groups: Group) -> None:
        """Put the groups below what is there, in columns of about the same height."""
        shown = [group for group in groups if group.rows]
        if not shown:
            return
        lines = -(-len(shown) // columns_of(self.width))
        count = -(-len(shown) // lines)
        width = (self.width - GAP * (count - 1)) // count
        columns = [_Column(width, self.ink) for _ in range(count)]
        for group in shown:
            min(columns, key=lambda column: column.height(RANKS, 2 * TALL)).add(group.rows)
        self.bands.append(columns)

    def fitted(self, height: int) -> list[Content]:
        """At most so many rows: the most important ones, with curves as tall as there is room for."""
        ranks = range(RANKS, 0, -1)
        rank = next((rank for rank in ranks if self._height(rank, TALL if rank >= SPACES else 1) <= height), 0)
        tall = 1
        while tall < min(TALLEST, max(3, self.width // 7)) and self._height(rank, tall + 1) <= height:
            tall += 1
        rows: list[Content] = []
        for band in self.bands:
            most = max(column.height(rank, tall) for column in band)
            shown = [column.shown(rank, tall, most) for column in band]
            if rows and rank >= SPACES and any(shown):
                rows.append(Content(""))
            rows += shown[0] if len(shown) == 1 else _beside(shown, band[0].width)
        return rows[:height]

    def _height(self, rank: int, tall: int) -> int:
        heights = [max(column.height(rank, tall) for column in band) for band in self.bands]
        return sum(heights) + (sum(map(bool, heights)) - 1 if rank >= SPACES else 0)


class _Column:
    """Groups one below the other, drawn as wide as they may be."""

    def __init__(self, width: int, ink: Ink) -> None:
        self.width = width
        self._ink = ink
        self._rows: list[tuple[Row, list[Content]]] = []

    def add(self, rows: Sequence[Row]) -> None:
        for row in [EMPTY, *rows] if self._rows else rows:
            self._rows.append((row, row.draw(self.width, self._ink) if isinstance(row, InstrumentRow) else []))

    def height(self, rank: int, tall: int) -> int:
        return sum(_height(row, drawn, tall) for row, drawn in self._rows if row.rank <= rank)

    def shown(self, rank: int, tall: int, most: int) -> list[Content]:
        """The rows of these ranks; what is left of at `most` so many text rows makes curves taller, else named ones."""
        rows = [(row, drawn) for row, drawn in self._rows if row.rank <= rank]
        n_curves, n_named = (sum(isinstance(row, kind) for row, _ in rows) for kind in (Curve, NamedCurve))
        spare = (most - self.height(rank, tall)) // max(n_curves or n_named, 1)
        taller, taller_named = (spare, 0) if n_curves else (0, min(spare, TALLEST_NAMED - 1))
        lines: list[Content] = []
        for row, drawn in rows:
            match row:
                case Curve():
                    lines += self._curve(row, tall + taller)
                case NamedCurve():
                    lines += row.draw(self.width, 1 + taller_named, self._ink)
                case _:
                    lines += drawn
        return lines

    def _curve(self, row: Curve, tall: int) -> list[Content]:
        scale = [f"{row.top:g}", *[""] * (tall - 2), "0"][:tall]
        lines = curve(row.values, self.width - AXIS - 1, tall, row.top, self._ink)
        return [
            Content.assemble((line, row.style), (f" {mark}", self._ink.muted))
            for line, mark in zip(lines, scale, strict=True)
        ]


def _height(row: Row, drawn: list[Content], tall: int) -> int:
    return tall if isinstance(row, Curve) else 1 if isinstance(row, NamedCurve) else len(drawn)


def _beside(columns: Sequence[list[Content]], width: int) -> list[Content]:
    blank = Content("")
    return [
        Content(" " * GAP).join(
            [(rows[y] if y < len(rows) else blank).truncate(width, ellipsis=True, pad=True) for rows in columns]
        )
        for y in range(max(map(len, columns)))
    ]


def columns_of(width: int) -> int:
    """Columns of rows that there is room for."""
    return max(1, (width + GAP) // (COLUMN + GAP))


def gists(groups: Sequence[Group], width: int) -> Content:
    """The gist of the groups on one line; those that do not fit are left out."""
    shown = Content("")
    separator = Content("  ")
    for part in (group.gist for group in groups if group.gist is not None):
        longer = shown + separator + part if shown.plain else part.truncate(width, ellipsis=True)
        if longer.cell_length <= width:
            shown = longer
    return shown


def text_row(rank: int, left: Content, right: Content | None = None, *, is_whole: bool = False) -> InstrumentRow:
    """Text at the left and at the right; without room the left loses words, or the right goes if the left is whole."""

    def draw(width: int, _: Ink) -> list[Content]:
        gone = right is None or (is_whole and left.cell_length + 1 + right.cell_length > width)
        return [left if gone or right is None else sides(_worded(left, width - right.cell_length - 1), right, width)]

    return InstrumentRow(rank, draw)


def _worded(text: Content, width: int) -> Content:
    """As many whole words of the text as there is room for; the first stays."""
    plain = text.plain.rstrip()
    while text.cell_length > width and " " in plain:
        plain = plain.rpartition(" ")[0].rstrip()
        text = text[: len(plain)]
    return text


def named_row(rank: int, label: str, value: str) -> InstrumentRow:
    """Label and a long value, such as a path, of which the middle gives way."""

    def draw(width: int, ink: Ink) -> list[Content]:
        return [Content.assemble((f"{label:<11}", ink.muted), elided(value, max(width - 11, 1)))]

    return InstrumentRow(rank, draw)


def words_row(rank: int, text: str, most_rows: int = 2) -> InstrumentRow:
    """Muted words, wrapped."""
    return InstrumentRow(
        rank, lambda width, ink: list(Content.styled(text, ink.muted).wrap(width)[:most_rows]) if text else []
    )


def bar_row(rank: int, label: str, value: str, share: float | None, style: str = "") -> InstrumentRow:
    """Label, the bar of a share, and the value; a quiet one unless there is a style."""

    def draw(width: int, ink: Ink) -> list[Content]:
        gauge = None if share is None else bar(share, width - LABEL - VALUE - 1, ink, style or ink.quiet)
        return [_labelled(label, value, gauge, width, ink)]

    return InstrumentRow(rank, draw)


def stack_row(rank: int, ours: Share, others: Share, label: str = "", value: str = "") -> InstrumentRow:
    """A bar of two shares over the whole width, between label and value where there are some."""

    def draw(width: int, ink: Ink) -> list[Content]:
        if not label:
            return [stacked_bar(ours, others, width, ink)]
        gauge = stacked_bar(ours, others, max(width - LABEL - VALUE - 1, 0), ink, "▄")
        return [_labelled(label, value, gauge, width, ink)]

    return InstrumentRow(rank, draw)


def levels_row(rank: int, label: str, percents: Sequence[float]) -> InstrumentRow:
    """Label, a column for each percentage, in as many rows as they take; with room the highest."""

    def draw(width: int, ink: Ink) -> list[Content]:
        columns, shown = max(width - LABEL, 1), levels(percents, ink)
        value = f"busiest {max(percents):.0f} %" if len(shown) < columns - VALUE else ""
        lines = [Content.styled(shown[at : at + columns], ink.quiet) for at in range(0, len(shown), columns)]
        return [
            _labelled("" if n else label, value, line, width, ink)
            if value
            else Content.assemble((("" if n else label).ljust(LABEL), ink.muted), line)
            for n, line in enumerate(lines)
        ]

    return InstrumentRow(rank, draw)


def facts_row(rank: int, *facts: tuple[Content | str, str, str]) -> InstrumentRow:
    """Label, value and the value's style of figures: as many on one row as there is room for."""

    def draw(width: int, ink: Ink) -> list[Content]:
        beside = max(1, (width + GAP) // (FACT - GAP))
        cell = width if beside == 1 else min(FACT, (width - GAP * (beside - 1)) // beside)
        cells = [
            sides(
                Content.styled(label, ink.muted) if isinstance(label, str) else label,
                Content.styled(value, style),
                cell,
            )
            for label, value, style in facts
        ]
        return [Content(" " * GAP).join(cells[at : at + beside]) for at in range(0, len(cells), beside)]

    return InstrumentRow(rank, draw)


def _labelled(label: str, value: str, gauge: Content | None, width: int, ink: Ink) -> Content:
    left = Content.styled(label.ljust(LABEL), ink.muted)
    return sides(left if gauge is None else left + gauge, Content(value), width)
