"""The command palette: every action of the screen below it, found by its name, other words for it, what it does."""

from difflib import get_close_matches
from functools import partial

from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.screen import Screen

from r1tui.tui.actions import Action, actions, run
from r1tui.tui.keymap import spelled
from r1tui.tui.wordbook import other_words, place_of, words

IN_TITLE, IN_OTHER_WORDS, IN_SENTENCE = 1.0, 0.8, 0.6
"""What a word is worth that was typed, by where it is found; one that only begins there a word, `BEGUN` less."""
BEGUN = 0.1
WHOLE_TITLE = 0.2
"""And what it is worth besides that a title has no other words."""
ALMOST = 0.3
"""What words are worth that are mistyped."""
ALIKE, LONG = 0.75, 4
"""From which likeness on they are (`difflib`), and how long they are at least."""


class ActionsProvider(Provider):
    """Offers what `actions` finds."""

    async def discover(self) -> Hits:
        """Those of the screen and the application in the help's order; the others are there for who looks for them."""
        for action in sorted(self._actions(), key=lambda action: place_of(action.name)):
            if isinstance(action.node, Screen | App) and not (action.is_one_of_many or action.only_moves):
                yield DiscoveryHit(action.title, partial(run, self.app, action), help=self._help(action))

    async def search(self, query: str) -> Hits:
        """Those that have all the words, or begin with them; where there are none, those whose words are alike."""
        wanted = words(query)
        scored = [(worth(wanted, action), action) for action in self._actions()]
        if not any(score for score, _ in scored):
            scored = [(ALMOST if _is_alike(wanted, action) else 0.0, action) for _, action in scored]
        for score, action in scored:
            if score:
                shown = self._highlighted(action.title, wanted)
                yield Hit(score, shown, partial(run, self.app, action), text=action.title, help=self._help(action))

    def _actions(self) -> list[Action]:
        return actions(self.screen)

    def _highlighted(self, title: str, wanted: list[str]) -> Content:
        content, small = Content(title), title.casefold()
        for word in wanted:
            start = small.find(word)
            if self.match_style is not None and start >= 0:
                content = content.stylize(self.match_style, start, start + len(word))
        return content

    def _help(self, action: Action) -> str:
        own = getattr(self.app, "keymap", {})
        keys = spelled(own.get(action.name, action.keys))
        if not action.mode:
            return f"{action.does} ({keys})" if keys else action.does
        first = next(spelled(own.get(one.name, one.keys)) for one in self._actions() if one.name == action.mode)
        return f"{action.does} Chosen here: with the last one. ({first}, then {keys}: with any)"


def worth(wanted: list[str], action: Action) -> float:
    """How well these words are those of the action; 0 where one of them is not."""
    title = words(action.title)
    places = [(IN_TITLE, title), (IN_OTHER_WORDS, words(other_words(action.name))), (IN_SENTENCE, words(action.does))]
    found = [max(_worth(word, score, there) for score, there in places) for word in wanted]
    least = min(found, default=0.0)
    is_title = least and all(any(one.startswith(word) for word in wanted) for one in title)
    return least + WHOLE_TITLE if is_title else least


def _worth(word: str, score: float, there: list[str]) -> float:
    if word in there:
        return score
    return score - BEGUN if any(one.startswith(word) for one in there) else 0.0


def _is_alike(wanted: list[str], action: Action) -> bool:
    there = [*words(action.title), *words(other_words(action.name))]
    return all(len(word) >= LONG and get_close_matches(word, there, n=1, cutoff=ALIKE) for word in wanted)
