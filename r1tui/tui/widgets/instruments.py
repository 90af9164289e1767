"""The instruments: what the machine, the server and the answer's speed are doing, as a panel or as one line."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.tui.widgets.instrument_rows import Figures, line, panel
from r1tui.tui.widgets.rows import Rows
from r1tui.tui.widgets.speed import SpeedMeter

if TYPE_CHECKING:
    from r1tui.events import Finished, Timings
    from r1tui.keeper.state import Status
    from r1tui.telemetry import Sample


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
        self._figures = Figures(speed=SpeedMeter(clock))

    @property
    def context_size(self) -> int | None:
        """Tokens that the context holds, as far as it is known."""
        return self._figures.context_size

    def update_sample(self, sample: Sample) -> None:
        """What the machine is doing."""
        self._figures.sample = sample
        self.touch()

    def update_server(self, status: Status | None) -> None:
        """What is true of the server; None when it is not known."""
        self._figures.status = status
        plan = status.plan if status else None
        if plan is not None and isinstance(size := plan.get("ctx_size"), int):
            self._figures.context_size = size
        self.touch()

    def update_context_size(self, tokens: int | None) -> None:
        """How much the context holds, where the server's plan does not say; None: nothing new."""
        self._figures.context_size = tokens or self._figures.context_size
        self.touch()

    def update_timings(self, timings: Timings | Finished | None) -> None:
        """The counters of the answer that is coming; None when it ended without its last word."""
        if timings is None:
            self._figures.speed.end()
        else:
            self._figures.speed.add(timings)
        self.touch()

    def rows(self, width: int, height: int) -> list[Content]:
        if height == 1:
            return [line(self._figures, width, self.ink)]
        return panel(self._figures, width, height, self.ink)
