"""The blocks that wait to be rendered, done a small step at a time."""

from collections import deque
from collections.abc import Iterable, Iterator

from r1tui.tui.widgets.transcript_blocks import Block, Work


class RenderQueue:
    """Blocks in the order in which they are rendered; one of them is at hand."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._blocks: deque[Block] = deque()
        self._current: tuple[int, Iterator[None]] | None = None

    def __bool__(self) -> bool:
        return bool(self._blocks) or self._current is not None

    def put_first(self, blocks: Iterable[Block]) -> None:
        """Render these before all others, in their order."""
        self._blocks.extendleft(reversed(list(blocks)))

    def replace(self, blocks: Iterable[Block]) -> None:
        """Render these and no others."""
        self._blocks = deque(blocks)
        self._current = None

    def step(self, width: int) -> bool:
        """One step of the block at hand, or of the next that is not of this width; False when none is left."""
        if self._current is None or self._current[0] != width:
            while self._blocks and self._blocks[0].is_fine(width):
                self._blocks.popleft()
            if not self._blocks:
                self._current = None
                return False
            self._current = (width, self._blocks.popleft().refine(width, self._work))
        try:
            next(self._current[1])
        except StopIteration:
            self._current = None
        return True
