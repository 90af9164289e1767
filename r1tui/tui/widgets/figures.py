"""Everything that the instruments know: the newest figures, their course over the last minutes, and the plan's own."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from r1tui.tui.widgets.speed import SpeedMeter

if TYPE_CHECKING:
    from r1tui.machine.nvml import GpuUse
    from r1tui.machine.telemetry import Sample
    from r1tui.messages import PlanSummary, Status

SPAN = 5
"""Samples that one mark of a course stands for, about as many seconds: it is redrawn every five seconds."""
KEPT = 400
ALIKE = 0.05
"""Totals of one GPU by the driver and by the engine differ by less: the driver keeps some for itself."""


class Course:
    """Course of a figure: the means of spans of samples, oldest first."""

    def __init__(self) -> None:
        self.means: deque[float] = deque(maxlen=KEPT)
        self._open: list[float] = []

    def add(self, value: float | None) -> None:
        """Take the next sample; one without the figure does not count."""
        if value is None:
            return
        self._open.append(value)
        if len(self._open) >= SPAN or not self.means:
            self.means.append(_mean(self._open))
            self._open.clear()


class SpeedCourse:
    """Course of the speed, at zero while no answer comes: means as above, of what of a span is an answer. The newest
    span has its first speed at once, so that even a short answer is seen as it was."""

    def __init__(self) -> None:
        self.means: deque[float] = deque(maxlen=KEPT)
        self.peaks: deque[float] = deque(maxlen=KEPT)
        """The highest sample of each span: an axis that holds them does not change with every mean."""
        self._n_samples = 0
        self._open: list[float] = []

    def add(self, tps: float | None) -> None:
        """Take the next sample; None: no answer comes."""
        if self._n_samples % SPAN == 0:
            if self._open:
                self.means[-1] = _mean(self._open)
                self._open.clear()
            self.means.append(0.0)
            self.peaks.append(0.0)
        self._n_samples += 1
        if tps is not None:
            if not self._open:
                self.means[-1] = tps
            self._open.append(tps)
            self.peaks[-1] = max(self._open)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


@dataclass
class Figures:
    """The current figures; None for unknown ones."""

    sample: Sample | None = None
    status: Status | None = None
    status_s: float | None = None
    """Time of the status, by `clock`."""
    clock: Callable[[], float] = monotonic
    speed: SpeedMeter = field(default_factory=SpeedMeter)
    context_size: int | None = None
    context_used: int | None = None
    """Tokens of it that the conversation takes that is shown."""
    loaded_share: float | None = None
    """How much of the model is loaded, from 0 to 1, while it is."""
    launching: bool = False
    """True while a model is brought up here."""
    slow_link: bool = False
    """True if little is sent to the terminal, so that all this is seen late."""
    speed_course: SpeedCourse = field(default_factory=SpeedCourse)
    courses: defaultdict[str, Course] = field(default_factory=lambda: defaultdict(Course))
    """By what they are of: cpu, disk, server cpu, gpu 0, …"""

    def note(self, sample: Sample) -> None:
        """Take the next sample."""
        self.sample = sample
        add = {"cpu": sample.cpu_percent, "disk": self.disk_bytes_per_s}
        if sample.server is not None:
            add["server cpu"] = sample.server.cpu_percent
        add |= {f"gpu {gpu.index}": gpu.busy_percent for gpu in sample.gpus or ()}
        for name, value in add.items():
            self.courses[name].add(value)
        self.speed_course.add(self.speed.take_sample())

    @property
    def uptime_s(self) -> float | None:
        """Seconds since the server started."""
        if self.status is None or self.status.uptime_s is None:
            return None
        return self.status.uptime_s + (self.clock() - self.status_s if self.status_s is not None else 0.0)

    @property
    def disk_bytes_per_s(self) -> float | None:
        """Disk reads of the server in bytes/s, else of the whole machine."""
        if self.sample is None:
            return None
        server = self.sample.server
        own = None if server is None else server.read_bytes_per_s
        return self.sample.disk_bytes_per_s if own is None else own

    @property
    def plan(self) -> PlanSummary | None:
        """The plan that the server runs by."""
        return self.status.plan if self.status else None

    def planned_bytes(self, gpu: GpuUse) -> int | None:
        """Planned bytes on this GPU, matched by its PCI address, else by number and size."""
        for device in self.plan.devices if self.plan else ():
            if device.pci_bus_id and gpu.pci_bus_id:
                if device.pci_bus_id == gpu.pci_bus_id:
                    return device.planned_mib << 20
            elif device.name == f"CUDA{gpu.index}" and device.total_mib:
                alike = gpu.total_bytes and abs((device.total_mib << 20) / gpu.total_bytes - 1) < ALIKE
                return device.planned_mib << 20 if alike else None
        return None

    @property
    def mapped_weights_bytes(self) -> int | None:
        """Bytes of the model that are mapped, not copied: they must stay in RAM for full speed."""
        mib = self.plan.host.mapped_weights_mib if self.plan else 0
        return mib << 20 if mib > 0 else None
