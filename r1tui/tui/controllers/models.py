"""The model that runs, comes up, or has failed to: launching, switching, cancelling, going back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from textual.worker import Worker

from r1tui.catalog.variants import Variant
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import StageEvent, StageFailed
from r1tui.messages import Status
from r1tui.tui import questions
from r1tui.tui.controllers.view import View
from r1tui.tui.messages import LaunchEnded, StageReported
from r1tui.tui.notices import Severity
from r1tui.tui.remedies import say
from r1tui.tui.services.local_models import LocalModels
from r1tui.tui.services.server import ServerMonitor
from r1tui.tui.services.session import Session

if TYPE_CHECKING:
    from r1tui.tui.services.trials import Trials

LAUNCH = "The launch"
SWITCHING = "Switching models"
GOING_BACK = "Going back to the settings from before"
ABOUT_SERVER, ABOUT_LAUNCH, ABOUT_STOP = "server", "launch", "stop"
"""Topics of notices."""
ASK_BEFORE_FETCHING_GIB = 1.0


Work = Callable[[], Coroutine[Any, Any, None]]


class ServerNotice(NamedTuple):
    """A notice on a change of the server's state."""

    title: str
    text: str
    severity: Severity


class ModelController:
    """Owns the model that runs or starts, and the one before; an attached server's is only shown."""

    def __init__(self, session: Session, monitor: ServerMonitor, models: LocalModels, view: View) -> None:
        self.status: Status | None = None
        """The server's status, as it is shown; None before the first word of it."""
        self.ready = session.attached
        """True if a question would be answered."""
        self._session = session
        self._launcher = session.launcher
        self._monitor = monitor
        self._models = models
        self._view = view
        self.coming: str | None = None
        """The name of the model that is being brought up, as far as it is known; None while none is."""
        self._launch: Worker[None] | None = None
        self._switching: Worker[None] | None = None
        self._failure: StageFailed | None = None
        """Error of the failed launch."""
        self.last: Variant | None = None
        """The model that runs, or was to be brought up last."""
        self.replaced: Variant | None = None
        """The model that ran before the one that is, or was, being brought up."""
        self._undo: Work | None = None
        """Keeps the settings again that the model had before the restart that goes on, or has failed."""

    @property
    def running_model(self) -> str | None:
        """The name of the model that would answer; None where none does."""
        return (self.status and self.status.variant) or "" if self.ready else None

    @property
    def launching(self) -> bool:
        """True if a model is being brought up."""
        return self._launch is not None

    def can(self, what: object) -> bool:
        """True if that can be done now."""
        status = self.status
        match what:
            case "start":
                waits = status is not None and status.waits_for_start
                return waits or not (self.launching or self.ready or self.last is None)
            case "stop_server":
                return status is not None and status.running and not (self.launching or self._session.attached)
            case "bring_back":
                return not self.launching and not self.ready and bool(self.replaced or self._undo)
            case _:
                return not self._session.attached

    def do(self, what: str | int) -> None:
        """Switch to the model with this number in the list, or to the `previous` or the `next` one on disk;
        `start` one, `stop_server`, `bring_back` what ran before, or `find_download`."""
        match what:
            case int():
                self._view.run_worker(self._take_number(what), group="look", exclusive=True, name=SWITCHING)
            case "previous" | "next":
                stepping = self._step(1 if what == "next" else -1)
                self._view.run_worker(stepping, group="look", exclusive=True, name=SWITCHING)
            case "start":
                self.start()
            case "stop_server":
                self._view.run_worker(self._stop_server(), group="restart", exclusive=True, name="Stopping the server")
            case "bring_back":
                self.bring_back()
            case "find_download":
                self._view.run_worker(self._find_download(), group="look", exclusive=True, name="Looking for downloads")

    async def begin(self, wanted: Variant | None, *, insists: bool) -> None:
        """Follow the server, and leave what runs; else bring up the wanted model, or let the user choose one.

        A wanted model that the user `insists` on takes the place of another, if the user agrees.
        """
        self.watch()
        if self._session.attached:
            return
        now = self._monitor.refresh()
        if now.running:
            if wanted is not None and insists and not self.runs(wanted):
                self.switch(wanted, unasked=False)
        elif wanted is not None:
            self.launch(wanted, replace=False)
        elif (variant := await asyncio.to_thread(self._models.downloading, None)) is not None:
            self._view.show_download(variant, begin=False)
        else:
            self._view.show_welcome()

    def watch(self) -> None:
        """Follow the server in the background; an attached one is asked once."""
        if self._session.attached:
            self._view.run_worker(self._session.look_at_attached(), name="Asking the server")
        else:
            self._view.run_worker(self._session.watch(), group="watch", name="Watching the server")

    def take_status(self, status: Status) -> None:
        """Take a new status of the server."""
        before, self.status = self.status, status
        self.ready = status.state in ("ready", "sleeping")
        self._view.show_status(status)
        if not self._session.attached and (before is None or before.variant != status.variant or self.last is None):
            variant = self._models.running(status)
            self._view.show_title(variant.title if variant is not None else "")
            if status.variant and self.last is None and self.ready:
                self.last = variant
        if self.ready and not self.launching:
            self._view.hide_launch(focus=False)
        if before is None or (before.state, before.hangs) != (status.state, status.hangs):
            self._view.refresh_bindings()  # it asks for every key whether it does something
            self._view.end_notice(ABOUT_SERVER)
            if not self.launching and (notice := server_notice(before, status)) is not None:
                self._view.tell(notice.text, title=notice.title, severity=notice.severity, topic=ABOUT_SERVER)
        if status.comes_up and not self.launching:
            self._bring_up(self._launcher.follow(status), status.variant or "")

    def take_stage(self, event: StageEvent) -> None:
        """A stage of a launch has made progress."""
        if isinstance(event, StageFailed):
            self._failure = event
        self._view.show_stage(event)

    def launch_ended(self, *, ready: bool) -> None:
        """A launch is over, unless another has replaced it."""
        if self._launch is not None and not self._launch.is_finished:
            return
        self._launch = self.coming = None
        if self.status is not None:
            self.take_status(self.status)
        if ready:
            self._view.hide_launch(focus=True)
            self.replaced = self._undo = None
        elif self.ready and self._failure is not None:  # what ran goes on
            failed, title = f"{self._failure.cause} {say(self._failure.remedies)}", "The model was not switched"
            severity: Severity = "information" if self._failure.exit_status == CancelledError.exit_status else "error"
            if self._undo is not None:
                self._view.run_worker(self._undo(), group="restart", name=GOING_BACK)
                title, self._undo = "The settings stay as they were", None
            self._view.tell(failed, title=title, severity=severity, topic=ABOUT_LAUNCH)
        elif self._undo is not None:
            self._view.tell("<chat.back> restarts the model with the settings from before.", topic=ABOUT_LAUNCH)
        elif self.replaced is not None:
            self._view.tell(f"<chat.back> brings {self.replaced.name} back.", topic=ABOUT_LAUNCH)
        self._view.refresh_bindings()

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """End a launch whose worker has failed."""
        if name == LAUNCH and self.launching:
            self._view.post_message(StageReported(StageFailed.of("server", error)))
            self._view.post_message(LaunchEnded(ready=False))

    def launch(self, variant: Variant, *, replace: bool) -> None:
        """Start the model; with `replace` in place of the running one."""
        if replace and self.ready and self.status is not None:
            before = self._models.running(self.status)
            self.replaced = before if before is not None and before.name != variant.name else None
        self.last, self._undo = variant, None
        self._bring_up(self._launcher.launch(variant, replace=replace), variant.name)

    def _bring_up(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._end_launch()  # or it would replace this one when it gets there
        self._failure, self.coming = None, name
        self._view.end_notice(ABOUT_LAUNCH)
        self._view.show_launch()
        self._launch = self._view.run_worker(work, group="launch", name=LAUNCH)
        if self.status is not None:
            self._view.show_status(self.status)
        self._view.refresh_bindings()

    def _end_launch(self) -> None:
        if self._launch is not None:
            self._launcher.leave_download()
            self._launch.cancel()

    def cancel(self) -> None:
        """Cancel the launch; a server that starts by itself is stopped if the user agrees."""
        if self._launcher.following:
            self._view.run_worker(self._cancel_foreign(), group="cancel", name="Cancelling the launch")
        else:
            self._give_up()

    async def _cancel_foreign(self) -> None:
        if await self._view.decide(questions.STOP_FOREIGN):
            self._give_up()

    def _give_up(self) -> None:
        if self._launch is not None:
            self._launcher.give_up()
            self._launch.cancel()

    def start(self) -> None:
        """Bring the last model up again, or end a server that hangs and start it again."""
        if self.status is not None and self.status.waits_for_start:
            self._view.run_worker(self._restart(self.status), group="restart", name="Restarting the server")
        elif self.last is not None and not self.launching and not self.ready:
            self.launch(self.last, replace=self.status is not None and self.status.stray)

    async def _restart(self, status: Status) -> None:
        """Restart the server by its supervisor, or by a new one when that hangs."""
        variant = self.last or self._models.running(status)
        done = await self._monitor.restart()
        if not done and variant is not None and (self._launcher.following or not self.launching):
            self.launch(variant, replace=False)

    async def _stop_server(self) -> None:
        if await self._may_end(questions.stop_server):
            self._view.tell("Stopping the server…", topic=ABOUT_STOP)
            await self._monitor.stop()
            self._view.tell("The server is stopped. <chat.start> starts it again.", topic=ABOUT_STOP)

    def bring_back(self) -> None:
        """Bring the model back that ran before a switch that failed, or the settings from before a restart that did."""
        if self._undo is not None:
            self._view.run_worker(self._restore(self._undo), group="restart", exclusive=True, name=GOING_BACK)
        elif self.replaced is not None:
            self.launch(self.replaced, replace=self._monitor.refresh().running)

    async def _restore(self, undo: Work) -> None:
        await undo()
        if self.last is not None:
            self.launch(self.last, replace=self._monitor.refresh().running)

    async def _take_number(self, number: int) -> None:
        if (found := await asyncio.to_thread(self._models.numbered, number)) is None:
            self._view.tell(f"No model on this machine has the number {number}. <chat.variants> lists them.")
        self.switch(found)

    async def _step(self, step: int) -> None:
        current = self.coming or self._monitor.refresh().variant
        found = await asyncio.to_thread(self._models.neighbour, current, step)
        if found is None:
            self._view.tell("There is no other model on disk. <chat.variants> lists models to download.")
        self.switch(found)

    async def _find_download(self) -> None:
        if (variant := await asyncio.to_thread(self._models.downloading, self.last)) is not None:
            self._view.show_download(variant, begin=False)
        else:
            self._view.tell("No download is running. <chat.variants> lists the models.")

    def switch(self, variant: Variant | None, *, unasked: bool = True, known_size: bool = False) -> None:
        """Start the model in place of the running one; with `unasked` false the user must agree first.

        With `known_size` the user was told how much there is to fetch, and is not asked again.
        """
        if variant is not None and (self._switching is None or self._switching.is_finished):
            switching = self._switch(variant, unasked=unasked, known_size=known_size)
            self._switching = self._view.run_worker(switching, group="switch", name=SWITCHING)

    async def _switch(self, variant: Variant, *, unasked: bool, known_size: bool) -> None:
        now = self._monitor.refresh()
        if self.coming == variant.name:
            self._view.tell(f"{variant.name} is already coming up.")
            return
        if now.running and self.runs(variant):
            if self.launching:  # another, which has not taken its place yet
                self._end_launch()
                self.last, self.replaced, self._undo = variant, None, None
            self._view.tell(f"{variant.name} is already running.")
            return
        await asyncio.to_thread(self._models.check_room, variant)
        is_asked = not known_size and not await self._is_soon_here(variant)
        choice = await self._view.decide(questions.fetch(variant)) if is_asked else "launch"
        if choice == "only":
            self._view.show_download(variant, begin=True)
        elif choice == "launch" and await self._may_end(partial(questions.replace, variant), asks=not unasked):
            self.launch(variant, replace=self._monitor.refresh().running or self.launching)

    async def _is_soon_here(self, variant: Variant) -> bool:
        """True when the model is on this machine, or small enough to fetch without asking."""
        if (variant.size_gib or 0.0) < ASK_BEFORE_FETCHING_GIB:
            return True
        return await asyncio.to_thread(self._models.is_here, variant)

    async def _may_end(self, question: Callable[[str], questions.Decision], *, asks: bool = False) -> bool:
        """Check that the running server may end; the user decides, once, where something is lost with it.

        With `asks` the user decides about any server that runs.
        """
        now, loss = self._monitor.refresh(), await self._find_loss()
        if not loss and asks and now.running:
            loss = f"{now.variant or 'A model'} is already running."
        return not loss or await self._view.decide(question(loss)) is not None

    async def _find_loss(self) -> str:
        """Losses if the server stops, in sentences."""
        now, chat = self._monitor.refresh(), self._session.chat
        others = await chat.others_answers()
        return questions.loss(now, answers=chat.answer_id is not None, others_answer=others > 0)

    @property
    def adjustable(self) -> Variant | None:
        """The model whose settings can be changed: the one that runs, else the last."""
        status = self._monitor.status
        return (self._models.running(status) if status.running else None) or self.last

    def trials(self) -> Trials | None:
        """That model's settings; None where there is no model."""
        variant = self.adjustable
        return self._models.trials(variant) if variant is not None else None

    @property
    def server(self) -> Status:
        """The server's status, as it was last seen."""
        return self._monitor.status

    def runs(self, variant: Variant) -> bool:
        """True if the server has this model, loaded or not yet."""
        running = self._models.running(now) if (now := self._monitor.refresh()).running else None
        return running is not None and variant.is_same(running)

    async def apply(self, variant: Variant, keep: Work, misfit: str, *, undo: Work) -> bool:
        """Have settings of a model kept by `keep`, and restart it with them if it runs; False: the user went back.

        If the restart fails `undo` can keep the old ones again. The user decides where something is lost with the
        restart, or where the settings do not fit.
        """
        runs, choice = self.runs(variant), "restart"
        said = f"{misfit} {await self._find_loss() if runs else ''}".strip()
        if said:
            choice = await self._view.decide(questions.apply(variant.name, said, runs=runs)) or ""
        if choice:
            await keep()
        if choice == "restart" and self.runs(variant):
            before = self._undo or undo
            self.launch(variant, replace=True)
            self._undo = before
        elif choice:
            self._view.tell(f"{variant.name} will use these settings at the next start.")
        return bool(choice)

    async def may_stop_answers(self) -> bool:
        """Check that the server may be stopped; the user decides when it computes another client's answer."""
        if not await self._session.chat.others_answers():
            return True
        return await self._view.decide(questions.STOP_OTHERS) is not None


def server_notice(before: Status | None, now: Status) -> ServerNotice | None:
    """The notice on this change, if it needs one; `before` is None at the first look."""
    cause = f"{now.cause or ''} {say(now.remedies)}".strip()
    if now.hangs:
        return ServerNotice("The server hangs", cause, "error")
    if now.stray:
        return ServerNotice("An unknown server is running", cause, "error")
    if before is None:
        return None
    if now.state == "failed":
        return ServerNotice("The server ended", f"{now.cause} <chat.start> starts it again.", "error")
    if now.state == "restarting":
        return ServerNotice("The server ended", cause or "Restarting.", "warning")
    if before.state == "sleeping" and now.state == "ready":
        return ServerNotice("", "The model is reloaded.", "information")
    return None
