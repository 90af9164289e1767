"""The instruments: VRAM, tokens per second and the machine, on one line, as a panel, or on a whole screen."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.instrument_rows import line, page
from r1tui.tui.widgets.quantities import share_of
from r1tui.tui.widgets.rows import Rows
from r1tui.tui.widgets.speed import SpeedMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from r1tui.events import Progress, StreamEvent
    from r1tui.machine.telemetry import Sample
    from r1tui.messages import Status

NOT_YET = ("starting", "loading", "restarting")
"""States of a server that has answered nothing."""
ENDED = ("stopped", "failed")
PANEL_COLUMNS, WIDE_PANEL_COLUMNS = 38, 70
"""Widths of the instruments beside the chat."""
WIDE_COLUMNS, VAST_COLUMNS = 100, 180
"""Widths of a terminal that gives them the narrower, and the wider one."""


class Instruments(Rows):
    """Told what is new, it shows what of it can be seen; in a single row, which narrow terminals give it, the gist."""

    DEFAULT_CSS = f"""
    Instruments {{
        width: {PANEL_COLUMNS};
        height: 1fr;
        padding: 0 1;
        background: $surface;
        &:ansi {{ border-left: solid $border-blurred; }}
    }}
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
        """The shown figures; changed only here."""

    @property
    def context_size(self) -> int | None:
        """Tokens that the context holds, as far as it is known."""
        return self.figures.context_size

    def update_sample(self, sample: Sample) -> None:
        """Show a new sample of the machine."""
        self.figures.note(sample)
        self.touch()

    def update_server(self, status: Status | None, *, launching: bool = False) -> None:
        """Show the server's status, None if unknown, and that a model is brought up here."""
        figures = self.figures
        figures.launching = launching
        figures.status, figures.status_s = status, figures.clock()
        if status is None or status.state != "loading":
            figures.loaded_share = None
        if status is not None and (status.state in NOT_YET or (launching and status.state in ENDED)):
            figures.speed.forget()
        if (plan := figures.plan) is not None and plan.ctx_size:
            figures.context_size = plan.ctx_size
        self.touch()

    def update_load(self, progress: Progress) -> None:
        """Show the progress of loading the model."""
        self.figures.loaded_share = share_of(progress.done, progress.total)
        self.touch()

    def update_context_size(self, tokens: int | None) -> None:
        """Set the size of the context if the server's plan does not give it; None: no change."""
        self.figures.context_size = tokens or self.figures.context_size
        self.touch()

    def asked(self) -> None:
        """A question goes to the server now."""
        self.figures.speed.asked()
        self.figures.context_used = self.figures.context_used or None  # not counted any more that nothing is there
        self.touch()

    def update_answer(self, events: Iterable[StreamEvent] | None, *, shown: bool = True) -> None:
        """Show the progress of an answer, of the `shown` conversation or another; None: no result."""
        if events is None:
            self.figures.speed.end()
        elif (counters := self.figures.speed.take(events)) is not None and shown:
            self.figures.context_used = counters.context_tokens or self.figures.context_used or None
        self.touch()

    def show_context(self, tokens: int | None) -> None:
        """Show the context used by the shown conversation; None if not counted."""
        self.figures.context_used = tokens
        self.touch()

    def slow_down(self, times: float) -> None:
        super().slow_down(times)
        self.figures.slow_link = times > 1
        self.draw()

    def rows(self, width: int, height: int) -> list[Content]:
        if height == 1:
            return [line(self.figures, width, self.ink)]
        return page(self.figures, width, height, self.ink)


class Board(Rows):
    """The same figures on a whole screen; the chat's instruments collect them meanwhile."""

    DEFAULT_CSS = """
    Board { width: 1fr; height: 1fr; padding: 0 1; }
    """

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures = figures

    def on_mount(self) -> None:
        self.set_interval(1.0, self.touch)

    def rows(self, width: int, height: int) -> list[Content]:
        return page(self._figures, width, height, self.ink)
