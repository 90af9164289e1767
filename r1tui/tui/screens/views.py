"""What of the chat is to be seen: folded and hidden parts of it, and the screens over it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from r1tui.errors import R1tuiError
from r1tui.text import plain
from r1tui.tui.guarded import show_error
from r1tui.tui.screens.later import dialogs, model_dialogs

if TYPE_CHECKING:
    from textual.screen import Screen

    from r1tui.tui.controllers.conversations import ConversationController
    from r1tui.tui.controllers.models import ModelController
    from r1tui.tui.furniture import Furniture
    from r1tui.tui.services.shared import Services


class Views:
    """Shows and hides on a screen with these widgets."""

    def __init__(
        self,
        screen: Screen[None],
        furniture: Furniture,
        services: Services,
        conversations: ConversationController,
        models: ModelController,
    ) -> None:
        self._screen = screen
        self._at = furniture
        self._services = services
        self._conversations = conversations
        self._models = models

    def do(self, what: str) -> None:
        """Show a `new` conversation, fold or unfold the `thinking`, hide or show the `side_panel`; or open `prompts`,
        `sampling`, `conversations`, `models`, the `log`, or the `instruments` on a whole screen."""
        app, services = self._screen.app, self._services
        match what:
            case "new":
                self._conversations.begin_new()
                self._at.composer.prompt.focus()
            case "thinking":
                self._at.transcript.toggle_thinking()
            case "side_panel":
                self._screen.toggle_class("-no-panel")
            case "prompts":
                app.push_screen(dialogs().prompts(services.config.prompts), self._take_prompt)
            case "sampling":
                config_file = Path(services.config_file or services.paths.config_file)
                app.push_screen(dialogs().sampling(services.session, config_file))
            case "conversations":
                listed = dialogs().conversations(services.saved, self._conversations, services.monitor)
                app.push_screen(listed, self._conversations.begin_open)
            case "models" if services.session.attached:
                asking = self._ask_for_models()
                self._screen.run_worker(asking, name="The list of models", group="attached", exclusive=True)
            case "models":
                known = (services.catalog, services.config, services.paths, services.monitor.refresh)
                app.push_screen(model_dialogs().models(*known), self._models.switch)
            case "log":
                builds = self._models.launching and self._at.stages.running("engine")
                paths = services.paths
                app.push_screen(dialogs().log(paths.logs / "build.log" if builds else paths.server_log))
            case "instruments":
                app.push_screen(dialogs().panel(self._at.instruments.figures))

    def can(self, what: str) -> bool:
        """Whether there is something to see; the log of somebody else's server is not on this machine."""
        if what == "thinking":
            return any(one.answer.has_thoughts for one in self._conversations.shown.exchanges)
        return what != "log" or not self._services.session.attached

    def offer(self, names: list[str]) -> None:
        """Let the user choose one of the models of somebody else's server."""
        session = self._services.session

        def chosen(name: str | None) -> None:
            if name is not None:
                self._screen.run_worker(session.choose_model(name), name="Choosing the model", group="attached")

        self._screen.app.push_screen(dialogs().server_models(names, session.server.model_name), chosen)

    def save(self, text: str, name: str) -> None:
        """Ask where the text goes, in a file that may have this name, and save it there."""

        def saved(path: Path | None) -> None:
            if path is not None:
                self._screen.notify(f"Saved as {plain(str(path))}.", markup=False)

        self._screen.app.push_screen(dialogs().save(text, name), saved)

    def _take_prompt(self, text: str | None) -> None:
        self._at.composer.prompt.focus()
        if text is not None:
            self._at.composer.prompt.paste(text, is_own=True)

    async def _ask_for_models(self) -> None:
        try:
            await self._services.session.offer_models()
        except R1tuiError as error:
            show_error(self._screen.app, error)
