"""A log's last lines, read in slices by a thread, notices as lines, and which of them are wanted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import localtime, strftime

from rich.cells import cell_len
from textual.content import Content

from r1tui.server.diagnosis import level
from r1tui.tui.notices import SIGNS, ScreenNotice
from r1tui.tui.widgets.transcript_rows import safe_text

MOST_LINES = 20_000
MOST_CHARS = 4 << 20
"""More is forgotten, the oldest first: so much is searched within one turn of the event loop."""
BATCH_LINES = 500
BATCH_CHARS = 1 << 16
"""Most lines handled by the event loop at once."""
MIN_COLUMNS = 20
LONGEST_CHARS = 4_000
"""Of a longer line only the beginning is shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line, as it is shown and searched."""

    number: int
    text: str
    folded: str
    level: str
    cells: int


def batches(lines: Iterable[str], first: int = 0) -> Iterator[list[Line]]:
    """The lines in batches, numbered on from `first`; the work of looking at each is done here."""
    batch: list[Line] = []
    n_chars = 0
    for number, raw in enumerate(lines, first):
        text = safe_text(raw[:LONGEST_CHARS]).expandtabs()
        if len(raw) > LONGEST_CHARS:
            text += f"… ({len(raw):,} characters)"
        batch.append(Line(number, text, text.casefold(), level(text), cell_len(text)))
        n_chars += len(text)
        if len(batch) == BATCH_LINES or n_chars >= BATCH_CHARS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch


def notice_lines(notices: Iterable[ScreenNotice], width: int) -> list[Line]:
    """Notices as rows of this width, the first ones first; a search finds all rows of one."""
    rows: list[Line] = []
    for notice in notices:
        start = f"{strftime('%H:%M:%S', localtime(notice.told_s))}  {SIGNS[notice.severity]} {notice.severity:<11}  "
        wrapped = Content(" ".join(notice.text.split())).wrap(max(width - len(start), MIN_COLUMNS))
        folded = f"{start}{notice.text}".casefold()
        for number, row in enumerate(wrapped):
            text = f"{' ' * len(start) if number else start}{row.plain.rstrip()}"
            rows.append(Line(len(rows), text, folded, notice.severity, cell_len(text)))
    return rows


class Lines:
    """The last lines of a log; `shown` are those of the wanted levels that have the wanted text."""

    def __init__(self) -> None:
        self.all: list[Line] = []
        self.shown: list[Line] = []
        self._n_chars = 0
        self._levels: frozenset[str] = frozenset()
        self._wanted = ""

    def want(self, levels: frozenset[str], text: str) -> None:
        """Show the lines of these levels (of every level without any) that have this text, whatever its case."""
        self._levels, self._wanted = levels, text.casefold()
        self.shown = [line for line in self.all if self._is_wanted(line)]

    def add(self, lines: list[Line]) -> int:
        """Take more lines; how many of those that were shown are forgotten for it."""
        self.all += lines
        self.shown += [line for line in lines if self._is_wanted(line)]
        self._n_chars += sum(len(line.text) for line in lines)
        n_gone = max(0, len(self.all) - MOST_LINES)
        self._n_chars -= sum(len(line.text) for line in self.all[:n_gone])
        while self._n_chars > MOST_CHARS and n_gone < len(self.all) - 1:
            self._n_chars -= len(self.all[n_gone].text)
            n_gone += 1
        if not n_gone:
            return 0
        first = self.all[n_gone].number
        n_shown_gone = bisect_left(self.shown, first, key=lambda line: line.number)
        del self.all[:n_gone], self.shown[:n_shown_gone]
        return n_shown_gone

    def _is_wanted(self, line: Line) -> bool:
        return (not self._levels or line.level in self._levels) and self._wanted in line.folded
