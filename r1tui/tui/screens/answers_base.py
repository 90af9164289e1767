"""What of the chat is about answers: asking, receiving, stopping, going on, asking again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from textual import on
from textual.binding import Binding

from r1tui.chat.conversation import Conversation, Turn
from r1tui.chat.room import Room
from r1tui.chat.special_tokens import defuse
from r1tui.events import Failed, Finished, StreamEvent, Timings, TooLong
from r1tui.tui.messages import AnswerEnded, AnswerReceived, AnswerWaits
from r1tui.tui.remedies import MORE_ROOM, does_not_fit, in_keys
from r1tui.tui.screens.seat_base import SeatBase
from r1tui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from r1tui.chat.answer import Answer
    from r1tui.server.client import Beginning
    from r1tui.tui.widgets.transcript import Transcript


class AnswersBase(SeatBase):
    """A screen that owns a conversation; its session does the work."""

    BINDINGS = [
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("ctrl+c", "interrupt", "Interrupt", id="chat.interrupt", show=False, priority=True),
        Binding("ctrl+t", "thinking", "Thinking", id="chat.thinking", priority=True),
        Binding("f8", "go_on", "Continue", id="chat.continue", priority=True),
        Binding("f8", "again", "Ask again", id="chat.again", priority=True),
        Binding("ctrl+d", "end_thinking", "End thinking", id="chat.end_thinking", priority=True),
        Binding("ctrl+n", "new", "New chat", id="chat.new", priority=True),
    ]

    def _open_last(self) -> None:
        """Be where the last r1tui was; an answer that was running then is read on."""
        last = None if self.r1.session.attached else self.r1.saved.last()
        self.conversation = last or Conversation(self._new_id())
        self.furniture.transcript.show(self.conversation)
        if self.conversation.running:
            turn = self.conversation.turns[-1]
            goes_on = turn.answer.base is not None
            work = self.r1.session.read_on(turn.answer_id, inside_thinking=turn.inside_thinking, goes_on=goes_on)
            self._receive(work)

    @on(AnswerReceived)
    def _answer_received(self, message: AnswerReceived) -> None:
        if not self.conversation.turns:
            return
        answer = self.conversation.turns[-1].answer
        thought = answer.state == "thinking"
        counters: Timings | Finished | None = None
        for event in message.events:
            if isinstance(event, TooLong) and answer.base is None:
                self._does_not_fit(event)
                return
            self._take_in(answer, event)
            if isinstance(event, Timings | Finished) and event.prompt_tokens:  # else nothing was computed
                counters = event
        if thought != (answer.state == "thinking"):
            self.refresh_bindings()
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
            self._take_in(answer, Failed("The answer broke off.", "Ask again; `r1tui logs` may show why."))
        self.run_worker(self.r1.save(self.conversation), group="save", exit_on_error=False)
        self.furniture.transcript.touch()
        if answer.finished is None:
            self.instruments.update_timings(None)
        self.refresh_bindings()

    def _take_in(self, answer: Answer, event: StreamEvent) -> None:
        """Let the answer have the event; an answer that is not gone on with stays as it was."""
        match event:
            case Failed(cause) if answer.rest_is_missing:
                if isinstance(event, TooLong):
                    cause = f"{does_not_fit(Room(event.prompt_tokens, event.context_tokens))} {MORE_ROOM}"
                answer.does_not_go_on(context_full=isinstance(event, TooLong))
                self.notify(f"The answer does not go on. {cause}", markup=False)
            case Failed(_, remedy):
                attached = self.r1.session.attached
                answer.apply(replace(event, remedy=in_keys(remedy, self.r1.config.ui.keys, log=not attached)))
            case _:
                answer.apply(event)

    def _does_not_fit(self, refused: TooLong) -> None:
        """The server has no room for what was asked: the question is in the prompt again."""
        turn = self.conversation.turns[-1]
        self.conversation.remove(turn)
        self.furniture.transcript.show(self.conversation)
        room = Room(refused.prompt_tokens, refused.context_tokens)
        self._refuse(turn.question, f"{does_not_fit(room)} Your question is in the prompt again. {MORE_ROOM}")

    def on_transcript_typed(self, message: Transcript.Typed) -> None:
        """What is typed while reading belongs into the prompt."""
        self.query_one(Prompt).focus().insert(message.character)

    @on(Prompt.Submitted)
    def _submitted(self, message: Prompt.Submitted) -> None:
        """Ask, if somebody can answer; else the text is in the prompt again."""
        turns = self.conversation.turns
        asked = turns and turns[-1].answer.running  # and not begun yet
        if self.r1.session.answering or asked or self._weighing:
            self._refuse(message.text, "The last answer is still coming. Esc stops it.")
            return
        if not self.ready:
            self._refuse(message.text, "No model is ready yet; your question waits here. F2 lists the models.")
            return
        question, found = defuse(message.text.strip())
        if found:
            self.notify(f"Control tokens were made harmless: {' '.join(found)}", markup=False)
        self._weighing = True
        self.run_worker(self._ask_with_room(question), group="ask", exit_on_error=False)

    async def _ask_with_room(self, question: str) -> None:
        """Ask, unless the context has no room; where it has little, the user decides."""
        try:
            room = await self.r1.session.room(self.conversation.messages_with(question))
            choice = await self._decide(question, room) if room is not None and room.is_nearly_full else "send"
        finally:
            self._weighing = False
        if choice == "new":
            self.action_new()
        if choice in ("new", "send"):
            self._ask(question)

    async def _decide(self, question: str, room: Room) -> str | None:
        """What is to be done with a question that leaves little room for its answer, or none."""
        if room.is_full:
            self._refuse(question, f"{does_not_fit(room)} {MORE_ROOM}")
            return None
        from r1tui.tui.screens.ask import little_room  # noqa: PLC0415  the screen opens without it

        choice = await self.app.push_screen_wait(little_room(room))
        if choice is None:
            self.query_one(Prompt).give_back(question)
        return choice

    def _ask(self, question: str) -> None:
        turn = self.conversation.ask(question, self._new_id())
        self.furniture.transcript.action_to_end()

        self._have_answered(turn)

    def _have_answered(self, turn: Turn, beginning: Beginning | None = None) -> None:
        async def begins(inside_thinking: bool) -> None:
            turn.inside_thinking = inside_thinking
            await self.r1.save(self.conversation)

        self._receive(self.r1.session.answer(self.conversation.messages(), turn.answer_id, begins, beginning))

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
        self.conversation = Conversation(self._new_id())
        self.furniture.transcript.show(self.conversation)
        self.instruments.update_timings(None)
        self.query_one(Prompt).focus()
        self.run_worker(self.r1.save(self.conversation), group="save", exit_on_error=False)

    def action_again(self) -> None:
        """Ask the last question again, in place of the answer that failed or was stopped; that one is a branch."""
        if not self.ready:
            self.notify("No model is ready yet.", markup=False)
            return
        old = self.conversation.turns[-1]
        self._have_answered(self.conversation.ask_instead(old, old.question, self._new_id()))
        if not (old.answer.content or old.answer.has_thoughts):
            self.conversation.remove(old)
        self.furniture.transcript.show(self.conversation)

    def action_go_on(self) -> None:
        """Go on with the answer that was cut off or stopped, where it ended."""
        if not self.ready:
            self.notify("No model is ready yet.", markup=False)
            return
        from r1tui.server.client import Beginning  # noqa: PLC0415  the screen opens without it

        turn = self.conversation.turns[-1]
        beginning = Beginning(turn.answer.thinking.text, turn.answer.content.text)
        turn.answer.go_on()
        turn.answer_id = self._new_id()
        self.furniture.transcript.action_to_end()
        self._have_answered(turn, beginning)

    def action_end_thinking(self) -> None:
        """Have the model end its thinking, and begin its answer."""
        completion_id = self.conversation.turns[-1].answer.completion_id
        work = self.r1.session.end_thinking(completion_id)
        self.run_worker(work, group="end_thinking", exclusive=True, exit_on_error=False)

    @staticmethod
    def _new_id() -> str:
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415  as above

        return new_conversation_id()

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
        if not self.furnished:
            return False
        last = self.conversation.turns[-1].answer if self.conversation.turns else None
        answering = self.r1.session.answering
        match action:
            case "stop":
                return answering or self._launching is not None
            case "go_on":
                return last is not None and not answering and last.can_go_on
            case "again":  # behind the one above, which has the same key
                return last is not None and not answering and (last.can_go_on or last.state in ("failed", "stopped"))
            case "end_thinking":
                return last is not None and answering and last.state == "thinking"
            case _:
                return super().check_action(action, parameters)
