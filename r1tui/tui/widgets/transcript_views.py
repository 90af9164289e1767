"""The exchanges of a transcript, each as a view of it; kept where the same exchange is shown again."""

from r1tui.chat.conversation import Conversation, Exchange
from r1tui.tui.remedies import say
from r1tui.tui.widgets.transcript_blocks import Block
from r1tui.tui.widgets.transcript_exchange import ExchangeView, InWords


class Views:
    """Views of the shown exchanges, from top to bottom."""

    def __init__(self, in_words: InWords = say, *, thinking_lines: int = 0) -> None:
        """`in_words` says our texts and remedies with the keys of the screen."""
        self._in_words = in_words
        self._thinking_lines = thinking_lines
        self.conversation = Conversation("")
        self.waiting: Exchange | None = None
        """A question that is not asked yet, and so not part of the conversation; it is shown at the end."""
        self.all: list[ExchangeView] = []
        self._counted: list[Exchange] = []
        """The conversation's exchanges when their branches were counted last."""

    def show(self, conversation: Conversation) -> None:
        """Have no view yet of this one."""
        self.conversation, self.waiting = conversation, None
        self.all.clear()
        self._counted.clear()

    @property
    def blocks(self) -> list[Block]:
        """All blocks."""
        return [block for view in self.all for block in view.blocks]

    @property
    def running(self) -> bool:
        """True if the last answer may still grow, or is waited for."""
        return self.conversation.running or self.waiting is not None

    @property
    def busy(self) -> ExchangeView | None:
        """The last one that has left something of its model for the next time."""
        return next((view for view in reversed(self.all) if view.busy), None)

    def is_behind(self, width: int) -> bool:
        """True if the last answer has more than its growing block shows."""
        return self.running and bool(self.all) and not self.all[-1].blocks[-1].is_fine(width)

    def of(self, exchange: Exchange) -> ExchangeView | None:
        """The view of an exchange; None for one that is not shown."""
        return next((view for view in self.all if view.exchange is exchange), None)

    def thoughtful(self) -> list[ExchangeView]:
        """Exchanges with thinking."""
        return [view for view in self.all if view.exchange.answer.has_thoughts]

    def update(self) -> tuple[list[ExchangeView], bool]:
        """Take up the shown path: the views that may have changed, and whether others were dropped."""
        exchanges = [*self.conversation.exchanges, *([self.waiting] if self.waiting is not None else [])]
        pairs = enumerate(self.all)
        other = next((n for n, view in pairs if n >= len(exchanges) or view.exchange is not exchanges[n]), None)
        first = max(len(self.all) - 1, 0) if other is None else other
        known = {view.exchange: view for view in self.all[first:]}
        del self.all[first:]
        for exchange in exchanges[first:]:
            view = known.get(exchange)
            is_first = not self.all
            if view is None or view.is_first != is_first:
                lines = self._thinking_lines
                view = ExchangeView(exchange, is_first=is_first, in_words=self._in_words, thinking_lines=lines)
            self.all.append(view)
        for view in self.all[-2:]:
            view.is_last = view is self.all[-1]
        if other is not None or self._counted != self.conversation.every:
            self._counted = self.conversation.every.copy()
            first = min([first, *self._count_branches()])
        return self.all[min(first, len(self.all) - 1) :], other is not None  # the last one may not have been it before

    def _count_branches(self) -> list[int]:
        """Tell each exchange which of how many branches it is; the indices of those for which that has changed."""
        places = list(zip(self.all, self.conversation.places(), strict=False))  # what waits has none
        changed = [number for number, (view, place) in enumerate(places) if view.place != place]
        for view, place in places:
            view.place = place
        return changed
