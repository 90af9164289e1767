"""The HTTP side of one answer at a time: its room in the context, its request, its events in batches, its end."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from time import monotonic

import msgspec
from textual.message import Message as ScreenMessage

from r1tui.chat.answer import CONTEXT_FULL, paced
from r1tui.chat.conversation import ContextBudget, Messages, surely_has_room
from r1tui.config import Config, SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.events import Content, Failed, Finished, Reasoning, ServerStopped, StreamEvent, TooLong, Waits
from r1tui.planning.history import remember_answer
from r1tui.remedies import AskAgain
from r1tui.server.client import Beginning, ChatRequest, Message, ServerClient
from r1tui.server.record import read_record, record_file
from r1tui.server.refusal import server_stopped
from r1tui.server.wire import Slot
from r1tui.system.logs import as_user_error
from r1tui.system.paths import Paths
from r1tui.tui.messages import AnswerWaits
from r1tui.tui.remedies import say
from r1tui.tui.services.prompt_cache import PromptCache
from r1tui.tui.services.server import Connection, ServerMonitor

Begins = Callable[[bool], Awaitable[None]]
"""Told, before the question is sent, whether the stream begins inside the thinking."""
Take = Callable[[list[StreamEvent]], None]
"""Given the events of an answer, in order."""

UNHEARD_S = 5.0
"""An answer that another r1tui asked for is let go of when its stop has no effect for so long."""
BURST_S = 0.02
"""Events within this time of each other are one batch."""
BEYOND_READING_TPS, RESTED = 75.0, 2.0
"""So fast a model keeps its CPU: bursts come so many times as seldom, each with more."""
TURN_S = 1.0
"""How often the answer is looked at for which ours waits."""
SILENT_S = 5.0
"""A server that has sent nothing for so long is waited for, and the screen says so."""
ROOM_S = 3.0
"""Longest wait of an answer for each figure of the context."""


@dataclass(frozen=True)
class AnswerRequest:
    """A request for an answer. With `vary` a random seed replaces the configured one, with which the
    same answer would come again."""

    messages: Messages
    answer_id: str
    beginning: Beginning | None = None
    """Text that the answer continues."""
    vary: bool = False
    conversation_id: str = ""


class ChatClient:
    """Asks the server, and hands over what comes. Another's server is not `managed`."""

    def __init__(
        self,
        paths: Paths,
        config: Config,
        post: Callable[[ScreenMessage], object],
        connection: Connection,
        *,
        sampling: Callable[[], Awaitable[SamplingSettings]],
        managed: ServerMonitor | None,
    ) -> None:
        self.batch_s = 0.1
        """The pause between two batches; ten a second look live and cost little."""
        self.answer_id: str | None = None
        """The answer that is being received."""
        self.endpoint = self.sampling = ""
        """Where it was asked for, and how its tokens are chosen, as a text."""
        self._paths = paths
        self._post = post
        self._connection = connection
        self._sampling = sampling
        self._managed = managed
        self._cache = PromptCache(paths, config, post) if managed is not None else None
        self._begun = False
        """True if anything of that answer has come; before, it may wait for another's."""
        self._context_tokens: int | None = None
        self._reading: asyncio.Task[Finished | None] | None = None
        self._failed = False
        self._stopped_s: float | None = None
        """Time when the user stopped the answer."""
        self._is_behind = False
        """True if another client's answer came first when ours was asked for."""
        self._stopped_task: int | None = None
        """The server's number for the answer that was stopped, which it may compute for a while yet."""

    async def room(self, messages: Messages, beginning: Beginning | None = None) -> ContextBudget | None:
        """Context used by a prompt and the start of its answer; None if that is little, or cannot be known now."""
        if self._managed is not None and self._managed.status.state != "ready":
            return None  # a model that sleeps is not loaded for this
        await self._learn_context()
        size = self._context_tokens
        begun = [beginning.thinking, beginning.content] if beginning is not None else []
        if size is None or surely_has_room([*(text for _, text in messages), *begun], size):
            return None
        with suppress(R1tuiError, OSError, KeyError):  # a foreign server, a key file that is gone
            async with asyncio.timeout(ROOM_S):
                request = ChatRequest(_as_chat(messages), beginning=beginning)
                return ContextBudget(await (await self._connection.client()).count_tokens(request), size)
        return None

    async def ask(self, asked: AnswerRequest, begins: Begins, take: Take) -> None:
        """Ask, and have the answer's events taken until it ends, which whatever goes wrong does.

        When this is cancelled, the answer goes on at the server.
        """
        just_stopped = self._was_ours and self._stopped_s is not None and monotonic() - self._stopped_s < UNHEARD_S
        self.answer_id, self._begun, self._stopped_s = asked.answer_id, False, None
        left = False
        end: Finished | None = None
        waiting = asyncio.create_task(self._count_silence(take))
        try:
            await self._connection.need_model()
            client = await self._connection.client()
            # what runs just after a stop is the end of the user's own, mostly for an instant
            self._is_behind = await self._has_to_wait(client, (lambda _: None) if just_stopped else take)
            if self._is_behind:
                waiting.cancel()
                waiting = asyncio.create_task(self._watch_turn(client, take))
            sampling = await self._sampling()
            if asked.vary:
                sampling = msgspec.structs.replace(sampling, seed=secrets.randbelow(2**32 - 1))
            request = ChatRequest(_as_chat(asked.messages), sampling, asked.beginning)
            self.endpoint, self.sampling = str(client.endpoint), _as_text(sampling)
            await begins(await client.begins_inside(request))
            await self._learn_context()
            events = client.stream_chat(request, asked.answer_id)
            if self._cache is not None and self._managed is not None:
                await self._cache.make_ready(self._managed.status, asked.messages, asked.conversation_id)
                await self._managed.tell_supervisor(asked.answer_id, running=True)
                events = self._cache.noting(events)
            end = await self._read(events, take)
            if end is not None and self._managed is not None:
                await asyncio.to_thread(remember_answer, self._paths, self._managed.status, end)
            if self._failed:
                await self._connection.forget()  # the next server may have another key
        except Exception as error:
            self._broken(error, take, is_whole=end is not None)
        except asyncio.CancelledError:
            left = True
            raise
        finally:
            waiting.cancel()
            try:
                if not left and self._managed is not None:
                    await self._managed.tell_supervisor(asked.answer_id, running=False)
            finally:
                self.answer_id = None

    async def read_on(self, answer_id: str, take: Take, *, inside_thinking: bool, goes_on: bool = False) -> None:
        """As `ask`, of an answer that another r1tui asked for, from its record."""
        self.answer_id, self._begun, self._stopped_s = answer_id, True, None
        path = record_file(self._paths.answers, answer_id)

        def running() -> bool:
            given_up = self._stopped_s is not None and monotonic() - self._stopped_s > UNHEARD_S
            return not given_up and self._managed is not None and answer_id in self._managed.refresh().answers

        try:
            if self._managed is not None:
                await self._managed.have_recorded(answer_id)
            await self._learn_context()
            batches = read_record(path, running, inside_thinking=inside_thinking, goes_on=goes_on)
            async with aclosing(batches) as closing:
                async for events in closing:
                    take([self._in_full(event) for event in events])
        except OSError as error:
            take([Failed(f"{path} cannot be read: {error.strerror}.", remedies=(AskAgain(),))])
        except Exception as error:
            self._broken(error, take)
        finally:
            self.answer_id = None

    async def stop(self) -> None:
        """Stop the running answer on the server, so that its stream ends; what came stays."""
        self._stopped_s = monotonic()
        if self._cache is not None:
            self._cache.give_up()
        if self.answer_id is not None:
            noting = asyncio.create_task(self._note_stopped())
            try:
                await (await self._connection.client()).stop_answer(self.answer_id)
            except R1tuiError:
                self._post(AnswerWaits("The server does not answer; <chat.start> restarts it if it hangs."))
                return
            if not self._begun and self._reading is not None:
                self._reading.cancel()  # its stream would end only when its turn came
            await noting

    @property
    def _was_ours(self) -> bool:
        """True if the server computed our answer when it was last heard of, and not another's before it."""
        return self._begun or not self._is_behind

    async def _note_stopped(self) -> None:
        """Note which answer is stopped: the server reads a batch of the prompt to its end first."""
        self._stopped_task = None
        with suppress(R1tuiError):
            if self._was_ours and self._managed is not None and self._managed.status.state == "ready":
                busy = [one for one in await (await self._connection.client()).slots() if one.is_processing]
                self._stopped_task = busy[0].id_task if len(busy) == 1 else None

    async def end_thinking(self, completion_id: str) -> None:
        """Have the running answer end its thinking; a failure is posted."""
        try:
            await (await self._connection.client()).end_thinking(completion_id)
        except R1tuiError as error:
            self._post(AnswerWaits(f"The thinking could not be ended. {self._said(error)}"))

    async def others_answers(self) -> int:
        """Count the server's running answers for other clients; 0 if it does not report them."""
        with suppress(R1tuiError):
            if self._managed is not None and self._managed.status.state == "ready":
                slots = await (await self._connection.client()).slots()
                busy = sum(slot.is_processing and not self._is_stopped(slot) for slot in slots)
                return max(0, busy - (self.answer_id is not None and self._begun))
        return 0

    async def leave_conversation(self) -> None:
        """Save the prompt cache of the conversation that is left, while the server is idle."""
        if self._cache is not None and self._managed is not None:
            await self._cache.leave(self._managed.status)

    async def _learn_context(self) -> None:
        """Ask how much the context holds; a server that does not answer soon will fail with what follows."""
        self._context_tokens = None
        with suppress(R1tuiError, OSError, KeyError):  # a foreign server, a key file that is gone
            async with asyncio.timeout(ROOM_S):
                self._context_tokens = await (await self._connection.client()).context_tokens()

    async def _count_silence(self, take: Take) -> None:
        """Report each second without a word from the server, without asking it: it may be anybody's."""
        asked_s = monotonic()
        await asyncio.sleep(SILENT_S)
        while not self._begun:
            take([Waits(None, monotonic() - asked_s)])
            await asyncio.sleep(TURN_S)

    async def _has_to_wait(self, client: ServerClient, take: Take) -> bool:
        """Tell why the answer will not begin at once, if it will not; True if others' answers come first."""
        state = self._managed.status.state if self._managed is not None else ""
        with suppress(R1tuiError):
            if state == "sleeping":
                take([Waits(None, loads=True)])
            elif state == "ready" and (busy := _taken(await client.slots())):
                take([self._wait_for(busy)])
                return True
        return False

    async def _watch_turn(self, client: ServerClient, take: Take) -> None:
        """Report the progress of the answers that come first, until ours begins."""
        seen: set[int | None] = set()
        with suppress(R1tuiError):
            while (busy := _taken(await client.slots())) and not self._begun:
                tasks = {slot.id_task for slot in busy}
                if tasks == seen:  # one that is new may be ours, which tells of itself soon
                    take([self._wait_for(busy)])
                seen = tasks
                await asyncio.sleep(TURN_S)

    def _wait_for(self, busy: list[Slot]) -> Waits:
        if all(self._is_stopped(slot) for slot in busy):
            return Waits(None, stops=True)
        return Waits(sum(slot.tokens for slot in busy))

    def _is_stopped(self, slot: Slot) -> bool:
        return slot.id_task is not None and slot.id_task == self._stopped_task

    def _said(self, error: R1tuiError) -> str:
        return f"{error.cause} {say(error.remedies, attached=self._managed is None)}".strip()

    def _broken(self, error: Exception, take: Take, *, is_whole: bool = False) -> None:
        """End the answer with this error; one that `is_whole` stays as it is."""
        told = as_user_error(error, "The answer")
        if is_whole:
            self._post(AnswerWaits(self._said(told)))
        else:
            take([Failed.of(told)])

    async def _read(self, events: AsyncGenerator[StreamEvent], take: Take) -> Finished | None:
        """Have the stream's events taken to its end, or until it was stopped before anything came; its last word."""
        reading = self._reading = asyncio.create_task(self._take_batches(events, take))
        try:
            return await reading
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if self._stopped_s is None or (me is not None and me.cancelling()):
                raise
            take([Finished("cancelled", None, 0, 0, None, None, None)])
            return None
        finally:
            self._reading = None

    async def _take_batches(self, events: AsyncGenerator[StreamEvent], take: Take) -> Finished | None:
        """Have what comes in one burst taken at once; the last word of a whole answer."""
        batch: list[StreamEvent] = []
        end: Finished | None = None

        def flush() -> None:
            if batch:
                self._begun = True
                self._failed = any(isinstance(event, Failed) for event in batch)
                taken = batch.copy()
                batch.clear()
                take(taken)

        loop, began_s, n_tokens = asyncio.get_running_loop(), monotonic(), 0

        def pause_s() -> float:
            nonlocal began_s, n_tokens
            now_s = monotonic()
            tps = n_tokens / max(now_s - began_s, self.batch_s)
            began_s, n_tokens = now_s, 0
            return self.batch_s * (RESTED if tps > BEYOND_READING_TPS else 1.0)

        try:
            async with aclosing(events), aclosing(paced(events, pause_s)) as bursts:
                async for event in bursts:
                    n_tokens += isinstance(event, Content | Reasoning)
                    if not batch:
                        loop.call_later(BURST_S, flush)
                    batch.append(self._in_full(event))
                    end = event if isinstance(event, Finished) else end
        finally:
            flush()
        return end

    def _in_full(self, event: StreamEvent) -> StreamEvent:
        """The event with what only we know: whether the context was full, or the server was stopped in order."""
        match event:
            case Finished(finish_reason="length") if self._context_tokens is not None:
                if (event.context_tokens or 0) >= self._context_tokens:
                    return msgspec.structs.replace(event, finish_reason=CONTEXT_FULL)
            case Failed() if not isinstance(event, TooLong | ServerStopped):
                if self._managed is not None and self._managed.is_being_stopped():
                    return ServerStopped.of(server_stopped())
        return event


def _taken(slots: list[Slot]) -> list[Slot]:
    """The server's slots if all of them are taken."""
    return slots if all(slot.is_processing for slot in slots) else []


def _as_text(sampling: SamplingSettings) -> str:
    """The settings that say something, by their names."""
    said = {name: value for name, value in msgspec.structs.asdict(sampling).items() if value is not None}
    return ", ".join(f"{name} {str(value).lower()}" for name, value in said.items())


def _as_chat(messages: Messages) -> list[Message]:
    """The messages as a request has them."""
    return [Message(role, text) for role, text in messages]
