"""The prompts of the config: a list, and the one under the cursor in full beside it."""

from collections.abc import Mapping

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from r1tui.chat.typed import cleaned
from r1tui.tui.commands import bindings_of
from r1tui.tui.widgets.key_line import KeyLine


class PromptsScreen(ModalScreen[str | None]):
    """The answer is the text of the chosen prompt, or None."""

    DEFAULT_CSS = """
    PromptsScreen {
        align: center middle;
        & > Horizontal {
            width: 110;
            max-width: 96%;
            height: 16;
            max-height: 90%;
            border: round $primary;
            background: $surface;
        }
        OptionList, OptionList:focus {
            width: 30%;
            min-width: 20;
            height: 1fr;
            border: none;
            border-right: solid $primary-muted;
            background: $surface;
            padding: 0 1;
        }
        VerticalScroll { width: 1fr; padding: 0 1; }
        Static { width: 1fr; }
    }
    """
    BINDINGS = bindings_of("prompts")

    def __init__(self, prompts: Mapping[str, str]) -> None:
        super().__init__()
        self._prompts = {name: cleaned(text).strip("\n") for name, text in prompts.items()}

    def compose(self) -> ComposeResult:
        with Horizontal() as box:
            box.border_title = "Prompts"
            box.border_subtitle = "Enter puts it into yours · prompts: in the config"
            yield OptionList(*(Option(Content(cleaned(name)), id=name) for name in self._prompts), markup=False)
            with VerticalScroll(can_focus=False):
                yield Static(Content("" if self._prompts else "The config has no prompts."))
        yield KeyLine()

    @on(OptionList.OptionHighlighted)
    def _look(self, event: OptionList.OptionHighlighted) -> None:
        self.query_one(Static).update(Content(self._prompts[event.option.id or ""]))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._prompts[event.option.id or ""])

    def action_back(self) -> None:
        """Choose nothing."""
        self.dismiss(None)
