"""Which rows of a transcript are in view: it follows the end, or stays at what it was scrolled to."""

from r1tui.tui.widgets.transcript_blocks import Block, Work
from r1tui.tui.widgets.transcript_cursor import Cursor
from r1tui.tui.widgets.transcript_layout import Layout

JUMP_ROWS = 10
"""Following, the view jumps by this much instead of moving with each row: a moved row costs a repaint of the page."""
WIDE_JUMP_ROWS = 30
"""The same where each repaint of the page is one too many."""


class Viewport:
    """A view of `height` rows, the first of which is `top`."""

    def __init__(self, layout: Layout, cursor: Cursor) -> None:
        self.following = True
        """True if it stays at the end; scrolling up releases it, the end takes it again."""
        self.top = 0
        self.height = 0
        self.jump_rows = JUMP_ROWS
        self._layout = layout
        self._cursor = cursor
        self._anchor: tuple[Block, int] | None = None
        """Anchor at the top, while it does not follow."""

    @property
    def _last_top(self) -> int:
        return max(self._layout.total - self.height, 0)

    def reset(self) -> None:
        """Be at the end of something else."""
        self.following, self.top, self._anchor = True, 0, None

    def to_end(self) -> None:
        """Go to the end and stay there."""
        self.following, self.top = True, self._last_top

    def scroll_by(self, rows: int) -> None:
        """Go so many rows down, or up."""
        last = self._last_top
        top = min(max(self.top + rows, 0), max(last, self.top if rows > 0 else 0))
        if rows < 0:
            self.following = False
        elif top >= last:
            self.following = self.following or self.top < last or rows > 0
        self.top = top
        self._anchor = self._layout.anchor(top)
        self._cursor.pulls = False

    def stay_at(self, block: Block, y: int) -> None:
        """Have the block begin in this row of the view, whatever happens above it."""
        self.following = False
        self._anchor = (block, -min(y, self.height - 1))

    def row_in_view(self, block: Block) -> int:
        """First row of the block, -1 for above the view; 0 if it has no place."""
        row = self._layout.start_of(block)
        return max(row - self.top, -1) if row is not None else 0

    def reaches(self, first: Block, last: Block) -> bool:
        """True if any row of these blocks is in view."""
        start, end = self._layout.start_of(first), self._layout.end_of(last)
        return start is not None and end is not None and start < self.top + self.height and end > self.top

    def place(self, width: int, height: int, work: Work, *, grows: bool) -> None:
        """Find the top row, with some room below what `grows`; blocks in view are laid out on the way, which may move
        it."""
        self.height = height
        for _ in range(4):
            if self.following:
                self.top = self._following_top(grows=grows)
            elif self._anchor is not None and (row := self._layout.row_of_anchor(self._anchor)) is not None:
                self.top = row
            if not self.following:
                self.top = self._cursor.pull(self.top, height)
            self.top = min(self.top, max(self._layout.total - 1, 0))
            if not self._layout.lay_out(self.top, height, width, work):
                break
        if not self.following:
            self._anchor = self._layout.anchor(self.top)

    def _following_top(self, *, grows: bool) -> int:
        """The top row that shows the end: the old one while it does, else with some room below."""
        last = self._last_top
        share = 2 if self.jump_rows > JUMP_ROWS else 4
        room = min(self.jump_rows, self.height // share) if grows else 0
        return self.top if 0 < last <= self.top <= last + room else last + (room if last > 0 else 0)
