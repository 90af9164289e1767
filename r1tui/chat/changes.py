"""What of a conversation has changed since it was last written: only that goes to disk.

It is worked out where the conversation is changed, and is cheap enough for that: of a running answer just the new text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec

from r1tui.chat.answer import Answer, Pieces
from r1tui.chat.conversation import Conversation, Exchange

Value = str | int | float | None


@dataclass(frozen=True)
class Put:
    """An exchange as it is now, with its whole text: column -> value."""

    number: int
    columns: dict[str, Value]


@dataclass(frozen=True)
class Grow:
    """New text of a running answer."""

    number: int
    answer: str
    thinking: str
    tokens: int
    thinking_tokens: int
    thinking_s: float | None


@dataclass(frozen=True)
class Drop:
    number: int


Extent = tuple[int, int]
"""How many characters of an exchange's answer and thinking there are."""


@dataclass(frozen=True)
class Changes:
    """The changes of one conversation."""

    id: str
    title: str
    shown: int | None
    """The number of the exchange at which the shown path ends."""
    whole: bool
    """Whether this is all of it, and not only what is new."""
    exchanges: list[Put | Grow | Drop]

    def extents(self, known: dict[int, Extent]) -> dict[int, Extent]:
        """How much of each exchange is on disk when these are, after what was `known` before, by its number."""
        extents = dict(known)
        for change in self.exchanges:
            match change:
                case Put(number, columns):
                    extents[number] = (len(str(columns["answer"])), len(str(columns["thinking"])))
                case Grow(number, answer, thinking):
                    n_answer, n_thinking = extents.get(number, (0, 0))
                    extents[number] = (n_answer + len(answer), n_thinking + len(thinking))
                case Drop(number):
                    extents.pop(number, None)
        return extents


class _Written(NamedTuple):
    """What was written of an exchange."""

    fixed: tuple[Value, ...]
    answer: Pieces
    thinking: Pieces
    answer_count: int
    thinking_count: int


@dataclass
class Tracker:
    """Knows what was written of a conversation. A conversation that was loaded comes with its exchanges' numbers."""

    conversation: Conversation
    numbers: dict[Exchange, int] = field(default_factory=dict)
    _written: dict[Exchange, _Written] = field(default_factory=dict)
    _head: tuple[str, int | None] | None = None

    def is_loaded(self, but: Iterable[Exchange] = ()) -> None:
        """All of it is on disk as it is now, `but` these."""
        self.changes()
        for exchange in but:
            self._written.pop(exchange, None)

    def forget(self) -> None:
        """Take everything as unsaved."""
        self._written, self._head = {}, None

    def extents(self) -> dict[int, Extent]:
        """How much there is of each exchange, by its number."""
        return {self.numbers[one]: _extent(one) for one in self.conversation.every if one in self.numbers}

    def words_beyond(self, known: dict[int, Extent]) -> int:
        """How many words there are beyond these extents; questions that are in none of them count, too."""
        words = 0
        for exchange in self.conversation.every:
            extent = known.get(self.numbers.get(exchange, -1))
            if extent is None:
                words += len(exchange.question.split())
            if extent != _extent(exchange):
                n_answer, n_thinking = extent or (0, 0)
                new = (exchange.answer.content.text[n_answer:], exchange.answer.thinking.text[n_thinking:])
                words += sum(len(text.split()) for text in new)
        return words

    def changes(self) -> Changes | None:
        """What is new since the last call; None when nothing is. An empty conversation is nothing."""
        conversation, known = self.conversation, self._written
        whole = self._head is None
        every = set(conversation.every)
        changed: list[Put | Grow | Drop] = [Drop(self.numbers[exchange]) for exchange in known if exchange not in every]
        for exchange in [exchange for exchange in known if exchange not in every]:
            del known[exchange]
        for exchange in conversation.every:
            if exchange not in self.numbers:
                self.numbers[exchange] = max(self.numbers.values(), default=-1) + 1
        order = [self.numbers[exchange] for exchange in conversation.every]
        if any(after <= before for before, after in pairwise(order)):  # something was put between others
            self.numbers = {exchange: number for number, exchange in enumerate(conversation.every)}
            known.clear()
            whole, changed = True, []
        for exchange in conversation.every:
            if (change := self._change(exchange)) is not None:
                changed.append(change)
        shown = self.numbers[conversation.exchanges[-1]] if conversation.exchanges else None
        head = (conversation.title, shown)
        if (not changed and head == self._head) or (whole and not every):
            return None
        self._head = head
        return Changes(conversation.id, _storable(conversation.title), shown, whole, changed)

    def _change(self, exchange: Exchange) -> Put | Grow | None:
        answer, written = exchange.answer, self._written.get(exchange)
        if answer.running and answer.has_less_than_saved:  # what is on disk stays until it is all here again
            return Put(self.numbers[exchange], _columns(exchange, answer, self.numbers)) if self._head is None else None
        fixed = self._fixed(exchange)
        same = written is not None and written.fixed == fixed
        same = same and written is not None and written.answer is answer.content and written.thinking is answer.thinking
        new_answer, answer_count = answer.content.since(written.answer_count if written and same else 0)
        new_thinking, thinking_count = answer.thinking.since(written.thinking_count if written and same else 0)
        now = _Written(fixed, answer.content, answer.thinking, answer_count, thinking_count)
        if same and now == written:
            return None
        self._written[exchange] = now
        if same and answer.running:
            return Grow(
                self.numbers[exchange], _storable(new_answer), _storable(new_thinking),
                answer.tokens, answer.thinking_tokens, answer.thinking_s,
            )  # fmt: skip
        return Put(self.numbers[exchange], _columns(exchange, answer, self.numbers))

    def _fixed(self, exchange: Exchange) -> tuple[Value, ...]:
        """What an exchange is besides the text of its answer; the figures of a running one come with its text."""
        answer = exchange.answer
        state = "" if answer.running else answer.state
        ended = f"{state} {answer.cause}{answer.remedy}{answer.cut}{answer.finished}"
        parent = self.numbers.get(exchange.parent) if exchange.parent is not None else None
        asked = (exchange.question, exchange.answer_id, exchange.inside_thinking, exchange.model)
        return (parent, *asked, answer.running, ended)


def _extent(exchange: Exchange) -> Extent:
    return len(exchange.answer.content.text), len(exchange.answer.thinking.text)


def _columns(exchange: Exchange, answer: Answer, numbers: dict[Exchange, int]) -> dict[str, Value]:
    is_behind = answer.running and answer.has_less_than_saved
    texts = answer.saved if is_behind else (answer.content.text, answer.thinking.text)
    columns: dict[str, Value] = {
        "parent": numbers.get(exchange.parent) if exchange.parent is not None else None,
        "asked_s": exchange.asked_s,
        "question": exchange.question,
        "state": answer.state,
        "answer": texts[0],
        "thinking": texts[1],
        "base": msgspec.json.encode(answer.base).decode() if answer.base is not None else None,
        "cut": answer.cut,
        "tokens": answer.tokens,
        "thinking_tokens": answer.thinking_tokens,
        "thinking_s": answer.thinking_s,
        "cause": answer.cause,
        "remedy": answer.remedy,
        "answer_id": exchange.answer_id,
        "inside_thinking": exchange.inside_thinking,
        "model": exchange.model,
        "figures": msgspec.json.encode(answer.finished).decode() if answer.finished is not None else None,
    }
    return {name: _storable(value) if isinstance(value, str) else value for name, value in columns.items()}


def _storable(text: str) -> str:
    """The text, whatever of it no UTF-8 can say replaced by as many question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
