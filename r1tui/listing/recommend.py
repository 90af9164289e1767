"""What somebody with no model yet is told: this machine in a sentence, and the one model to begin with."""

from collections.abc import Iterable
from dataclasses import dataclass

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.hub.local.folders import model_disks
from r1tui.listing.overview import BEARABLE_TPS, ModelEntry
from r1tui.machine.bandwidth import load_bandwidth
from r1tui.machine.hardware import Machine
from r1tui.plan.verdict import IN_MEMORY
from r1tui.planning.request import host_rates
from r1tui.system.paths import Paths
from r1tui.text import size

QUALITIES = ("fair", "good", "better", "best")
"""The catalog's words for R1 itself, from the worst to the best."""
STUDENT = "distilled"


@dataclass(frozen=True)
class Surroundings:
    """The machine's limits: most free bytes of a model folder, and memory speed (GB/s)."""

    free_bytes: int
    memory_gbps: float


@dataclass(frozen=True)
class Recommendation:
    """A model and why it is this one."""

    variant: Variant
    why: str


def surroundings(machine: Machine, paths: Paths, config: Config) -> Surroundings:
    """Look at the disks; the memory's rate is what was measured, or else what is known or typical of this host."""
    free_bytes = max((disk.free_bytes for disk in model_disks(paths, config) if disk.writable), default=0)
    rates = host_rates(machine, load_bandwidth(paths, machine.fingerprint), paths.models)
    return Surroundings(free_bytes, rates.memory_gbps)


def format_machine(machine: Machine, free_bytes: int) -> str:
    """`2 × H100 (80 GiB) · 512 GiB RAM · 32 cores · 900 GiB disk free`."""
    names = [
        f"{gpu.name.removeprefix('NVIDIA ')} ({size(gpu.total_bytes)})" if gpu.total_bytes else gpu.name
        for gpu in machine.gpus
    ]
    counts = {name: names.count(name) for name in names}
    gpus = [name if count == 1 else f"{count} × {name}" for name, count in counts.items()]
    return " · ".join(
        [
            *(gpus or ["no NVIDIA GPU"]),
            f"{size(machine.memory_total_bytes)} RAM",
            f"{machine.physical_cores} core{'s' if machine.physical_cores > 1 else ''}",
            f"{size(free_bytes)} disk free",
        ]
    )


def recommend(entries: Iterable[ModelEntry], here: Surroundings) -> Recommendation | None:
    """The model to begin with; None where nothing fits.

    R1 itself comes first, wholly on the GPUs before anything else, then as good as memory allows; then its largest
    student that answers at a bearable speed; then whatever is smallest.
    """
    usable = [entry for entry in entries if _fits(entry) and entry.size_gib is not None]
    teachers = [entry for entry in usable if entry.variant.quality in QUALITIES and entry.verdict in IN_MEMORY]
    if teachers:
        best = max(teachers, key=lambda one: (one.verdict == "gpu", QUALITIES.index(one.variant.quality), -_gib(one)))
        where = (
            "all of it fits into VRAM" if best.verdict == "gpu" else "the best R1 that fits into this machine's memory"
        )
        return Recommendation(best.variant, f"{best.size}, {where}.")
    students = [one for one in usable if one.variant.quality == STUDENT and _bearable(one, here.memory_gbps)]
    if students:
        best = max(students, key=lambda one: (one.verdict == "gpu", _gib(one)))
        return Recommendation(best.variant, f"{best.size}, the largest distilled R1 that runs well.")
    if usable:
        smallest = min(usable, key=_gib)
        return Recommendation(smallest.variant, f"{smallest.size}, because larger ones are slow or do not fit.")
    return None


def _fits(entry: ModelEntry) -> bool:
    """True if it is here or a disk has room for the rest of it, and it can start."""
    return entry.verdict not in ("no", None) and not entry.problem and entry.no_room is None


def _bearable(entry: ModelEntry, memory_gbps: float) -> bool:
    slow_bytes = _gib(entry) * 2**30
    return entry.verdict == "gpu" or (entry.verdict in IN_MEMORY and slow_bytes * BEARABLE_TPS <= memory_gbps * 1e9)


def _gib(entry: ModelEntry) -> float:
    return entry.size_gib or 0.0
