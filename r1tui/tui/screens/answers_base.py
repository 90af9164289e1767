"""What of the chat is about answers: asking, receiving, stopping, asking again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from textual import on
from textual.binding import Binding

from r1tui.chat.conversation import Conversation, Turn
from r1tui.chat.special_tokens import defuse
from r1tui.events import Failed, Finished, Timings
from r1tui.text import shortened
from r1tui.tui.messages import AnswerEnded, AnswerReceived, AnswerWaits
from r1tui.tui.screens.seat_base import Receiving, SeatBase
from r1tui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from r1tui.tui.widgets.transcript import Transcript


class AnswersBase(SeatBase):
    """A screen that owns a conversation; its session does the work."""

    BINDINGS = [
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("ctrl+c", "interrupt", "Interrupt", id="chat.interrupt", show=False, priority=True),
        Binding("ctrl+t", "thinking", "Thinking", id="chat.thinking", priority=True),
        Binding("f8", "again", "Ask again", id="chat.again", priority=True),
    ]

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
        counters: Timings | Finished | None = None
        for event in message.events:
            answer.apply(event)
            if isinstance(event, Timings | Finished):
                counters = event
        if counters is not None:  # the last of them is true of all
            self.instruments.update_timings(counters)
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
        if answer.running:
            answer.apply(Failed("The answer broke off.", "Ask again; `r1tui logs` may show why."))
        self.run_worker(self._save_and_leave(conversation), group="save", exit_on_error=False)
        self.furniture.transcript.touch()
        if answer.finished is None:
            self.instruments.update_timings(None)
        self._read_on()
        self.refresh_bindings()

    def _read_on(self) -> None:
        """Receive what the keeper records for the conversation, of an answer that another r1tui asked for."""
        turn = next((turn for turn in self.conversation.every if turn.answer.running), None)
        if turn is not None and self.receiving is None:
            self._receive(turn, self.r1.session.read_on(turn.answer_id, inside_thinking=turn.inside_thinking))

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

    def on_transcript_typed(self, message: Transcript.Typed) -> None:
        """What is typed while reading belongs into the prompt."""
        self.query_one(Prompt).focus().insert(message.character)

    @on(Prompt.Submitted)
    def _submitted(self, message: Prompt.Submitted) -> None:
        """Ask, if somebody can answer; else the text is in the prompt again."""
        if (pid := self.r1.saved.elsewhere(self.conversation)) is not None:
            self._refuse(
                message.text, f"This conversation is open in another r1tui (process {pid}). Ctrl+N: a new one."
            )
            return
        if self.r1.session.answering or self.receiving is not None:
            self._refuse(message.text, self._still_coming())
            return
        if not self.ready:
            self._refuse(message.text, "No model is ready yet; your question waits here. F2 lists the models.")
            return
        question, found = defuse(message.text.strip())
        if found:
            self.notify(f"Control tokens were made harmless: {' '.join(found)}", markup=False)
        self._ask(question)

    def _ask(self, question: str) -> None:
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415

        conversation = self.conversation
        turn = conversation.ask(question, new_conversation_id())
        turn.model = (self.status.variant if self.status is not None else None) or ""
        self.furniture.transcript.action_to_end()

        async def begins(inside_thinking: bool) -> None:
            turn.inside_thinking = inside_thinking
            await self.r1.save(conversation)

        self._receive(turn, self.r1.session.answer(conversation.messages(), turn.answer_id, begins))

    def _receive(self, turn: Turn, work: Coroutine[Any, Any, None]) -> None:
        self.receiving = Receiving(self.conversation, turn)
        self.run_worker(work, group="answer", exclusive=True, exit_on_error=False)
        self.refresh_bindings()

    def _refuse(self, text: str, why: str) -> None:
        self.query_one(Prompt).give_back(text)
        self.notify(why, markup=False)

    def _still_coming(self) -> str:
        """Why nothing can be asked while an answer comes."""
        if self.receiving is None or self.receiving.conversation is self.conversation:
            return "The last answer is still coming. Esc stops it."
        return f"The answer in “{shortened(self.receiving.conversation.name)}” is still coming. Ctrl+L goes back to it."

    async def action_stop(self) -> None:
        """Stop the answer, and keep what came; or cancel the launch, which goes on where it was next time."""
        if self.answering_here:
            self._stop_answer()
        else:
            self._cancel_launch()

    def _stop_answer(self) -> None:  # beside the keys: a server that hangs keeps its caller waiting
        self.run_worker(self.r1.session.stop_answer(), group="stop", exclusive=True, exit_on_error=False)

    def action_thinking(self) -> None:
        """Open or close the thinking."""
        self.furniture.transcript.toggle_thinking()

    def action_again(self) -> None:
        """Ask the last question again, in place of the answer that failed or was stopped."""
        if not self.ready:
            self.notify("No model is ready yet.", markup=False)
            return
        if self.receiving is not None:
            self.notify(self._still_coming(), markup=False)
            return
        question = self.conversation.turns.pop().question
        self.furniture.transcript.show(self.conversation)
        self._ask(question)

    async def action_interrupt(self) -> None:
        """Stop the answer, never the server; with nothing to stop, copy what is selected."""
        if self.answering_here:
            self._stop_answer()
        elif self.get_selected_text():
            self.action_copy_text()
        else:
            self.notify("Ctrl+Q leaves r1tui.", markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        match action:
            case _ if not self.furnished:
                return False
            case "stop":
                return self.answering_here or self._launching is not None
            case "again":
                turns = self.conversation.turns
                free = not self.answering_here and self.r1.saved.elsewhere(self.conversation) is None
                return free and bool(turns) and turns[-1].answer.state in ("failed", "stopped")
            case _:
                return super().check_action(action, parameters)
