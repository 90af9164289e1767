"""What the screen's workers do: launch a variant, watch its server, stream an answer. They post, no more."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from time import monotonic

import msgspec

from r1tui.chat.answer import CONTEXT_FULL
from r1tui.chat.choices import SamplingChoices
from r1tui.chat.conversation import Messages
from r1tui.chat.pace import paced
from r1tui.config import Config, SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.events import Failed, Finished, ServerStopped, StreamEvent, TooLong
from r1tui.experience import remember_speed
from r1tui.keeper.state import is_being_stopped
from r1tui.log import as_told
from r1tui.messages import Status
from r1tui.paths import Paths
from r1tui.server.client import Beginning, ChatRequest, ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.server.model_names import model_title
from r1tui.server.record import read_record, record_file
from r1tui.server.refusal import SERVER_STOPPED
from r1tui.server.sampling import Sampling
from r1tui.server.wire import Props
from r1tui.tui.connection import Connection, as_chat
from r1tui.tui.launches import Launches, Post
from r1tui.tui.messages import AnswerEnded, AnswerReceived, AnswerWaits, ModelsOffered, ServerChanged
from r1tui.tui.model_sampling import sampling_of_running, sampling_of_stranger
from r1tui.tui.prompts import PromptKeeper

Begins = Callable[[bool], Awaitable[None]]
UNHEARD_S = 5.0
"""An answer that another r1tui asked for is let go of when its stop has no effect for so long."""
BURST_S = 0.02
"""What comes within this time of each other is one batch."""


class Session(Launches):
    """One user's way to one server, managed or attached."""

    def __init__(
        self,
        paths: Paths,
        config: Config,
        post: Post,
        *,
        config_file: str | None = None,
        attach: Endpoint | None = None,
        model_name: str = "",
    ) -> None:
        self.batch_s = 0.1
        """Events of an answer are handed over in batches; ten a second look live and cost little."""
        super().__init__(paths, config, post, Connection(paths, attach, model_name), config_file)
        self._attach = attach
        self.choices = SamplingChoices(paths.sampling_choices, config.sampling)
        """How tokens are chosen, by the model's name."""
        self._attached_name = str(attach or "")
        self._answering: str | None = None
        self._begun = False
        """Whether anything of that answer has come; before, it may wait for another's."""
        self._reading: asyncio.Task[Finished | None] | None = None
        self._failed = False
        self._prompts = PromptKeeper(paths, config, post)
        self._stopped_s: float | None = None
        """When the user wanted the answer to stop."""

    @property
    def attached(self) -> bool:
        """Whether the server is somebody else's, so that there is nothing to launch, switch or stop."""
        return self._attach is not None

    @property
    def answering(self) -> bool:
        """Whether an answer is being received."""
        return self._answering is not None

    @property
    def model(self) -> str:
        """The name of the model that would answer; empty where none runs."""
        return self._attached_name if self.attached else self.status().variant or ""

    async def watch(self) -> None:
        """Follow the managed server, taking it over when its keeper was killed; posts each change, for ever."""
        await self._kept.watch(lambda: self._answering)

    async def look_at_attached(self) -> None:
        """Post what an attached server says of itself, and its models where one must be chosen.

        Where it does not answer, the first question will tell.
        """
        with suppress(R1tuiError):
            client = await self.server.client()
            names = await client.choose_model()
            if names:
                self._post(ModelsOffered(names))
            self.server.model_name = client.model
            props = await self._props(client)
            self._attached_name = model_title(client.model or props.model) or str(client.endpoint)
            status = Status(state="ready", variant=self._attached_name)
            self._post(ServerChanged(status, props.context_tokens))

    async def choose_model(self, name: str) -> None:
        """Ask this one of an attached server's models from now on."""
        await self.server.choose(name)
        await self.look_at_attached()

    async def offer_models(self) -> None:
        """Post the models of an attached server, to choose from; raises R1tuiError when it does not say."""
        names = await (await self.server.client()).models()
        if not names:
            raise R1tuiError("This server does not say which models it has.", "It answers with the one that it has.")
        self._post(ModelsOffered(names))

    async def _props(self, client: ServerClient) -> Props:
        """What a llama-server says of itself; another server says nothing."""
        try:
            return await client.props()
        except R1tuiError:
            return Props()

    async def answer(
        self,
        messages: Messages,
        answer_id: str,
        begins: Begins,
        beginning: Beginning | None = None,
        *,
        vary: bool = False,
        conversation_id: str = "",
    ) -> None:
        """Ask, and post the answer's events in batches, then AnswerEnded; not when it is cancelled: the answer goes on.

        `begins` is told, before the question is sent, whether the stream begins inside the thinking. With `beginning`
        the answer is gone on with; with `vary` a seed that nobody chose takes the place of the configured one, with
        which the same answer would come again.
        """
        just_stopped = self._stopped_s is not None and monotonic() - self._stopped_s < UNHEARD_S
        self._answering, self._begun, self._stopped_s = answer_id, False, None
        left = False
        end: Finished | None = None
        try:
            await self.server.need_model()
            client = await self.server.client()
            if not just_stopped:  # then what runs is the end of the user's own
                await self._tell_of_waiting(client)
            sampling = await self.sampling()
            if vary:
                sampling = msgspec.structs.replace(sampling, seed=secrets.randbelow(2**32 - 1))
            request = ChatRequest(as_chat(messages), sampling, beginning)
            await begins(await client.begins_inside(request))
            await self.server.learn_context()
            await self._prompts.make_ready(self.status(), messages, conversation_id)
            await self._tell_keeper(answer_id, running=True)
            end = await self._read(self._prompts.noting(client.stream_chat(request, answer_id)))
            if end is not None and self._attach is None:
                await asyncio.to_thread(remember_speed, self._paths, self.status(), end)
            if self._failed:
                await self.server.forget()  # the next server may have another key
        except Exception as error:
            self._post_broken(error, is_whole=end is not None)
        except asyncio.CancelledError:
            left = True
            raise
        finally:
            try:
                if not left:
                    await self._tell_keeper(answer_id, running=False)
                    self._post(AnswerEnded())
            finally:
                self._answered(answer_id)

    async def read_on(self, answer_id: str, *, inside_thinking: bool, goes_on: bool = False) -> None:
        """Post the events of an answer that another r1tui asked for, from its record, as `answer` does."""
        self._answering, self._begun = answer_id, True
        path = record_file(self._paths.answers, answer_id)
        self._stopped_s = None

        def running() -> bool:
            given_up = self._stopped_s is not None and monotonic() - self._stopped_s > UNHEARD_S
            return not given_up and answer_id in self.status().answers

        try:
            await self._kept.have_recorded(answer_id)
            await self.server.learn_context()
            batches = read_record(path, running, inside_thinking=inside_thinking, goes_on=goes_on)
            async with aclosing(batches) as closing:
                async for events in closing:
                    self._post(AnswerReceived([self._in_full(event) for event in events]))
        except OSError as error:
            self._post(AnswerReceived([Failed(f"{path} cannot be read: {error.strerror}.", "Ask again.")]))
        except Exception as error:
            self._post_broken(error)
        finally:
            self._answered(answer_id)
            self._post(AnswerEnded())

    def _post_broken(self, error: Exception, *, is_whole: bool = False) -> None:
        """End the answer with this error; one that `is_whole` stays as it is."""
        told = as_told(error, "The answer")
        failed = AnswerReceived([Failed.of(told)])
        self._post(AnswerWaits(f"{told.cause} {told.remedy}") if is_whole else failed)

    def _answered(self, answer_id: str) -> None:
        """That answer is no longer received; another one may be meanwhile."""
        if self._answering == answer_id:
            self._answering = None

    async def stop_answer(self) -> None:
        """Stop the running answer on the server, so that its stream ends; what came stays."""
        self._stopped_s = monotonic()
        self._prompts.give_up()
        if self._answering is not None:
            try:
                await (await self.server.client()).stop_answer(self._answering)
            except R1tuiError:
                self._post(AnswerWaits("The server does not answer; <chat.start> starts it again when it hangs."))
                return
            if not self._begun and self._reading is not None:
                self._reading.cancel()  # its stream would end only when its turn came

    async def end_thinking(self, completion_id: str) -> None:
        """Have the running answer end its thinking; a failure is posted."""
        try:
            await (await self.server.client()).end_thinking(completion_id)
        except R1tuiError as error:
            self._post(AnswerWaits(f"The thinking could not be ended. {error.cause} {error.remedy}"))

    async def others_answers(self) -> int:
        """How many answers the server computes for others than this r1tui; 0 when it does not say."""
        with suppress(R1tuiError):
            if self.status().state == "ready":
                busy = await (await self.server.client()).busy_slots()
                return max(0, busy - (self._answering is not None and self._begun))
        return 0

    async def sampling(self) -> SamplingSettings:
        """How the next answer's tokens are chosen, as far as the user has said; null leaves it to the server."""
        return await asyncio.to_thread(self.choices.of, self.model)

    async def effective_sampling(self) -> Sampling:
        """What counts for the model that runs where the user has not chosen otherwise, and who says so.

        Nothing is known of somebody else's server but what the config says.
        """
        if self.attached:
            return sampling_of_stranger(self.choices.default)
        return await asyncio.to_thread(sampling_of_running, self.status(), self._config)

    async def _tell_of_waiting(self, client: ServerClient) -> None:
        """Post why the answer will not begin at once, if it will not."""
        state = self.status().state
        with suppress(R1tuiError):
            if state == "sleeping":
                self._post(AnswerWaits("The model sleeps; it is loaded again first."))
            elif state == "ready" and await client.busy_slots():
                self._post(AnswerWaits("Another client's answer is running on this server; yours comes after it."))

    async def leave_conversation(self) -> None:
        """What the server has computed of the conversation that is left is kept, while it has nothing else to do."""
        await self._prompts.leave(self.status())

    async def restart_server(self) -> bool:
        """Have the managed server ended and started again; one whose keeper does not answer is only ended: False."""
        return await self._kept.restart()

    async def stop_server(self) -> None:
        """Stop the managed server in order."""
        await self._kept.stop()

    async def close(self) -> None:
        """Let go of the connection; the server stays as it is."""
        await self.server.forget()

    async def _read(self, events: AsyncGenerator[StreamEvent]) -> Finished | None:
        """Post the stream's events to its end, or until it was stopped before anything came; its last word."""

        async def read() -> Finished | None:
            async with aclosing(events) as closing:
                return await self._post_batches(closing)

        reading = self._reading = asyncio.create_task(read())
        try:
            return await reading
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if self._stopped_s is None or (me is not None and me.cancelling()):
                raise
            self._post(AnswerReceived([Finished("cancelled", None, 0, 0, None, None, None)]))
            return None
        finally:
            self._reading = None

    def _in_full(self, event: StreamEvent) -> StreamEvent:
        """The event with what only we know: whether the context was full, or the server was stopped in order."""
        match event:
            case Finished(finish_reason="length") if (size := self.server.context_tokens) is not None:
                if (event.context_tokens or 0) >= size:
                    return msgspec.structs.replace(event, finish_reason=CONTEXT_FULL)
            case Failed() if not isinstance(event, TooLong | ServerStopped):
                if self._attach is None and is_being_stopped(self._paths):
                    return ServerStopped(*SERVER_STOPPED)
        return event

    async def _post_batches(self, events: AsyncIterator[StreamEvent]) -> Finished | None:
        """Post what comes in one burst as one message; the last word of a whole answer."""
        batch: list[StreamEvent] = []
        end: Finished | None = None

        def flush() -> None:
            if batch:
                self._begun = True
                self._failed = any(isinstance(event, Failed) for event in batch)
                self._post(AnswerReceived(batch.copy()))
                batch.clear()

        loop = asyncio.get_running_loop()
        try:
            async with aclosing(paced(events, lambda: self.batch_s)) as bursts:
                async for event in bursts:
                    if not batch:
                        loop.call_later(BURST_S, flush)
                    batch.append(self._in_full(event))
                    end = event if isinstance(event, Finished) else end
        finally:
            flush()
        return end

    async def _tell_keeper(self, conversation_id: str, *, running: bool) -> None:
        if self._attach is None:
            await self._kept.tell(conversation_id, running=running)
