"""What the controllers of answers and conversations have shown and asked on the chat screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1tui.chat.attachments import as_asked
from r1tui.tui.guarded import show_error
from r1tui.tui.screens.later import dialogs

if TYPE_CHECKING:
    from textual.screen import Screen

    from r1tui.chat.context_budget import ContextBudget
    from r1tui.chat.conversation import Conversation, Exchange
    from r1tui.chat.typed import Typed
    from r1tui.errors import R1tuiError
    from r1tui.events import StreamEvent
    from r1tui.tui.controllers.answers import Question
    from r1tui.tui.controllers.conversations import ConversationController
    from r1tui.tui.controllers.models import ModelController
    from r1tui.tui.furniture import Furniture
    from r1tui.tui.session import Session


class ChatPort:
    """Shows and asks on a screen with this furniture."""

    furniture: Furniture
    conversations: ConversationController
    models: ModelController
    """Whoever makes these with its help gives them to this."""

    def __init__(self, screen: Screen[None], session: Session) -> None:
        self._screen = screen
        self._session = session
        self.run_worker = screen.run_worker
        self.post_message = screen.post_message
        self.refresh_bindings = screen.refresh_bindings

    @property
    def conversation(self) -> Conversation:
        """The one that is shown."""
        return self.conversations.shown

    @property
    def running_model(self) -> str | None:
        """The name of the model that would answer; None where none does."""
        return self.models.running_model

    def tell(self, text: str) -> None:
        """Show the user a notice."""
        self._screen.notify(text, markup=False)

    def show_error(self, error: R1tuiError) -> None:
        """Show the user what went wrong."""
        show_error(self._screen.app, error)

    def show(self, conversation: Conversation, *, answer_comes: bool) -> None:
        """Show this conversation as it is now; no figures of an answer where none comes, shown or not."""
        self.furniture.transcript.show(conversation)
        if not answer_comes:
            self.furniture.instruments.update_answer(None)
        self.furniture.instruments.show_context(conversation.context_tokens)

    def show_answer(self, conversation: Conversation, events: list[StreamEvent]) -> None:
        """More of an answer has come."""
        is_shown = conversation is self.conversation
        self.furniture.instruments.update_answer(events, shown=is_shown)
        if is_shown:
            self.furniture.transcript.touch()

    def show_end(self, *, has_last_word: bool) -> None:
        """The answer is over; without a last word of the server its figures are, too."""
        self.furniture.transcript.touch()
        if not has_last_word:
            self.furniture.instruments.update_answer(None)

    def begin_new(self) -> None:
        """Show an empty conversation."""
        self.conversations.begin_new()

    def context_left(self) -> int | None:
        """Tokens that the next question and its answer have, as far as it is known."""
        size = self.furniture.instruments.context_size
        return None if size is None else max(size - (self.conversation.context_tokens or 0), 0)

    async def choose_in_little_room(self, room: ContextBudget, *, goes_on: bool) -> str | None:
        """What the user wants done where an answer has little room: `send`, `new` for a new conversation, or None."""
        return await self._screen.app.push_screen_wait(dialogs().little_room(room, goes_on=goes_on))

    def note_asked(self, typed: Typed | None) -> None:
        """What was typed is asked, at the end of the conversation that is shown."""
        if typed is not None:
            self.furniture.composer.was_asked(typed)
        self.furniture.composer.leave_edit_unless_of(self.conversation.exchanges)
        self.furniture.selection.leave_lost_mark()
        self.furniture.transcript.to_end()
        self.furniture.instruments.asked()

    def give_back(self, question: Question, *, was_asked: bool = False) -> None:
        """Have the question in the prompt again, as the edit of an exchange where it was one."""
        if was_asked:
            if question.typed is not None:
                self.furniture.composer.refused(question.typed)
            self.show(self.conversation, answer_comes=True)
        typed = question.typed or as_asked(question.text)
        if question.instead_of in self.conversation.exchanges:
            self.edit(question.instead_of, typed)
        else:
            self.furniture.composer.give_back(typed)

    def edit(self, exchange: Exchange, typed: Typed | None = None) -> None:
        """Have the question of this exchange in the prompt, or what has become of it."""
        self.furniture.composer.begin_edit(exchange, self.conversation.exchanges.index(exchange) + 1, typed)

    def warn_of_the_same(self) -> None:
        """A question is asked again: say where the same answer is to be expected."""
        self.run_worker(self._warn_of_the_same(), name="Reading the settings")

    async def _warn_of_the_same(self) -> None:
        if await self._session.is_deterministic():
            self.tell("At temperature 0 the same answer comes again.")
