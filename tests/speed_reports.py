"""Speeds that people published (tests/data/speeds.yaml), and what the plan for their machine expects."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from r1tui.gguf import Header
from r1tui.gguf.sketch import ModelShape, sketch_header
from r1tui.machine.known_speeds import find_card, memory_gbps
from r1tui.messages import Range
from r1tui.plan import Device, PlanRequest
from r1tui.plan.layout import ModelLayout
from r1tui.plan.memory import Model
from r1tui.plan.rates import HostRates, rates_of, typical_host
from r1tui.plan.speed import Expectation, estimate
from r1tui.plan.verdict import Verdict

FILE = Path(__file__).parent / "data" / "speeds.yaml"
GIB = 1024


@dataclass(frozen=True)
class Report:
    """What somebody measured, and where."""

    of: str
    model: str
    gb: float
    use: str
    source: str
    ram: int
    cards: tuple[Any, ...] = ()
    layers: int | None = None
    held_experts: int = 0
    host: str | float | None = None
    sockets: int = 1
    cores: int | None = None
    disk: float | None = None
    ubatch: int = 512
    ctx: int = 8192
    answer: Any = None
    prompt: Any = None
    why: str = ""
    shape: ModelShape = field(default_factory=lambda: ModelShape(1, 1))

    def rates(self) -> list[tuple[str, float, float]]:
        """Its kinds of speed, each from the lowest to the highest that was reported."""
        found = [(kind, getattr(self, kind)) for kind in ("answer", "prompt")]
        return [(kind, *((value[0], value[1]) if isinstance(value, list) else (value, value)))
                for kind, value in found if value is not None]  # fmt: skip

    def expected(self) -> Expectation:
        """What the plan of this placement expects."""
        devices = tuple(self._device(index, card) for index, card in enumerate(self.cards))
        header = self._header()
        total = header.n_layers + 1
        layers = (total if self.layers is None else self.layers) if devices else 0
        split = tuple(layers // len(devices) + (n < layers % len(devices)) for n in range(len(devices)))
        legacy = header.architecture == "deepseek2" and not header.mla
        layout = ModelLayout(
            layers, self.held_experts, split, self.ctx, "q4_0" if legacy else "f16", "f16",
            flash_attention=not legacy, ubatch_size=self.ubatch,
        )  # fmt: skip
        request = PlanRequest(self.ram * GIB, self.ram * GIB, 8, devices=devices, rates=self._host())
        disk = not devices and self.gb > self.ram * 1.07
        verdict: Verdict = "disk" if disk else "hybrid" if devices else "cpu"
        model = Model(header, tuple(device.backend for device in devices), tuple(device.name for device in devices))
        return estimate(model, layout, request, verdict)

    def _header(self) -> Header:
        return sketch_header(self.model, self.shape, int(self.gb * 1e9))

    def _host(self) -> HostRates | None:
        if self.host is None:
            guess = typical_host(self.ram * GIB)
            return HostRates(guess.memory_gbps, self.cores or guess.cores, self.disk or guess.disk_gbps, known=False)
        gbps = self.host if isinstance(self.host, int | float) else memory_gbps(self.host, self.sockets)
        assert gbps is not None
        return HostRates(gbps, self.cores or 16, self.disk)

    def _device(self, index: int, card: Any) -> Device:
        if isinstance(card, int):  # a size alone
            return Device(f"CUDA{index}", "cuda", card * GIB, card * GIB)
        found = find_card(card)
        assert found is not None, card
        mib = found.memory_gib * GIB
        return Device(f"CUDA{index}", "cuda", mib, mib, rates=rates_of(found))


@cache
def read_reports() -> tuple[Report, ...]:
    """All reports of the file."""
    data = yaml.safe_load(FILE.read_text())
    shapes = {name: ModelShape(**fields) for name, fields in data["models"].items()}
    return tuple(Report(**{**row, "cards": tuple(row.get("cards", ())), "shape": shapes[row["model"]]})
                 for row in data["reports"])  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One reported speed and the band for it."""

    report: Report
    kind: str
    reported: Range
    band: Range

    @property
    def inside(self) -> bool:
        """Whether the middle of what was reported lies in the band."""
        middle: float = (self.reported.low * self.reported.high) ** 0.5
        return self.band.low <= middle <= self.band.high


def compare_reports() -> list[Compared]:
    """Every reported speed with its band."""
    found = []
    for report in read_reports():
        speed = report.expected().speed
        for kind, low, high in report.rates():
            found.append(Compared(report, kind, Range(low, high), getattr(speed, kind)))
    return found
