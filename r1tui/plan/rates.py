"""How fast the parts of a machine are, as far as is known: measured, told by the driver, by their name, or guessed."""

from dataclasses import dataclass
from functools import lru_cache

from r1tui.machine.known_speeds import CARDS, NVME_GBPS, Card

BUS_GBPS = 20.0
"""PCIe 4.0 with 16 lanes, from pinned memory."""


@dataclass(frozen=True)
class DeviceRates:
    """A GPU's memory in GB/s (10⁹ bytes), and the TFLOPS that prompts of dense models reach."""

    memory_gbps: float
    tflops: float
    known: bool = True
    """True if it is this card's, and not what a card of its size may be."""


@dataclass(frozen=True)
class HostRates:
    """Read speeds of the host in GB/s: memory with all cores, disk past the page cache, bus to a GPU."""

    memory_gbps: float
    cores: int
    disk_gbps: float | None = None
    """None: nobody knows."""
    bus_gbps: float = BUS_GBPS
    known: bool = True
    """True if memory was measured or looked up, and not guessed."""
    gflops: float | None = None
    """Measured prompt arithmetic of all cores; None: estimated from their number."""
    measured: bool = False
    """True if bus, memory and cores were measured on this machine."""


@lru_cache(maxsize=64)
def typical_device(total_mib: int, backend: str = "cuda", *, unified: bool = False) -> DeviceRates:
    """A typical GPU of this size and kind: the middle of the usual cards of the nearest size."""
    shares = unified or backend == "metal"
    usual = [card for card in CARDS if card.usual and card.shares_memory == shares and _is_of(card, backend)]
    distance = min(abs(card.memory_gib - total_mib / 1024) for card in usual)
    near = [card for card in usual if abs(card.memory_gib - total_mib / 1024) == distance]
    memory, compute = [card.memory_gbps for card in near], [card.tflops for card in near]
    return DeviceRates((min(memory) * max(memory)) ** 0.5, (min(compute) * max(compute)) ** 0.5, known=False)


def _is_of(card: Card, backend: str) -> bool:
    """True if the card's maker has this backend; Vulkan and workers have all but Apple's."""
    maker = next((kind for kind, names in _MAKERS.items() if card.name.startswith(names)), "cuda")
    return maker == backend or (backend in ("vulkan", "rpc") and maker != "metal")


_MAKERS = {"hip": ("MI", "RX", "Radeon"), "metal": ("Apple",)}
"""Beginnings of the names of cards that are not NVIDIA's."""


def rates_of(card: Card) -> DeviceRates:
    """The rates of a card of the table."""
    return DeviceRates(card.memory_gbps, card.tflops)


def typical_host(ram_mib: int, cores: int | None = None) -> HostRates:
    """A host of which only the size of its memory is known (and its cores, where it is this one).

    Up to 160 GiB a desktop with two channels of DDR5, up to 300 GiB that or a server, above that a server, with twelve
    channels of DDR5 above 768 GiB; its disk an NVMe of which nothing else is known.
    """
    gbps, typical_cores = next(row[1:] for row in TYPICAL_HOSTS if ram_mib <= row[0] * 1024)
    if cores is not None:
        gbps = min(gbps, cores * GBPS_PER_CORE)
    return HostRates(gbps, cores or typical_cores, NVME_GBPS, known=False)


TYPICAL_HOSTS = ((160, 65.0, 12), (300, 100.0, 20), (768, 190.0, 32), (10**9, 370.0, 64))
"""Memory in GiB up to which a host is like this, GB/s, cores."""
GBPS_PER_CORE = 12.0
"""Highest read speed of one core."""
