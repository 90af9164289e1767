"""What stands in the prompt: its text, in which a large piece (a paste, a file) is one short label that stands for it.

A text area wraps all that it holds, which takes seconds for a megabyte, and nobody reads that in eight rows.
"""

import re
from collections.abc import Iterable

import msgspec

from r1tui.text import size, without_controls

LONGEST_SHOWN_CHARS = 4_000
MOST_SHOWN_LINES = 60
BEGINNING_LINES = 20


class Typed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text with labels, and what each of them stands for."""

    text: str = ""
    pieces: dict[str, str] = {}
    pasted: tuple[str, ...] = ()
    """What in it looks like the mention of a file, and was written by somebody else: it attaches nothing."""

    @property
    def whole(self) -> str:
        """The text with every piece in the place of its label; labels within a piece mean nothing."""
        if not self.pieces:
            return self.text
        return _any_of(self.pieces).sub(lambda label: self.pieces[label[0]], self.text)

    def __bool__(self) -> bool:
        return bool(self.text)


def is_large(text: str) -> bool:
    """Whether the text is shown by a label only."""
    return len(text) > LONGEST_SHOWN_CHARS or text.count("\n") >= MOST_SHOWN_LINES


def label_for(text: str, taken: dict[str, str], what: str = "pasted") -> str:
    """A label for the piece, unlike all that are taken by others: `[pasted 2,431 lines, 95.7 KiB]`."""
    n_lines = text.count("\n") + (not text.endswith("\n"))
    lines = f"{n_lines:,} lines, " if n_lines > 1 else ""
    said = f"{what} {lines}{size(len(text.encode(errors='replace')))}"
    label, number = f"[{said}]", 1
    while taken.get(label, text) != text:
        number += 1
        label = f"[{said}, no. {number}]"
    return label


def typed_of(text: str, known: dict[str, str] | None = None) -> Typed:
    """The text as the prompt can hold it: labels for the `known` pieces in it, or one for all that is too large."""
    pieces = {label: piece for label, piece in (known or {}).items() if piece and piece in text}
    if pieces:
        labels = {piece: label for label, piece in pieces.items()}
        text = _any_of(labels).sub(lambda piece: labels[piece[0]], text)
    if is_large(text):
        whole = Typed(text, pieces).whole
        label = label_for(whole, {})
        return Typed(label, {label: whole})
    return Typed(text, pieces)


def in_short(text: str, known: dict[str, str]) -> str:
    """The text to look at: labels for the `known` pieces, and of a large rest its beginning."""
    if known:
        labels = {piece: label for label, piece in known.items()}
        text = _any_of(labels).sub(lambda piece: labels[piece[0]], text)
    if not is_large(text):
        return text
    beginning = "".join(text[:LONGEST_SHOWN_CHARS].splitlines(keepends=True)[:BEGINNING_LINES])
    return f"{beginning.rstrip()}\n{label_for(text[len(beginning) :], {}, 'and another')}"


def joined(parts: Iterable[Typed]) -> Typed:
    """What is not empty of these, below each other; a label means the same in all of them."""
    there = [one for one in parts if one.text.strip()]
    if len(there) <= 1:
        return there[0] if there else Typed()
    pieces = {label: piece for one in there for label, piece in one.pieces.items()}
    pasted = sorted({name for one in there for name in one.pasted})
    return Typed("\n".join(one.text for one in there), pieces, tuple(pasted))


def cleaned(text: str) -> str:
    """Text from a clipboard, a file or an editor without what must not reach a terminal, its lines ended alike."""
    return without_controls(text.replace("\r\n", "\n").replace("\r", "\n"))


def _any_of(texts: dict[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))
