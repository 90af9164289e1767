"""What the chat has besides prompt and instruments: imported and mounted after the first screen, for its sake."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from r1tui.tui.widgets.greeting import Greeting
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.selection import Selection
from r1tui.tui.widgets.stages import Stages
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.unsaved_line import UnsavedLine

if TYPE_CHECKING:
    from r1tui.tui.widgets.figures import Figures


class Furniture:
    """The widgets, not yet mounted."""

    def __init__(self, figures: Figures, clock: Callable[[], float], may_change: Callable[[], bool]) -> None:
        """`may_change` says whether another path of the conversation may be shown."""
        self.greeting = Greeting(figures)
        self.stages = Stages(clock=clock)
        self.transcript = Transcript()
        self.unsaved = UnsavedLine()
        self.selection = Selection(self.transcript, may_change)
        self.footer = KeyLine()
