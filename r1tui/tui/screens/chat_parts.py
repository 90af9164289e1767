"""What the chat screen is composed of: its widgets, its controllers, and what its keys do; made after the first screen,
for its sake."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from textual.screen import Screen

from r1tui.chat.conversation import Exchange
from r1tui.text import plain
from r1tui.tui.controllers.answers import AnswerController
from r1tui.tui.controllers.conversations import ConversationController
from r1tui.tui.controllers.models import ModelController
from r1tui.tui.screens import later
from r1tui.tui.screens.chat_view import ChatView, ChatWidgets
from r1tui.tui.services.shared import Services
from r1tui.tui.widgets.composer import Composer
from r1tui.tui.widgets.instruments import WIDE_COLUMNS, Instruments
from r1tui.tui.widgets.transcript_summary import all_figures

CLEAR_S = 10.0
"""Longest time between the two keys that clear the prompt."""


class KeyedPart(Protocol):
    """A part of the chat with keys of its own: `do` what the table of commands names, if it `can` be done now."""

    def do(self, what: Any) -> object: ...
    def can(self, what: Any) -> bool: ...


class ChatParts:
    """Controllers and widgets, most of them not mounted yet."""

    def __init__(self, screen: Screen[None], instruments: Instruments, composer: Composer, services: Services) -> None:
        session, saved = services.session, services.saved
        self.view = view = ChatView(screen, services)
        self.answers = AnswerController(session.chat, saved, view)
        self.conversations = view.conversations = ConversationController(saved, self.answers, session.chat, view)
        self.models = view.models = ModelController(session, services.monitor, services.models, view)
        self.widgets = view.widgets = ChatWidgets(
            instruments,
            composer,
            self.answers.may_change,
            attached=session.attached,
            thinking_lines=services.config.ui.thinking_lines,
        )
        self.openers = Openers(screen, services, self)
        self.keyed: Mapping[str, KeyedPart] = {
            "answers": self.answers,
            "composer": composer,
            "models": self.models,
            "selection": self.widgets.selection,
            "stopping": Stopping(screen, self),
            "views": self.openers,
        }
        """Those with keys of their own, by their names in the table of commands."""


class Stopping:
    """Stops the edit, the answer or the launch: the first of them that is running."""

    def __init__(self, screen: Screen[None], parts: ChatParts) -> None:
        self._screen = screen
        self._parts = parts
        self._clears_until_s = 0.0

    def do(self, what: str) -> None:
        """`stop` the edit, the answer, whose words stay, or the launch, which goes on where it was next time; or
        `interrupt` the answer, never the server, and with nothing to stop copy what is selected; or `dismiss` the
        notice."""
        parts = self._parts
        if what == "dismiss":
            parts.view.dismiss_notice()
        elif what == "stop" and parts.widgets.composer.edited is not None:
            parts.widgets.composer.leave_edit()
        elif parts.answers.can_stop:
            parts.answers.stop()
        elif what == "stop":
            parts.models.cancel()
        elif self._screen.get_selected_text():
            self._screen.action_copy_text()
        else:
            self._clear_or_say_how()

    def _clear_or_say_how(self) -> None:
        """Say how to leave; the second time within a while, clear the prompt."""
        prompt, notify = self._parts.widgets.composer.prompt, self._screen.notify
        if not prompt.text:
            notify("<app.quit> leaves r1tui.")
        elif monotonic() > self._clears_until_s:
            self._clears_until_s = monotonic() + CLEAR_S
            notify("<app.quit> leaves; <chat.interrupt> again clears the prompt.")
        else:
            self._clears_until_s = 0.0
            prompt.clear()
            notify("Cleared. Ctrl+Z brings it back.")

    def can(self, what: str) -> bool:
        """True when there is something to stop, and no other use of the same key comes first."""
        parts, composer = self._parts, self._parts.widgets.composer
        if what == "interrupt":
            return True
        something = composer.edited is not None or parts.answers.can_stop or parts.models.launching
        if what == "dismiss":
            something = parts.view.has_notice
        return something and not (composer.prompt.is_completing or parts.widgets.selection.display)


class Openers:
    """Opens the screens over the chat, and shows and hides parts of it."""

    def __init__(self, screen: Screen[None], services: Services, parts: ChatParts) -> None:
        self._screen = screen
        self._services = services
        self._parts = parts

    def do(self, what: str) -> None:
        """Show a `new` conversation, fold or unfold the `thinking`, hide or show the `side_panel`; or open `prompts`,
        `sampling`, `conversations`, `models`, the `log`, the `instruments` on a whole screen,
        or the `processes` on the GPUs."""
        push, services, parts = self._screen.app.push_screen, self._services, self._parts
        match what:
            case "new":
                parts.conversations.begin_new()
                parts.widgets.composer.prompt.focus()
            case "thinking":
                parts.widgets.transcript.toggle_thinking()
            case "side_panel" if self._screen.has_class("-narrow"):
                needs = f"The side panel needs {WIDE_COLUMNS} columns."
                self._screen.notify(f"{needs} <chat.whole_panel> shows all instruments.")
            case "side_panel":
                self._screen.toggle_class("-no-panel")
            case "prompts":
                push(later.overlays.PromptsScreen(services.config.prompts), self._take_prompt)
            case "sampling":
                push(later.sampling.SamplingScreen(services.session, parts.models))
            case "conversations":
                chat = parts.conversations
                listed = later.conversations.ConversationsScreen(services.saved, chat, services.monitor)
                push(listed, chat.begin_open)
            case "models" if services.session.attached:
                asking = services.session.offer_models()
                self._screen.run_worker(asking, name="The list of models", group="attached", exclusive=True)
            case "models":
                push(later.models.ModelsScreen(*services.for_models), parts.models.switch)
            case "log":
                builds = parts.models.launching and parts.widgets.stages.running("engine")
                paths = services.paths
                server_log = None if services.session.attached else paths.server_log
                push(later.log.LogScreen(paths.logs / "build.log" if builds else server_log))
            case "instruments":
                push(later.overlays.PanelScreen(parts.widgets.instruments.figures))
            case "processes":
                push(later.overlays.ProcessesScreen(parts.widgets.instruments.figures))

    def can(self, what: str) -> bool:
        """True when there is something to show."""
        return what != "thinking" or any(one.answer.has_thoughts for one in self._parts.conversations.shown.exchanges)

    def offer(self, names: list[str]) -> None:
        """Let the user choose one of the models of somebody else's server."""
        session = self._services.session

        def chosen(name: str | None) -> None:
            if name is not None:
                self._screen.run_worker(session.choose_model(name), name="Choosing the model", group="attached")

        self._screen.app.push_screen(later.overlays.ServerModelsScreen(names, session.server.model_name), chosen)

    def show_figures(self, exchange: Exchange) -> None:
        """Show all that is known of an answer."""
        self._screen.app.push_screen(later.overlays.FiguresScreen(all_figures(exchange)))

    def save(self, text: str, name: str) -> None:
        """Ask where the text goes, in a file that may have this name, and save it there."""

        def saved(path: Path | None) -> None:
            if path is not None:
                self._screen.notify(f"Saved as {plain(str(path))}.")

        self._screen.app.push_screen(later.dialogs.SaveScreen(text, name), saved)

    def _take_prompt(self, text: str | None) -> None:
        self._parts.widgets.composer.prompt.focus()
        if text is not None:
            self._parts.widgets.composer.prompt.paste(text, is_own=True)
