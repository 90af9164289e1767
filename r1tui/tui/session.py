"""What the screen's workers do: launch a variant, watch its server, stream an answer. They post, no more."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

import msgspec
from textual.message import Message

from r1tui.catalog import Variant
from r1tui.chat.pace import paced
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import Failed, Finished, StageFailed, StageStarted, StreamEvent
from r1tui.experience import remember_speed
from r1tui.keeper import client as keeper
from r1tui.keeper.state import Status
from r1tui.paths import Paths
from r1tui.server.client import ChatRequest, ServerClient
from r1tui.server.client import Message as ChatMessage
from r1tui.server.endpoint import Endpoint
from r1tui.server.record import read_record, record_file
from r1tui.server.wire import Props
from r1tui.tui.messages import AnswerEnded, AnswerReceived, AnswerWaits, LaunchEnded, ServerChanged, StageReported
from r1tui.tui.prompts import PromptKeeper

if TYPE_CHECKING:
    from r1tui.launch import Launch

Post = Callable[[Message], object]
Begins = Callable[[bool], Awaitable[None]]
BATCH_S = 0.1
"""Events of an answer are handed over in batches; ten a second look live and cost little."""
UNHEARD_S = 5.0
"""An answer that another r1tui asked for is let go of when its stop has no effect for so long."""
BURST_S = 0.02
"""What comes within this time of each other is one batch."""


class Session:
    """One user's way to one server, managed or attached."""

    def __init__(
        self,
        paths: Paths,
        config: Config,
        post: Post,
        *,
        config_file: str | None = None,
        attach: Endpoint | None = None,
    ) -> None:
        self._paths = paths
        self._config = config
        self._config_file = config_file
        self._post = post
        self._attach = attach
        self._client: ServerClient | None = None
        self._launch: Launch | None = None
        self._answering: str | None = None
        self._begun = False
        """Whether anything of that answer has come; before, it may wait for another's."""
        self._failed = False
        self._given_up = False
        self.following = False
        """Whether the server that comes up was started by somebody else, or by its keeper."""
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

    def status(self) -> Status:
        """What is true of the managed server now; quick."""
        return keeper.status(self._paths)

    async def launch(self, variant: Variant, *, replace: bool) -> None:
        """Bring the variant up, stopping another server first if `replace`. Posts every event, then LaunchEnded."""
        from r1tui.launch import Launch  # noqa: PLC0415  the screen opens without it

        ready, self._given_up = False, False
        launch = self._launch = Launch(variant, self._config, self._paths, config_file=self._config_file)
        try:
            async with aclosing(launch.prepare()) as events:
                async for event in events:
                    self._post(StageReported(event))
            if launch.prepared is None:
                return
            if replace:  # not before there is something to start in its place
                await asyncio.to_thread(keeper.stop, self._paths)
                self._post(ServerChanged(self.status()))
            await self._forget_client()  # not at the end: the server may be asked as soon as it is ready
            async with aclosing(launch.start()) as events:
                async for event in events:
                    self._post(StageReported(event))
                    ready = not isinstance(event, StageFailed)
        except R1tuiError as error:
            self._post(StageReported(StageFailed("server", error.cause, error.remedy, error.exit_status)))
        except asyncio.CancelledError:
            ready = False
            await self._cancelled(stop=launch.started)
            raise
        finally:
            self._post(LaunchEnded(ready))

    async def follow(self, now: Status) -> None:
        """Follow a server that comes up without a launch of ours. Posts its events, then LaunchEnded."""
        from r1tui.loading import follow_server, outcome  # noqa: PLC0415

        last, wanted = now, False
        self._given_up, self.following = False, True

        def note(status: Status) -> None:
            nonlocal last
            last = status

        try:
            if not self.answering:  # that answer fails by itself, and lets go of the connection then
                await self._forget_client()
            self._post(StageReported(StageStarted("server", f"llama-server with {now.variant or now.model}")))
            events = follow_server(self._paths, self._config.server.stuck_s, note, restarts=now.restarts)
            async with aclosing(events) as closing:
                async for event in closing:
                    self._post(StageReported(event))
            self._post(StageReported(outcome(last)))
            wanted = True
        except asyncio.CancelledError:
            await self._cancelled(stop=True)
            raise
        finally:
            self.following = False
            self._post(LaunchEnded(wanted and last.state in ("ready", "sleeping")))

    def give_up(self) -> None:
        """The launch that is about to be cancelled is not wanted; without this word only the screen is left."""
        self._given_up = True

    async def _cancelled(self, *, stop: bool) -> None:
        if self._given_up:
            if stop:
                await asyncio.to_thread(keeper.stop, self._paths)
            self._post(StageReported(StageFailed("server", "Cancelled.", "Ctrl+R goes on where it was.", 130)))

    def leave_download(self) -> None:
        """The screen is about to end: a download goes on without it."""
        if self._launch is not None:
            self._launch.leave_download = True

    async def watch(self) -> None:
        """Follow the managed server, taking it over when its keeper was killed; posts each change, for ever."""
        while True:
            with suppress(R1tuiError, OSError):  # a full disk passes
                await asyncio.to_thread(keeper.adopt, self._paths)
                async for status in keeper.watch_async(self._paths):
                    self._post(ServerChanged(status))
            await asyncio.sleep(1.0)  # nothing runs: look again now and then for one that another r1tui started

    async def look_at_attached(self) -> None:
        """Post what an attached server says of itself; where it does not answer, the first question will tell."""
        with suppress(R1tuiError, msgspec.ValidationError):
            client = await self._connected()
            props = msgspec.convert(await client.props(), Props)
            name = Path(props.model_path).stem or str(client.endpoint)
            self._post(ServerChanged(Status(state="ready", variant=name), props.default_generation_settings.n_ctx))

    async def answer(
        self, messages: list[tuple[Literal["user", "assistant"], str]], answer_id: str, begins: Begins
    ) -> None:
        """Ask, and post the answer's events in batches, then AnswerEnded; not when it is cancelled: the answer goes on.

        `begins` is told, before the question is sent, whether the stream begins inside the thinking.
        """
        self._answering, self._begun = answer_id, False
        left = False
        try:
            client = await self._connected()
            await self._tell_of_waiting(client)
            await self._prompts.make_ready(self.status(), messages)
            await begins(await client.forces_thinking())
            request = ChatRequest([ChatMessage(role, text) for role, text in messages], self._config.sampling)
            await self._tell_keeper(answer_id, running=True)
            async with aclosing(self._prompts.noting(client.stream_chat(request, answer_id))) as events:
                end = await self._post_batches(events)
            if end is not None and self._attach is None:
                await asyncio.to_thread(remember_speed, self._paths, self.status(), end)
            if self._failed:
                await self._forget_client()  # the next server may have another key
        except R1tuiError as error:
            self._post(AnswerReceived([Failed(error.cause, error.remedy)]))
        except asyncio.CancelledError:
            left = True
            raise
        finally:
            try:
                if not left:
                    await self._tell_keeper(answer_id, running=False)
                    self._post(AnswerEnded())
            finally:
                self._answering = None

    async def read_on(self, answer_id: str, *, inside_thinking: bool) -> None:
        """Post the events of an answer that another r1tui asked for, from its record, as `answer` does."""
        self._answering, self._begun = answer_id, True
        path = record_file(self._paths.answers, answer_id)
        self._stopped_s = None

        def running() -> bool:
            given_up = self._stopped_s is not None and monotonic() - self._stopped_s > UNHEARD_S
            return not given_up and answer_id in self.status().answers

        batches = read_record(path, running, inside_thinking=inside_thinking)
        try:
            async with aclosing(batches) as closing:
                async for events in closing:
                    self._post(AnswerReceived(events))
        except OSError as error:
            self._post(AnswerReceived([Failed(f"{path} cannot be read: {error.strerror}.", "Ask again.")]))
        self._answering = None
        self._post(AnswerEnded())

    async def stop_answer(self) -> None:
        """Stop the running answer on the server, so that its stream ends; what came stays."""
        self._stopped_s = monotonic()
        self._prompts.give_up()
        if self._answering is not None:
            try:
                await (await self._connected()).stop_answer(self._answering)
            except R1tuiError:
                self._post(AnswerWaits("The server does not answer; Ctrl+R starts it again when it hangs."))

    async def others_answers(self) -> int:
        """How many answers the server computes for others than this r1tui; 0 when it does not say."""
        with suppress(R1tuiError):
            if self.status().state == "ready":
                busy = await (await self._connected()).busy_slots()
                return max(0, busy - (self._answering is not None and self._begun))
        return 0

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

    async def restart_server(self) -> None:
        """Have the managed server ended and started again."""
        await asyncio.to_thread(keeper.restart, self._paths)

    async def stop_server(self) -> None:
        """Stop the managed server in order."""
        await asyncio.to_thread(keeper.stop, self._paths)

    async def close(self) -> None:
        """Let go of the connection; the server stays as it is."""
        await self._forget_client()

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
            async for event in paced(events, BATCH_S):
                if not batch:
                    loop.call_later(BURST_S, flush)
                batch.append(event)
                end = event if isinstance(event, Finished) else end
        finally:
            flush()
        return end

    async def _connected(self) -> ServerClient:
        if self._client is None:
            if self._attach is not None:
                self._client = ServerClient(self._attach, os.environ.get("LLAMA_API_KEY"))
            else:
                self._client = self._managed_client()
        return self._client

    def _managed_client(self) -> ServerClient:
        status = self.status()
        if status.endpoint is None or status.state not in ("ready", "sleeping"):
            raise R1tuiError(f"The server is {status.state}.", "Wait until it is ready, or start it: Ctrl+R.")
        key = Path(status.key_file).read_text().strip() if status.key_file else None
        return ServerClient(Endpoint.parse(status.endpoint), key)

    async def _forget_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)

    async def _tell_keeper(self, conversation_id: str, *, running: bool) -> None:
        if self._attach is None:
            tell = keeper.answer_started if running else keeper.answer_ended
            with suppress(R1tuiError, OSError):  # only a stop in the middle of the answer would miss it
                await asyncio.to_thread(tell, self._paths, conversation_id)
