"""What of the chat is about conversations: the last one, a new one, and the list of all."""

from __future__ import annotations

from r1tui.chat.conversation import Conversation
from r1tui.errors import R1tuiError
from r1tui.text import shortened
from r1tui.tui.guarded import show_error
from r1tui.tui.screens.later import dialogs
from r1tui.tui.screens.seat_base import SeatBase
from r1tui.tui.widgets.prompt import Prompt


class ConversationsBase(SeatBase):
    """A screen that shows one of many conversations. The answer of one that is left goes on coming, and is saved."""

    async def _open_last(self) -> None:
        """Be where the last r1tui was; an answer that was running then is read on."""
        try:
            last = await self.services.saved.last()
        except R1tuiError as error:
            show_error(self.app, error)
            last = None
        self._show_conversation(last.conversation if last is not None else self.services.saved.new())
        self._save_shown()

    async def open_conversation(self, conversation_id: str) -> None:
        """Show this conversation, and read on the answer that it waits for."""
        coming = self.answers.receiving.conversation if self.answers.receiving is not None else None
        if coming is not None and coming.id == conversation_id:
            self._show_conversation(coming)
            return
        if self.conversation.id == conversation_id:
            return
        try:
            opened = await self.services.saved.open(conversation_id)
        except R1tuiError as error:
            show_error(self.app, error)
            return
        if opened is None:
            self.notify("That conversation is not there any more.", markup=False)
        elif coming is not None and any(turn.answer.running for turn in opened.conversation.every):
            self.notify(f"Its answer is read on when the one in “{shortened(coming.name)}” has ended.", markup=False)
            self._keep_open()
        else:
            self._show_conversation(opened.conversation)
            if opened.open_in is not None:
                said = f"Open in another r1tui (process {opened.open_in}), and only to be read here."
                self.notify(said, markup=False)
            else:
                self._save_shown()

    def leave(self, conversation_id: str) -> bool:
        """Show another conversation if this one is shown; whether it can be left for good: no answer of it comes."""
        if self.is_answering(conversation_id):
            return False
        if self.conversation.id == conversation_id:
            self._show_conversation(self.services.saved.new())
        return True

    def open_here(self, conversation_id: str) -> Conversation | None:
        """The conversation with this id if it is shown here, or its answer comes here."""
        return next((one for one in self._open_conversations() if one.id == conversation_id), None)

    def is_answering(self, conversation_id: str) -> bool:
        """Whether an answer of it comes here."""
        return self.answers.receiving is not None and self.answers.receiving.conversation.id == conversation_id

    def is_computed(self, answer_id: str) -> bool:
        """Whether the server is known to compute this answer."""
        return answer_id in self.services.monitor.refresh().answers

    def _show_conversation(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.furniture.transcript.show(conversation)
        if self.answers.receiving is None:
            self.instruments.update_answer(None)
            self.run_worker(
                self.services.session.chat.leave_conversation(), group="leave", name="Keeping the prompt cache"
            )
        self.instruments.show_context(conversation.context_tokens)
        self.answers.read_on()
        self._keep_open()
        self.refresh_bindings()

    def _open_conversations(self) -> list[Conversation]:
        """The one that is shown, and the one whose answer comes."""
        coming = [self.answers.receiving.conversation] if self.answers.receiving is not None else []
        return [self.conversation, *coming]

    def _keep_open(self) -> None:
        """Let go of all other conversations."""
        self.services.saved.keep_only(self._open_conversations())

    async def _save_and_leave(self, conversation: Conversation) -> None:
        """Save a conversation whose answer has ended; one that is not shown is left then."""
        await self.services.saved.save(conversation)
        if conversation is not self.conversation:
            self.notify(f"The answer in “{shortened(conversation.name)}” is there.", markup=False)
            self._keep_open()

    def _save_shown(self) -> None:
        """Write how an answer ended whose r1tui was killed, so that it is found by its words."""
        self.run_worker(self.services.saved.save(self.conversation), group="save", name="Saving the conversation")

    def action_new(self) -> None:
        """Begin another conversation."""
        if self.conversation.every:
            self._show_conversation(self.services.saved.new())
        self.query_one(Prompt).focus()

    def action_conversations(self) -> None:
        """List all conversations, and open one."""

        def chosen(conversation_id: str | None) -> None:
            if conversation_id is not None:
                self.run_worker(self.open_conversation(conversation_id), group="open", name="Opening the conversation")

        self.app.push_screen(dialogs().conversations(self.services.saved, self), chosen)
