"""What stands in the prompt: its text, in which a large piece (a paste, a file) is one short label that stands for it.

A text area wraps all that it holds, which takes seconds for a megabyte, and nobody reads that in eight rows.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from r1tui.text import size, without_controls

LONGEST_SHOWN_CHARS = 4_000
MOST_SHOWN_LINES = 60
BEGINNING_LINES = 20
WORD_JOINER = "\u2060"
# DeepSeek's bars are full-width; ChatML, Llama 3, Phi and others use ASCII ones. The rest are older families' tokens
# and the tags that R1's own template and our splitter read.
_CONTROL_TOKENS = re.compile(
    r"<[|｜][^\s<>|｜][^<>\n]{0,62}?[|｜]>|</?think>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]"
    r"|</?(?:start|end)_of_(?:turn|image)>|<(?:bos|eos|pad|unk)>|<</?SYS>>"
)


class Typed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text with labels, and what each of them stands for."""

    text: str = ""
    pieces: dict[str, str] = {}
    pasted: tuple[str, ...] = ()
    """Apparent file mentions in pasted text: they attach nothing."""

    @property
    def whole(self) -> str:
        """The text with every piece in the place of its label; labels within a piece mean nothing."""
        return _replaced(self.text, self.pieces)

    def __bool__(self) -> bool:
        return bool(self.text)


class Recall:
    """A walk through what was asked before, one question at a time, and back to what is being typed.

    Each step is told what stands in the prompt now, which is there again on the way back.
    """

    def __init__(self) -> None:
        self.entries: Sequence[Typed] = ()
        """Earlier questions, oldest first; a walk in progress keeps those it started with."""
        self._walk: Sequence[Typed] = ()
        self._at = 0
        self._left: dict[int, Typed] = {}

    def older(self, now: Typed) -> Typed | None:
        """The question before; None at the oldest."""
        if self._at == 0:
            self._walk = [entry for entry in reversed(self.entries) if entry != now]
        return self._step(1, now)

    def newer(self, now: Typed) -> Typed | None:
        """The question after, at the end what was typed; None where that is what stands in the prompt."""
        return self._step(-1, now)

    def leave(self) -> None:
        """End the walk: the prompt was sent."""
        self._at = 0
        self._left.clear()

    def draft(self, now: Typed) -> Typed:
        """The text to keep as draft: the edited old question, else the text typed before the walk."""
        if self._at and now == self._walk[self._at - 1]:
            return self._left[0]
        return now

    def _step(self, by: int, now: Typed) -> Typed | None:
        at = self._at + by
        if not 0 <= at <= len(self._walk):
            return None
        self._left[self._at] = now
        self._at = at
        left = self._left.get(at)
        return self._walk[at - 1] if left is None else left


def is_large(text: str) -> bool:
    """True if the text is shown by a label only."""
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
    text = _replaced(text, {piece: label for label, piece in pieces.items()})
    if is_large(text):
        whole = Typed(text, pieces).whole
        label = label_for(whole, {})
        return Typed(label, {label: whole})
    return Typed(text, pieces)


def format_question(text: str, known: dict[str, str]) -> str:
    """The text to look at: labels for the `known` pieces, and of a large rest its beginning."""
    text = _replaced(text, {piece: label for label, piece in known.items()})
    if not is_large(text):
        return text
    beginning = "".join(text[:LONGEST_SHOWN_CHARS].splitlines(keepends=True)[:BEGINNING_LINES])
    return f"{beginning.rstrip()}\n{label_for(text[len(beginning) :], {}, 'and another')}"


def joined(parts: Iterable[Typed]) -> Typed:
    """Join the non-empty ones, below each other; a label means the same in all of them."""
    there = [one for one in parts if one.text.strip()]
    if len(there) <= 1:
        return there[0] if there else Typed()
    pieces = {label: piece for one in there for label, piece in one.pieces.items()}
    pasted = sorted({name for one in there for name in one.pasted})
    return Typed("\n".join(one.text for one in there), pieces, tuple(pasted))


def cleaned(text: str) -> str:
    """Text from a clipboard, a file or an editor without what must not reach a terminal, its lines ended alike."""
    return without_controls(text.replace("\r\n", "\n").replace("\r", "\n"))


def defuse(text: str, tokens: Iterable[str] = ()) -> tuple[str, list[str]]:
    """The text with control tokens broken, and which they were (once each, in order). `tokens` are the model's own.

    llama-server turns the text `<｜Assistant｜>` anywhere in a message into the control token, and so ends the user's
    turn (seen with b11434). A word joiner after the first character keeps the text readable and breaks the token.
    """
    found: dict[str, None] = {}

    def broken(match: re.Match[str]) -> str:
        found[match[0]] = None
        return match[0][0] + WORD_JOINER + match[0][1:]

    own = [re.escape(token) for token in sorted(tokens, key=len, reverse=True) if len(token) > 2]
    pattern = re.compile("|".join([*own, _CONTROL_TOKENS.pattern])) if own else _CONTROL_TOKENS
    return pattern.sub(broken, text), list(found)


def _replaced(text: str, news: dict[str, str]) -> str:
    if not news:
        return text
    olds = "|".join(map(re.escape, sorted(news, key=len, reverse=True)))
    return re.sub(olds, lambda old: news[old[0]], text)
