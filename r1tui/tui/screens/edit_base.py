"""What of the chat is about asking an earlier question anew: the prompt has it until it is sent or left."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from r1tui.tui.screens.seat_base import SeatBase
from r1tui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from r1tui.chat.conversation import Turn
    from r1tui.tui.widgets.select_bar import HintBar


class EditBase(SeatBase):
    """A screen whose prompt may hold an earlier question."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self._edited: Turn | None = None
        self._put_by = ""
        """What the prompt had before."""
        self._edit_hint: HintBar | None = None

    @property
    def editing(self) -> bool:
        """Whether the prompt holds an earlier question."""
        return self._edited is not None

    def _begin_edit(self, turn: Turn, question: str | None = None) -> None:
        """Have the exchange's question in the prompt, or what has become of it already."""
        from r1tui.tui.widgets.select_bar import HintBar  # noqa: PLC0415  after the first screen

        self._leave_edit()
        prompt = self.query_one(Prompt)
        self._edited, self._put_by = turn, prompt.text
        self._edit_hint = hint = HintBar()
        self.mount(hint, before=prompt)
        number = self.conversation.turns.index(turn) + 1
        hint.say(f"Editing question {number}: Enter asks it anew, Esc leaves it")
        self._set_prompt(turn.question if question is None else question)
        self.refresh_bindings()

    def _leave_edit(self) -> Turn | None:
        """The prompt has again what it had; the question that was edited, None for none that is shown."""
        turn, self._edited = self._edited, None
        if self._edit_hint is not None:
            self._edit_hint.remove()
            self._edit_hint = None
        if turn is not None:
            self._set_prompt(self._put_by)
            self.refresh_bindings()
        return turn if turn in self.conversation.turns else None

    def _leave_foreign_edit(self) -> None:
        """Leave it when its question is no longer one of the conversation."""
        if self._edited is not None and self._edited not in self.conversation.turns:
            self._leave_edit()

    def _set_prompt(self, text: str) -> None:
        prompt = self.query_one(Prompt)
        prompt.text = text
        prompt.move_cursor(prompt.document.end)
