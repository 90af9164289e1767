"""A field with a few values, one of which is shown."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from r1tui.tui.commands import bindings_of

T = TypeVar("T")


class Switch(Static, Generic[T], can_focus=True):
    """Several values, one of which is shown."""

    DEFAULT_CSS = """
    Switch:focus { text-style: reverse; }
    Switch:disabled { color: $text-disabled; }
    """
    BINDINGS = bindings_of("switch")

    class Turned(Message):
        """Another value of a switch is chosen."""

        def __init__(self, switch: "Switch[Any]") -> None:
            super().__init__()
            self.switch = switch

    def __init__(self, values: Mapping[T, str], value: T, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._values = values
        self.value = value

    def render(self) -> Content:
        return Content(self._values[self.value])

    def show(self, value: T) -> None:
        """Have this value."""
        self.value = value
        self.refresh()

    def action_turn(self, step: int) -> None:
        values = list(self._values)
        self.show(values[(values.index(self.value) + step) % len(values)])
        self.post_message(self.Turned(self))
