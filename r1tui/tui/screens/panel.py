"""The instruments alone, on the whole screen: all that is known of server, answer, GPUs and machine."""

from textual.app import ComposeResult
from textual.screen import Screen

from r1tui.tui.commands import bindings_of
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.instrument_board import Board
from r1tui.tui.widgets.key_line import KeyLine


class PanelScreen(Screen[None]):
    """Shows the figures that the chat collects meanwhile."""

    DEFAULT_CSS = """
    PanelScreen { overflow: hidden; }
    """
    BINDINGS = bindings_of("panel")

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures = figures

    def compose(self) -> ComposeResult:
        yield Board(self._figures)
        yield KeyLine()
