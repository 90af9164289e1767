"""Where the question is typed: several lines, Enter sends."""

from dataclasses import dataclass

from textual.binding import Binding
from textual.message import Message
from textual.widgets import TextArea


class Prompt(TextArea):
    """A text area that grows with its text up to a third of a small terminal."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-width: 12;
        min-height: 3;
        max-height: 8;
        border: round $primary-muted;
        background: $background;
        padding: 0 1;
        &:focus { border: round $primary; }
        & .text-area--placeholder { color: $text-muted; }
    }
    """
    BINDINGS = [
        Binding("enter", "submit", "Send", id="prompt.send", show=False, priority=True),
        Binding("ctrl+j,alt+enter", "newline", "New line", id="prompt.newline", show=False, priority=True),
    ]

    @dataclass
    class Submitted(Message):
        """The user wants this asked. The prompt is empty again; `give_back` is for what cannot be asked now."""

        text: str

    def __init__(self) -> None:
        super().__init__(
            soft_wrap=True, show_line_numbers=False, tab_behavior="focus", placeholder="Ask something. Enter sends."
        )
        self.cursor_blink = False  # two repaints a second, over SSH too

    def action_submit(self) -> None:
        """Send what is typed.

        It waits for the keys that came before this one and still wait for their turn.
        """
        self.call_later(self._submit)

    def action_newline(self) -> None:
        """Begin another line.

        It waits for its turn too.
        """
        self.call_later(self.insert, "\n")

    def give_back(self, text: str) -> None:
        """Have the text again, before what was typed since."""
        self.insert(text, (0, 0))

    def _submit(self) -> None:
        if self.text.strip():
            self.post_message(self.Submitted(self.text))
            self.clear()
