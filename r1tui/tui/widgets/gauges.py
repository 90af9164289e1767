"""Bars, sparklines and inks: what the instruments and the stages of a launch are drawn with.

The terminal's sixteen colours know no shades, so there a bar's track is a character and what is muted is dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from r1tui.tui.widgets.transcript_rows import safe_text

EIGHTHS = " ▏▎▍▌▋▊▉"
LEVELS = "▁▂▃▄▅▆▇█"
BLOCKS = f" {LEVELS}"


@dataclass(frozen=True)
class Ink:
    """Styles for a theme, as Textual's Content understands them."""

    muted: str
    strong: str = "bold"
    ansi: bool = False


SHADES = Ink(muted="$foreground 70%")
SIXTEEN = Ink(muted="dim", ansi=True)


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


def split_bar(ours: float, others: float, width: int, ink: Ink, style: str = "$primary") -> Content:
    """A bar of two shares of one whole: ours, and behind it, in a block that differs by more than colour, others'."""
    width = max(width, 0)
    first = round(min(max(ours, 0.0), 1.0) * width)
    second = min(round(max(others, 0.0) * width), width - first)
    parts = [("█" * first, style), ("▒" * second, "$secondary"), ("░" * (width - first - second), ink.muted)]
    if not ink.ansi:
        track = " on $foreground 12%"
        parts = [(text.replace("░", " "), track.strip() if "░" in text else part + track) for text, part in parts]
    return Content.assemble(*parts)


def sparkline(values: Sequence[float], width: int, top: float | None = None) -> str:
    """The last `width` values as a row of blocks over zero, right-aligned, as high as `top` or their largest."""
    return chart(values, width, 1, top)[0]


def chart(values: Sequence[float], width: int, height: int, top: float | None = None) -> list[str]:
    """The same in `height` rows, which are so many times as exact; nothing is an eighth of a row high."""
    shown = list(values)[-width:] if width > 0 else []
    top = max(shown, default=0.0) if top is None else top
    most = 8 * height
    eighths = [1 + min(most - 1, int(most * max(value, 0.0) / top)) if top > 0 else 1 for value in shown]
    return [
        "".join(BLOCKS[min(max(one - 8 * below, 0), 8)] for one in eighths).rjust(max(width, 0))
        for below in reversed(range(height))
    ]


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
