"""A field of one line whose cursor does not blink: that would be two repaints a second, over SSH too."""

from typing import Any

from textual.widgets import Input


class StillInput(Input):
    """Textual's field, quiet."""

    def __init__(self, value: str | None = None, **options: Any) -> None:
        super().__init__(value, **options)
        self.cursor_blink = False
