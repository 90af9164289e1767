"""What of the chat is about models: which one runs, the list, the next one, a launch, a switch, a download."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from textual import on

from r1tui.errors import R1tuiError
from r1tui.events import StageFailed
from r1tui.text import duration
from r1tui.tui.messages import LaunchEnded, ModelsOffered, StageReported
from r1tui.tui.news import server_news
from r1tui.tui.remedies import in_words, with_keys
from r1tui.tui.screens.seat_base import SeatBase
from r1tui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.messages import Status


LAUNCH = "The launch"
LONG_LOAD_S = 30.0
"""From which loading time on the user is asked before the server is stopped."""


class ModelsBase(SeatBase):
    """A screen that shows what runs and brings models up."""

    @property
    def launching(self) -> bool:
        """Whether a model is being brought up."""
        return self._launching is not None

    async def _begin(self) -> None:
        """Be in the chat at once where a server runs; else bring up the wanted model, or let the user choose one."""
        session, wanted = self.r1.session, self.r1.wanted
        if session.attached:
            self.ready = True
            self.run_worker(session.look_at_attached(), name="Asking the server")
            return
        self.run_worker(session.watch(), group="watch", name="Watching the server")
        now = self.r1.monitor.refresh()
        if now.running and wanted is not None and now.variant != wanted.name and self.r1.insists:
            self._switch(wanted, unasked=False)
        elif now.running:
            return
        elif wanted is not None:
            self._launch(wanted, replace=False)
        elif (variant := await asyncio.to_thread(self._downloading)) is not None:
            self._show_download(variant, begin=False)
        else:
            self._welcome()

    @on(StageReported)
    def _stage_reported(self, message: StageReported) -> None:
        event = with_keys(message.event, self.app)
        if isinstance(event, StageFailed):
            self._failure = event
        self.furniture.stages.apply(event)

    @on(LaunchEnded)
    def _launch_ended(self, message: LaunchEnded) -> None:
        if self._launching is not None and not self._launching.is_finished:
            return  # of a launch that another has replaced
        self._launching = None
        if self.status is not None:
            self._show_status(self.status)
        if message.ready:
            self.remove_class("-launching")
            self._replaced = None
            self.query_one(Prompt).focus()
        elif self.ready and self._failure is not None:  # what ran goes on
            self.notify(
                f"{self._failure.cause} {self._failure.remedy}", title="The model stays", severity="error", markup=False
            )
        elif self._replaced is not None:
            self.notify(f"<chat.back> brings {self._replaced.name} back.", markup=False)
        self.refresh_bindings()

    @on(ModelsOffered)
    def _models_offered(self, message: ModelsOffered) -> None:
        from r1tui.tui.screens.server_models import ServerModelsScreen  # noqa: PLC0415  when it is wanted

        def chosen(name: str | None) -> None:
            if name is not None:
                self.run_worker(self.r1.session.choose_model(name), name="Choosing the model", group="attached")

        self.app.push_screen(ServerModelsScreen(message.names, self.r1.session.server.model_name), chosen)

    async def _offer_models(self) -> None:
        try:
            await self.r1.session.offer_models()
        except R1tuiError as error:
            self.r1.show_error(error)

    def action_back(self) -> None:
        """Bring the model back that ran before a switch that failed."""
        if self._replaced is not None:
            self._launch(self._replaced, replace=self.r1.monitor.refresh().running)

    def action_log(self) -> None:
        """Show the log of what goes on: the engine's build, else the server."""
        from r1tui.tui.screens.log import LogScreen  # noqa: PLC0415

        paths = self.r1.paths
        building = self._launching is not None and self.furniture.stages.running("engine")
        self.app.push_screen(LogScreen(paths.logs / "build.log" if building else paths.server_log))

    def _cancel_launch(self) -> None:
        if self.r1.session.following:
            from r1tui.tui.screens.ask import stop_or_wait  # noqa: PLC0415

            self.app.push_screen(stop_or_wait(), lambda choice: self._give_up() if choice else None)
        else:
            self._give_up()

    def _give_up(self) -> None:
        if self._launching is not None:
            self.r1.session.give_up()
            self._launching.cancel()

    def action_start(self) -> None:
        """Bring the last model up again, or end a server that hangs and start it again."""
        if self.status is not None and self.status.waits_for_start:
            self.run_worker(self._restart(), group="restart", exclusive=True, name="Restarting the server")
        elif self._last_variant is not None and self._launching is None and not self.ready:
            self._launch(self._last_variant, replace=self.status is not None and self.status.stray)

    def action_stop_server(self) -> None:
        """Stop the server, and stay here."""
        self.run_worker(self._stop_server(), group="restart", exclusive=True, name="Stopping the server")

    async def _stop_server(self) -> None:
        from r1tui.tui.screens.ask import ask_stop  # noqa: PLC0415  as above

        now, session = self.r1.monitor.refresh(), self.r1.session
        loss = ""
        if session.answering:
            loss = "An answer is running, and ends with the server."
        elif now.load_s is not None and now.load_s >= LONG_LOAD_S:
            loss = f"{now.variant or 'The model'} took {duration(now.load_s)} to load."
        if loss and not await self.app.push_screen_wait(ask_stop(loss)):
            return
        if await self.r1.may_stop_answers():
            self.notify("Stopping the server…", markup=False)
            await session.stop_server()
            self.notify("The server is stopped. <chat.start> starts it again.", markup=False)

    async def _restart(self) -> None:
        """Have the server started again, by its keeper or, where that hangs, by a new one."""
        variant = self._last_variant or (self.r1.variant_named(self.status) if self.status is not None else None)
        done = await self.r1.session.restart_server()
        if not done and variant is not None and (self.r1.session.following or not self.launching):
            self._launch(variant, replace=False)

    def _launch(self, variant: Variant, *, replace: bool) -> None:
        if replace and self.ready and self.status is not None:
            self._replaced = self.r1.variant_named(self.status)
        self._last_variant = variant
        self._show_stages(self.r1.session.launch(variant, replace=replace))

    def _show_stages(self, work: Coroutine[Any, Any, None]) -> None:
        self.add_class("-launching")
        self.furniture.stages.reset()
        self._launching = self.run_worker(work, group="launch", exclusive=True, name=LAUNCH)
        self.refresh_bindings()

    def _show_status(self, status: Status) -> None:
        before, self.status = self.status, status
        self.ready = status.state in ("ready", "sleeping")
        if status.variant and self._last_variant is None and self.ready and not self.r1.session.attached:
            self._last_variant = self.r1.variant_named(status)
        self.instruments.update_server(status)
        if not self.r1.session.attached and (before is None or before.variant != status.variant):
            variant = self.r1.variant_named(status)
            self.furniture.greeting.title = variant.title if variant is not None else ""
        self.furniture.greeting.touch()
        if self.ready and not self.launching:
            self.remove_class("-launching")
        if before is None or (before.state, before.hangs) != (status.state, status.hangs):
            self.refresh_bindings()  # it asks for every key whether it does something
            if not self.launching and (news := server_news(before, status)) is not None:
                self.notify(in_words(news.text, self.app), title=news.title, severity=news.severity, markup=False)
        if status.comes_up and not self.launching:
            self._show_stages(self.r1.session.follow(status))

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """A launch whose work is gone has failed."""
        super().work_failed(name, error)
        if name == LAUNCH and self._launching is not None:
            self.post_message(StageReported(StageFailed.of("server", error)))
            self.post_message(LaunchEnded(ready=False))

    def action_download(self) -> None:
        """Show the download that runs, or the unfinished one of the last model."""
        self.run_worker(self._look_for_download(), group="look", exclusive=True, name="Looking for downloads")

    async def _look_for_download(self) -> None:
        variant = await asyncio.to_thread(self._downloading)
        if variant is None:
            self.notify("Nothing is being downloaded. <chat.variants> lists the models.", markup=False)
            return
        self._show_download(variant, begin=False)

    def _show_download(self, variant: Variant, *, begin: bool) -> None:
        from r1tui.tui.screens.download import DownloadScreen  # noqa: PLC0415  the hub

        screen = DownloadScreen(
            variant,
            self.r1.paths,
            self.r1.config,
            config_file=self.r1.config_file,
            begin=begin,
            before_stop=self._cancel_launch,
        )
        self.app.push_screen(screen, self._switch)

    def _downloading(self) -> Variant | None:
        from r1tui.tui.switching import downloading  # noqa: PLC0415  the screen opens without it

        return downloading(self.r1, self._last_variant)

    def action_variants(self) -> None:
        """Choose a model."""
        if self.r1.session.attached:
            self.run_worker(self._offer_models(), name="The list of models", group="attached", exclusive=True)
            return
        from r1tui.tui.screens.variants import VariantsScreen  # noqa: PLC0415  planner and hub

        screen = VariantsScreen(self.r1.catalog, self.r1.config, self.r1.paths, self.r1.monitor.refresh)
        self.app.push_screen(screen, self._switch)

    def _welcome(self) -> None:
        from r1tui.tui.screens.welcome import WelcomeScreen  # noqa: PLC0415  as above

        screen = WelcomeScreen(self.r1.catalog, self.r1.config, self.r1.paths, self.r1.monitor.refresh)

        def chosen(variant: Variant | None) -> None:
            self._switch(variant, known_size=variant is not None and variant.name == screen.recommended)

        self.app.push_screen(screen, chosen)

    def action_step(self, step: int) -> None:
        """Switch to the next or previous model on disk."""
        self.run_worker(self._step(step), group="look", exclusive=True, name="Switching models")

    async def _step(self, step: int) -> None:
        from r1tui.tui.switching import neighbour  # noqa: PLC0415  the screen opens without it

        found = await asyncio.to_thread(neighbour, self.r1, self.r1.monitor.refresh().variant, step)
        if found is None:
            self.notify(
                "There is no other model on disk. <chat.variants> lists those that can be fetched.", markup=False
            )
        self._switch(found)

    def action_number(self, number: int) -> None:
        """Switch to the model with this number in the list."""
        variants = list(self.r1.catalog)
        if number <= len(variants):
            self._switch(variants[number - 1])

    def _switch(self, variant: Variant | None, *, unasked: bool = True, known_size: bool = False) -> None:
        """Bring the variant up in place of what runs; not `unasked`, the user is asked first whether it may go.

        With `known_size` the user was told how much there is to fetch, and is not asked again.
        """
        if variant is not None:
            switching = self._switch_to(variant, unasked=unasked, known_size=known_size)
            self.run_worker(switching, group="switch", exclusive=True, name="Switching models")

    async def _switch_to(self, variant: Variant, *, unasked: bool, known_size: bool) -> None:
        from r1tui.tui.switching import how, may_replace  # noqa: PLC0415  as above

        now = self.r1.monitor.refresh()
        if now.running and now.variant == variant.name:
            self.notify(f"{variant.name} runs already.", markup=False)
            return
        if not unasked and not await may_replace(self.r1, now, variant):
            return
        choice = "launch" if known_size else await how(self.r1, variant)
        if choice == "only":
            self._show_download(variant, begin=True)
        elif choice == "launch" and await self.r1.may_stop_answers():
            self._launch(variant, replace=self.r1.monitor.refresh().running)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        match action:
            case _ if not self.furnished:
                return False
            case "start":
                waits = self.status is not None and self.status.waits_for_start
                return waits or not (self.launching or self.ready or self._last_variant is None)
            case "back":
                return self._launching is None and not self.ready and self._replaced is not None
            case "stop_server":
                runs = self.status is not None and self.status.running
                return runs and not (self.launching or self.r1.session.attached)
            case "step" | "number" | "log" | "download":
                return not self.r1.session.attached
            case _:
                return super().check_action(action, parameters)
