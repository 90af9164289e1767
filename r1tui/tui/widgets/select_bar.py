"""The line above the prompt that says what is marked, and whose keys act on it."""

from textual.content import Content
from textual.widgets import Static

from r1tui.tui.commands import bindings_of


class SelectBar(Static, can_focus=True):
    """One line of text, cut where the screen ends. It has the focus while something is marked."""

    DEFAULT_CSS = """
    SelectBar {
        height: 1;
        padding: 0 1;
        background: $primary-muted;
        color: $text;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """
    BINDINGS = bindings_of("select")
    keys_alone = True
    """Whether the line of keys shows those of the screen no more while this has the focus."""

    def say(self, text: str) -> None:
        """Show this text."""
        self.update(Content(text), layout=False)
