"""The screen's way to its server: the status, followed by one connection; what the supervisor is told; requests."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

import msgspec
from textual.message import Message

from r1tui.errors import R1tuiError
from r1tui.messages import ENDED, Status
from r1tui.remedies import AskAgain, ChooseModel, StartServer
from r1tui.server.client import ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.supervisor import client as supervisor
from r1tui.supervisor.key import address_of
from r1tui.supervisor.status import is_being_stopped
from r1tui.system.environment import KEY_VARIABLE
from r1tui.system.logs import as_user_error
from r1tui.system.paths import Paths
from r1tui.system.processes import identify
from r1tui.tui.messages import AnswerWaits, ServerChanged
from r1tui.tui.remedies import say

LOOK_S = 1.0
"""Between two looks for a server while none runs, or while its supervisor hangs."""
LONGEST_PAUSE_S = 60.0
AGE_S = 3.0
"""How old a look at the system's list of processes may be for one who looks again and again."""
_log = logging.getLogger(__name__)


class ServerMonitor:
    """Owns the server's status, and changes the managed server, which is seen in the status at once.

    A supervisor that does not answer is part of the status until one does. For one event loop.
    """

    def __init__(self, paths: Paths, post: Callable[[Message], object], *, managed: bool = True) -> None:
        self.status = supervisor.recent_status(paths) if managed else Status()
        """The server's status, as it was last seen."""
        self.replacing = asyncio.Lock()
        """Held while a supervisor is replaced, and while it is stopped with its server."""
        self._paths = paths
        self._post = post
        self._managed = managed
        self._is_told = False
        self._hanging_pid: int | None = None
        """The supervisor that was last seen not to answer."""
        self._followed_pid: int | None = None
        """The supervisor whose word was taken last."""
        self._followers: set[asyncio.Queue[Status]] = set()
        self._awake = asyncio.Event()
        """Set when there may be another supervisor to connect to."""

    def refresh(self) -> Status:
        """Look again, and tell what has changed; quick. Of somebody else's server it is what was last taken."""
        if self._managed:
            now = supervisor.recent_status(self._paths)
            hangs = self._hanging_pid is not None and self._hanging_pid == now.supervisor_pid
            self.take_status(supervisor.hanging_status(now, supervisor.SupervisorHangsError()) if hangs else now)
        return self.status

    def take_status(self, status: Status, context_tokens: int | None = None) -> None:
        """Take the status, and tell of it when it is another one; a server without a plan says its context's size."""
        before, self.status = self.status, status
        if self._is_told and context_tokens is None and _timeless(before) == _timeless(status):
            return
        self._is_told = True
        if status.running:
            self._awake.set()
        for follower in self._followers:
            follower.put_nowait(status)
        self._post(ServerChanged(status, context_tokens))

    def note_hanging(self) -> None:
        """Note that the current supervisor does not answer."""
        self._hanging_pid = supervisor.recent_status(self._paths).supervisor_pid
        self.refresh()

    def is_being_stopped(self) -> bool:
        """True if the managed server is being stopped in order, or was and is gone; reads the state file."""
        return self._managed and is_being_stopped(self._paths)

    async def changes(self) -> AsyncGenerator[Status, None]:
        """The status now and at every change until the server has ended, as `watch_async` gives; also while `watch`,
        which must run, gives it a new supervisor in place of a killed one.

        Raises SupervisorHangsError when the supervisor does not answer.
        """
        queue: asyncio.Queue[Status] = asyncio.Queue()
        status = self.refresh()
        self._followers.add(queue)
        try:
            while True:
                if status.supervisor_hangs:
                    raise supervisor.SupervisorHangsError
                yield status
                will_be_kept = status.pid is not None and not status.stray
                if status.state in ENDED or not (status.supervisor_pid or will_be_kept):
                    return
                status = await queue.get()
        finally:
            self._followers.discard(queue)

    async def watch(self, meet: Callable[[], Awaitable[object]]) -> None:
        """Follow the managed server for ever, taking it over when its supervisor was killed; `meet` each new one."""
        pause_s = LOOK_S
        while True:
            self._awake.clear()
            try:
                await self.adopt(AGE_S)
                async with aclosing(supervisor.watch_async(self._paths, AGE_S)) as changes:
                    async for status in changes:
                        await self._hear(status, meet)
                pause_s = LOOK_S
            except supervisor.SupervisorHangsError:
                self.note_hanging()
                self._awake.clear()
            except (R1tuiError, OSError) as error:  # a full disk passes
                _log.info("watching the server: %s", error)
                pause_s = LOOK_S
            except Exception as error:  # this must go on, or the screen would show what is past
                if pause_s == LOOK_S:
                    failed = as_user_error(error, "Watching the server")
                    self._post(AnswerWaits(f"{failed.cause} {say(failed.remedies)}".strip()))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            with suppress(TimeoutError):  # nothing runs: look again for one that another r1tui started
                async with asyncio.timeout(pause_s):
                    await self._awake.wait()

    async def _hear(self, status: Status, meet: Callable[[], Awaitable[object]]) -> None:
        """Take a watched supervisor's word, unless it has ended meanwhile or another is in its place."""
        now, before = supervisor.recent_status(self._paths), self._followed_pid
        is_gone = status.supervisor_pid is not None and identify(status.supervisor_pid) is None
        if is_gone or now.supervisor_pid not in (None, status.supervisor_pid, before):
            self.refresh()
            return
        self._hanging_pid, self._followed_pid = None, status.supervisor_pid
        self.take_status(status)
        if status.supervisor_pid not in (None, before):
            await meet()

    async def adopt(self, max_age_s: float = 0.0) -> None:
        """Give a server whose supervisor was killed a new one, once."""
        async with self.replacing:
            await asyncio.to_thread(supervisor.adopt, self._paths, max_age_s)

    async def tell_supervisor(self, answer_id: str, *, running: bool) -> None:
        """Tell the supervisor that an answer begins or is over; one that hangs is not told, and known to hang."""
        if self.status.supervisor_hangs:
            return
        tell = supervisor.answer_started if running else supervisor.answer_ended
        try:
            await asyncio.to_thread(tell, self._paths, answer_id)
        except supervisor.SupervisorHangsError:
            self.note_hanging()
        except Exception as error:  # only a stop in the middle of the answer would miss it
            as_user_error(error, "Reporting the answer to the supervisor")

    async def have_recorded(self, answer_id: str) -> None:
        """Have the supervisor, a new one in place of a killed one, record what the server still has of an answer."""
        with suppress(R1tuiError, OSError):
            await self.adopt()
        await self.tell_supervisor(answer_id, running=True)
        await self.tell_supervisor(answer_id, running=False)  # whoever asked is gone

    async def restart(self) -> bool:
        """Have the server ended and started again; one whose supervisor does not answer is only ended: False.

        Raises R1tuiError when it cannot be ended.
        """
        try:
            await asyncio.to_thread(supervisor.restart, self._paths)
        except supervisor.SupervisorHangsError:
            await self.stop()
            return False
        return True

    async def stop(self) -> None:
        """Stop the server in order. Raises R1tuiError when it cannot be ended."""
        async with self.replacing:  # a server whose supervisor has just been ended is not taken over
            try:
                await asyncio.to_thread(supervisor.stop, self._paths)
            finally:
                self.refresh()


class Connection:
    """The way to the managed server, or to the one at `attach`."""

    def __init__(self, paths: Paths, monitor: ServerMonitor, attach: Endpoint | None, model_name: str = "") -> None:
        self.model_name = model_name
        """Model of the attached server that answers; empty until known or chosen."""
        self._paths = paths
        self._monitor = monitor
        self._attach = attach
        self._client: ServerClient | None = None

    async def client(self) -> ServerClient:
        """The client of the server that runs now. Raises R1tuiError when none can be asked."""
        if self._client is None:
            if self._attach is not None:
                key = os.environ.get(KEY_VARIABLE)
                self._client = ServerClient(self._attach, key, ours=False, model=self.model_name)
            else:
                address, key = await asyncio.to_thread(self._managed, self._monitor.refresh())
                self._client = self._client or ServerClient(address, key)
        return self._client

    async def choose(self, model_name: str) -> None:
        """Ask this model of an attached server from now on."""
        await self.forget()
        self.model_name = model_name

    async def need_model(self) -> None:
        """Know which model to ask. Raises R1tuiError where an attached server has several and none was chosen, or has
        not the one that was."""
        if self._attach is not None:
            client = await self.client()
            if names := await client.choose_model():
                cause = f"The server has {len(names)} models and none is chosen."
                raise R1tuiError(cause, ChooseModel(), AskAgain())
            self.model_name = client.model

    async def forget(self) -> None:
        """Close the connection; the next one may be to another server."""
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)

    async def has_thinking_switch(self) -> bool | None:
        """True if the model can be told not to think; None where no server says."""
        with suppress(R1tuiError):
            return (await (await self.client()).props()).has_thinking_switch
        return None

    async def count_tokens(self, text: str) -> int | None:
        """The tokens of a text; None where no server says, or one would have to load its model for it."""
        with suppress(R1tuiError, LookupError):
            if self._attach is not None or self._monitor.status.state == "ready":
                return len(await (await self.client()).tokenize(text, parse_special=False))
        return None

    def _managed(self, status: Status) -> tuple[Endpoint, str | None]:
        """The address and the key of the server that runs."""
        if status.endpoint is None or status.state not in ("ready", "sleeping"):
            raise R1tuiError(f"The server is {status.state}.", StartServer(), "Wait until it is ready.", AskAgain())
        return address_of(status, self._paths)


def _timeless(status: Status) -> Status:
    return msgspec.structs.replace(status, uptime_s=None)
