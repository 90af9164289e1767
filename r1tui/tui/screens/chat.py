"""The seat: launch, conversation, question, instruments.

It opens with its prompt alone, within the time that the terminal takes to look up; `furnish` brings all else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from textual import on
from textual.app import ComposeResult

from r1tui.tui.commands import bindings_of
from r1tui.tui.messages import Sampled
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.conversations_base import ConversationsBase
from r1tui.tui.screens.input_base import InputBase
from r1tui.tui.screens.models_base import ModelsBase
from r1tui.tui.screens.select_base import SelectBase


class ChatScreen(ModelsBase, ConversationsBase, SelectBase, InputBase):
    """All that the chat is: models, conversations, answers, what is done with what was said, and the input."""

    DEFAULT_CSS = """
    ChatScreen {
        overflow: hidden;
        Instruments { dock: right; padding: 0 1 1 1; }
        &.-vast Instruments { width: 70; }
        &.-narrow Instruments, &.-no-panel Instruments { dock: top; width: 1fr; height: 1; border: none; padding: 0 1; }
        Stages { display: none; max-height: 70%; }
        &.-launching Stages { display: block; }
        Greeting { display: none; }
        &.-empty Greeting { display: block; }
        &.-empty Transcript { height: 1; }
        &.-bare { align-vertical: bottom; }
        &.-bare Prompt { margin-bottom: 1; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (180, "-vast")]
    BINDINGS = bindings_of("chat")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self.opened = asyncio.Event()
        """Set when the prompt is on the screen."""

    @property
    def server_pid(self) -> int | None:
        """llama-server's process, as far as it is known."""
        return self.status.pid if self.status else None

    def compose(self) -> ComposeResult:
        yield self.instruments
        yield self.prompt

    def on_mount(self) -> None:
        self.call_after_refresh(self.opened.set)

    async def furnish(self) -> None:
        """Bring all that is not there yet, and begin."""
        from r1tui.tui.furniture import Furniture  # noqa: PLC0415  after the first screen

        self.furniture = new = Furniture(self.instruments.figures, self._clock)
        with self.app.batch_update():
            self.remove_class("-bare")
            self.prompt.placeholder = in_keys("Ask something. <prompt.send> sends.", self.app)
            await self.mount(new.stages, new.greeting, new.transcript, new.unsaved, before=self.prompt)
            await self.mount(new.footer)
        await self._open_last()
        self._open_prompt()
        self.furnished = True
        self.r1.unsaved.show()
        self.refresh_bindings()
        await self._begin()

    def refresh_bindings(self) -> None:
        """What keys do has changed, and with it, it may be, whether anything has been asked."""
        super().refresh_bindings()
        if self.furnished and self.has_class("-empty") == bool(self.conversation.turns):
            self.toggle_class("-empty")
            self.furniture.greeting.hints = self._hints()

    def _hints(self) -> list[tuple[str, str]]:
        """Three things to begin with, and their keys."""
        first = ("chat.conversations", "earlier chats") if self.r1.session.attached else ("chat.variants", "the models")
        does = [("chat.prompts", "prompts to try"), first, ("app.keys", "all keys")]
        return [(in_keys(f"<{name}>", self.app), words) for name, words in does]

    @on(Sampled)
    def _sampled(self, message: Sampled) -> None:
        self.instruments.update_sample(message.sample)
        if not self.r1.session.attached:
            self._show_status(self.r1.session.status())  # its uptime goes on

    def action_panel(self) -> None:
        """Hide or show the instruments."""
        self.toggle_class("-no-panel")

    def action_whole_panel(self) -> None:
        """Show the instruments on the whole screen, with all that is known."""
        from r1tui.tui.screens.panel import PanelScreen  # noqa: PLC0415

        self.app.push_screen(PanelScreen(self.instruments.figures))
