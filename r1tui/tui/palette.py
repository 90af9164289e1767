"""The command palette: every action of the screen below it, found by its name and by what it does."""

from functools import partial

from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen

from r1tui.tui.actions import Action, actions, run
from r1tui.tui.keymap import spelled


class ActionsProvider(Provider):
    """Offers what `actions` finds."""

    async def discover(self) -> Hits:
        """Those of the screen and the application, by name; the others are there for who looks for them."""
        for action in sorted(self._actions(), key=lambda action: action.title):
            if isinstance(action.node, Screen | App) and not action.is_one_of_many:
                yield DiscoveryHit(action.title, partial(run, self.app, action), help=self._help(action))

    async def search(self, query: str) -> Hits:
        """Those whose name, or whose sentence, has the query."""
        matcher = self.matcher(query)
        for action in self._actions():
            score = max(matcher.match(action.title), matcher.match(action.does) * 0.5)
            if score > 0:
                shown = matcher.highlight(action.title)
                yield Hit(score, shown, partial(run, self.app, action), text=action.title, help=self._help(action))

    def _actions(self) -> list[Action]:
        return actions(self.screen)

    def _help(self, action: Action) -> str:
        keys = getattr(self.app, "keymap", {}).get(action.name, action.keys)
        return f"{action.does} ({spelled(keys)})" if keys else action.does
