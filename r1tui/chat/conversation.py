"""The model of a conversation: exchanges that may branch, of which one path from the first to the last is shown.

Widgets read it and never change it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Literal

from r1tui.chat.answer import Answer

LITTLE_SHARE = 0.15
LITTLE_TOKENS = (1000, 4000)
"""Less is never too little by that share, and more is always enough: R1 thinks for some thousand tokens."""
SMALL_SHARE = 0.25
"""A context that is small itself is nearly full only when so little of it is left."""
MESSAGE_TOKENS = 16
"""The most that a template adds to a message."""
Messages = list[tuple[Literal["user", "assistant"], str]]


@dataclass(eq=False)
class Exchange:
    """A question and its answer."""

    question: str
    answer: Answer = field(default_factory=Answer)
    answer_id: str = ""
    """Id of the answer on the server and in its record."""
    inside_thinking: bool = False
    """True if its stream begins with thinking that nothing marks."""
    parent: "Exchange | None" = field(default=None, repr=False)
    """The exchange that it follows; None for the first of a conversation."""
    asked_s: float = field(default_factory=time)
    """Unix time of the question."""
    model: str = ""
    """The name of the variant that was asked; empty where nobody knows."""
    endpoint: str = ""
    """The address that was asked, and how its tokens were chosen: as long as this process lasts."""
    sampling: str = ""


@dataclass(frozen=True)
class Removal:
    """An exchange that was taken out, and what it takes to put it back."""

    exchange: Exchange
    index: int
    """Its former index in `every`."""
    followers: list[Exchange]
    """The exchanges after it."""
    end: Exchange
    """The end of the branch that was shown."""


@dataclass
class Conversation:
    """Exchanges as a tree. `exchanges`, the path that is shown, changes only by the methods here."""

    id: str
    exchanges: list[Exchange] = field(default_factory=list)
    """From the first exchange to the last one of the shown branch."""
    title: str = ""
    """The name that the user gave it; empty: its first question is its name."""
    every: list[Exchange] = field(default_factory=list)
    """All exchanges of all branches, in the order in which they were asked."""

    def __post_init__(self) -> None:
        if not self.every:
            for before, exchange in zip([None, *self.exchanges], self.exchanges, strict=False):
                exchange.parent = before
            self.every = self.exchanges.copy()

    @property
    def name(self) -> str:
        """Name in lists: its title, else the first line of its first question."""
        return name_of(self.title, self.every[0].question if self.every else "")

    @property
    def running(self) -> bool:
        """True if its last answer may still grow."""
        return bool(self.exchanges) and self.exchanges[-1].answer.running

    def ask(self, question: str, answer_id: str = "") -> Exchange:
        """Add an exchange at the end, whose answer waits for its first event."""
        exchange = Exchange(question, answer_id=answer_id, parent=self.exchanges[-1] if self.exchanges else None)
        self.exchanges.append(exchange)
        self.every.append(exchange)
        return exchange

    def ask_instead(self, exchange: Exchange, question: str, answer_id: str = "") -> Exchange:
        """Begin a branch beside a shown exchange; what followed that one is no longer shown, and not lost."""
        del self.exchanges[self.exchanges.index(exchange) :]
        return self.ask(question, answer_id)

    def places(self) -> list[tuple[int, int]]:
        """Of each shown exchange, which of how many branches it is; the first one is 1."""
        beside: dict[Exchange | None, list[Exchange]] = {}
        for one in self.every:
            beside.setdefault(one.parent, []).append(one)
        return [(beside[one.parent].index(one) + 1, len(beside[one.parent])) for one in self.exchanges]

    def branches(self, exchange: Exchange) -> list[Exchange]:
        """The exchanges in whose place this one stands, itself among them, oldest first."""
        return [one for one in self.every if one.parent is exchange.parent]

    def show(self, exchange: Exchange) -> None:
        """Show the branch of this exchange, to the end that was asked last."""
        path = path_to(exchange)
        while after := [one for one in self.every if one.parent is path[-1]]:
            path.append(after[-1])
        self.exchanges[:] = path

    def remove(self, exchange: Exchange) -> Removal:
        """Take one exchange out; what followed it then follows the one before it."""
        followers = [one for one in self.every if one.parent is exchange]
        end = self.exchanges[-1] if self.exchanges else exchange
        removal = Removal(exchange, self.every.index(exchange), followers, end)
        for one in followers:
            one.parent = exchange.parent
        self.every.remove(exchange)
        if exchange in self.exchanges:
            self.exchanges.remove(exchange)
        ends = [one for one in self.every if one.parent is (self.exchanges[-1] if self.exchanges else None)]
        if ends:  # another branch there
            self.show(ends[-1])
        return removal

    def put_back(self, removal: Removal) -> None:
        """Undo a removal, the last one first; what was asked since stays."""
        exchange = removal.exchange
        while exchange.parent is not None and exchange.parent not in self.every:  # it is gone for good
            exchange.parent = exchange.parent.parent
        followers = [one for one in removal.followers if one in self.every]
        first = self.every.index(exchange.parent) + 1 if exchange.parent is not None else 0
        last = min([removal.index, *map(self.every.index, followers)])
        self.every.insert(max(first, last), exchange)
        for one in followers:
            one.parent = exchange
        self.show(removal.end if removal.end in self.every else exchange)

    def messages(self) -> Messages:
        """Messages of the request for the last answer: (role, content), without any thinking.

        A stopped answer counts with what came. An earlier question without any answer is left out, since templates
        want the roles to alternate and whoever asks anew means the new question.
        """
        return [*_said(self.exchanges[:-1]), *(("user", exchange.question) for exchange in self.exchanges[-1:])]

    @property
    def context_tokens(self) -> int | None:
        """Tokens in the context, by the last counted answer; None if none was counted."""
        known = (count for one in reversed(self.exchanges) if (count := one.answer.context_tokens) is not None)
        return next(known, None if self.exchanges else 0)

    def messages_with(self, question: str, instead_of: Exchange | None = None) -> Messages:
        """Messages of the request if this were asked next, or instead of a shown exchange."""
        before = self.exchanges if instead_of is None else self.exchanges[: self.exchanges.index(instead_of)]
        return [*_said(before), ("user", question)]


@dataclass(frozen=True)
class ContextBudget:
    """A prompt and the context that it goes into, in tokens."""

    prompt_tokens: int
    context_tokens: int

    @property
    def left(self) -> int:
        """Most tokens an answer can have; 0 or less if the prompt is refused."""
        return self.context_tokens - self.prompt_tokens

    @property
    def is_full(self) -> bool:
        """True if llama-server refuses the prompt."""
        return self.left <= 0

    @property
    def is_nearly_full(self) -> bool:
        """True if an answer is likely to be cut off."""
        least, most = LITTLE_TOKENS
        little = min(max(LITTLE_SHARE * self.context_tokens, least), most, SMALL_SHARE * self.context_tokens)
        return self.left < little

    def __str__(self) -> str:
        return f"{self.prompt_tokens:,} of the context's {self.context_tokens:,} tokens"


def surely_has_room(texts: Iterable[str], context_tokens: int) -> bool:
    """True if these messages leave room however they are cut into tokens: none is less than a byte."""
    most = sum(len(text.encode()) + MESSAGE_TOKENS for text in texts)
    return not ContextBudget(most, context_tokens).is_nearly_full


def path_to(end: Exchange | None) -> list[Exchange]:
    """The exchanges from the first one to this one."""
    path: list[Exchange] = []
    while end is not None:
        path.insert(0, end)
        end = end.parent
    return path


def name_of(title: str, first_question: str) -> str:
    """The displayed name of a conversation with this title and first question."""
    return title or first_question.strip().partition("\n")[0]


def _said(exchanges: Sequence[Exchange]) -> Messages:
    said: Messages = []
    for exchange in exchanges:
        content = exchange.answer.content.text
        if content.strip():
            said += [("user", exchange.question), ("assistant", content)]
    return said
