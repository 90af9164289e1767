"""The last line of a screen: the keys that do something now, as many as it has room for, what matters most first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from r1tui.tui.commands import COMMANDS, OWN_RANK

HELP = "app.keys"
"""The id of the key that is always there."""


class ShownKey(NamedTuple):
    """A key on the line."""

    key: str
    """As it is pressed."""
    display: str
    """As it is written."""
    word: str
    at_the_end: bool
    """True if it is the application's, which has its keys at the right."""

    @property
    def content(self) -> Content:
        """The command's part of the line."""
        return Content.assemble((f" {self.display} ", "bold $footer-key-foreground"), f"{self.word} ")


class KeyLine(Widget):
    """Textual's footer cuts off what the line has no room for; on a modal screen it forgets the key of the help."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; color: $footer-foreground; background: $footer-background; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[ShownKey] = []
        self._stale = False

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def on_unmount(self) -> None:
        self.screen.bindings_updated_signal.unsubscribe(self)

    def on_resize(self) -> None:
        self._changed()

    def render(self) -> Content:
        line, column = [], 0
        for start, one in self._places():
            line += [Content(" " * (start - column)), one.content]
            column = start + one.content.cell_length
        return Content("").join(line)

    def on_click(self, event: events.Click) -> None:
        """A key that is clicked is pressed."""
        for start, one in self._places():
            if start <= event.x < start + one.content.cell_length:
                self.app.simulate_key(one.key)

    def _places(self) -> Iterator[tuple[int, ShownKey]]:
        """The column that each key begins at."""
        column = 0
        for one in (one for one in self._shown if not one.at_the_end):
            yield column, one
            column += one.content.cell_length
        ending = [one for one in self._shown if one.at_the_end]
        column = max(column, self.size.width - sum(one.content.cell_length for one in ending))
        for one in reversed(ending):  # the help last
            yield column, one
            column += one.content.cell_length

    def _changed(self, _screen: Screen[object] | None = None) -> None:
        """Look again, once for all that changes now."""
        if not self._stale:
            self._stale = True
            self.call_after_refresh(self._look)

    def _look(self) -> None:
        self._stale = False
        if not self.is_attached:
            return
        shown = self._fitting()
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def _fitting(self) -> list[ShownKey]:
        """The commands that fit."""
        room, shown = self.size.width, []
        for binding in sorted(self._offered(), key=_rank):
            one = ShownKey(binding.key, self.app.get_key_display(binding), binding.description, _is_of_app(binding))
            if one.content.cell_length <= room:
                room -= one.content.cell_length
                shown.append(one)
        return shown

    def _offered(self) -> Iterator[Binding]:
        """The bindings that do something now, each action once, and the one that helps."""
        alone = self.screen.focused if getattr(self.screen.focused, "keys_alone", False) else None
        offered: set[tuple[DOMNode, str]] = set()
        for node, binding, _enabled, _tooltip in self.screen.active_bindings.values():
            is_wanted = binding.show and (alone is None or node is alone or _is_of_app(binding))
            if is_wanted and (node, binding.action) not in offered:
                offered.add((node, binding.action))
                yield binding
        help_key = COMMANDS[HELP].binding()
        if (self.app, help_key.action) not in offered:
            own = getattr(self.app, "keymap", {})
            yield help_key.with_key(own.get(HELP, help_key.key).partition(",")[0].strip())


def _rank(binding: Binding) -> int:
    command = COMMANDS.get(binding.id or "")
    return command.rank if command is not None else OWN_RANK


def _is_of_app(binding: Binding) -> bool:
    return (binding.id or "").startswith("app.")
