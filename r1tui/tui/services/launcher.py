"""Brings a variant up, or follows a server that comes up by itself, and posts how that goes."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from textual.message import Message

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.events import Stage, StageFailed, StageStarted
from r1tui.messages import Status
from r1tui.supervisor.client import SupervisorHangsError
from r1tui.system.logs import as_user_error
from r1tui.system.paths import Paths
from r1tui.tui.messages import LaunchEnded, StageReported
from r1tui.tui.services.chat_client import ChatClient
from r1tui.tui.services.server import Connection, ServerMonitor

if TYPE_CHECKING:
    from r1tui.launch.stages import Launch


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
        """Whether the server that comes up was started by somebody else, or by its supervisor."""

    async def launch(self, variant: Variant, *, replace: bool) -> None:
        """Bring the variant up, stopping another server first if `replace`. Posts every event, then LaunchEnded."""
        from r1tui.launch.stages import Launch  # noqa: PLC0415  the screen opens without it

        ready, self._given_up = False, False
        stage: Stage = "engine"
        launch = self._launch = Launch(
            variant, self._config, self._paths, config_file=self._config_file, changes=self._monitor.changes
        )
        try:
            async with aclosing(launch.prepare()) as events:
                async for event in events:
                    stage = event.stage
                    self._post(StageReported(event))
            if launch.prepared is None:
                return
            if replace:  # not before there is something to start in its place
                await self._chat.stop()
                await self._monitor.stop()
            await self._connection.forget()  # not at the end: the server may be asked as soon as it is ready
            stage = "server"
            async with aclosing(launch.start()) as events:
                async for event in events:
                    self._post(StageReported(event))
                    ready = not isinstance(event, StageFailed)
        except Exception as error:
            ready = False
            self._post_failed(stage, error)
        except asyncio.CancelledError:
            ready = False
            await self._cancelled(stop=launch.started)
            raise
        finally:
            self._ended(ready=ready)

    async def follow(self, now: Status) -> None:
        """Follow a server that comes up without a launch of ours. Posts its events, then LaunchEnded."""
        from r1tui.launch.loading import follow_server, outcome  # noqa: PLC0415

        last, wanted = now, False
        self._given_up, self.following = False, True

        def note(status: Status) -> None:
            nonlocal last
            last = status

        try:
            if self._chat.answer_id is None:  # that answer fails by itself, and lets go of the connection then
                await self._connection.forget()
            self._post(StageReported(StageStarted("server", f"llama-server with {now.variant or now.model}")))
            stuck_s, changes = self._config.server.stuck_s, self._monitor.changes
            events = follow_server(self._paths, stuck_s, note, restarts=now.restarts, changes=changes)
            async with aclosing(events) as closing:
                async for event in closing:
                    self._post(StageReported(event))
            self._post(StageReported(outcome(last)))
            wanted = True
        except Exception as error:
            self._post_failed("server", error)
        except asyncio.CancelledError:
            await self._cancelled(stop=True)
            raise
        finally:
            self.following = False
            self._ended(ready=wanted and last.state in ("ready", "sleeping"))

    def _ended(self, *, ready: bool) -> None:
        self._monitor.refresh()  # before the last word: who hears that may ask at once
        self._post(LaunchEnded(ready))

    def _post_failed(self, stage: Stage, error: Exception) -> None:
        if isinstance(error, SupervisorHangsError):
            self._monitor.note_hanging()
        told = as_user_error(error, "The launch")
        self._post(StageReported(StageFailed.of(stage, told)))

    def give_up(self) -> None:
        """The launch that is about to be cancelled is not wanted; without this word only the screen is left."""
        self._given_up = True

    async def _cancelled(self, *, stop: bool) -> None:
        if self._given_up:
            if stop:
                await self._monitor.stop()
            self._post(StageReported(StageFailed("server", "Cancelled.", "<chat.start> goes on where it was.", 130)))

    def leave_download(self) -> None:
        """The screen is about to end: a download goes on without it."""
        if self._launch is not None:
            self._launch.leave_download = True
