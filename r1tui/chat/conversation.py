"""The model of a conversation: exchanges that may branch, of which one path from the first to the last is shown.

Widgets read it and never change it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import time
from typing import Literal

from r1tui.chat.answer import Answer

Messages = list[tuple[Literal["user", "assistant"], str]]


@dataclass(eq=False)
class Turn:
    """A question and its answer."""

    question: str
    answer: Answer = field(default_factory=Answer)
    answer_id: str = ""
    """What the server and the answer's record know the answer by."""
    inside_thinking: bool = False
    """Whether its stream begins with thinking that nothing marks."""
    parent: "Turn | None" = field(default=None, repr=False)
    """The exchange that it follows; None for the first of a conversation."""
    asked_s: float = field(default_factory=time)
    """When it was asked, as Unix time."""
    model: str = ""
    """The name of the variant that was asked; empty where nobody knows."""


@dataclass(frozen=True)
class Removal:
    """An exchange that was taken out, and what it takes to put it back."""

    turn: Turn
    index: int
    """Where in `every` it was."""
    followers: list[Turn]
    """What followed it."""
    end: Turn
    """The end of the branch that was shown."""


@dataclass
class Conversation:
    """Exchanges as a tree. `turns`, the path that is shown, changes only by the methods here."""

    id: str
    turns: list[Turn] = field(default_factory=list)
    """From the first exchange to the last one of the shown branch."""
    title: str = ""
    """The name that the user gave it; empty: its first question is its name."""
    every: list[Turn] = field(default_factory=list)
    """All exchanges of all branches, in the order in which they were asked."""

    def __post_init__(self) -> None:
        if not self.every:
            for before, turn in zip([None, *self.turns], self.turns, strict=False):
                turn.parent = before
            self.every = self.turns.copy()

    @property
    def name(self) -> str:
        """What lists call it: its title, else the first line of its first question."""
        return name_of(self.title, self.every[0].question if self.every else "")

    @property
    def running(self) -> bool:
        """Whether its last answer may still grow."""
        return bool(self.turns) and self.turns[-1].answer.running

    def ask(self, question: str, answer_id: str = "") -> Turn:
        """Add an exchange at the end, whose answer waits for its first event."""
        turn = Turn(question, answer_id=answer_id, parent=self.turns[-1] if self.turns else None)
        self.turns.append(turn)
        self.every.append(turn)
        return turn

    def ask_instead(self, turn: Turn, question: str, answer_id: str = "") -> Turn:
        """Begin a branch beside a shown exchange; what followed that one is no longer shown, and not lost."""
        del self.turns[self.turns.index(turn) :]
        return self.ask(question, answer_id)

    def places(self) -> list[tuple[int, int]]:
        """Of each shown exchange, which of how many branches it is; the first one is 1."""
        beside: dict[Turn | None, list[Turn]] = {}
        for one in self.every:
            beside.setdefault(one.parent, []).append(one)
        return [(beside[turn.parent].index(turn) + 1, len(beside[turn.parent])) for turn in self.turns]

    def branches(self, turn: Turn) -> list[Turn]:
        """The exchanges in whose place this one stands, itself among them, oldest first."""
        return [one for one in self.every if one.parent is turn.parent]

    def show(self, turn: Turn) -> None:
        """Show the branch of this exchange, to the end that was asked last."""
        path = [turn]
        while (before := path[0].parent) is not None:
            path.insert(0, before)
        while after := [one for one in self.every if one.parent is path[-1]]:
            path.append(after[-1])
        self.turns[:] = path

    def remove(self, turn: Turn) -> Removal:
        """Take one exchange out; what followed it then follows the one before it."""
        followers = [one for one in self.every if one.parent is turn]
        removal = Removal(turn, self.every.index(turn), followers, self.turns[-1] if self.turns else turn)
        for one in followers:
            one.parent = turn.parent
        self.every.remove(turn)
        if turn in self.turns:
            self.turns.remove(turn)
        ends = [one for one in self.every if one.parent is (self.turns[-1] if self.turns else None)]
        if ends:  # another branch there
            self.show(ends[-1])
        return removal

    def put_back(self, removal: Removal) -> None:
        """Undo a removal, the last one first; what was asked since stays."""
        turn = removal.turn
        while turn.parent is not None and turn.parent not in self.every:  # it is gone for good
            turn.parent = turn.parent.parent
        followers = [one for one in removal.followers if one in self.every]
        first = self.every.index(turn.parent) + 1 if turn.parent is not None else 0
        last = min([removal.index, *map(self.every.index, followers)])
        self.every.insert(max(first, last), turn)
        for one in followers:
            one.parent = turn
        self.show(removal.end if removal.end in self.every else turn)

    def messages(self) -> Messages:
        """What the request for the last answer says: (role, content), questions and answers without any thoughts.

        A stopped answer counts with what came. An earlier question without any answer is left out, since templates
        want the roles to alternate and whoever asks anew means the new question.
        """
        return [*_said(self.turns[:-1]), *(("user", turn.question) for turn in self.turns[-1:])]

    @property
    def context_tokens(self) -> int | None:
        """What it takes of the context, as the last answer knew that was counted; None where none was."""
        known = (count for turn in reversed(self.turns) if (count := turn.answer.context_tokens) is not None)
        return next(known, None if self.turns else 0)

    def messages_with(self, question: str, instead_of: Turn | None = None) -> Messages:
        """What the request would say if this were asked next, or in the place of an exchange that is shown."""
        before = self.turns if instead_of is None else self.turns[: self.turns.index(instead_of)]
        return [*_said(before), ("user", question)]


def name_of(title: str, first_question: str) -> str:
    """What a conversation with this title and first question is called."""
    return title or first_question.strip().partition("\n")[0]


def _said(turns: Sequence[Turn]) -> Messages:
    said: Messages = []
    for turn in turns:
        content = turn.answer.content.text
        if content.strip():
            said += [("user", turn.question), ("assistant", content)]
    return said
