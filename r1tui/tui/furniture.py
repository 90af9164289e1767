"""The widgets of the chat; but for prompt and instruments made and mounted after the first screen, for its sake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1tui.tui.widgets.greeting import Greeting
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.selection import Selection
from r1tui.tui.widgets.stages import Stages
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.unsaved_line import UnsavedLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.widget import Widget

    from r1tui.tui.widgets.composer import Composer
    from r1tui.tui.widgets.instruments import Instruments


class Furniture:
    """All of them."""

    def __init__(
        self, instruments: Instruments, composer: Composer, may_change: Callable[[], bool], *, attached: bool
    ) -> None:
        """`may_change` says whether another path of the conversation may be shown."""
        self.instruments = instruments
        self.composer = composer
        self.greeting = Greeting(instruments.figures, attached=attached)
        self.stages = Stages(clock=instruments.figures.clock)
        self.transcript = Transcript()
        self.unsaved = UnsavedLine()
        self.selection = Selection(self.transcript, may_change)
        self.footer = KeyLine()

    @property
    def later(self) -> tuple[Widget, ...]:
        """Those to be mounted above the prompt, in their order, and the line of keys."""
        return self.stages, self.greeting, self.transcript, self.unsaved, self.selection, self.footer

    def set_pace(self, refresh_hz: float, *, slow_link: bool) -> None:
        """Draw so often."""
        self.transcript.set_pace(refresh_hz, wide_jumps=slow_link)
        self.instruments.slow_down(5.0 if slow_link else 1.0)
