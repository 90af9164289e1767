"""What of the chat is about asking an earlier question anew: the prompt has it until it is sent or left."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.seat_base import SeatBase

if TYPE_CHECKING:
    from r1tui.chat.conversation import Turn


class EditBase(SeatBase):
    """A screen whose prompt may hold an earlier question."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self._edited: Turn | None = None

    @property
    def editing(self) -> bool:
        """Whether the prompt holds an earlier question."""
        return self._edited is not None

    def _begin_edit(self, turn: Turn, question: str | None = None) -> None:
        """Have the exchange's question in the prompt, or what has become of it already."""
        self._leave_edit()
        self._edited = turn
        number = self.conversation.turns.index(turn) + 1
        title = in_keys(f"Editing question {number}: <prompt.send> asks it anew, <chat.stop> leaves it", self.app)
        self.prompt.put_aside(turn.question if question is None else question, title)
        self.refresh_bindings()

    def _leave_edit(self) -> Turn | None:
        """The prompt has again what it had; the question that was edited, None for none that is shown."""
        turn, self._edited = self._edited, None
        if turn is not None:
            self.prompt.bring_back()
            self.refresh_bindings()
        return turn if turn in self.conversation.turns else None

    def _leave_foreign_edit(self) -> None:
        """Leave it when its question is no longer one of the conversation."""
        edited = self._edited
        if edited is not None and edited not in self.conversation.turns:
            changed = self.prompt.typed
            self._leave_edit()
            if changed.whole.strip() not in ("", edited.question.strip()):  # of which nobody else knows
                self.prompt.put_before(changed)
