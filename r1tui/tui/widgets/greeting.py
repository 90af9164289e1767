"""What an empty chat shows: the model and how it is, and a few things to begin with."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from r1tui.tui.remedies import in_keys
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import Ink, one_line
from r1tui.tui.widgets.rows import Rows
from r1tui.tui.widgets.server_state import state

COLUMNS = 48
"""Room for what it says, nearly always; it stands in the middle, and does not move with its words."""
KEY_COLUMNS = 9

Hint = tuple[str, str]
"""A key as people write it, and what it does."""


class Greeting(Rows):
    """Shows what the instruments know of the server; `touch` it when that may have changed."""

    DEFAULT_CSS = """
    Greeting { height: 1fr; padding: 0 1; }
    """

    def __init__(self, figures: Figures, *, attached: bool) -> None:
        """`attached` to somebody else's server, there are no models to begin with."""
        super().__init__()
        self._figures = figures
        self._attached = attached
        self.title = ""
        """The model's name for people."""

    def on_mount(self) -> None:
        first = ("chat.conversations", "earlier chats") if self._attached else ("chat.variants", "the models")
        does = [("chat.prompts", "try a prompt"), first, ("app.keys", "all keys")]
        self._hints = [(in_keys(f"<{name}>", self.app), words) for name, words in does]

    def rows(self, width: int, height: int) -> list[Content]:
        return greeting(self._figures, self.title, self._hints, (width, height), self.ink)


def greeting(figures: Figures, title: str, hints: Sequence[Hint], room: tuple[int, int], ink: Ink) -> list[Content]:
    """In a room of columns and rows; with few rows the keys alone, with fewer nothing."""
    width, height = room
    plan = figures.plan.placement if figures.plan else ""
    model = [state(figures)] if figures.status else []
    model += [Content.styled(words, ink.muted) for words in (one_line(title), one_line(plan)) if words]
    column = max([KEY_COLUMNS, *(len(key) + 2 for key, _ in hints)])
    keys = [Content.assemble((key.ljust(column), ink.strong), (does, ink.muted)) for key, does in hints]
    indent = " " * max(0, (width - COLUMNS) // 2)
    for rows in ([*model, *([Content("")] if model else []), *keys], keys):
        if len(rows) <= height:
            above = (height - len(rows)) // 2
            return [*[Content("")] * above, *(Content(indent) + row if row.plain else row for row in rows)]
    return []
