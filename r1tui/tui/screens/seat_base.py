"""What every part of the chat screen shares: its state, its widgets, the application."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from textual.screen import Screen

from r1tui.tui.guarded import Guarded
from r1tui.tui.widgets.composer import Composer
from r1tui.tui.widgets.instruments import Instruments

if TYPE_CHECKING:
    from r1tui.chat.conversation import Conversation
    from r1tui.tui.controllers.answers import AnswerController
    from r1tui.tui.controllers.models import ModelController
    from r1tui.tui.furniture import Furniture
    from r1tui.tui.services.shared import Services


class SeatBase(Guarded, Screen[None]):
    """The state of the chat screen, whose parts, one class each, change it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(classes="-bare")
        self._clock = clock
        self.instruments = Instruments(clock=clock)
        self.composer = Composer()
        self.furnished = False
        """Whether all is there."""
        self.services: Services
        self.furniture: Furniture
        self.conversation: Conversation
        """The one that is shown."""
        self.answers: AnswerController
        self.models: ModelController

    @property
    def is_current(self) -> bool:
        """Whether it paints. Below another screen Textual would paint all of that one for each message that comes here,
        so only where the other is there to look at this one."""
        return self.is_active or (super().is_current and getattr(self.app.screen, "shows_below", False))

    def tell(self, text: str) -> None:
        """Show the user a notice."""
        self.notify(text, markup=False)
