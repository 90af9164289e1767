"""What of the chat is about answers: asking, receiving, stopping, asking again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from textual import on
from textual.binding import Binding

from r1tui.chat.conversation import Conversation
from r1tui.chat.special_tokens import defuse
from r1tui.events import Failed, Finished, Timings
from r1tui.tui.messages import AnswerEnded, AnswerReceived, AnswerWaits
from r1tui.tui.screens.seat_base import SeatBase
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
        Binding("ctrl+n", "new", "New chat", id="chat.new", priority=True),
    ]

    def _open_last(self) -> None:
        """Be where the last r1tui was; an answer that was running then is read on."""
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415

        last = None if self.r1.session.attached else self.r1.saved.last()
        self.conversation = last or Conversation(new_conversation_id())
        self.furniture.transcript.show(self.conversation)
        if self.conversation.running:
            turn = self.conversation.turns[-1]
            self._receive(self.r1.session.read_on(turn.answer_id, inside_thinking=turn.inside_thinking))

    @on(AnswerReceived)
    def _answer_received(self, message: AnswerReceived) -> None:
        if not self.conversation.turns:
            return
        answer = self.conversation.turns[-1].answer
        counters: Timings | Finished | None = None
        for event in message.events:
            answer.apply(event)
            if isinstance(event, Timings | Finished):
                counters = event
        if counters is not None:  # the last of them is true of all
            self.instruments.update_timings(counters)
        self.furniture.transcript.touch()

    @on(AnswerWaits)
    def _answer_waits(self, message: AnswerWaits) -> None:
        self.notify(message.why, markup=False)

    @on(AnswerEnded)
    def _answer_ended(self) -> None:
        if not self.conversation.turns:
            return  # a new chat has begun meanwhile
        answer = self.conversation.turns[-1].answer
        if answer.running:
            answer.apply(Failed("The answer broke off.", "Ask again; `r1tui logs` may show why."))
        self.run_worker(self.r1.save(self.conversation), group="save", exit_on_error=False)
        self.furniture.transcript.touch()
        if answer.finished is None:
            self.instruments.update_timings(None)
        self.refresh_bindings()

    def on_transcript_typed(self, message: Transcript.Typed) -> None:
        """What is typed while reading belongs into the prompt."""
        self.query_one(Prompt).focus().insert(message.character)

    @on(Prompt.Submitted)
    def _submitted(self, message: Prompt.Submitted) -> None:
        """Ask, if somebody can answer; else the text is in the prompt again."""
        turns = self.conversation.turns
        if self.r1.session.answering or (turns and turns[-1].answer.running):  # the second: asked, and not begun yet
            self._refuse(message.text, "The last answer is still coming. Esc stops it.")
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

        turn = self.conversation.ask(question, new_conversation_id())
        self.furniture.transcript.action_to_end()

        async def begins(inside_thinking: bool) -> None:
            turn.inside_thinking = inside_thinking
            await self.r1.save(self.conversation)

        self._receive(self.r1.session.answer(self.conversation.messages(), turn.answer_id, begins))

    def _receive(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(work, group="answer", exclusive=True, exit_on_error=False)
        self.refresh_bindings()

    def _refuse(self, text: str, why: str) -> None:
        self.query_one(Prompt).give_back(text)
        self.notify(why, markup=False)

    async def action_stop(self) -> None:
        """Stop the answer, and keep what came; or cancel the launch, which goes on where it was next time."""
        if self.r1.session.answering:
            self._stop_answer()
        else:
            self._cancel_launch()

    def _stop_answer(self) -> None:  # beside the keys: a server that hangs keeps its caller waiting
        self.run_worker(self.r1.session.stop_answer(), group="stop", exclusive=True, exit_on_error=False)

    def action_thinking(self) -> None:
        """Open or close the thinking."""
        self.furniture.transcript.toggle_thinking()

    def action_new(self) -> None:
        """Begin another conversation."""
        if self.r1.session.answering:
            self.notify("The answer is still coming. Esc stops it.", markup=False)
            return
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415

        self.conversation = Conversation(new_conversation_id())
        self.furniture.transcript.show(self.conversation)
        self.instruments.update_timings(None)
        self.query_one(Prompt).focus()
        self.run_worker(self.r1.save(self.conversation), group="save", exit_on_error=False)
        self.run_worker(self.r1.session.leave_conversation(), group="leave", exit_on_error=False)

    def action_again(self) -> None:
        """Ask the last question again, in place of the answer that failed or was stopped."""
        if not self.ready:
            self.notify("No model is ready yet.", markup=False)
            return
        question = self.conversation.turns.pop().question
        self.furniture.transcript.show(self.conversation)
        self._ask(question)

    async def action_interrupt(self) -> None:
        """Stop the answer, never the server; with nothing to stop, copy what is selected."""
        if self.r1.session.answering:
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
                return self.r1.session.answering or self._launching is not None
            case "again":
                turns = self.conversation.turns
                return not self.r1.session.answering and bool(turns) and turns[-1].answer.state in ("failed", "stopped")
            case _:
                return super().check_action(action, parameters)
