"""The application: themes, the session, the screens on top of each other, and how it ends."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from textual import work
from textual.app import App
from textual.binding import Binding
from textual.message import Message

from r1tui.catalog import Catalog, Variant, load_catalog, variant_of_file
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.hardware import memory_available_bytes, memory_total_bytes, usable_logical_cpus
from r1tui.keeper.state import Status
from r1tui.paths import Paths
from r1tui.server.endpoint import Endpoint
from r1tui.telemetry import Limits, Sampler
from r1tui.tui.messages import Sampled
from r1tui.tui.screens.ask import AskScreen, Choice
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.session import Session
from r1tui.tui.themes import load_themes

SAMPLE_S = 1.0
STAY_OR_GO = (
    Choice("k", "keep", "Keep it: the next r1tui is in the chat at once"),
    Choice("s", "stop", "Stop it: its memory is free again"),
)


class R1App(App[None]):
    """r1tui's screen."""

    TITLE = "r1tui"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS = [
        Binding("ctrl+q", "leave", "Quit", id="app.quit", priority=True),
        Binding("f1", "keys", "Keys", id="app.keys"),
    ]

    def __init__(
        self,
        paths: Paths,
        config: Config,
        *,
        config_file: str | None = None,
        variant: Variant | None = None,
        attach: Endpoint | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__()
        self.paths = paths
        self.config = config
        self.config_file = config_file
        self.catalog: Catalog = load_catalog(config)
        self.wanted = variant
        self.session = Session(paths, config, self._tell, config_file=config_file, attach=attach)
        self.seat = ChatScreen(clock)
        """The chat, which lies under every other screen."""
        limits = Limits(usable_logical_cpus(), memory_total_bytes(), memory_available_bytes)
        self.sampler = Sampler(lambda: self.seat.server_pid, SAMPLE_S, limits=limits)
        self._leaving = False

    def on_mount(self) -> None:
        themes, complaints = load_themes(self.paths.config / "themes")
        for theme in themes:
            self.register_theme(theme)
        if self.config.ui.theme in self.available_themes:
            self.theme = self.config.ui.theme
        else:
            names = ", ".join(sorted(self.available_themes))
            complaints = [*complaints, f"ui.theme: there is no {self.config.ui.theme!r}. There are: {names}."]
            self.theme = "r1-dark"
        if complaints:
            self.notify("\n".join(complaints), title="Themes", severity="warning", markup=False)
        self.set_keymap(self.config.ui.keys)
        self.sampler.start()
        self.set_interval(SAMPLE_S, self._sample)
        self.push_screen(self.seat)

    async def on_unmount(self) -> None:
        self.sampler.stop()
        await self.session.close()

    def variant_named(self, status: Status) -> Variant | None:
        """The variant that the running server was started with."""
        try:
            return self.catalog.find(status.variant or "")
        except R1tuiError:
            return variant_of_file(Path(status.model)) if status.model and Path(status.model).is_file() else None

    def action_keys(self) -> None:
        """Show or hide the list of keys."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()

    @work(exit_on_error=False)
    async def action_leave(self) -> None:
        """Leave; the server stays, stops, or the user is asked, as the config says."""
        if self._leaving:
            return
        self._leaving = True
        try:
            if await self._may_leave():
                self.session.leave_download()
                self.exit(message=await asyncio.to_thread(self._left_behind))
        finally:
            self._leaving = False

    def _left_behind(self) -> str | None:
        """What the terminal says afterwards about downloads that go on."""
        from r1tui.hub.jobs import running_downloads  # noqa: PLC0415  the screen opens without it

        names = running_downloads(self.paths)
        return f"The download of {names[0]} goes on: r1tui download {names[0]} shows it." if names else None

    async def _may_leave(self) -> bool:
        status = self.session.status()
        if self.session.attached or not status.running:
            return True
        choice: str | None = self.config.server.on_exit
        if choice == "ask":
            question = f"{status.variant or 'A model'} is {status.state}. What happens to its server?"
            choice = await self.push_screen_wait(AskScreen(question, STAY_OR_GO))
        if choice is None:
            return False
        await self.session.stop_answer()
        if choice == "stop":
            self.notify("Stopping the server…", markup=False)
            await self.session.stop_server()
        return True

    def _tell(self, message: Message) -> None:
        """Hand a worker's message to the screen that owns what it is about."""
        self.seat.post_message(message)

    def _sample(self) -> None:
        sample = self.sampler.latest()
        if sample is not None:
            self._tell(Sampled(sample))
