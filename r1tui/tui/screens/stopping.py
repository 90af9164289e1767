"""What the keys that stop something stop: what the user is at, before what goes on beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.screen import Screen

    from r1tui.tui.controllers.answers import AnswerController
    from r1tui.tui.controllers.models import ModelController
    from r1tui.tui.furniture import Furniture


class Stopping:
    """Stops on a screen with these widgets."""

    def __init__(
        self, screen: Screen[None], furniture: Furniture, answers: AnswerController, models: ModelController
    ) -> None:
        self._screen = screen
        self._composer = furniture.composer
        self._selection = furniture.selection
        self._answers = answers
        self._models = models

    def do(self, what: str) -> None:
        """`stop` the edit, the answer, whose words stay, or the launch, which goes on where it was next time; or
        `interrupt` the answer, never the server, and with nothing to stop copy what is selected."""
        if what == "stop" and self._composer.edited is not None:
            self._composer.leave_edit()
        elif self._answers.can_stop:
            self._answers.stop()
        elif what == "stop":
            self._models.cancel()
        elif self._screen.get_selected_text():
            self._screen.action_copy_text()
        else:
            self._screen.notify("<app.quit> leaves r1tui.", markup=False)

    def can(self, what: str) -> bool:
        """Whether there is something to stop, and nothing that has the same key and comes first."""
        if what == "interrupt":
            return True
        something = self._composer.edited is not None or self._answers.can_stop or self._models.launching
        return something and not (self._composer.prompt.is_completing or self._selection.display)
