"""What the chat has besides its prompt: imported and mounted after the first screen, which comes so much sooner."""

from collections.abc import Callable

from textual.widgets import Footer

from r1tui.tui.widgets.instruments import Instruments
from r1tui.tui.widgets.stages import Stages
from r1tui.tui.widgets.transcript import Transcript


class Furniture:
    """The widgets, not yet mounted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.line = Instruments(compact=True, clock=clock, id="line")
        self.panel = Instruments(clock=clock, id="panel")
        self.instruments = (self.line, self.panel)
        self.stages = Stages(clock=clock)
        self.transcript = Transcript()
        self.footer = Footer()
