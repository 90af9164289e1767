"""What of the chat is about which model: the list, the next one, a switch, a download."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.screen import Screen

if TYPE_CHECKING:
    from r1tui.catalog import Variant
    from r1tui.keeper.state import Status
    from r1tui.tui.app import R1App


class ModelsBase(Screen[None]):
    """A screen that shows what runs and brings models up."""

    status: Status | None
    _last_variant: Variant | None

    @property
    def r1(self) -> R1App:
        """The application, with its type."""
        return cast("R1App", self.app)

    def _launch(self, variant: Variant, *, replace: bool) -> None:
        raise NotImplementedError

    def _cancel_launch(self) -> None:
        raise NotImplementedError

    def action_download(self) -> None:
        """Show the download that runs, or the unfinished one of the last model."""
        variant = self._downloading()
        if variant is None:
            self.notify("Nothing is being downloaded. F2 lists the models.", markup=False)
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
        from r1tui.tui.screens.variants import VariantsScreen  # noqa: PLC0415  planner and hub

        current = self.status.variant if self.status else None
        screen = VariantsScreen(self.r1.catalog, self.r1.config, self.r1.paths, current)
        self.app.push_screen(screen, self._switch)

    def action_step(self, step: int) -> None:
        """Switch to the next or previous model on disk."""
        from r1tui.tui.switching import neighbour  # noqa: PLC0415  the screen opens without it

        found = neighbour(self.r1, self.r1.session.status().variant, step)
        if found is None:
            self.notify("There is no other model on disk. F2 lists those that can be fetched.", markup=False)
        self._switch(found)

    def action_number(self, number: int) -> None:
        """Switch to the model with this number in the list."""
        variants = list(self.r1.catalog)
        if number <= len(variants):
            self._switch(variants[number - 1])

    def _switch(self, variant: Variant | None, *, unasked: bool = True) -> None:
        """Bring the variant up in place of what runs; not `unasked`, the user is asked first whether it may go."""
        if variant is not None:
            switching = self._switch_to(variant, unasked=unasked)
            self.run_worker(switching, group="switch", exclusive=True, exit_on_error=False)

    async def _switch_to(self, variant: Variant, *, unasked: bool) -> None:
        from r1tui.tui.switching import how, may_replace  # noqa: PLC0415  as above

        now = self.r1.session.status()
        if now.running and now.variant == variant.name:
            self.notify(f"{variant.name} runs already.", markup=False)
            return
        if not unasked and not await may_replace(self.r1, now, variant):
            return
        choice = await how(self.r1, variant)
        if choice == "only":
            self._show_download(variant, begin=True)
        elif choice == "launch" and await self.r1.may_stop_answers():
            self._launch(variant, replace=self.r1.session.status().running)
