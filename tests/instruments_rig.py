"""What tests of the instruments share: a machine's figures, and panel and line with a record of repaints."""

from typing import Any

from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Label

from r1tui.events import Timings
from r1tui.machine.nvml import GpuUse
from r1tui.machine.telemetry import Sample, ServerUse
from r1tui.messages import DevicePlan, PlanSummary, Status
from r1tui.tui.themes import load_themes
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import SHADES
from r1tui.tui.widgets.instrument_rows import page
from r1tui.tui.widgets.instruments import Instruments

GIB = 1 << 30
GPU = GpuUse(0, "NVIDIA H100 80GB HBM3", 62 * GIB, 80 * GIB, 87, 63, 412.5)
SERVER = ServerUse(7, 90 * GIB, 12 * GIB, 78 * GIB, 42.0)
SAMPLE = Sample(0.0, 45.3, 128 * GIB, 32 * GIB, 29 * GIB, SERVER, (GPU,), None, 0.1)
PLAN = PlanSummary(ctx_size=8192, n_gpu_layers=62, n_cpu_moe=33, verdict="hybrid", devices=(DevicePlan("CUDA0"),))
STATUS = Status(state="ready", variant="r1-iq1_s", uptime_s=4020.0, plan=PLAN)
TIMINGS = Timings(prompt_tokens=1000, cached_tokens=0, prompt_tps=210.4, completion_tokens=229, tps=12.34)


class Seat(App[None]):
    """Both forms, as the chat has them."""

    CSS = "#line { width: 1fr; height: 1; border: none; }"

    def __init__(self) -> None:
        super().__init__()
        self.line = Recorded(id="line")
        self.panel = Recorded()

    def compose(self) -> ComposeResult:
        with Horizontal():
            with Vertical():
                yield self.line
                yield Label("chat")
            yield self.panel

    def on_mount(self) -> None:
        for theme in load_themes().themes:
            self.register_theme(theme)


class Recorded(Instruments):
    """Remembers what it repainted, and never draws a second time by itself."""

    INTERVAL_S = 3600.0
    repainted: list[Region]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.repainted = []

    def refresh(self, *regions: Region, **options: Any) -> "Recorded":
        if hasattr(self, "repainted"):
            self.repainted += regions or [Region()]
        return super().refresh(*regions, **options)


def shown(widget: Widget) -> str:
    return "\n".join(widget.render_line(y).text.rstrip() for y in range(widget.size.height)).rstrip()


def tell(seat: Seat, *, sample: Sample = SAMPLE, status: Status = STATUS) -> None:
    for instruments in (seat.line, seat.panel):
        instruments.update_sample(sample)
        instruments.update_server(status)
        instruments.update_answer([TIMINGS])
        instruments.draw()


def text_of(figures: Figures, width: int = 36, height: int = 60) -> str:
    """The panel's rows in this room."""
    return "\n".join(row.plain for row in page(figures, width, height, SHADES))
