"""The commands of what is on the screen, each with the screen or widget that does it: for the help and the palette."""

from typing import Any, NamedTuple

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from r1tui.tui.commands import COMMANDS, Command, of_context

SELECTED_BY = "chat.select"
"""The command after which the keys of the selection have their meaning."""


class Action(NamedTuple):
    """A command that can be done now, and where."""

    command: Command
    node: DOMNode
    """Whose command it is."""
    action: str
    """What Textual runs there."""
    mode: str = ""
    """The id of the command that has to be done first, where the keys mean this only after it."""


def actions(screen: Screen[Any]) -> list[Action]:
    """Those of the screen, of what is on it, and of the application, in the table's order."""
    found: dict[str, Action] = {}
    for node in (screen, *(child for child in screen.walk_children() if child.display), screen.app):
        for context in _contexts(type(node)):
            for command in of_context(context):
                found.setdefault(command.id, Action(command, node, command.action))
    if SELECTED_BY in found:
        for command in of_context("select"):
            begun = Action(command, screen, f"do('selection', {command.action!r})", SELECTED_BY)
            found.setdefault(command.id, begun)
    return [found[name] for name in COMMANDS if name in found]


async def run(app: App[Any], action: Action) -> None:
    """Do it, or say that it cannot be done now."""
    if not await app.run_action(action.action, default_namespace=action.node):
        app.notify(f"{action.command.title}: there is nothing to do now.", markup=False)


def _contexts(node: type[DOMNode]) -> set[str]:
    """Those whose keys a screen or widget has."""
    ids = (one.id or "" for one in getattr(node, "BINDINGS", ()) if isinstance(one, Binding))
    return {COMMANDS[name].context for name in ids if name in COMMANDS}
