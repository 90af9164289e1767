"""The actions of what is on the screen, out of its bindings: what the help lists and the palette offers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen


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

    @property
    def is_one_of_many(self) -> bool:
        """Whether it is one of a row of alike ones, which only those look for who know them."""
        return bool(re.search(r"\d$", self.name))


def actions(screen: Screen[Any]) -> list[Action]:
    """The actions of the screen, of what is on it, and of the application; each id once."""
    found: dict[str, Action] = {}
    for node in (screen, *screen.walk_children(), screen.app):
        for binding in bindings(type(node)):
            if binding.description and binding.id:
                does = binding.tooltip or _first_line(node, binding.action) or binding.description
                new = Action(binding.id, binding.key, binding.description, does, node, binding.action)
                found.setdefault(binding.id, new)
        for title, action in getattr(type(node), "KEYLESS", ()):
            found.setdefault(action, Action(action, "", title, _first_line(node, action) or title, node, action))
    return list(found.values())


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
