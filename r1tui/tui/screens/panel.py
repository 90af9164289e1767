"""The instruments alone, on the whole screen: all that is known of server, answer, GPUs and machine."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.instrument_board import Board
from r1tui.tui.widgets.key_line import KeyLine


class PanelScreen(Screen[None]):
    """Shows the figures that the chat collects meanwhile."""

    DEFAULT_CSS = """
    PanelScreen { overflow: hidden; }
    """
    BINDINGS = [Binding("escape,q,ctrl+o", "dismiss", "Back", id="panel.back", tooltip="Go back to the chat.")]

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures = figures

    def compose(self) -> ComposeResult:
        yield Board(self._figures)
        yield KeyLine()
