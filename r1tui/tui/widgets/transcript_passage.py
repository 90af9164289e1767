"""The passage that a search has found: where in a transcript it stands, and how its words are marked."""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise

from r1tui.chat.conversation import Exchange
from r1tui.chat.listing import MARKS, found_words
from r1tui.tui.widgets.transcript_blocks import AnswerBlock, Block, PlainBlock
from r1tui.tui.widgets.transcript_rows import Row, Span, row_of

LENGTHS = (60, 20, 8)
"""Letters by which it is looked for; fewer where its Markdown is shown as something else."""
_NO_LETTERS = re.compile(r"[\W_]+")


class FoundPassage:
    """A passage of an exchange, its found words in MARKS."""

    def __init__(self, exchange: Exchange, passage: str) -> None:
        self.exchange = exchange
        self.is_sought = True
        """True until its row is known."""
        words = sorted(found_words(passage), key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, words)) or r"\Z.", re.IGNORECASE)
        self._letters = _letters(passage.partition(MARKS[0])[2])
        self._block: Block | None = None
        """The block that was found last."""

    def block(self, blocks: Sequence[Block]) -> Block | None:
        """The block that it begins in; None for none."""
        if self._block not in blocks:
            found = self._find([one.source if isinstance(one, AnswerBlock | PlainBlock) else "" for one in blocks])
            self._block = None if found is None else blocks[found]
        return self._block

    def row(self, rows: Sequence[Row]) -> int:
        """The row of its block that it begins in; the first where it is shown as something else."""
        return self._find(["".join(text for text, _ in row.spans) for row in rows]) or 0

    def _find(self, texts: Sequence[str]) -> int | None:
        """The index of the text in which it begins, whatever stands between its letters."""
        pieces = [_letters(text) for text in texts]
        whole, ends = "".join(pieces), list(accumulate(map(len, pieces)))
        for length in LENGTHS:
            at = whole.find(self._letters[:length]) if self._letters else -1
            if at >= 0:
                return next(index for index, end in enumerate(ends) if at < end)
        return next((index for index, text in enumerate(texts) if self._words.search(text)), None)

    def paint(self, row: Row) -> Row:
        """The row with the found words marked."""
        text = "".join(piece for piece, _ in row.spans)
        hits = [one.span() for one in self._words.finditer(text)]
        if not hits:
            return row
        marked: list[Span] = []
        position = 0
        for piece, role in row.spans:
            cuts = {0, len(piece)} | {at - position for hit in hits for at in hit}
            for start, end in pairwise(sorted(cut for cut in cuts if 0 <= cut <= len(piece))):
                is_hit = any(first <= position + start < last for first, last in hits)
                marked.append((piece[start:end], f"{role} found".strip() if is_hit else role))
            position += len(piece)
        return row_of(*marked, fill=row.fill, place=row.place)


def _letters(text: str) -> str:
    return _NO_LETTERS.sub("", text).casefold()
