"""Brings a variant up, or follows a server that comes up by itself, and posts how that goes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.events import Stage, StageEvent, StageFailed, StageStarted
from r1tui.messages import Status
from r1tui.supervisor.client import SupervisorHangsError
from r1tui.system.logs import as_user_error
from r1tui.system.paths import Paths
from r1tui.tui.messages import LaunchEnded, StageReported
from r1tui.tui.services.chat_client import ChatClient
from r1tui.tui.services.server import Connection, ServerMonitor

if TYPE_CHECKING:
    from r1tui.launch.stages import Launch


@dataclass
class _Run:
    """The progress of a launch."""

    stage: Stage
    ready: bool = False


class Launcher:
    """Brings the managed server up. However a launch ends, its last two messages say so."""

    def __init__(
        self,
        paths: Paths,
        config: Config,
        post: Callable[[Message], object],
        *,
        monitor: ServerMonitor,
        connection: Connection,
        chat: ChatClient,
        config_file: str | None = None,
    ) -> None:
        self._paths = paths
        self._config = config
        self._config_file = config_file
        self._post = post
        self._monitor = monitor
        self._connection = connection
        self._chat = chat
        self._launch: Launch | None = None
        self._given_up = False
        self.following = False
        """True if the server that comes up was started by somebody else, or by its supervisor."""

    async def launch(self, variant: Variant, *, replace: bool) -> None:
        """Bring the variant up, stopping another server first if `replace`. Posts every event, then LaunchEnded."""
        from r1tui.launch.stages import Launch  # noqa: PLC0415  the screen opens without it

        launch = self._launch = Launch(
            variant, self._config, self._paths, config_file=self._config_file, changes=self._monitor.changes
        )
        async with self._run("engine", lambda: launch.started) as run:
            await self._report(launch.prepare(), run)
            run.ready = False
            if launch.prepared is None:
                return
            if replace:  # not before there is something to start in its place
                await self._chat.stop()
                await self._monitor.stop()
            await self._connection.forget()  # not at the end: the server may be asked as soon as it is ready
            run.stage = "server"
            await self._report(launch.start(), run)

    async def follow(self, now: Status) -> None:
        """Follow a server that comes up without a launch of ours. Posts its events, then LaunchEnded."""
        from r1tui.launch.loading import follow_server, outcome  # noqa: PLC0415

        last, self.following = now, True

        def note(status: Status) -> None:
            nonlocal last
            last = status

        try:
            async with self._run("server", lambda: True) as run:
                if self._chat.answer_id is None:  # that answer fails by itself, and lets go of the connection then
                    await self._connection.forget()
                name = now.variant or now.model or "an unknown model"
                self._post(StageReported(StageStarted("server", f"llama-server with {name}")))
                stuck_s, changes = self._config.server.stuck_s, self._monitor.changes
                events = follow_server(self._paths, stuck_s, note, restarts=now.restarts, changes=changes)
                await self._report(events, run)
                self._post(StageReported(outcome(last)))
                run.ready = last.state in ("ready", "sleeping")
        finally:
            self.following = False

    async def _report(self, events: AsyncGenerator[StageEvent], run: _Run) -> None:
        async with aclosing(events) as closing:
            async for event in closing:
                run.stage, run.ready = event.stage, not isinstance(event, StageFailed)
                self._post(StageReported(event))

    @asynccontextmanager
    async def _run(self, stage: Stage, is_started: Callable[[], bool]) -> AsyncIterator[_Run]:
        """Post how the block ends; when the user cancels it, stop the server if it `is_started`."""
        self._given_up, run = False, _Run(stage)
        try:
            yield run
        except Exception as error:
            run.ready = False
            if isinstance(error, SupervisorHangsError):
                self._monitor.note_hanging()
            self._post(StageReported(StageFailed.of(run.stage, as_user_error(error, "The launch"))))
        except asyncio.CancelledError:
            run.ready = False
            if self._given_up:
                if is_started():
                    await self._monitor.stop()
                cancelled = StageFailed("server", "Cancelled.", "<chat.start> continues it.", 130)
                self._post(StageReported(cancelled))
            raise
        finally:
            self._monitor.refresh()  # before the last word: who hears that may ask at once
            self._post(LaunchEnded(run.ready))

    def give_up(self) -> None:
        """Mark the launch as cancelled by the user; without this mark only the screen is being left."""
        self._given_up = True

    def leave_download(self) -> None:
        """Let a download continue when the screen, or the launch, ends."""
        if self._launch is not None:
            self._launch.leave_download = True
