"""Where each block of a transcript stands, and which rows a view of it shows."""

from bisect import bisect_right
from itertools import accumulate

from r1tui.tui.widgets.transcript_blocks import Block, Work
from r1tui.tui.widgets.transcript_rows import EMPTY, Row

GROWING = 3
"""So many blocks at the end may grow; their heights are kept true even where they are not in view."""


class Layout:
    """Blocks from top to bottom; rows count from 0 at the top of the first."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.total = 0
        self._starts: list[int] = [0]

    def set(self, blocks: list[Block]) -> None:
        """Have these blocks now."""
        self.blocks = blocks
        self.measure()

    def measure(self) -> None:
        """Take up the blocks' heights."""
        self._starts = list(accumulate([block.height for block in self.blocks], initial=0))
        self.total = self._starts[-1]

    def find(self, row: int) -> tuple[int, int] | None:
        """The index of the block at a row, and the row in it; None outside."""
        if not 0 <= row < self.total:
            return None
        index = bisect_right(self._starts, row) - 1
        return index, row - self._starts[index]

    def start_of(self, block: Block) -> int | None:
        """The block's first row; None for one that is not here."""
        return self._starts[self.blocks.index(block)] if block in self.blocks else None

    def end_of(self, block: Block) -> int | None:
        """The row after the block's last; None for one that is not here."""
        return self._starts[self.blocks.index(block) + 1] if block in self.blocks else None

    def anchor(self, row: int) -> tuple[Block, int] | None:
        """Anchor of a row, to find it again when blocks above have changed."""
        place = self.find(row)
        return (self.blocks[place[0]], place[1]) if place else None

    def row_of_anchor(self, anchor: tuple[Block, int]) -> int | None:
        """Current row of an anchor; None if its block is gone."""
        start = self.start_of(anchor[0])
        return None if start is None else max(start + anchor[1], 0)

    def visible(self, top: int, height: int) -> list[Block]:
        """The blocks with a row in the view."""
        first, last = self.find(top), self.find(min(top + height, self.total) - 1)
        return self.blocks[first[0] : last[0] + 1] if first and last else []

    def lay_out(self, top: int, height: int, width: int, work: Work) -> bool:
        """Give the blocks in view rows of this width; whether that has moved anything."""
        before = self.total
        moved = False
        for block in {*self.visible(top, height), *self.blocks[-GROWING:]}:
            old = block.height
            block.lay_out(width, work)
            moved = moved or block.height != old
        if moved:
            self.measure()
        return moved or self.total != before

    def rows(self, top: int, height: int) -> list[Row]:
        """The rows of the view, empty ones after the end."""
        rows: list[Row] = []
        place = self.find(top)
        if place:
            index, offset = place
            while len(rows) < height and index < len(self.blocks):
                block = self.blocks[index]
                rows += (block.rows or [EMPTY] * block.height)[offset : offset + height - len(rows)]
                index, offset = index + 1, 0
        return rows + [EMPTY] * (height - len(rows))

    def scroll_cells(self, top: int, height: int, step: int) -> list[str]:
        """The scroll indicator from top to bottom; the length of the whole counts in steps, so that it rarely moves."""
        if self.total <= height:
            return [" "] * height
        total = -(-self.total // step) * step
        size = max(height * height // total, 1)
        start = min(round((height - size) * top / max(total - height, 1)), height - size)
        if top + height >= self.total:
            start = height - size
        return [" "] * start + ["▐"] * size + [" "] * (height - size - start)
