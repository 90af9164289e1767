"""The application: themes, the session, the screens on top of each other, and how it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.message import Message
from textual.screen import Screen

from r1tui.errors import R1tuiError
from r1tui.tui.messages import Sampled
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.themes import DEFAULT, load_themes
from r1tui.tui.widgets.transcript_rows import foreign

if TYPE_CHECKING:
    from r1tui.catalog import Catalog, Variant
    from r1tui.chat.conversation import Conversation
    from r1tui.chat.saved import ConversationFiles
    from r1tui.config import Config
    from r1tui.keeper.state import Status
    from r1tui.paths import Paths
    from r1tui.server.endpoint import Endpoint
    from r1tui.telemetry import Sampler
    from r1tui.tui.session import Session

SAMPLE_S = 1.0


class R1App(App[None]):
    """r1tui's screen."""

    TITLE = "r1tui"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS = [
        Binding("ctrl+q", "leave", "Quit", id="app.quit", priority=True),
        Binding("f1", "keys", "Keys", id="app.keys", priority=True),
    ]

    def __init__(
        self,
        paths: Paths,
        config: Config,
        *,
        config_file: str | None = None,
        variant: Variant | None = None,
        insists: bool = False,
        attach: Endpoint | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__()
        self.paths = paths
        self.config = config
        self.config_file = config_file
        self.wanted = variant
        self.insists = insists
        """Whether the user named the model just now; one that the config names takes the place of no other."""
        self.seat = ChatScreen(clock)
        """The chat, which lies under every other screen."""
        self._attached_to = attach
        self._complaints: list[str] = []
        self._saving = asyncio.Lock()
        self._leaving = False
        self._dress()

    def get_default_screen(self) -> Screen[None]:
        return self.seat

    @cached_property
    def catalog(self) -> Catalog:
        """The models that there are."""
        from r1tui.catalog import load_catalog  # noqa: PLC0415  after the first screen

        return load_catalog(self.config)

    @cached_property
    def session(self) -> Session:
        """The way to the server."""
        from r1tui.tui.session import Session  # noqa: PLC0415  as above

        return Session(self.paths, self.config, self._tell, config_file=self.config_file, attach=self._attached_to)

    @cached_property
    def saved(self) -> ConversationFiles:
        """The conversations on disk."""
        from r1tui.chat.saved import ConversationFiles  # noqa: PLC0415  as above

        return ConversationFiles(self.paths.conversations)

    @cached_property
    def sampler(self) -> Sampler:
        """What looks at the machine."""
        from r1tui.hardware import memory_available_bytes, memory_total_bytes, usable_logical_cpus  # noqa: PLC0415
        from r1tui.telemetry import Limits, Sampler  # noqa: PLC0415

        limits = Limits(usable_logical_cpus(), memory_total_bytes(), memory_available_bytes)
        return Sampler(lambda: self.seat.server_pid, SAMPLE_S, limits=limits)

    def on_load(self) -> None:
        self.call_later(self._furnish)  # before any key: those that were pressed meanwhile are handled after it

    async def _furnish(self) -> None:
        """Do what the first screen can be shown without."""
        with suppress(ValueError, RuntimeError, NotImplementedError):  # not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        await self.seat.opened.wait()
        self.set_keymap(self.config.ui.keys)
        await self.seat.furnish()
        if self._complaints:
            self.notify("\n".join(self._complaints), title="Themes", severity="warning", markup=False)
        if self.config.ui.keys:
            from r1tui.tui.keys import complaints  # noqa: PLC0415  knows every screen

            if said := "\n".join(complaints(self.config.ui.keys, R1App)):
                self.notify(said, title="ui.keys", severity="warning", markup=False)
        self.sampler.start()
        self.set_interval(SAMPLE_S, self._sample)

    def _dress(self) -> None:
        """Have the wanted theme from the first moment; changing it later would draw everything twice."""
        themes, self._complaints = load_themes(self.paths.config / "themes")
        for theme in themes:
            self.register_theme(theme)
        wanted = self.config.ui.theme
        if wanted not in self.available_themes:
            names = ", ".join(sorted(self.available_themes))
            self._complaints.append(f"ui.theme: there is no {wanted!r}. There are: {names}.")
            wanted = DEFAULT
        self.set_reactive(App.theme, wanted)
        self.stylesheet.set_variables(self.get_css_variables())

    async def on_unmount(self) -> None:
        self.saved.let_go()
        self.sampler.stop()
        await self.session.close()

    async def save(self, conversation: Conversation) -> None:
        """Put the conversation on disk; a full disk is told and costs nothing else."""
        if self.session.attached:
            return
        async with self._saving:
            try:
                await asyncio.to_thread(self.saved.save, conversation)
            except (OSError, R1tuiError) as error:
                self.notify(f"The conversation cannot be saved: {error}", severity="warning", markup=False)

    def notify(self, message: str, *, title: str = "", **options: Any) -> None:
        """Show a notice; what is foreign in it is text."""
        super().notify(foreign(message), title=foreign(title), **{"markup": False, **options})

    def variant_named(self, status: Status) -> Variant | None:
        """The variant that the running server was started with."""
        from r1tui.catalog import variant_of_file  # noqa: PLC0415

        try:
            return self.catalog.find(status.variant or "")
        except R1tuiError:
            return variant_of_file(Path(status.model)) if status.model and Path(status.model).is_file() else None

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers: ours, with ours to leave by."""
        yield SystemCommand("Quit", "Leave r1tui; the server stays or stops", self.action_leave)
        yield SystemCommand("Keys", "The keys of this screen", self.action_keys)
        yield SystemCommand("Theme", "Look at the other themes", self.action_change_theme)
        if screen is self.seat and self.seat.furnished:
            from r1tui.tui.keys import bindings  # noqa: PLC0415  knows every screen

            for binding in bindings(ChatScreen):
                if binding.description and "number" not in binding.action:
                    does = partial(screen.run_action, binding.action)
                    yield SystemCommand(binding.description, f"The key {binding.key}", does)

    def action_keys(self) -> None:
        """Show or hide the list of keys."""
        from r1tui.tui.keys import on_screen  # noqa: PLC0415  knows every screen
        from r1tui.tui.screens.keys import KeysScreen  # noqa: PLC0415

        if isinstance(self.screen, KeysScreen):
            self.screen.dismiss()
        else:
            self.push_screen(KeysScreen(on_screen(self.screen, R1App), self.config.ui.keys))

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
        if self.session.attached:
            await self.session.stop_answer()  # nobody would read it
            return True
        if not status.running:
            return True
        choice: str | None = self.config.server.on_exit
        if choice == "ask":
            from r1tui.tui.screens.ask import STAY_OR_GO, AskScreen  # noqa: PLC0415

            question = f"{status.variant or 'A model'} is {status.state}. What happens to its server?"
            choice = await self.push_screen_wait(AskScreen(question, STAY_OR_GO))
        if choice is None or (choice == "stop" and not await self.may_stop_answers()):
            return False
        if choice == "stop":
            await self.session.stop_answer()
            self.notify("Stopping the server…", markup=False)
            await self.session.stop_server()
        return True

    async def may_stop_answers(self) -> bool:
        """Whether the server may be stopped: the user is asked when it computes somebody else's answer."""
        if not await self.session.others_answers():
            return True
        from r1tui.tui.screens.ask import AskScreen, Choice  # noqa: PLC0415

        question = "Another client's answer is running on this server, and would be stopped with it."
        return await self.push_screen_wait(AskScreen(question, [Choice("s", "stop", "Stop it all the same")])) == "stop"

    def _tell(self, message: Message) -> None:
        """Hand a worker's message to the screen that owns what it is about."""
        self.seat.post_message(message)

    def _sample(self) -> None:
        sample = self.sampler.latest()
        if sample is not None:
            self._tell(Sampled(sample))
