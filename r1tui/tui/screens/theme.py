"""The themes: what the cursor is on is shown at once, all over the screen below."""

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import ModalScreen
from textual.theme import BUILTIN_THEMES, Theme
from textual.timer import Timer
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from r1tui.tui.commands import bindings_of
from r1tui.tui.remedies import in_keys

SHOWN_S = 1.0


class ThemeScreen(ModalScreen[str | None]):
    """The answer is the theme that is kept; None when the old one came back."""

    DEFAULT_CSS = """
    ThemeScreen {
        align: right middle;
        background: transparent;
        & > OptionList, & > OptionList:focus {
            width: 42;
            height: auto;
            max-height: 80%;
            border: round $primary;
            background: $surface;
            margin-right: 1;
        }
    }
    """
    BINDINGS = bindings_of("theme")

    def __init__(self) -> None:
        super().__init__()
        self.shows_below = False
        """Whether the screen below paints: only for as long as it takes to change its clothes."""
        self._showing: Timer | None = None

    def compose(self) -> ComposeResult:
        themes = self.app.available_themes.values()
        ours = [_option(theme) for theme in themes if theme.name not in BUILTIN_THEMES]
        textuals = [_option(theme) for theme in themes if theme.name in BUILTIN_THEMES]
        options = OptionList(*ours, None, *textuals, markup=False)
        options.border_title = "Theme"
        options.border_subtitle = in_keys("Enter keeps it, <theme.back> does not", self.app)
        yield options

    def on_mount(self) -> None:
        self._before = self.app.theme
        options = self.query_one(OptionList)
        options.highlighted = options.get_option_index(self.app.theme)

    @on(OptionList.OptionHighlighted)
    def _show(self, message: OptionList.OptionHighlighted) -> None:
        if message.option_id is not None and message.option_id != self.app.theme:
            self.shows_below = True
            self.app.theme = message.option_id
            if self._showing is not None:
                self._showing.stop()
            self._showing = self.set_timer(SHOWN_S, self._shown)

    def _shown(self) -> None:
        self.shows_below = False

    @on(OptionList.OptionSelected)
    def _keep(self, message: OptionList.OptionSelected) -> None:
        self.dismiss(message.option_id)

    def action_back(self) -> None:
        """Have the theme again that was there before."""
        self.app.theme = self._before
        self.dismiss(None)


def _option(theme: Theme) -> Option:
    kind = "16 colours" if theme.ansi else "dark" if theme.dark else "light"
    return Option(Content.assemble(f"{theme.name:<22} ", (kind, "italic")), id=theme.name)
