"""The answer that is being received: asking, asking anew, going on, stopping."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import ContextBudget, Conversation, Exchange
from r1tui.chat.typed import Typed, defuse
from r1tui.events import Failed, Finished, StreamEvent, TooLong
from r1tui.remedies import AskAgain, ShowLog
from r1tui.server.client import Beginning
from r1tui.supervisor.protocol import new_conversation_id
from r1tui.system.logs import as_user_error
from r1tui.text import shortened
from r1tui.tui.controllers.view import Question, View
from r1tui.tui.controllers.waiting import ABOUT_WAITING, WaitingQuestion
from r1tui.tui.messages import AnswerEnded, AnswerReceived
from r1tui.tui.questions import little_room
from r1tui.tui.remedies import ASKS_ANEW, MORE_ROOM, does_not_fit
from r1tui.tui.services.chat_client import AnswerRequest, ChatClient
from r1tui.tui.services.saver import Saver

NOT_READY = "The model is not ready yet."
ONE_WAITS = "A question is waiting; <chat.stop> takes it back."
STILL_COMING = "The answer is still coming. <select.leave> leaves the selection, then <chat.stop> stops the answer."


@dataclass(frozen=True)
class Receiving:
    """The exchange whose answer is received, and its conversation, shown or not."""

    conversation: Conversation
    exchange: Exchange
    typed: Typed | None = None
    """Text of the prompt, if the question was typed just now."""


ABOUT_ANSWER = "answer"
"""A topic of notices."""


class AnswerController:
    """Owns the answer that is received: one at a time, of the shown conversation or of one that was left."""

    def __init__(self, client: ChatClient, saved: Saver, view: View) -> None:
        self.receiving: Receiving | None = None
        self.free = asyncio.Event()
        """Set while no answer is received."""
        self.free.set()
        self.is_weighing = False
        """True if it is being looked whether a question has room."""
        self.waiting = WaitingQuestion(view)
        self._counting: asyncio.Task[ContextBudget | None] | None = None
        """The tokens of the question are being counted."""
        self._client = client
        self._saved = saved
        self._view = view

    @property
    def left_conversation(self) -> Conversation | None:
        """The conversation that is being answered while another is shown."""
        coming = self.receiving.conversation if self.receiving is not None else None
        return coming if coming is not self._view.conversation else None

    @property
    def is_shown(self) -> bool:
        """True while the shown conversation is being answered."""
        return self.receiving is not None and self.left_conversation is None

    @property
    def can_stop(self) -> bool:
        """True while the shown answer or the counting of tokens can be stopped, or a question that waits."""
        return self.is_shown or self._counting is not None or bool(self.waiting)

    def why_not_now(self) -> str | None:
        """The reason why nothing can be asked here now; None when it can."""
        if (pid := self._saved.elsewhere(self._view.conversation)) is not None:
            return f"This conversation is open in another r1tui (PID {pid}). <chat.new>: a new one."
        if (left := self.left_conversation) is not None:
            return f"The answer in “{shortened(left.name)}” is still coming. <chat.conversations> shows it."
        if self.receiving is not None or self.is_weighing:
            return "The last answer is still coming. <chat.stop> stops it."
        if self.waiting:
            return ONE_WAITS
        if self._view.coming_model is not None:
            return NOT_READY
        if self._view.running_model is None:
            return "No model is ready yet. <chat.start> starts one; <chat.variants> lists the models."
        return None

    def can_ask(self) -> bool:
        """Check that a question can be asked now; else tell the user why not."""
        if (why := self.why_not_now()) is not None:
            self._view.tell(why)
        return why is None

    def submit(self, text: str, typed: Typed, instead_of: Exchange | None) -> None:
        """Ask the question, as soon as its model is ready; when nothing can answer, return it to the prompt."""
        if (why := self.why_not_now()) == NOT_READY:
            self.waiting.put(Question(text, typed, instead_of))
            return
        if why is not None:
            self._give_back(Question(text, typed, instead_of))
            self._view.tell(f"{why} Your question is still here.", topic=ABOUT_WAITING if why == ONE_WAITS else "")
            return
        question, found = defuse(text.strip())
        if found:
            self._view.tell(f"Control tokens sent as plain text: {' '.join(found)}")
        self._begin(self._ask_with_room(Question(question, typed, instead_of)))

    def send_waiting(self, *, came_up: bool) -> None:
        """Send the question that waits if its model is ready; return it to the prompt if none comes up any more.

        A model that has not `came_up` was told of.
        """
        if self._view.coming_model is not None:
            return
        model, wanted = self._view.running_model, (self.waiting.model, self._view.chosen_model)
        if model is None or model not in wanted:
            self.take_back(f"Not asked: {model} is running, not {wanted[0]}." if model and came_up else "")
        elif (question := self.waiting.take()) is not None:
            self.submit(question.text, question.typed or Typed(question.text), question.instead_of)

    def take_back(self, why: str = "") -> None:
        """Return a question that waits to the prompt, and tell the user why."""
        if (question := self.waiting.take()) is not None:
            self._give_back(question)
            if why:
                self._view.tell(why)

    def ask_anew(self, exchange: Exchange) -> None:
        """Ask the question of this exchange again; its answer stays as a branch."""
        if self.can_ask():
            self._begin(self._ask_with_room(Question(exchange.question, instead_of=exchange)))

    def do(self, what: str) -> None:
        """Do something with the last answer: `go_on` where it ended, `ask_again`, or `end_thinking` of the one that
        comes."""
        match what:
            case "go_on":
                if self.can_ask():
                    self._begin(self._go_on_with_room(self._view.conversation.exchanges[-1]))
            case "ask_again":
                self.ask_anew(self._view.conversation.exchanges[-1])
            case "end_thinking":
                self.end_thinking()

    def can(self, what: str) -> bool:
        """True if that can be done now."""
        last = self._view.conversation.exchanges[-1].answer if self._view.conversation.exchanges else None
        if last is None:
            return False
        if what == "end_thinking":
            return self.is_shown and last.state == "thinking"
        if self.is_shown or self._saved.elsewhere(self._view.conversation) is not None:
            return False
        return last.can_go_on or (what == "ask_again" and last.state in ("failed", "stopped"))

    def may_change(self) -> bool:
        """True if another path of the conversation may be shown; the user is told why not."""
        if why := self.why_path_stays():
            self._view.tell(why)
        return not why

    def why_path_stays(self) -> str:
        """The reason why no other path of the conversation may be shown: a running answer is the end of this one, as
        is a question that waits; empty if one may."""
        if (pid := self._saved.elsewhere(self._view.conversation)) is not None:
            return f"This conversation is open in another r1tui (PID {pid})."
        if self.is_shown or self.is_weighing or self._view.conversation.running:
            return STILL_COMING
        return ONE_WAITS if self.waiting else ""

    def stop(self) -> None:
        """Stop the answer, and keep what came; beside the keys, since a server that hangs keeps its caller waiting.

        A question that is not asked yet is in the prompt again.
        """
        if self._counting is not None:
            self._counting.cancel()
            return
        if self.waiting:
            self.take_back()
            return
        self._view.run_worker(self._client.stop(), name="Stopping the answer", group="stop", exclusive=True)

    def end_thinking(self) -> None:
        """Have the model end its thinking, and begin its answer."""
        if self.receiving is not None:
            work = self._client.end_thinking(self.receiving.exchange.answer.completion_id)
            self._view.run_worker(work, name="Ending the thinking", group="end_thinking", exclusive=True)

    def read_on(self) -> None:
        """Follow the supervisor's recording of an answer that another r1tui asked for."""
        conversation = self._view.conversation
        exchange = next((exchange for exchange in conversation.every if exchange.answer.running), None)
        if exchange is not None and self.receiving is None:
            self.receiving = receiving = Receiving(conversation, exchange)
            work = self._client.read_on(
                exchange.answer_id,
                lambda events: self._take(receiving, events),
                inside_thinking=exchange.inside_thinking,
                goes_on=exchange.answer.base is not None,
            )
            self._view.run_worker(self._receive(receiving, work), name="The answer", group="ask")

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.is_weighing = True
        self._view.run_worker(work, name="Asking", group="ask")

    async def _ask_with_room(self, question: Question) -> None:
        """Ask, unless the context is full; when it is nearly full, the user decides.

        What was typed and is not asked is in the prompt again; of a question that is asked anew nothing is lost.
        """
        conversation, typed, instead_of = self._view.conversation, question.typed, question.instead_of
        try:
            choice = await self._decide(self._client.room(conversation.messages_with(question.text, instead_of)))
        except Exception:  # whatever it was, the question is not lost
            self._give_back(question)
            raise
        finally:
            self.is_weighing = False
        if choice is None:
            self._give_back(question)
        elif conversation is not self._view.conversation:
            self._give_back(Question(question.text, typed))
            self._view.tell("Not asked: another conversation is open now.")
        elif typed is not None and self.why_not_now() is not None:  # a switch has begun: it waits for that model
            self.submit(question.text, typed, instead_of)
        elif self.can_ask():
            if choice == "new":
                self._view.begin_new()
            await self._ask(question)

    async def _go_on_with_room(self, exchange: Exchange) -> None:
        """Continue the last answer, unless the context is full; when it is nearly full, the user decides."""
        conversation, answer = self._view.conversation, exchange.answer
        beginning = Beginning(answer.thinking.text, answer.content.text)
        try:
            choice = await self._decide(self._client.room(conversation.messages(), beginning), goes_on=True)
        finally:
            self.is_weighing = False
        is_last = conversation is self._view.conversation and exchange is conversation.exchanges[-1]
        if choice is not None and is_last and self.can_ask():
            answer.go_on()
            exchange.answer_id = new_conversation_id()
            await self._have_answered(exchange, beginning=beginning)

    async def _decide(
        self, counting: Coroutine[Any, Any, ContextBudget | None], *, goes_on: bool = False
    ) -> str | None:
        """Decide about a question, or an answer that `goes_on`, when little or no context is left.

        None where it has no room, and where the user stops the counting.
        """
        self._counting = task = asyncio.create_task(counting)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            self._counting = None
        if task.cancelled():
            return None
        room = task.result()
        if room is None or not room.is_nearly_full:
            return "send"
        if room.is_full:
            self._view.tell(f"{does_not_fit(room)} {MORE_ROOM}")
            return None
        return await self._view.decide(little_room(room, goes_on=goes_on))

    async def _ask(self, question: Question) -> None:
        """Ask at the end, or as a branch beside a question; the same question asks for another answer."""
        conversation, old = self._view.conversation, question.instead_of
        if old is None or old not in conversation.exchanges:
            exchange, vary = conversation.ask(question.text, new_conversation_id()), False
        else:
            same, is_last = question.text == old.question, old is conversation.exchanges[-1]
            vary = same and not old.answer.is_empty
            exchange = conversation.ask_instead(old, question.text, new_conversation_id())
            if same and is_last and old.answer.is_empty:
                conversation.remove(old)
        await self._have_answered(exchange, vary=vary, typed=question.typed)

    async def _have_answered(
        self, exchange: Exchange, *, beginning: Beginning | None = None, vary: bool = False, typed: Typed | None = None
    ) -> None:
        receiving = Receiving(self._view.conversation, exchange, typed)
        exchange.model = self._view.running_model or ""
        self._view.note_asked(typed)
        self._view.end_notice(ABOUT_ANSWER)

        async def begins(inside_thinking: bool) -> None:
            exchange.inside_thinking = inside_thinking
            exchange.endpoint, exchange.sampling = self._client.endpoint, self._client.sampling
            await self._saved.save(receiving.conversation)

        messages, id_ = receiving.conversation.messages(), receiving.conversation.id
        asked = AnswerRequest(messages, exchange.answer_id, beginning, vary=vary, conversation_id=id_)
        await self._receive(receiving, self._client.ask(asked, begins, lambda events: self._take(receiving, events)))

    async def _receive(self, receiving: Receiving, work: Coroutine[Any, Any, None]) -> None:
        self.receiving = receiving
        self.free.clear()
        self._view.refresh_bindings()
        answer = receiving.exchange.answer
        try:
            await work
        except Exception as error:
            told = as_user_error(error, "The answer")
            self._take_in(answer, Failed.of(told))
        if answer.running:
            self._take_in(answer, Failed("The answer was cut off.", remedies=(ShowLog(), AskAgain())))
        self.receiving = None
        self.free.set()
        self._view.post_message(AnswerEnded(receiving.conversation, has_last_word=answer.finished is not None))

    def _take(self, receiving: Receiving, events: list[StreamEvent]) -> None:
        answer = receiving.exchange.answer
        state = answer.state
        for event in events:
            if isinstance(event, TooLong) and answer.base is None:
                self._refuse(receiving, event)
                return
            if isinstance(event, Finished) and self._is_taken_back(receiving, event):
                self._return(receiving)
                return
            self._take_in(answer, event)
        if "thinking" in (state, answer.state) and state != answer.state:
            self._view.refresh_bindings()
        self._saved.save_soon()
        self._view.post_message(AnswerReceived(events, receiving.conversation))

    def _take_in(self, answer: Answer, event: StreamEvent) -> None:
        """Apply the event to the answer; a failed continuation leaves the answer as it was."""
        match event:
            case TooLong(prompt_tokens=prompt, context_tokens=context) if answer.rest_is_missing:
                answer.does_not_go_on(context_full=True)
                self._view.tell(
                    f"The answer could not be continued. {does_not_fit(ContextBudget(prompt, context))} {MORE_ROOM}",
                    severity="error",
                    topic=ABOUT_ANSWER,
                )
            case Failed(cause) if answer.rest_is_missing:
                answer.does_not_go_on(context_full=False)
                self._view.tell(
                    f"The answer could not be continued. {cause} {ASKS_ANEW}.", severity="error", topic=ABOUT_ANSWER
                )
            case _:
                answer.apply(event)

    def _refuse(self, receiving: Receiving, refused: TooLong) -> None:
        """Return a question that is too long for the context to the prompt."""
        conversation, exchange = receiving.conversation, receiving.exchange
        why = does_not_fit(ContextBudget(refused.prompt_tokens, refused.context_tokens))
        if conversation is not self._view.conversation:
            exchange.answer.apply(Failed(why, remedies=refused.remedies))
            return
        self._return(receiving)
        self._view.tell(f"{why} Your question is back in the prompt. {MORE_ROOM}")

    def _is_taken_back(self, receiving: Receiving, end: Finished) -> bool:
        """True if the user stopped a question before its turn."""
        answer = receiving.exchange.answer
        is_waiting = answer.state == "waiting" and answer.waits_for != "" and answer.base is None
        is_here = receiving.conversation is self._view.conversation
        return is_waiting and is_here and end.finish_reason == "cancelled"

    def _return(self, receiving: Receiving) -> None:
        """Return what was asked to the prompt."""
        receiving.conversation.remove(receiving.exchange)
        self._view.give_back(Question(receiving.exchange.question, receiving.typed), was_asked=True)

    def _give_back(self, question: Question) -> None:
        """Return what is not asked to the prompt."""
        if not self.waiting:
            self._view.show_waiting(None)
        if question.typed is not None:
            self._view.give_back(question)
