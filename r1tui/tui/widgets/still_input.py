"""A field of one line whose cursor does not blink: that would be two repaints a second, over SSH too."""

from typing import Any

from textual.events import Key
from textual.widgets import Input

from r1tui.tui.widgets.own_keys import run_own_binding


class StillInput(Input):
    """Textual's field, quiet."""

    def __init__(self, value: str | None = None, **options: Any) -> None:
        super().__init__(value, **options)
        self.cursor_blink = False

    async def on_key(self, event: Key) -> None:
        if not event.is_printable:
            await run_own_binding(self, event)
