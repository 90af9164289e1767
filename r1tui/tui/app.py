"""The application: themes, the session, the screens on top of each other, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import shlex
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

from textual import events, work
from textual.screen import Screen

from r1tui.errors import R1tuiError
from r1tui.system.files import take_damages
from r1tui.system.logs import log_unexpected, on_stray_error
from r1tui.tui.appearance import ThemedApp
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import FatalError, Guarded
from r1tui.tui.keymap import complaints, keymap
from r1tui.tui.messages import Sampled
from r1tui.tui.noticing import NoticingApp
from r1tui.tui.palette import ActionsProvider, actions
from r1tui.tui.questions import keep_or_stop
from r1tui.tui.screens import later
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.terminal import CopyingApp

if TYPE_CHECKING:
    from rich.console import RenderableType

    from r1tui.catalog.variants import Variant
    from r1tui.config import Config
    from r1tui.machine.telemetry import Sampler
    from r1tui.server.endpoint import Endpoint
    from r1tui.system.paths import Paths
    from r1tui.tui.services.shared import Services
    from r1tui.tui.services.unsaved import UnsavedWork

SAMPLE_S = 1.0
QUITTING, STARTING = "Quitting", "The start"
LATER = ("r1tui.tui.services.shared", "r1tui.tui.screens.chat_parts")
"""What takes long to import; the first screen needs none of it."""
LEAST_COLUMNS = 16
"""A terminal that is narrower counts as this wide: Textual's lists fail where no column is left for a word."""
LAST_WORDS_S = 3.0
"""Longest wait for the end of a stopped answer."""
SETTLED_S = 1.5
"""When what stays for good has been imported; the garbage collector need not look at it again, for 60 ms at a time.
It does not run at all until the screen is there: whoever starts the screen stops it."""


class R1App(Guarded, ThemedApp, CopyingApp, NoticingApp):
    """r1tui's screen."""

    TITLE = "r1tui"
    CSS = "CommandList { scrollbar-size: 0 1; scrollbar-gutter: stable; }"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS = {ActionsProvider}
    BINDINGS = bindings_of("app")

    def __init__(
        self,
        paths: Paths,
        config: Config,
        *,
        config_file: str | None = None,
        variant: Variant | None = None,
        insists: bool = False,
        attach: Endpoint | None = None,
        model_name: str = "",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__()
        self.paths = paths
        self.config = config
        self.config_file = config_file
        self.wanted = variant
        self.insists = insists
        """True if the user named the model just now; one that the config names takes the place of no other."""
        self.chat = ChatScreen(clock)
        """The chat, which lies under every other screen."""
        self.keymap = keymap(config.ui)
        """The keys that actions have by the config, by the ids of their bindings."""
        self._attached_to = attach
        self.has_own_server = attach is None
        """True if the server is r1tui's own; the log of somebody else's is not on this machine."""
        self._model_name = model_name
        self._leaving = False
        self._whole = asyncio.Event()
        """Set when all is there, or never will be."""
        self.failure: FatalError | None = None
        """The unexpected error that ended the screen."""
        self.choose_theme()

    @property
    def is_whole(self) -> bool:
        """True once all that is there from the start is there."""
        return self._whole.is_set()

    def get_default_screen(self) -> Screen[None]:
        return self.chat

    @cached_property
    def services(self) -> Services:
        """The services of screens and controllers, made when the first of them needs one."""
        from r1tui.tui.services.shared import make_services  # noqa: PLC0415  after the first screen

        return make_services(
            self.paths,
            self.config,
            self.unsaved,
            post=self.chat.post_message,
            tell=self.show_error,
            config_file=self.config_file,
            attach=self._attached_to,
            model_name=self._model_name,
        )

    @cached_property
    def unsaved(self) -> UnsavedWork:
        """The work that is not on disk although it should be."""
        from r1tui.tui.services.unsaved import UnsavedWork  # noqa: PLC0415  after the first screen

        return UnsavedWork(self.chat.composer, self.chat.show_unsaved)

    @cached_property
    def sampler(self) -> Sampler:
        """The machine's sampler."""
        return self.services.make_sampler()

    def on_load(self) -> None:
        self.run_worker(self._complete(), name=STARTING, group=STARTING)

    async def on_event(self, event: events.Event) -> None:
        """As Textual's. The prompt takes text as soon as it shows; other input, and what follows it, waits."""
        if isinstance(event, events.Resize) and event.size.width < LEAST_COLUMNS:
            size = event.size.with_width(LEAST_COLUMNS)
            event = events.Resize(size, size)
        if isinstance(event, events.InputEvent | events.Paste):
            is_text = isinstance(event, events.Key) and event.is_printable
            await (self.chat.opened if is_text else self._whole).wait()
        await super().on_event(event)

    async def _complete(self) -> None:
        try:
            await self._start()
        finally:
            self._whole.set()

    async def _start(self) -> None:
        """Start everything that the first screen does not need."""
        asyncio.get_running_loop().set_exception_handler(self._stray)
        on_stray_error(self._tell_stray)
        with suppress(ValueError, RuntimeError, NotImplementedError):  # not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        await self.chat.opened.wait()
        for name in LATER:
            await asyncio.to_thread(import_module, name)  # meanwhile the prompt takes what is typed
        from r1tui.tui.services.unsaved import where_the_last_went  # noqa: PLC0415  after the first screen
        from r1tui.tui.widgets.option_pages import guard_pages  # noqa: PLC0415

        guard_pages()
        self.set_keymap(self.keymap)
        services = self.services
        if self.has_own_server:  # an attached server's models are its own
            await asyncio.to_thread(lambda: services.models.catalog)
        await self.chat.complete(services, self.wanted, insists=self.insists)
        self.set_pace()
        if said := "\n".join(await self.load_other_themes()):
            self.notify(said, title="Themes", severity="warning")
        if self.config.ui.keys and (said := "\n".join(complaints(self.keymap | self.config.ui.keys))):
            self.notify(said, title="ui.keys", severity="warning")
        self.sampler.start()
        self.set_interval(SAMPLE_S, self._sample)
        gc.freeze()
        gc.enable()
        self.set_timer(SETTLED_S, gc.freeze)
        if said := await asyncio.to_thread(where_the_last_went):
            self.notify(said)

    async def on_unmount(self) -> None:
        try:
            unsaved = await self.services.saved.close() if "services" in vars(self) else None
            await self.unsaved.rescue_rest(unsaved)
        finally:
            on_stray_error(None)
            if "services" in vars(self):
                self.sampler.stop()
                await self.services.session.close()

    def panic(self, *renderables: RenderableType) -> None:
        """End; the cause is printed in one line after the screen is gone."""
        if not isinstance(renderables[0] if renderables else None, FatalError):
            traces = [trace for one in renderables if (trace := getattr(one, "trace", None)) is not None]  # of Rich
            kind = traces[0].stacks[0].exc_type if traces else "no exception"
            self.failure = _fatal(log_unexpected(RuntimeError(f"Textual ended it: {kind}"), "The screen"))
            renderables = (self.failure,)
        super().panic(*renderables)

    def _handle_exception(self, error: Exception) -> None:
        """End the screen when a handler, timer or callback raises; Textual has no public hook for it."""
        told = log_unexpected(error, "The screen")
        if self.failure is None:  # what fails after it, fails because of it
            self.failure = _fatal(told)
            self.failure.__cause__ = error
            super()._handle_exception(self.failure)

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report the exception of a task or callback that nobody awaits."""
        error = context.get("exception") or RuntimeError(context.get("message", "?"))
        self._tell_stray(log_unexpected(error, "Something"))

    def _tell_stray(self, error: R1tuiError) -> None:
        if self.is_running:
            self.call_later(self.show_error, error)

    def action_keys(self) -> None:
        if isinstance(self.screen, later.overlays.KeysScreen):
            self.screen.dismiss()
        else:
            self.push_screen(later.overlays.KeysScreen([one.command for one in actions(self.screen)], self.keymap))

    @work(name=QUITTING)
    async def action_leave(self) -> None:
        if self._leaving:
            return
        self._leaving = True
        try:
            if (choice := await self._may_leave()) and await later.unsaved.may_leave(self, self.unsaved):
                if choice == "stop":
                    self.notify("Stopping the server…")
                    await self.services.monitor.stop()
                self.services.session.launcher.leave_download()
                self.exit(message=await asyncio.to_thread(self._left_behind))
        finally:
            self._leaving = False

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """Report the failure; when quitting failed, leave and keep the server, and when starting did."""
        if name in (QUITTING, STARTING):
            self.failure = _fatal(error)
            self.exit(return_code=1)
        else:
            super().work_failed(name, error)

    def _left_behind(self) -> str | None:
        """The line that the terminal shows after the end about downloads that continue."""
        names = self.services.models.downloads()
        shows = f"r1tui download {shlex.quote(names[0])}" if names else ""
        return f"The download of {names[0]} continues: {shows} shows it." if names else None

    async def _may_leave(self) -> str | None:
        """Decide about the server: `keep` or `stop`; None when the user stays. Ends an answer that cannot survive."""
        status = self.services.monitor.refresh()
        if self._attached_to is not None:
            await self._end_answer()  # nobody would read it
            return "keep"
        if not status.running:
            return "keep"
        choice: str | None = self.config.server.on_exit
        if choice == "ask":
            question = f"{status.variant or 'A model'} is {status.state}. Keep the server?"
            if self.services.session.chat.answer_id is not None:
                question = "An answer is running. Keep the server? Stopping it ends the answer."
            choice = await self.chat.view.decide(keep_or_stop(question))
        if choice == "stop":
            if not await self.chat.models.may_stop_answers():
                return None
            await self._end_answer()
        return choice

    async def _end_answer(self) -> None:
        """Stop the running answer, and wait a moment for its last words, to save them."""
        await self.services.session.chat.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.chat.answers.free.wait(), LAST_WORDS_S)

    def set_pace(self) -> None:
        """Set the refresh rate of the answer, the transcript and the instruments."""
        if self.chat.is_complete:
            self.services.session.chat.batch_s = 1 / self.refresh_hz
            self.chat.widgets.set_pace(self.refresh_hz, slow_link=self.slow_link)

    def _sample(self) -> None:
        for damage in take_damages():
            self.notify(damage.notice(), severity="warning")
        if (sample := self.sampler.latest()) is not None:
            self.chat.post_message(Sampled(sample))


def _fatal(error: R1tuiError) -> FatalError:
    return FatalError(error.cause, *error.remedies)
