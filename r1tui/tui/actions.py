"""The actions of what is on the screen, out of its bindings: what the help lists and the palette offers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from r1tui.tui.wordbook import MOVING, TITLES, heading_of


class Action(NamedTuple):
    """What a binding does."""

    name: str
    """The binding's id; of an action without a key, its own name."""
    keys: str
    """Those that it has by default, separated by commas."""
    title: str
    does: str
    """A sentence: the binding's tooltip, else the first line of the method's docstring."""
    node: DOMNode
    """Whose action it is."""
    action: str
    mode: str = ""
    """The id of the action that has to be done first, where the keys mean this only after it."""

    @property
    def is_one_of_many(self) -> bool:
        """Whether it is one of a row of alike ones, which only those look for who know them."""
        return bool(re.search(r"\d$", self.name))

    @property
    def only_moves(self) -> bool:
        """Whether all it does is to move a view or a mark."""
        return heading_of(self.name) in MOVING


def actions(screen: Screen[Any]) -> list[Action]:
    """The actions of the screen, of what is on it, and of the application; each id once."""
    found: dict[str, Action] = {}
    for node in (screen, *screen.walk_children(), screen.app):
        for binding in bindings(type(node)):
            if binding.description and binding.id:
                found.setdefault(binding.id, _action(binding, node))
        for title, action in getattr(type(node), "KEYLESS", ()):
            found.setdefault(action, Action(action, "", title, _first_line(node, action) or title, node, action))
    if (mode := getattr(screen, "mode_of_keys", None)) is not None:
        begun_by, begin_with, widget = mode()
        for binding in bindings(widget):
            if binding.id and binding.id not in found:
                action = _action(binding, screen)
                found[binding.id] = action._replace(action=f"{begin_with}({binding.action!r})", mode=begun_by)
    return list(found.values())


def _action(binding: Binding, node: DOMNode) -> Action:
    name = binding.id or ""
    does = binding.tooltip or _first_line(node, binding.action) or binding.description
    return Action(name, binding.key, TITLES.get(name, binding.description), does, node, binding.action)


def bindings(node: type[DOMNode]) -> Iterator[Binding]:
    """The bindings that can be rebound, of a screen or widget of ours and of the parts it is made of."""
    for part in reversed(node.__mro__):
        if part.__module__.startswith("r1tui."):
            yield from (one for one in vars(part).get("BINDINGS", ()) if isinstance(one, Binding) and one.id)


async def run(app: App[Any], action: Action) -> None:
    """Do it, or say that it cannot be done now."""
    if not await app.run_action(action.action, default_namespace=action.node):
        app.notify(f"{action.title}: there is nothing to do now.", markup=False)


def _first_line(node: DOMNode, action: str) -> str:
    """Of the docstring of the action's method, if it is one of ours."""
    place, _, name = action.partition("(")[0].rpartition(".")
    owner: DOMNode = {"app": node.app, "screen": node.screen}.get(place, node)
    method = getattr(type(owner), f"action_{name}", None)
    if method is None or not method.__module__.startswith("r1tui."):
        return ""
    return (method.__doc__ or "").strip().partition("\n")[0]
