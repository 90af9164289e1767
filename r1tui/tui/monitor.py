"""The server's status as the screen knows it: followed by one connection, told by one message."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

import msgspec
from textual.message import Message

from r1tui.errors import R1tuiError
from r1tui.messages import ENDED, Status
from r1tui.supervisor import client as keeper
from r1tui.supervisor.state_file import is_being_stopped
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
    """Owns the status; whoever has changed the server calls `refresh`. For one event loop.

    A supervisor that does not answer is part of the status until one does.
    """

    def __init__(self, paths: Paths, post: Callable[[Message], object], *, managed: bool = True) -> None:
        self.status = keeper.recent_status(paths) if managed else Status()
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
        """Look again, and tell what has changed; quick. Of somebody else's server it is what was last `told`."""
        if self._managed:
            now = keeper.recent_status(self._paths)
            hangs = self._hanging_pid is not None and self._hanging_pid == now.keeper_pid
            self.told(keeper.hanging_status(now, keeper.SupervisorHangsError()) if hangs else now)
        return self.status

    def told(self, status: Status, context_tokens: int | None = None) -> None:
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
        """The supervisor that there is does not answer."""
        self._hanging_pid = keeper.recent_status(self._paths).keeper_pid
        self.refresh()

    def is_being_stopped(self) -> bool:
        """Whether the managed server is being stopped in order, or was and is gone; reads the state file."""
        return self._managed and is_being_stopped(self._paths)

    async def changes(self) -> AsyncGenerator[Status, None]:
        """The status now and at every change until the server has ended, as `keeper.watch_async` gives.

        Raises SupervisorHangsError when the supervisor does not answer. It needs `watch` to run.
        """
        queue: asyncio.Queue[Status] = asyncio.Queue()
        status = self.refresh()
        self._followers.add(queue)
        try:
            while True:
                if status.keeper_hangs:
                    raise keeper.SupervisorHangsError
                yield status
                if status.keeper_pid is None or status.state in ENDED:
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
                async with aclosing(keeper.watch_async(self._paths, AGE_S)) as changes:
                    async for status in changes:
                        await self._hear(status, meet)
                pause_s = LOOK_S
            except keeper.SupervisorHangsError:
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
        now, before = keeper.recent_status(self._paths), self._followed_pid
        is_gone = status.keeper_pid is not None and identify(status.keeper_pid) is None
        if is_gone or now.keeper_pid not in (None, status.keeper_pid, before):
            self.refresh()
            return
        self._hanging_pid, self._followed_pid = None, status.keeper_pid
        self.told(status)
        if status.keeper_pid not in (None, before):
            await meet()

    async def adopt(self, max_age_s: float = 0.0) -> None:
        """Give a server whose supervisor was killed a new one, once."""
        async with self.replacing:
            await asyncio.to_thread(keeper.adopt, self._paths, max_age_s)


def _timeless(status: Status) -> Status:
    return msgspec.structs.replace(status, uptime_s=None)
