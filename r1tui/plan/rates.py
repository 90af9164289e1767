"""How fast the parts of a machine are, as far as is known: measured, told by the driver, or typical of their kind."""

from dataclasses import dataclass
from typing import NamedTuple

from r1tui.messages import Range


@dataclass(frozen=True)
class DeviceRates:
    """A GPU's memory in GB/s (10⁹ bytes) and its single-precision arithmetic in TFLOPS, both at their peak."""

    memory_gbps: Range
    tflops: Range


@dataclass(frozen=True)
class HostRates:
    """What the host reads, in GB/s: its memory with all cores, its disk past the page cache, the bus to a GPU."""

    memory_gbps: Range
    disk_gbps: Range
    bus_gbps: Range


class Card(NamedTuple):
    """A GPU as its maker describes it; memory in GiB."""

    name: str
    memory_gib: int
    memory_gbps: float
    tflops: float


CARDS = (
    Card("RTX 3060", 12, 360, 12.7),
    Card("RTX 4080", 16, 717, 48.7),
    Card("RTX 3090", 24, 936, 35.6),
    Card("RTX 4090", 24, 1008, 82.6),
    Card("RTX 5090", 32, 1792, 104.8),
    Card("A100 40 GB", 40, 1555, 19.5),
    Card("RTX A6000", 48, 768, 38.7),
    Card("L40S", 48, 864, 91.6),
    Card("A100 80 GB", 80, 2039, 19.5),
    Card("H100 80 GB", 80, 3350, 66.9),
    Card("RTX PRO 6000", 96, 1792, 125.0),
    Card("H200", 141, 4800, 66.9),
    Card("B200", 180, 8000, 74.5),
    Card("MI300X", 192, 5300, 163.4),
)
"""What people run R1 on; memory in GB/s and TFLOPS from the makers' data sheets."""


def typical_device(total_mib: int) -> DeviceRates:
    """What a GPU of this size may be: the range over the known cards whose size is nearest."""
    distance = min(abs(card.memory_gib - total_mib / 1024) for card in CARDS)
    near = [card for card in CARDS if abs(card.memory_gib - total_mib / 1024) == distance]
    memory, compute = [card.memory_gbps for card in near], [card.tflops for card in near]
    return DeviceRates(Range(min(memory), max(memory)), Range(min(compute), max(compute)))


WORKER = DeviceRates(Range(10.0, 1000.0), Range(0.1, 60.0))
"""An RPC worker, which may be anything from a CPU to a GPU."""


def typical_host(cores: int) -> HostRates:
    """A host of which nothing was measured: from an office PC with a SATA SSD to a server with twelve channels."""
    return HostRates(Range(15.0, min(20.0 + 10.0 * cores, 400.0)), Range(0.4, 7.0), Range(6.0, 26.0))


def host_rates(cores: int, memory_gbps: float | None, disk_gbps: float | None, bus: Range | None) -> HostRates:
    """What was measured of a host; what was not is typical."""
    guess = typical_host(cores)
    return HostRates(
        Range(memory_gbps, memory_gbps) if memory_gbps else guess.memory_gbps,
        Range(disk_gbps, disk_gbps) if disk_gbps else guess.disk_gbps,
        bus or guess.bus_gbps,
    )
