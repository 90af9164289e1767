"""Bars, curves, large digits and inks: what the instruments and the stages of a launch are drawn with.

The terminal's sixteen colours know no shades, so there a bar's track is a character and what is muted is dim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from textual.app import App
from textual.content import Content
from textual.renderables.digits import DIGITS, DIGITS3X3_BOLD

from r1tui.tui.widgets.transcript_rows import safe_text

EIGHTHS = " ▏▎▍▌▋▊▉"
BRAILLE = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Of a braille character by column and row, as Unicode numbers them."""
HALVES = " ▀▄█"
LEVELS, LEVELS_ANSI = "▁▂▃▄▅▆▇", "░▒▓█"  # the highest leaves a gap to the row above

Share = tuple[float, str]
"""A part of a whole, from 0 to 1, and its style."""


@dataclass(frozen=True)
class Ink:
    """Styles for a theme, as Textual's Content understands them."""

    muted: str
    quiet: str
    """For gauges that are not to lead the eye."""
    strong: str = "bold"
    ansi: bool = False

    @property
    def marks(self) -> int:
        """Values of a curve that a column shows."""
        return 1 if self.ansi else 2


SHADES = Ink(muted="$foreground 70%", quiet="$foreground 50%")
SIXTEEN = Ink(muted="dim", quiet="dim", ansi=True)


def ink_of(app: App[Any]) -> Ink:
    """The styles that suit the theme."""
    return SIXTEEN if app.native_ansi_color else SHADES


def bar(share: float, width: int, ink: Ink, style: str = "$primary") -> Content:
    """A bar `width` cells long, of which the share (0 to 1) is full, to an eighth of a cell."""
    width = max(width, 0)
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if ink.ansi:  # only blocks that every terminal's font has
        full, half = divmod(round(eighths / 4), 2)
        head = "█" * full + "▌" * half
        return Content.assemble((head, style), ("░" * (width - len(head)), ink.muted))
    full, part = divmod(eighths, 8)
    head = "█" * full + (EIGHTHS[part] if part else "")
    return Content.styled(head.ljust(width), f"{style} on $foreground 12%")


def stacked_bar(ours: Share, others: Share, width: int, ink: Ink, block: str = "█") -> Content:
    """A bar of two shares of one whole; the second is of blocks that differ by more than colour."""
    first = round(min(max(ours[0], 0.0), 1.0) * width)
    second = min(round(max(others[0], 0.0) * width), width - first)
    free = width - first - second
    track = "" if ink.ansi else " on $foreground 12%"
    rest = ("░" * free, ink.muted) if ink.ansi else (" " * free, track.strip())
    return Content.assemble((block * first, ours[1] + track), ("▒" * second, others[1] + track), rest)


def curve(values: Iterable[float], width: int, height: int, top: float, ink: Ink) -> Sequence[str]:
    """The last values as a line over zero, right-aligned, in `height` rows of braille (16 colours: half-blocks)."""
    marks = width * ink.marks
    return _curve(tuple(values)[-marks:] if marks > 0 else (), max(width, 0), height, top, ink.ansi)


@lru_cache(maxsize=64)  # it is drawn more often than it changes
def _curve(values: tuple[float, ...], width: int, height: int, top: float, is_ansi: bool) -> Sequence[str]:
    across, down = (1, 2) if is_ansi else (2, 4)
    most = height * down - 1
    cells = [[0] * width for _ in range(height)]
    before: int | None = None
    for x, value in enumerate(values, width * across - len(values)):
        level = round(most * min(max(value / top, 0.0), 1.0)) if top > 0 else 0
        last = level if before is None else before
        for y in range(min(level, last + 1), max(level, last - 1) + 1):  # joined to the mark before
            row, dot = divmod(most - y, down)
            cells[row][x // across] |= 1 << dot if is_ansi else DOTS[x % 2][dot]
        before = level
    return [
        "".join((HALVES[bits] if is_ansi else chr(BRAILLE + bits)) if bits else " " for bits in row) for row in cells
    ]


def levels(percents: Iterable[float], ink: Ink) -> str:
    """A character for each percentage: the higher, the fuller."""
    marks = LEVELS_ANSI if ink.ansi else LEVELS
    return "".join(marks[min(int(percent * len(marks) / 100), len(marks) - 1)] for percent in percents)


def digits(number: str) -> list[str]:
    """A number in digits of three rows."""
    glyphs = [
        [row.ljust(3) for row in DIGITS3X3_BOLD[3 * DIGITS.index(sign) :][:3]] if sign in DIGITS else [" ", " ", sign]
        for sign in number
    ]
    return ["".join(rows) for rows in zip(*glyphs, strict=True)]


def sides(left: Content, right: Content, width: int) -> Content:
    """One row: left, and right at the end of the line; the left side gives way."""
    room = max(width - right.cell_length - 1, 0)
    return Content("").join([left.truncate(room, ellipsis=True, pad=True), Content(" "), right])


def one_line(text: str) -> str:
    """Foreign text as one line that nothing in it can break."""
    return " ".join(safe_text(text).split())


def elided(text: str, columns: int) -> str:
    """The text, or its beginning and, twice as long, its end: what paths and compiler lines are told apart by."""
    if len(text) <= columns:
        return text
    head = columns // 3
    return f"{text[:head]}…{text[len(text) - max(columns - head - 1, 0) :]}"
