"""The stages of a launch, as they go: engine and model, the plan, the server."""

from collections.abc import Callable
from time import monotonic

from textual.content import Content
from textual.geometry import Size

from r1tui.events import Stage, StageEvent, StageFailed
from r1tui.tui.widgets.rows import Rows
from r1tui.tui.widgets.stage_rows import STAGES, StageView, launch_rows


class Stages(Rows):
    """Told the events of a launch, it shows how far each stage is; it grows and shrinks with what there is to say."""

    INTERVAL_S = 0.1
    TICK_S = 1.0
    """Seconds between updates of a stage's time."""
    DEFAULT_CSS = """
    Stages {
        height: auto;
        max-height: 100%;
        padding: 0 1;
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
        self._clock = clock
        self._views = [StageView(stage) for stage in STAGES]
        self._room_rows = 0
        self._shown_rows = 0

    def on_mount(self) -> None:
        self.set_interval(self.TICK_S, self._tick)

    def apply(self, event: StageEvent) -> None:
        """Show what the event says; where one stage fails the launch ends, and those beside it with it."""
        self._views[STAGES.index(event.stage)].apply(event, self._clock())
        if isinstance(event, StageFailed):
            for view in self._views:
                view.stop()
        self.touch()

    def reset(self) -> None:
        """Forget everything: another launch begins."""
        self._views = [StageView(stage) for stage in STAGES]
        self.touch()

    def running(self, stage: Stage) -> bool:
        """True if the stage is at work."""
        return self._views[STAGES.index(stage)].state == "running"

    def draw(self) -> None:
        super().draw()
        width = self.size.width
        if self.display and width and len(self.rows(width, self._room_rows)) != self._shown_rows:
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are, at most as many as the container has."""
        self._room_rows = container.height
        self._shown_rows = len(self.rows(width, container.height))
        return self._shown_rows

    def rows(self, width: int, height: int) -> list[Content]:
        return launch_rows(self._views, width, height, self._clock(), self.ink)

    def _tick(self) -> None:
        if any(view.state == "running" for view in self._views):
            self.touch()
