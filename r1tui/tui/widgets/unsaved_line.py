"""The line that says what is not saved, for as long as that is so."""

from textual.content import Content
from textual.widgets import Static

from r1tui.tui.remedies import in_keys
from r1tui.tui.widgets.transcript_rows import safe_text


class UnsavedLine(Static):
    """One line above the prompt, there as long as it has something to say."""

    DEFAULT_CSS = """
    UnsavedLine {
        display: none;
        height: 1;
        padding: 0 1;
        background: $warning-muted;
        color: $text-warning;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """

    def say(self, text: str) -> None:
        """Show this text, with keys in place of the actions that it names; without any, be gone."""
        if text:
            self.update(Content(safe_text(in_keys(text, self.app))), layout=False)
        self.display = bool(text)
