"""What of a transcript is marked: an exchange or one of its listings, where that stands, and how it is painted."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from r1tui.chat.code import CodeBlock
from r1tui.chat.conversation import Exchange
from r1tui.tui.widgets.transcript_layout import Layout
from r1tui.tui.widgets.transcript_rows import Row, row_of
from r1tui.tui.widgets.transcript_views import Views

Rows = tuple[int, int]
"""The first row, counted from the transcript's top, and the one after the last."""


class Mark(NamedTuple):
    """A selection: a whole exchange, or its code block of this number, starting with 1."""

    exchange: Exchange
    listing: int = 0


class Cursor:
    """One mark at most; with `pulls` the view follows it."""

    def __init__(self, views: Views, layout: Layout) -> None:
        self._views = views
        self._layout = layout
        self.mark: Mark | None = None
        self.line = 0
        """A line of the marked listing that is shown as wrong; 0 for none."""
        self.pulls = False

    def put(self, mark: Mark | None, *, line: int = 0) -> None:
        """Mark this."""
        self.mark, self.line, self.pulls = mark, line, True

    def marks(self) -> list[Mark]:
        """All that can be marked, from top to bottom."""
        views = [view for view in self._views.all if view.exchange is not self._views.waiting]
        return [Mark(view.exchange, number) for view in views for number in range(len(view.listings) + 1)]

    def first(self, top: int, height: int) -> Mark | None:
        """The first mark whose rows begin in this view, else the last that has any there."""
        found = [(mark, rows) for mark in self.marks() if (rows := self.rows(mark)) is not None]
        begins = [mark for mark, rows in found if top <= rows[0] < top + height]
        reaches = [mark for mark, rows in found if rows[0] < top + height and rows[1] > top]
        return next(iter([*begins, *reversed(reaches)]), None)

    def at(self, row: int) -> Mark | None:
        """The code block at a row, else the exchange."""
        found = [mark for mark in self.marks() if (rows := self.rows(mark)) and rows[0] <= row < rows[1]]
        return found[-1] if found else None

    def code_of(self, exchange: Exchange) -> list[Mark]:
        """All code blocks of an exchange."""
        return [one for one in self.marks() if one.exchange is exchange and one.listing]

    def describe(self, mark: Mark) -> str:
        """Describe the selection in a line."""
        exchanges = self._views.conversation.exchanges
        if not mark.listing:
            branches = self._views.conversation.branches(mark.exchange)
            which = f", branch {branches.index(mark.exchange) + 1} of {len(branches)}" if len(branches) > 1 else ""
            return f"Question {exchanges.index(mark.exchange) + 1} of {len(exchanges)}{which}"
        listing = self.listing(mark)
        lines = "1 line" if listing.n_lines == 1 else f"{listing.n_lines:,} lines"
        n_siblings = len(self.code_of(mark.exchange))
        words = (f"Code {mark.listing} of {n_siblings}", listing.language, lines, listing.file_name())
        return " · ".join(word for word in words if word)

    def text_of(self, mark: Mark) -> str:
        """The code, or the answer as Markdown."""
        return self.listing(mark).code if mark.listing else mark.exchange.answer.content.text

    def fits(self, action: str, mark: Mark | None) -> bool:
        """True if an action of the selection does something with this."""
        is_exchange = mark is not None and not mark.listing
        match action:
            case "choose" | "delete":
                return is_exchange
            case "figures":
                return mark is not None
            case "copy" | "save":
                return mark is not None and (bool(mark.listing) or bool(mark.exchange.answer.content))
            case "check":
                return mark is not None and bool(mark.listing or self.code_of(mark.exchange))
            case "thinking":
                return mark is not None and is_exchange and mark.exchange.answer.has_thoughts
            case "branch":
                return mark is not None and is_exchange and len(self._views.conversation.branches(mark.exchange)) > 1
            case _:
                return action != "undo"

    def last_for(self, action: str) -> Mark | None:
        """The last exchange that an action is for, or else the last code block; a check is of a code block."""
        marks = self.marks()
        fitting = [mark for mark in marks if self.fits(action, mark)]
        return max(fitting, key=lambda one: (bool(one.listing) == (action == "check"), marks.index(one)), default=None)

    def listing(self, mark: Mark) -> CodeBlock:
        """The listing that a mark means."""
        view = self._views.of(mark.exchange)
        if view is None:
            raise ValueError("it is not shown")
        return view.listing(mark.listing)

    def rows(self, mark: Mark) -> Rows | None:
        """The rows of what a mark means; None where that is not shown."""
        view = self._views.of(mark.exchange)
        if view is None or not view.blocks or mark.listing > len(view.listings):
            return None
        if not mark.listing:
            first, last = self._layout.start_of(view.blocks[0]), self._layout.end_of(view.blocks[-1])
            return None if first is None or last is None else (first + view.blocks[0].gap, last)
        block, number = view.listings[mark.listing - 1]
        start = self._layout.start_of(block)
        if start is None:
            return None
        first, last = block.rows_of(number)
        return start + first, start + last

    def pull(self, top: int, height: int) -> int:
        """The top row that shows what is marked, near this one; its beginning when it is higher than the view."""
        found = self.rows(self.mark) if self.pulls and self.mark is not None else None
        if found is None:
            return top
        start, end = self._wrong_rows(found) if self.line else found
        if end - start > height or start < top:
            return start
        return max(top, end - height)

    def paint(self, rows: list[Row], top: int) -> list[Row]:
        """The rows of a view, with a bar beside what is marked."""
        found = self.rows(self.mark) if self.mark is not None else None
        if found is None:
            return rows
        wrong = self._wrong_rows(found) if self.line else (0, 0)
        return [
            _painted(row, is_wrong=wrong[0] <= number < wrong[1]) if found[0] <= number < found[1] else row
            for number, row in enumerate(rows, top)
        ]

    def _wrong_rows(self, found: Rows) -> Rows:
        place = self._layout.find(found[0])
        if place is None:
            return found
        block, first = self._layout.blocks[place[0]], place[1]
        last = first + found[1] - found[0]
        if len(block.rows) < last or block.rows[last - 1].place == (0, 0):
            return found  # not rendered yet
        low, high = (cut(block.rows, self.line, first, last, key=_line_of) for cut in (bisect_left, bisect_right))
        return found[0] - first + low, found[0] - first + high


def _line_of(row: Row) -> int:
    return row.place[1]


def _painted(row: Row, *, is_wrong: bool) -> Row:
    """The row with its first cell reversed, and all of it where it is wrong."""
    (text, role), *rest = row.spans or ((" ", ""),)
    spans = [(text[:1], f"{role} cursor".strip()), (text[1:], role), *rest]
    if not is_wrong:
        return row_of(*spans, fill=row.fill, place=row.place)
    wrong = [spans[0], *((text, f"{role} wrong".strip()) for text, role in spans[1:])]
    return row_of(*wrong, fill=f"{row.fill} wrong".strip(), place=row.place)
