"""What a transcript is made of: blocks that know their rows at a width, and how much is left to do for them."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from time import monotonic

from r1tui.chat.code import CodeBlock, code_block, is_code
from r1tui.chat.markdown import MarkdownBlock, as_it_will_be, block_parser
from r1tui.tui.widgets.transcript_code import BESIDE_BAR
from r1tui.tui.widgets.transcript_markdown import CODE_BAR, render
from r1tui.tui.widgets.transcript_rows import EMPTY, TAB, Row, Span, row_of, wrap

CHUNK_CHARS = 4_000
LAST_CHARS = 4_000
"""What `LastLines` keeps, for another width: more than its rows hold."""
ALWAYS_RENDERED_CHARS, RENDERED_CHARS_PER_S = 1_500, 15_000
"""A growing block is rendered whenever it is drawn, one that is longer than the first only so much in a second."""
_EMPTY_LINES = re.compile(r"\n\s*\n")
NO_SPAN: Span = ("", "")
MARGIN: Span = ("  ", "")
"""Indent of all text except marks."""


@dataclass
class Work:
    """Cost of drawing so far, in counts that do not depend on the machine."""

    rows_built: int = 0
    rows_refreshed: int = 0
    slices: int = 0


class Block:
    """Some rows of the transcript, with a blank one above if `gap`. Rows are those of `width`; 0 means none yet."""

    def __init__(self, *, gap: bool) -> None:
        self.gap = gap
        self.rows: list[Row] = []
        self.width = 0
        self.height = 1
        """Rows it takes; an estimate until it was laid out."""

    def lay_out(self, width: int, work: Work) -> None:
        """Have some rows of this width at once, if only provisional ones."""
        raise NotImplementedError

    def refine(self, width: int, work: Work) -> Iterator[None]:
        """Do the rest of the work in small steps."""
        self.lay_out(width, work)
        yield

    def is_fine(self, width: int) -> bool:
        """True if nothing is left to do at this width."""
        return self.width == width


class PlainBlock(Block):
    """Text as it is, in one role. Text that is appended changes the last row and adds rows, no more."""

    def __init__(
        self, text: str, role: str = "", *, gap: bool = False, first: Span = NO_SPAN, rest: Span = NO_SPAN
    ) -> None:
        super().__init__(gap=gap)
        self.text = text.replace("\t", TAB)
        self._role = role
        self._words = True
        self._first = first
        self._rest = rest
        self._laid_to = 0
        self._last_start = 0
        self._estimate()

    @property
    def source(self) -> str:
        """The text that it shows."""
        return self.text

    def append(self, text: str) -> None:
        """Add text at the end."""
        self.text += text.replace("\t", TAB)
        self._estimate()

    def replace(self, text: str) -> None:
        """Have another text."""
        if text != self.text:
            self.text = text
            self.width = self._laid_to = 0
            self._estimate()

    def is_fine(self, width: int) -> bool:
        """True if the rows are of this width and show all of the text."""
        return self.width == width and self._laid_to == len(self.text)

    def lay_out(self, width: int, work: Work) -> None:
        """Make the rows, or those that the appended text changes; a last line break begins no row."""
        if self.is_fine(width):
            return
        text = self.text
        if width != self.width:
            self.rows = [EMPTY] if self.gap else []
            self.width, start = width, 0
        else:
            start = self._last_start
            if self._laid_to:
                self.rows.pop()
        self._laid_to = len(text)
        if not text:
            self.height = len(self.rows)
            return
        before = len(self.rows)
        room = max(width - len(self._rest[0]), 2)
        end = len(text) - text.endswith("\n")
        while True:
            line_end = text.find("\n", start, end)
            for row_start, row_end in wrap(text, start, line_end if line_end >= 0 else end, room, words=self._words):
                prefix = self._rest if len(self.rows) > self.gap else self._first
                self.rows.append(self._row(prefix, row_start, row_end))
                self._last_start = row_start
            if line_end < 0:
                break
            start = line_end + 1
        work.rows_built += len(self.rows) - before
        self.height = len(self.rows)

    def _row(self, prefix: Span, start: int, end: int) -> Row:
        return row_of(prefix, (self.text[start:end], self._role))

    def _estimate(self) -> None:
        if not self.width:
            self.height = self.gap + 1 + self.text.count("\n") + len(self.text) // 100


class LastLines(PlainBlock):
    """The last rows of a text that grows, without its empty lines. What came long before is forgotten."""

    def __init__(self, count: int, role: str, bar: Span) -> None:
        super().__init__("", role, first=bar, rest=bar)
        self._count = count

    def append(self, text: str) -> None:
        """Add text at the end."""
        text = _EMPTY_LINES.sub("\n", text)
        super().append(text.lstrip("\n") if self.text[-1:] in ("", "\n") else text)
        forgotten = self._last_start - LAST_CHARS if len(self.text) > 3 * LAST_CHARS else 0
        if forgotten > 0:
            self.text = self.text[forgotten:]
            self._last_start -= forgotten
            self._laid_to -= forgotten

    def lay_out(self, width: int, work: Work) -> None:
        """Make the rows that the appended text changes, and drop the first ones."""
        super().lay_out(width, work)
        del self.rows[: -self._count]
        self.height = len(self.rows)


class OpenListing(PlainBlock):
    """Code whose fence has no end yet: in its frame already, in colours when it is whole."""

    def __init__(self, text: str) -> None:
        frame = " " * (len(MARGIN[0]) + len(CODE_BAR[0]) + 1), ""
        super().__init__(text, "code", gap=True, first=frame, rest=frame)
        self._words = False

    def _row(self, prefix: Span, start: int, end: int) -> Row:
        beside = BESIDE_BAR[start > 0 and self.text[start - 1] != "\n"]
        return row_of(MARGIN, CODE_BAR, beside, (self.text[start:end], self._role), fill=self._role)


class OpenMarkdown(PlainBlock):
    """A block of the answer that grows, rendered anew as it does. A table, whose columns would move, is its source."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "answer", gap=True, first=MARGIN, rest=MARGIN)
        self._drawn_s = 0.0

    def lay_out(self, width: int, work: Work) -> None:
        """Render it; a long one not for each token, so that a token costs no more than in a short one."""
        if self.is_fine(width):
            return
        if self.text.lstrip().startswith("|"):
            super().lay_out(width, work)
            return
        now_s = monotonic()
        if width == self.width and now_s - self._drawn_s < _period_s(len(self.text)):
            return
        self._drawn_s = now_s
        tokens = block_parser().parse(as_it_will_be(self.text))
        rows = list(render(tokens, width, (MARGIN,))) if tokens else []
        work.rows_built += sum(row != old for row, old in zip_longest(rows, self.rows[1:]))
        self.rows = [EMPTY, *rows] if rows else []
        self.width, self.height, self._laid_to = width, len(self.rows), len(self.text)


def _period_s(n_chars: int) -> float:
    """Seconds between renderings of a growing text of this length: more for a longer one."""
    return n_chars / RENDERED_CHARS_PER_S if n_chars > ALWAYS_RENDERED_CHARS else 0.0


class AnswerBlock(Block):
    """A finished block of the answer: drawn as `shown`, as which it grew, else as its plain source, until its Markdown
    has been rendered. One that grew as Markdown is rendered when it is laid out."""

    def __init__(self, block: MarkdownBlock, *, gap: bool, shown: PlainBlock | None = None) -> None:
        super().__init__(gap=gap)
        self._block = block
        self._at_once = isinstance(shown, OpenMarkdown)
        plain = shown if isinstance(shown, OpenListing) else None
        self._plain = plain or PlainBlock(block.source, "answer", gap=gap, first=MARGIN, rest=MARGIN)
        self.height = self._plain.height
        self.listings = sum(map(is_code, block.tokens))
        """Number of its code blocks."""
        self._fine_width = 0

    @property
    def source(self) -> str:
        """Its Markdown."""
        return self._block.source

    def listing(self, number: int, before: "AnswerBlock | None") -> CodeBlock:
        """The listing of this number, the first one being 1; `before` is the block above."""
        return code_block(self._block, number, before._block.source if before and not before.listings else "")

    def rows_of(self, number: int) -> tuple[int, int]:
        """The first row of a listing and the one after its last; all rows while that is not known."""
        if not is_code(self._block.tokens[0]):
            found = [index for index, row in enumerate(self.rows) if row.place[0] == number]
            if found:
                return found[0], found[-1] + 1
        return int(self.gap), max(self.height, self.gap + 1)

    def is_fine(self, width: int) -> bool:
        """True if the rows are the rendered Markdown at this width."""
        return self._fine_width == width

    def lay_out(self, width: int, work: Work) -> None:
        """Have provisional rows, if it never was rendered; those of another width stay until it is rendered anew."""
        if self._at_once and not self._fine_width:
            deque(self.refine(width, work), maxlen=0)
        elif not self._fine_width and self.width != width:
            self._plain.lay_out(width, work)
            self.rows, self.width, self.height = self._plain.rows, width, self._plain.height

    def refine(self, width: int, work: Work) -> Iterator[None]:
        """Render the Markdown, a row a step."""
        rows = [EMPTY] if self.gap else []
        for row in render(self._block.tokens, width, (MARGIN,)):
            rows.append(row)
            yield
        work.rows_built += len(rows)
        self.rows, self.height = rows, len(rows)
        self.width = self._fine_width = width
        self._plain.replace("")
        self._plain.rows = []
