"""The instruments: what the machine, the server and the answer's speed are doing, as a panel or as one line."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.instrument_line import line
from r1tui.tui.widgets.instrument_rows import panel
from r1tui.tui.widgets.rows import Rows
from r1tui.tui.widgets.speed import SpeedMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from r1tui.events import StreamEvent
    from r1tui.machine.telemetry import Sample
    from r1tui.messages import Status


class Instruments(Rows):
    """Told what is new, it shows what of it can be seen; in a single row, which narrow terminals give it, the gist."""

    DEFAULT_CSS = """
    Instruments {
        width: 38;
        height: 1fr;
        padding: 0 1;
        background: $surface;
        &:ansi { border-left: solid $border-blurred; }
    }
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = monotonic,
        id: str | None = None,  # noqa: A002  Textual's name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.figures = Figures(speed=SpeedMeter(clock), clock=clock)
        """What is shown; changed here alone."""

    @property
    def context_size(self) -> int | None:
        """Tokens that the context holds, as far as it is known."""
        return self.figures.context_size

    def update_sample(self, sample: Sample) -> None:
        """What the machine is doing."""
        self.figures.note(sample)
        self.touch()

    def update_server(self, status: Status | None) -> None:
        """What is true of the server; None when it is not known."""
        self.figures.status, self.figures.status_s = status, self.figures.clock()
        if (plan := self.figures.plan) is not None and plan.ctx_size:
            self.figures.context_size = plan.ctx_size
        self.touch()

    def update_context_size(self, tokens: int | None) -> None:
        """How much the context holds, where the server's plan does not say; None: nothing new."""
        self.figures.context_size = tokens or self.figures.context_size
        self.touch()

    def asked(self) -> None:
        """A question goes to the server now."""
        self.figures.speed.asked()
        self.touch()

    def update_answer(self, events: Iterable[StreamEvent] | None, *, shown: bool = True) -> None:
        """What has come of the answer, of the conversation that is `shown` or not; None: it had no last word."""
        if events is None:
            self.figures.speed.end()
        elif (counters := self.figures.speed.take(events)) is not None and shown:
            self.figures.context_used = counters.context_tokens or self.figures.context_used or None
        self.touch()

    def show_context(self, tokens: int | None) -> None:
        """What the conversation that is shown takes of the context; None where nobody has counted."""
        self.figures.context_used = tokens
        self.touch()

    def slow_down(self, times: float) -> None:
        super().slow_down(times)
        self.figures.slow_link = times > 1
        self.draw()

    def rows(self, width: int, height: int) -> list[Content]:
        if height == 1:
            return [line(self.figures, width, self.ink)]
        return panel(self.figures, width, height, self.ink)
