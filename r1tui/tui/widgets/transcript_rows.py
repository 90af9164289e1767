"""Rows of cells: text made safe to draw, and wrapped so that a row never exceeds its width.

Widths are those of `rich.cells`, which is what Textual counts with. Characters that terminals disagree about (joiners,
variation selectors, skin tones) and those that turn text around are left out, so that a row is as wide as it counts.
"""

import re
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size

from r1tui.text import UNSEEN, plain

Span = tuple[str, str]
"""Text and its role: a name, or several with spaces between, of the transcript's component styles."""

TAB = "    "
_HARMLESS = re.compile(r"[\t\n\x20-\x7e]*")
_DROPPED = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{UNSEEN}\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\u180b-\u180f]")
_ODD = re.compile("[\ud800-\udfff\u2028\u2029]")


class Row(NamedTuple):
    """One row: its spans, and the role of the cells from their end to the edge."""

    spans: tuple[Span, ...]
    fill: str = ""
    place: tuple[int, int] = (0, 0)
    """Of a row of code: which listing of its block it belongs to, and to which line of it; both count from 1."""

    @property
    def width(self) -> int:
        """Cells that its spans take."""
        return sum(cell_len(text) for text, _ in self.spans)


EMPTY = Row(())


def clean(text: str) -> str:
    """The text without what must not reach a terminal, one character at a time: cutting it anywhere changes nothing."""
    match = _HARMLESS.match(text)
    if match and match.end() == len(text):
        return text
    return _ODD.sub("\ufffd", _DROPPED.sub("", text))


def safe_text(text: str) -> str:
    """A name, a cause, a line of a log: without its terminal sequences, and safe to draw."""
    return clean(plain(text))


def row_of(*spans: Span, fill: str = "", place: tuple[int, int] = (0, 0)) -> Row:
    """A row in which neighbouring spans of one role are one."""
    merged: list[Span] = []
    for text, role in spans:
        if not text:
            continue
        if merged and merged[-1][1] == role:
            merged[-1] = (merged[-1][0] + text, role)
        else:
            merged.append((text, role))
    return Row(tuple(merged), fill, place)


def fitting(text: str, start: int, end: int, width: int) -> int:
    """The end of the longest piece from `start` on that fits; at least one character, however wide."""
    if end - start <= width // 2:
        return end
    if text.isascii():
        return min(end, start + width)
    used = 0
    for index in range(start, end):
        used += get_character_cell_size(text[index])
        if used > width:
            return max(index, start + 1)
    return end


def wrap(text: str, start: int, end: int, width: int, *, words: bool = True) -> list[tuple[int, int]]:
    """Start and end of each row of one line; an empty line has one row.

    Depends only on what stands before a row's end, so that text added later changes the last row alone.
    """
    rows: list[tuple[int, int]] = []
    while True:
        limit = fitting(text, start, end, width)
        if limit >= end:
            rows.append((start, end))
            return rows
        cut = _cut(text, start, limit) if words else limit
        rows.append((start, cut))
        following = cut
        while words and following < end and text[following] == " ":
            following += 1
        if following >= end:
            return rows
        start = following


def _cut(text: str, start: int, limit: int) -> int:
    """End of a row that is full at `limit`: at a space, else between wide characters, else anywhere."""
    if text[limit] == " " or get_character_cell_size(text[limit]) == 2:
        return limit
    space = text.rfind(" ", start, limit)
    if space <= start or text[start:space].isspace():
        return limit
    if not text.isascii():
        for index in range(limit - 1, space, -1):
            if get_character_cell_size(text[index]) == 2:
                return index + 1
    return space


def wrap_spans(spans: list[Span], width: int) -> list[tuple[Span, ...]]:
    """The rows of styled text; a newline in it begins a new row."""
    text = "".join(piece for piece, _ in spans)
    rows: list[tuple[Span, ...]] = []
    position = 0
    for line in text.split("\n"):
        for start, end in wrap(text, position, position + len(line), width):
            rows.append(_slice(spans, start, end))
        position += len(line) + 1
    return rows


def _slice(spans: list[Span], start: int, end: int) -> tuple[Span, ...]:
    cut: list[Span] = []
    position = 0
    for text, role in spans:
        if position >= end:
            break
        piece = text[max(start - position, 0) : end - position]
        if piece and position + len(text) > start:
            cut.append((piece, role))
        position += len(text)
    return tuple(cut)
