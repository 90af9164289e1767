"""The command palette: every command of the screen below it, found by its title, its synonyms, what it does."""

from functools import partial

from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.fuzzy import Matcher
from textual.markup import escape
from textual.screen import Screen

from r1tui.tui.actions import Action, actions, run
from r1tui.tui.commands import Command
from r1tui.tui.keymap import key_of, keys_of

IN_TITLE, IN_SYNONYMS, IN_HELP = 1.0, 0.8, 0.6
"""What a match is worth by where it is."""


class ActionsProvider(Provider):
    """Offers what `actions` finds."""

    async def discover(self) -> Hits:
        """Those of the screen and the application; the others are there for who looks for them."""
        for action in actions(self.screen):
            command = action.command
            if isinstance(action.node, Screen | App) and not (command.is_numbered or command.only_moves):
                yield DiscoveryHit(escape(command.title), partial(run, self.app, action), help=self._help(action))

    async def search(self, query: str) -> Hits:
        """Those that match each word of the query."""
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
        keys = keys_of(command, own)
        if not action.mode:
            return escape(f"{command.help} ({keys})" if keys else command.help)
        first = key_of(action.mode, own)
        return escape(f"{command.help} Chosen here: with the last one. ({first}, then {keys}: with any)")


def _worth(word: Matcher, command: Command) -> float:
    """How well a word matches; long texts word by word, since all ways to match are tried, and those are too many."""
    places = ((IN_TITLE, [command.title]), (IN_SYNONYMS, command.synonyms.split()), (IN_HELP, command.help.split()))
    return max((share * word.match(text) for share, texts in places for text in texts), default=0.0)
