"""The models of a server of the user's own, to choose from."""

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from r1tui.text import one_line
from r1tui.tui.commands import bindings_of
from r1tui.tui.widgets.key_line import KeyLine


class ServerModelsScreen(ModalScreen[str | None]):
    """The answer is the name of the chosen model, or None."""

    DEFAULT_CSS = """
    ServerModelsScreen {
        align: center middle;
        & > OptionList {
            width: 80;
            max-width: 96%;
            height: auto;
            max-height: 80%;
            background: $surface;
            padding: 0 1;
        }
        & > OptionList, & > OptionList:focus { border: round $primary; }
    }
    """
    BINDINGS = bindings_of("server_models")

    def __init__(self, names: Sequence[str], chosen: str) -> None:
        super().__init__()
        self._names = list(names)
        self._chosen_name = chosen

    def compose(self) -> ComposeResult:
        models = OptionList(*(Option(Content(one_line(name) or ascii(name))) for name in self._names), markup=False)
        models.border_title = "The server's models"
        models.border_subtitle = "Enter chooses one for the next questions"
        yield models
        yield KeyLine()

    def on_mount(self) -> None:
        if self._chosen_name in self._names:
            self.query_one(OptionList).highlighted = self._names.index(self._chosen_name)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])

    def action_back(self) -> None:
        """Choose nothing."""
        self.dismiss(None)
