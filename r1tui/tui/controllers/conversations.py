"""The conversation that is shown: which one that is, opening, leaving and saving."""

from r1tui.chat.conversation import Conversation
from r1tui.chat.listing import ConversationSummary
from r1tui.errors import R1tuiError
from r1tui.supervisor.protocol import new_conversation_id
from r1tui.text import shortened
from r1tui.tui.controllers.answers import AnswerController
from r1tui.tui.controllers.view import View
from r1tui.tui.services.chat_client import ChatClient
from r1tui.tui.services.saver import Saver


class ConversationController:
    """Owns the shown conversation. An answer of one that is left continues, and is saved."""

    def __init__(self, saved: Saver, answers: AnswerController, client: ChatClient, view: View) -> None:
        self.shown = Conversation(new_conversation_id())
        self._saved = saved
        self._answers = answers
        self._client = client
        self._view = view

    @property
    def _answered(self) -> Conversation | None:
        """The conversation that is being answered, shown or not."""
        return self._answers.receiving.conversation if self._answers.receiving is not None else None

    async def open_last(self) -> None:
        """Open the conversation of the last r1tui, and follow its answer if one is running."""
        try:
            last = await self._saved.last()
        except R1tuiError as error:
            self._view.show_error(error)
            last = None
        self.show(last.conversation if last is not None else self.shown)
        self.save_shown()  # how an answer ended whose r1tui was killed, so that it is found by its words

    def begin_open(self, chosen: ConversationSummary | None) -> None:
        """Open this conversation in the background; None keeps the one that is shown."""
        if chosen is not None:
            self._view.run_worker(self._open_at(chosen), group="open", name="Opening the conversation")

    async def _open_at(self, chosen: ConversationSummary) -> None:
        """Show a conversation, and of one that was found by its words the passage, whatever branch it is in."""
        await self.open(chosen.id)
        exchange = next(iter(self.shown.every[chosen.found_at :]), None)
        if not chosen.passage or self.shown.id != chosen.id or exchange is None:
            return
        if exchange not in self.shown.exchanges:
            if self._answers.why_path_stays():
                self._view.tell("The passage is in another branch, which cannot be shown now.")
                return
            self.shown.show(exchange)
            self.save_shown()
        self._view.show_passage(exchange, chosen.passage)

    async def open(self, conversation_id: str) -> None:
        """Show this conversation, and follow its running answer."""
        coming = self._answered
        if coming is not None and coming.id == conversation_id:
            self.show(coming)
            return
        if self.shown.id == conversation_id:
            return
        try:
            opened = await self._saved.open(conversation_id)
        except R1tuiError as error:
            self._view.show_error(error)
            return
        if opened is None:
            self._view.tell("That conversation no longer exists.")
        elif coming is not None and any(one.answer.running for one in opened.conversation.every):
            self._view.tell(f"It opens when “{shortened(coming.name)}” has finished.")
            self._keep_open()
        else:
            self.show(opened.conversation)
            if opened.open_in is not None:
                self._view.tell(f"Open in another r1tui (PID {opened.open_in}); read-only here.")
            else:
                self.save_shown()

    def begin_new(self) -> None:
        """Show an empty conversation."""
        if self.shown.every:
            self.show(Conversation(new_conversation_id()))

    def show(self, conversation: Conversation) -> None:
        """Show this one; leave the one before, unless it is being answered."""
        self._answers.take_back("Not asked: another conversation is open now.")
        self.shown = conversation
        self._view.show(conversation, answer_comes=self._answered is not None)
        if self._answered is None:
            self._view.run_worker(self._client.leave_conversation(), group="leave", name="Saving the prompt cache")
        self._answers.read_on()
        self._keep_open()
        self._view.refresh_bindings()

    def leave(self, conversation_id: str) -> None:
        """Show an empty conversation in place of this one, unless it is being answered."""
        if self.shown.id == conversation_id and not self.is_answering(conversation_id):
            self.show(Conversation(new_conversation_id()))

    def open_here(self, conversation_id: str) -> Conversation | None:
        """The conversation with this id, if it is shown or answered here."""
        return next((one for one in self._open() if one.id == conversation_id), None)

    def is_answering(self, conversation_id: str) -> bool:
        """True while it is being answered here."""
        return self._answered is not None and self._answered.id == conversation_id

    def save_shown(self) -> None:
        """Save the shown conversation in the background."""
        self._view.run_worker(self._saved.save(self.shown), group="save", name="Saving the conversation")

    def answer_ended(self, conversation: Conversation) -> None:
        """Save it, and leave it if it is not shown; then follow the answer that the shown one waits for."""
        self._view.run_worker(self._save_and_leave(conversation), group="save", name="Saving the conversation")
        self._answers.read_on()

    async def _save_and_leave(self, conversation: Conversation) -> None:
        await self._saved.save(conversation)
        if conversation is not self.shown:
            self._view.tell(f"“{shortened(conversation.name)}” has finished.")
            self._keep_open()

    def _open(self) -> list[Conversation]:
        return [self.shown, *([self._answered] if self._answered is not None else [])]

    def _keep_open(self) -> None:
        """Let go of all other conversations."""
        self._saved.keep_only(self._open())
