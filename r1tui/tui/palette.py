"""The commands that can be done now, for the help, and the palette, which finds them by title, synonyms and help."""

from functools import partial
from typing import Any, NamedTuple

from textual.actions import parse
from textual.app import App
from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode
from textual.fuzzy import Matcher
from textual.markup import escape
from textual.screen import Screen

from r1tui.tui.commands import COMMANDS, OWN_RANK, Command, of_context
from r1tui.tui.keymap import key_of, keys_of
from r1tui.tui.remedies import in_keys

IN_TITLE, IN_SYNONYMS, IN_HELP = 1.0, 0.8, 0.6
"""What a match is worth by where it is."""
NOT_FIRST = ("app.commands", "chat.interrupt")
"""Commands that need no offer: the palette is open, and another one stops the answer."""
SELECTED_BY = "chat.select"
"""The command after which the keys of the selection have their meaning."""


class Action(NamedTuple):
    """A command that can be done now, and where."""

    command: Command
    node: DOMNode
    """Widget or screen of the command."""
    action: str
    """Textual action there."""
    mode: str = ""
    """The id of the command that has to be done first, where the keys mean this only after it."""


def actions(screen: Screen[Any]) -> list[Action]:
    """The actions of the screen, of its widgets and of the application, in the table's order."""
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
    """Run the action, or tell the user that it is not possible now."""
    if not await app.run_action(action.action, default_namespace=action.node):
        app.notify(f"{action.command.title}: not possible now.")


def _can_be_done(action: Action) -> bool:
    """True if it does something now that needs an offer."""
    _, name, parameters = parse(action.action)
    return action.command.id not in NOT_FIRST and bool(action.node.check_action(name, parameters))


def _contexts(node: type[DOMNode]) -> set[str]:
    """The contexts whose keys a screen or widget has."""
    ids = (one.id or "" for one in getattr(node, "BINDINGS", ()) if isinstance(one, Binding))
    return {COMMANDS[name].context for name in ids if name in COMMANDS}


class ActionsProvider(Provider):
    """Offers what `actions` finds."""

    async def discover(self) -> Hits:
        """Offer what can be done now, first what only this state offers; a search finds the others too."""
        for action in sorted(filter(_can_be_done, actions(self.screen)), key=self._place):
            command = action.command
            if isinstance(action.node, Screen | App) and not (command.is_numbered or command.only_moves):
                yield DiscoveryHit(escape(command.title), partial(run, self.app, action), help=self._help(action))

    def _place(self, action: Action) -> int:
        """The smaller, the sooner it is offered."""
        command = action.command
        if command.id == getattr(self.screen, "next_step", None):
            return OWN_RANK - 1
        if command.context == "chat":
            return min(command.rank, OWN_RANK)
        return OWN_RANK + (command.context == "app")

    async def search(self, query: str) -> Hits:
        """Offer the actions that match each word of the query."""
        whole, parts = self.matcher(query), [self.matcher(word) for word in query.split()]
        for action in actions(self.screen):
            found = [_worth(part, action.command) for part in parts]
            if found and all(found):
                title = action.command.title
                score, shown = sum(found) + whole.match(title), whole.highlight(escape(title))
                yield Hit(score, shown, partial(run, self.app, action), title, self._help(action))

    def _help(self, action: Action) -> str:
        command = action.command
        own = getattr(self.app, "keymap", {})
        keys, said = keys_of(command, own), in_keys(command.help, self.app)
        if not action.mode:
            return escape(f"{said} ({keys})" if keys else said)
        first = key_of(action.mode, own)
        return escape(f"{said} From here: the last one. ({first}, then {keys}: any)")


def _worth(word: Matcher, command: Command) -> float:
    """Score of a word's match; long texts word by word, because trying all matches takes too long."""
    places = ((IN_TITLE, [command.title]), (IN_SYNONYMS, command.synonyms.split()), (IN_HELP, command.help.split()))
    return max((share * word.match(text) for share, texts in places for text in texts), default=0.0)
