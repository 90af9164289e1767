"""What the controller of models has shown and asked: stages, notices, questions, a first model, a download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from r1tui.tui.remedies import in_words, with_keys
from r1tui.tui.screens.ask import AskScreen, Choice, ask_stop, stop_or_wait
from r1tui.tui.screens.later import model_dialogs

if TYPE_CHECKING:
    from textual.message import Message
    from textual.screen import Screen

    from r1tui.catalog.variants import Variant
    from r1tui.events import StageEvent, StageFailed
    from r1tui.messages import Status
    from r1tui.tui.controllers.models import ModelController
    from r1tui.tui.furniture import Furniture
    from r1tui.tui.news import News
    from r1tui.tui.services.shared import Services


class ModelPort:
    """Shows and asks on a screen with these widgets."""

    models: ModelController
    """Whoever makes the controller gives it to this."""

    def __init__(self, screen: Screen[None], furniture: Furniture, services: Services) -> None:
        self._screen = screen
        self._at = furniture
        self._services = services
        self._app = screen.app
        self.run_worker = screen.run_worker

    def watch(self) -> None:
        """Follow the server, beside all else; somebody else's says once what it is."""
        session = self._services.session
        if session.attached:
            self.run_worker(session.look_at_attached(), name="Asking the server")
        else:
            self.run_worker(session.watch(), group="watch", name="Watching the server")

    def post(self, message: Message) -> object:
        """Tell what has happened, after all that was told before."""
        return self._screen.post_message(message)

    def tell(self, text: str) -> None:
        """Show the user a notice."""
        self._screen.notify(text, markup=False)

    def tell_news(self, news: News) -> None:
        """Show the user what has become of the server."""
        self._screen.notify(in_words(news.text, self._app), title=news.title, severity=news.severity, markup=False)

    def tell_failure(self, failed: StageFailed) -> None:
        """Show the user why the model that runs was not replaced."""
        said = f"{failed.cause} {in_words(failed.remedies, self._app)}"
        self._screen.notify(said, title="The model stays", severity="error", markup=False)

    def show_status(self, status: Status) -> None:
        """The server's status is another one."""
        self._at.instruments.update_server(status)
        self._at.greeting.touch()

    def show_title(self, title: str) -> None:
        """The model that runs has this name for people; none where nothing runs."""
        self._at.greeting.title = title

    def show_launch(self) -> None:
        """A launch begins: none of its stages has been reported."""
        self._screen.add_class("-launching")
        self._at.stages.reset()

    def show_stage(self, event: StageEvent) -> None:
        """A launch has got on."""
        self._at.stages.apply(with_keys(event, self._app))

    def hide_launch(self, *, focus: bool) -> None:
        """No launch is of interest any more; with `focus` the user may ask now."""
        self._screen.remove_class("-launching")
        if focus:
            self._at.composer.prompt.focus()

    def refresh_bindings(self) -> None:
        """What keys do has changed."""
        self._screen.refresh_bindings()

    def show_welcome(self) -> None:
        """Let the user choose a first model."""
        lent, switch = self._services, self.models.switch
        screen = model_dialogs().welcome(lent.catalog, lent.config, lent.paths, lent.monitor.refresh)

        def chosen(variant: Variant | None) -> None:
            switch(variant, known_size=variant is not None and variant.name == screen.recommended)

        self._app.push_screen(screen, chosen)

    def show_download(self, variant: Variant, *, begin: bool) -> None:
        """Show its download, which is yet to `begin`, or goes on."""
        lent, models = self._services, self.models
        screen = model_dialogs().download(
            variant, lent.paths, lent.config, config_file=lent.config_file, begin=begin, before_stop=models.cancel
        )
        self._app.push_screen(screen, models.switch)

    async def may_stop_others(self) -> bool:
        """Whether the server may be stopped although it computes somebody else's answer."""
        question = "Another client's answer is running on this server, and would be stopped with it."
        return await self._agrees(AskScreen(question, [Choice("s", "stop", "Stop it all the same")]))

    async def may_stop_foreign(self) -> bool:
        """Whether a server may be stopped that comes up without a launch of ours."""
        return await self._agrees(stop_or_wait())

    async def may_lose(self, loss: str) -> bool:
        """Whether the server may be stopped although this is lost by it."""
        return await self._agrees(ask_stop(loss))

    async def may_replace(self, now: Status, variant: Variant) -> bool:
        """Whether the running model may go for the one that r1tui was started with."""
        question = f"{now.variant or 'A model'} is already running."
        return await self._agrees(AskScreen(question, [Choice("s", "switch", f"Stop it, and start {variant.name}")]))

    async def choose_fetching(self, variant: Variant) -> Literal["launch", "only"] | None:
        """Whether a large model is to be fetched and brought up, or `only` fetched."""
        question = f"{variant.name} is not on this machine: {variant.size_gib or 0.0:,.0f} GiB to fetch."
        choices = [
            Choice("f", "launch", "Fetch it, then start it"),
            Choice("o", "only", "Only fetch it; what runs stays"),
        ]
        choice = await self._app.push_screen_wait(AskScreen(question, choices))
        return "launch" if choice == "launch" else "only" if choice == "only" else None

    async def _agrees(self, question: AskScreen) -> bool:
        return await self._app.push_screen_wait(question) is not None
