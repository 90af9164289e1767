"""The line above the prompt that says what is marked, and whose keys act on it."""

from textual.binding import Binding
from textual.content import Content
from textual.widgets import Static


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
    BINDINGS = [
        Binding("escape,q", "screen.select_leave", "Done", id="select.leave"),
        Binding("y", "screen.select_copy", "Copy", id="select.copy"),
        Binding("s", "screen.select_save", "Save", id="select.save"),
        Binding("c", "screen.select_check", "Check", id="select.check"),
        Binding("e", "screen.select_edit", "Edit", id="select.edit"),
        Binding("r", "screen.select_anew", "Ask anew", id="select.anew"),
        Binding("t", "screen.select_thinking", "Thinking", id="select.thinking"),
        Binding("left,h", "screen.select_branch(-1)", "Branch before", id="select.branch_before", show=False,
                tooltip="Show the branch before this one; before the first is the last."),
        Binding("right,l", "screen.select_branch(1)", "Branch", key_display="←→", id="select.branch_after",
                tooltip="Show the next branch; after the last comes the first."),
        Binding("d", "screen.select_delete", "Delete", id="select.delete"),
        Binding("u", "screen.select_undo", "Undo", id="select.undo"),
        Binding("up,k", "screen.select_step(-1)", "Up", id="select.up", show=False,
                tooltip="Mark the one before."),
        Binding("down,j", "screen.select_step(1)", "Down", id="select.down", show=False,
                tooltip="Mark the next one."),
        Binding("home,g", "screen.select_end(0)", "First", id="select.first", show=False,
                tooltip="Mark the first one."),
        Binding("end,G", "screen.select_end(-1)", "Last", id="select.last", show=False,
                tooltip="Mark the last one."),
        Binding("pageup", "screen.select_page(-1)", "Page up", id="select.page_up", show=False,
                tooltip="Scroll up by a page, with the mark where it is."),
        Binding("pagedown", "screen.select_page(1)", "Page down", id="select.page_down", show=False,
                tooltip="Scroll down by a page, with the mark where it is."),
    ]  # fmt: skip
    keys_alone = True
    """Whether the line of keys shows those of the screen no more while this has the focus."""

    def say(self, text: str) -> None:
        """Show this text."""
        self.update(Content(text), layout=False)
