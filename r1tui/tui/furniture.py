"""What the chat has besides prompt and instruments: imported and mounted after the first screen, for its sake."""

from collections.abc import Callable

from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.stages import Stages
from r1tui.tui.widgets.transcript import Transcript


class Furniture:
    """The widgets, not yet mounted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.stages = Stages(clock=clock)
        self.transcript = Transcript()
        self.footer = KeyLine()
