"""What of the chat is about answers: asking, receiving, stopping, going on, asking again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from textual import on

from r1tui.chat.conversation import Conversation, Turn
from r1tui.chat.room import Room
from r1tui.chat.special_tokens import defuse
from r1tui.errors import R1tuiError
from r1tui.events import Failed, StreamEvent, TooLong
from r1tui.text import shortened
from r1tui.tui.messages import AnswerEnded, AnswerReceived, AnswerWaits
from r1tui.tui.remedies import ASKS_ANEW, MORE_ROOM, does_not_fit
from r1tui.tui.screens.edit_base import EditBase
from r1tui.tui.screens.seat_base import Receiving
from r1tui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from r1tui.chat.answer import Answer
    from r1tui.chat.typed import Typed
    from r1tui.server.client import Beginning
    from r1tui.tui.widgets.transcript import Transcript


ANSWER = "The answer"


class AnswersBase(EditBase):
    """A screen that owns a conversation; its session does the work."""

    @property
    def answering_here(self) -> bool:
        """Whether the answer that comes is one of the conversation that is shown."""
        elsewhere = self.receiving is not None and self.receiving.conversation is not self.conversation
        return self.r1.session.answering and not elsewhere

    @on(AnswerReceived)
    def _answer_received(self, message: AnswerReceived) -> None:
        if self.receiving is None:
            return
        answer = self.receiving.turn.answer
        thought = answer.state == "thinking"
        for event in message.events:
            if isinstance(event, TooLong) and answer.base is None:
                self._does_not_fit(self.receiving, event)
                return
            self._take_in(answer, event)
        if thought != (answer.state == "thinking"):
            self.refresh_bindings()
        self.instruments.update_answer(message.events, shown=self.receiving.conversation is self.conversation)
        self.r1.saved.save_soon()
        if self.receiving.conversation is self.conversation:
            self.furniture.transcript.touch()

    @on(AnswerWaits)
    def _answer_waits(self, message: AnswerWaits) -> None:
        self.notify(message.why, markup=False)

    @on(AnswerEnded)
    def _answer_ended(self) -> None:
        if self.receiving is None:
            return
        conversation, answer = self.receiving.conversation, self.receiving.turn.answer
        self.receiving = None
        self.free.set()
        if answer.running:
            self._take_in(answer, Failed("The answer broke off.", "Ask again; `r1tui logs` may show why."))
        self.run_worker(self._save_and_leave(conversation), group="save", name="Saving the conversation")
        self.furniture.transcript.touch()
        if answer.finished is None:
            self.instruments.update_answer(None)
        self._read_on()
        self.refresh_bindings()

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """An answer whose work is gone has failed."""
        super().work_failed(name, error)
        if name == ANSWER and self.receiving is not None:
            self._take_in(self.receiving.turn.answer, Failed.of(error))
            self._answer_ended()

    def _read_on(self) -> None:
        """Receive what the keeper records for the conversation, of an answer that another r1tui asked for."""
        turn = next((turn for turn in self.conversation.every if turn.answer.running), None)
        if turn is not None and self.receiving is None:
            goes_on = turn.answer.base is not None
            work = self.r1.session.read_on(turn.answer_id, inside_thinking=turn.inside_thinking, goes_on=goes_on)
            self._receive(turn, work)

    async def _save_and_leave(self, conversation: Conversation) -> None:
        """Save a conversation whose answer has ended; one that is not shown is left then."""
        await self.r1.save(conversation)
        if conversation is not self.conversation:
            self.notify(f"The answer in “{shortened(conversation.name)}” is there.", markup=False)
            self._keep_open()

    def _keep_open(self) -> None:
        """Let go of all conversations but the one that is shown and the one whose answer comes."""
        coming = [self.receiving.conversation] if self.receiving is not None else []
        self.r1.saved.keep_only([self.conversation, *coming])

    def _take_in(self, answer: Answer, event: StreamEvent) -> None:
        """Let the answer have the event; an answer that is not gone on with stays as it was."""
        match event:
            case TooLong(prompt_tokens=prompt, context_tokens=context) if answer.rest_is_missing:
                answer.does_not_go_on(context_full=True)
                said = f"The answer does not go on. {does_not_fit(Room(prompt, context))} {MORE_ROOM}"
                self.notify(said, markup=False)
            case Failed(cause) if answer.rest_is_missing:
                answer.does_not_go_on(context_full=False)
                self.notify(f"The answer does not go on. {cause} {ASKS_ANEW}.", markup=False)
            case _:
                answer.apply(event)

    def _does_not_fit(self, receiving: Receiving, refused: TooLong) -> None:
        """The server has no room for what was asked: the question is in the prompt again."""
        conversation, turn = receiving.conversation, receiving.turn
        room = Room(refused.prompt_tokens, refused.context_tokens)
        if conversation is not self.conversation:
            turn.answer.apply(Failed(does_not_fit(room), remedies=refused.remedies))
        else:
            if receiving.typed is not None:
                self._forget(receiving.typed)
            conversation.remove(turn)
            self.furniture.transcript.show(conversation)
            self.instruments.show_context(conversation.context_tokens)
            self._refuse(turn.question, f"{does_not_fit(room)} Your question is in the prompt again. {MORE_ROOM}")

    def on_transcript_typed(self, message: Transcript.Typed) -> None:
        """What is typed while reading belongs into the prompt."""
        self.query_one(Prompt).focus().insert(message.character)

    @on(Prompt.Submitted)
    def _submitted(self, message: Prompt.Submitted) -> None:
        """Ask, if somebody can answer; else the text is in the prompt again."""
        if (why := self._why_not_now()) is not None:
            self.prompt.came_back(message.typed)
            self._refuse(message.text, f"{why} Your question waits here.")
            return
        question, found = defuse(message.text.strip())
        if found:
            self.notify(f"Control tokens were made harmless: {' '.join(found)}", markup=False)
        self._weigh_first(self._ask_with_room(question, self._leave_edit(), message.typed))

    def _weigh_first(self, work: Coroutine[Any, Any, None]) -> None:
        self._weighing = True
        self.run_worker(work, group="ask", name="Asking")

    async def _ask_with_room(self, question: str, instead_of: Turn | None, typed: Typed | None = None) -> None:
        """Ask, unless the context has no room; where it has little, the user decides.

        What was `typed` and is not asked is in the prompt again; of a question that is asked anew nothing is lost.
        """
        conversation = self.conversation

        def give_back(question: str, edited: Turn | None) -> None:
            if typed is not None:
                self.prompt.came_back(typed)
                self._give_back(question, edited)

        try:
            room = await self.r1.session.server.room(conversation.messages_with(question, instead_of))
            choice = await self._decide(room)
        except Exception:  # whatever it was, the question is not lost
            give_back(question, instead_of)
            raise
        finally:
            self._weighing = False
        if choice is None:
            give_back(question, instead_of)
        elif conversation is not self.conversation:
            give_back(question, None)
            self.notify("Another conversation has been opened, so the question was not asked.", markup=False)
        elif (why := self._why_not_now()) is not None:
            give_back(question, instead_of)
            self.notify(why, markup=False)
        else:
            if choice == "new":
                self.action_new()
            self._ask(question, instead_of if instead_of in self.conversation.turns else None, typed)

    async def _decide(self, room: Room | None, *, goes_on: bool = False) -> str | None:
        """What is to be done with a question, or an answer that `goes_on`, where there is little room, or none."""
        if room is None or not room.is_nearly_full:
            return "send"
        if room.is_full:
            self.notify(f"{does_not_fit(room)} {MORE_ROOM}", markup=False)
            return None
        from r1tui.tui.screens.ask import little_room  # noqa: PLC0415  the screen opens without it

        return await self.app.push_screen_wait(little_room(room, goes_on=goes_on))

    def _ask_anew(self, turn: Turn) -> None:
        """Ask the question of this exchange again; the answer that it has stays as a branch."""
        self._weigh_first(self._ask_with_room(turn.question, turn))

    def _ask(self, question: str, instead_of: Turn | None = None, typed: Typed | None = None) -> None:
        """Ask at the end, or as a branch beside a question; the same question again is for another answer."""
        if typed is not None:
            self._remember(typed)
        same = instead_of is not None and question == instead_of.question
        vary = instead_of is not None and same and not instead_of.answer.is_empty
        if instead_of is None:
            turn = self.conversation.ask(question, self._new_id())
        else:
            is_last = instead_of is self.conversation.turns[-1]
            turn = self.conversation.ask_instead(instead_of, question, self._new_id())
            if same and is_last and instead_of.answer.is_empty:
                self.conversation.remove(instead_of)
            self._leave_foreign_edit()
        self.furniture.transcript.action_to_end()
        self._have_answered(turn, vary=vary, typed=typed)

    def _have_answered(
        self, turn: Turn, beginning: Beginning | None = None, *, vary: bool = False, typed: Typed | None = None
    ) -> None:
        conversation = self.conversation
        self.instruments.asked()
        turn.model = (self.status.variant if self.status is not None else None) or ""

        async def begins(inside_thinking: bool) -> None:
            turn.inside_thinking = inside_thinking
            await self.r1.save(conversation)

        messages, id_ = conversation.messages(), conversation.id
        answering = self.r1.session.answer(messages, turn.answer_id, begins, beginning, vary=vary, conversation_id=id_)
        self._receive(turn, answering, typed)

    def _receive(self, turn: Turn, work: Coroutine[Any, Any, None], typed: Typed | None = None) -> None:
        self.receiving = Receiving(self.conversation, turn, typed)
        self.free.clear()
        self.run_worker(work, group="answer", exclusive=True, name=ANSWER)
        self.refresh_bindings()

    def _refuse(self, text: str, why: str, edited: Turn | None = None) -> None:
        """The text is in the prompt again, and it is said why."""
        self._give_back(text, edited or self._edited)
        self.notify(why, markup=False)

    def _give_back(self, text: str, edited: Turn | None) -> None:
        """The prompt has it again, as the edit of an exchange where it was one."""
        if edited is not None and edited in self.conversation.turns:
            self._begin_edit(edited, text)
        else:
            self.prompt.give_back(text)

    def _why_not_now(self) -> str | None:
        """Why nothing can be asked in this conversation now; None when it can."""
        if (pid := self.r1.saved.elsewhere(self.conversation)) is not None:
            return f"This conversation is open in another r1tui (process {pid}). <chat.new>: a new one."
        if self.r1.session.answering or self.receiving is not None or self._weighing:
            return self._still_coming()
        return None if self.ready else "No model is ready yet. <chat.variants> lists the models."

    def _may_ask(self) -> bool:
        """Whether something can be asked now; the user is told why not."""
        if (why := self._why_not_now()) is not None:
            self.notify(why, markup=False)
        return why is None

    def _still_coming(self) -> str:
        """Why nothing can be asked while an answer comes."""
        if self.receiving is None or self.receiving.conversation is self.conversation:
            return "The last answer is still coming. <chat.stop> stops it."
        name = shortened(self.receiving.conversation.name)
        return f"The answer in “{name}” is still coming. <chat.conversations> goes back to it."

    async def action_stop(self) -> None:
        """Stop the answer, and keep what came; or cancel the launch, which goes on where it was next time."""
        if self.editing:
            self._leave_edit()
        elif self.answering_here:
            self._stop_answer()
        else:
            self._cancel_launch()

    def _stop_answer(self) -> None:  # beside the keys: a server that hangs keeps its caller waiting
        self.run_worker(self.r1.session.stop_answer(), group="stop", exclusive=True, name="Stopping the answer")

    def action_thinking(self) -> None:
        """Open or close the thinking."""
        self.furniture.transcript.toggle_thinking()

    def action_again(self) -> None:
        """Ask the last question again; what the answer that failed or was stopped has stays as a branch."""
        if self._may_ask():
            self._ask_anew(self.conversation.turns[-1])

    def action_go_on(self) -> None:
        """Go on with the answer that was cut off, stopped or failed, where it ended."""
        if self._may_ask():
            self._weigh_first(self._go_on_with_room(self.conversation.turns[-1]))

    async def _go_on_with_room(self, turn: Turn) -> None:
        """Go on with this last answer, unless the context has no room; where it has little, the user decides."""
        from r1tui.server.client import Beginning  # noqa: PLC0415  the screen opens without it

        conversation, answer = self.conversation, turn.answer
        beginning = Beginning(answer.thinking.text, answer.content.text)
        try:
            room = await self.r1.session.server.room(conversation.messages(), beginning)
            choice = await self._decide(room, goes_on=True)
        finally:
            self._weighing = False
        if choice is None or conversation is not self.conversation or turn is not conversation.turns[-1]:
            return
        if not self._may_ask():
            return
        answer.go_on()
        turn.answer_id = self._new_id()
        self.furniture.transcript.action_to_end()
        self._have_answered(turn, beginning)

    def action_end_thinking(self) -> None:
        """Have the model end its thinking, and begin its answer."""
        if self.receiving is None:
            return
        work = self.r1.session.end_thinking(self.receiving.turn.answer.completion_id)
        self.run_worker(work, group="end_thinking", exclusive=True, name="Ending the thinking")

    @staticmethod
    def _new_id() -> str:
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415  as above

        return new_conversation_id()

    async def action_interrupt(self) -> None:
        """Stop the answer, never the server; with nothing to stop, copy what is selected."""
        if self.answering_here:
            self._stop_answer()
        elif self.get_selected_text():
            self.action_copy_text()
        else:
            self.notify("<app.quit> leaves r1tui.", markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        if not self.furnished:
            return False
        last = self.conversation.turns[-1].answer if self.conversation.turns else None
        answering = self.answering_here
        free = not answering and self.r1.saved.elsewhere(self.conversation) is None
        match action:
            case "stop":
                something = self.editing or answering or self._launching is not None
                return something and not self.prompt.is_completing  # whose list has the key first
            case "go_on":
                return last is not None and free and last.can_go_on
            case "again":  # behind the one above, which has the same key
                return last is not None and free and (last.can_go_on or last.state in ("failed", "stopped"))
            case "thinking":
                return any(turn.answer.has_thoughts for turn in self.conversation.turns)
            case "end_thinking":
                return last is not None and answering and last.state == "thinking"
            case _:
                return super().check_action(action, parameters)
