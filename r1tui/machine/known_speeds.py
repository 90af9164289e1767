"""How fast GPUs and the memory of CPUs are, by their names: data sheets, and what llama.cpp reaches with them."""

import re
from pathlib import Path
from typing import NamedTuple

from r1tui.system.files import read_if_any


class Card(NamedTuple):
    """A GPU; `name` is part of what the driver calls it."""

    name: str
    memory_gib: int
    memory_gbps: float
    tflops: float
    """What llama.cpp's matrix kernels reach in prompts of dense 4-bit models, about twice the single-precision peak."""
    usual: bool = False
    """True if it is what people mean who name only a size."""
    shares_memory: bool = False
    """True if its memory is the machine's."""


CARDS = (
    Card("Tesla P40", 24, 346, 12.6),
    Card("Tesla P100", 16, 732, 15),
    Card("V100", 32, 900, 35),
    Card("T4", 16, 320, 16),
    Card("RTX 2080 Ti", 11, 616, 27),
    Card("RTX 3060", 12, 360, 25, usual=True),
    Card("RTX 3070", 8, 448, 40),
    Card("RTX 3080 Ti", 12, 912, 68),
    Card("RTX 3080", 10, 760, 60),
    Card("RTX 3090", 24, 936, 70, usual=True),
    Card("RTX 4060 Ti", 16, 288, 44),
    Card("RTX 4060", 8, 272, 30, usual=True),
    Card("RTX 4070 Ti", 12, 504, 80),
    Card("RTX 4070", 12, 504, 58),
    Card("RTX 4080", 16, 717, 98, usual=True),
    Card("RTX 4090", 24, 1008, 165, usual=True),
    Card("RTX 5060 Ti", 16, 448, 47),
    Card("RTX 5070 Ti", 16, 896, 88),
    Card("RTX 5070", 12, 672, 62),
    Card("RTX 5080", 16, 960, 112),
    Card("RTX 5090", 32, 1792, 210, usual=True),
    Card("A100-SXM4-40GB", 40, 1555, 70, usual=True),
    Card("A100-PCIE-40GB", 40, 1555, 70),
    Card("A100", 80, 2039, 70, usual=True),
    Card("A10", 24, 600, 60),
    Card("RTX A5000", 24, 768, 55),
    Card("RTX A6000", 48, 768, 75, usual=True),
    Card("RTX 6000 Ada", 48, 960, 175),
    Card("L40", 48, 864, 170, usual=True),
    Card("L4", 24, 300, 50),
    Card("H100 PCIe", 80, 2039, 120),
    Card("H100 NVL", 94, 3938, 150),
    Card("H100", 80, 3350, 160, usual=True),
    Card("H200", 141, 4800, 160, usual=True),
    Card("GH200", 96, 4000, 160),
    Card("B200", 180, 8000, 180, usual=True),
    Card("RTX PRO 6000", 96, 1792, 240, usual=True),
    Card("GB10", 119, 273, 34, usual=True, shares_memory=True),
    Card("Thor", 122, 273, 28, shares_memory=True),
    Card("Orin", 61, 205, 10, usual=True, shares_memory=True),
    Card("MI210", 64, 1638, 50),
    Card("MI250", 64, 1638, 50),
    Card("MI300X", 192, 5300, 130, usual=True),
    Card("RX 7900 XTX", 24, 960, 60, usual=True),
    Card("RX 9070 XT", 16, 640, 45),
    Card("Radeon 8060S", 96, 256, 15, usual=True, shares_memory=True),
    Card("Apple M1 Ultra", 96, 800, 14, shares_memory=True),
    Card("Apple M2 Ultra", 144, 800, 17, usual=True, shares_memory=True),
    Card("Apple M3 Ultra", 384, 819, 20, usual=True, shares_memory=True),
    Card("Apple M1 Max", 48, 400, 7, shares_memory=True),
    Card("Apple M2 Max", 72, 400, 9, shares_memory=True),
    Card("Apple M3 Max", 96, 400, 10, shares_memory=True),
    Card("Apple M4 Max", 96, 546, 12, usual=True, shares_memory=True),
    Card("Apple M4 Pro", 36, 273, 6, usual=True, shares_memory=True),
    Card("Apple M4", 18, 120, 3, usual=True, shares_memory=True),
)


def find_card(name: str) -> Card | None:
    """The card that a driver means by this name; the longest name in the table that is part of it.

    None for a laptop's, which is slower than the card of its name.
    """
    words = re.sub(r"geforce |\((?:tm|r)\)", "", name.casefold())
    if "laptop" in words:
        return None
    found = [card for card in CARDS if re.search(rf"\b{re.escape(card.name.casefold())}(?!\d)", words)]
    return max(found, key=lambda card: len(card.name), default=None)


class Cpu(NamedTuple):
    """A family of CPUs: a pattern for its names, the memory channels of one socket, and megatransfers a second."""

    pattern: str
    channels: int
    mega_transfers: int


CPUS = (
    Cpu(r"EPYC 4\d\d4", 2, 5200),
    Cpu(r"EPYC 7\w\w1\b", 8, 2666),
    Cpu(r"EPYC 7\w\w\d?\b", 8, 3200),
    Cpu(r"EPYC 8\d\d4", 6, 4800),
    Cpu(r"EPYC 9\w\w4", 12, 4800),
    Cpu(r"EPYC 9\w\w5", 12, 6000),
    Cpu(r"Threadripper PRO [79]\d\d\dWX", 8, 5200),
    Cpu(r"Threadripper PRO [35]\d\d\dWX", 8, 3200),
    Cpu(r"Threadripper [79]\d\d\dX", 4, 5200),
    Cpu(r"Threadripper", 4, 3200),
    Cpu(r"Ryzen AI MAX", 4, 8000),
    Cpu(r"Ryzen AI|Ryzen \d [79]\d\d\d|Ryzen \d 8\d\d\d", 2, 5600),
    Cpu(r"Ryzen", 2, 3200),
    Cpu(r"Xeon.* 69\d\d", 12, 6400),
    Cpu(r"Xeon.* 6[57]\d\d[PE]", 8, 6400),
    Cpu(r"Xeon.* (Platinum|Gold|Silver|Bronze) \d5\d\d|Xeon.* w[579]-35", 8, 5600),
    Cpu(r"Xeon.* (Platinum|Gold|Silver|Bronze) \d4\d\d|Xeon.* w[579]-34", 8, 4800),
    Cpu(r"Xeon.* (Platinum|Gold|Silver|Bronze) \d3\d\d", 8, 3200),
    Cpu(r"Xeon.* (Platinum|Gold|Silver|Bronze) \d[12]\d\d", 6, 2933),
    Cpu(r"Xeon.* w[357]-2[45]", 4, 4800),
    Cpu(r"Xeon.* E5-2\d\d\d", 4, 2400),
    Cpu(r"Ultra [579] 2", 2, 6400),
    Cpu(r"1[234]th Gen|i[3579]-1[234]\d\d\d", 2, 5200),
    Cpu(r"i[3579]-", 2, 3200),
    Cpu(r"Apple M[1-5] Ultra", 16, 6400),
    Cpu(r"Apple M[1-5] Max", 8, 6400),
    Cpu(r"Apple M[1-5] Pro", 4, 6400),
    Cpu(r"Apple M", 2, 6400),
    Cpu(r"Grace|Neoverse-V2", 8, 8000),
)
"""Apple's channels are counted as 64 bits wide, as the others' are."""

BYTES_PER_TRANSFER = 8
READ_SHARE = 0.8
"""Of the peak, what all cores together read in one stream each."""
SECOND_SOCKET = 0.4
"""What a second socket adds: half of what it reads lies in the other's memory."""


def memory_gbps(cpu_name: str, sockets: int = 1, channels: int | None = None) -> float | None:
    """Memory speed of this CPU in GB/s; None for a CPU that is not in the table.

    `channels`: those with memory in them, of one socket; None: all.
    """
    found = next((cpu for cpu in CPUS if re.search(cpu.pattern, cpu_name, re.IGNORECASE)), None)
    if found is None:
        return None
    used = min(channels or found.channels, found.channels)
    gbps = used * found.mega_transfers * BYTES_PER_TRANSFER / 1000 * READ_SHARE
    return gbps * (1 + SECOND_SOCKET * (sockets - 1))


def is_virtual(root: Path = Path("/")) -> bool:
    """True if this is a virtual machine: its cores and memory are a share of the CPU that it names."""
    return " hypervisor" in read_if_any(root / "proc/cpuinfo")


def count_sockets(root: Path = Path("/")) -> int:
    """CPU packages, at least 1."""
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id")
    return len({read_if_any(one) for one in folders}) or 1


def memory_channels(root: Path = Path("/")) -> int | None:
    """Memory channels with a module in them, of all sockets, as the kernel's memory controllers tell; None: unknown."""
    places = set()
    for module in (root / "sys/devices/system/edac/mc").glob("mc[0-9]*/dimm[0-9]*"):
        place = re.search(r"channel (\d+)", read_if_any(module / "dimm_location"))
        if place and read_if_any(module / "size") not in ("", "0"):
            places.add((module.parent.name, place[1]))
    return len(places) or None


NVME_GBPS = 3.5


def disk_gbps(path: Path, root: Path = Path("/")) -> float | None:
    """Speed of random block reads from a disk of this kind, in GB/s; None for an unknown kind."""
    try:
        device = path.stat().st_dev
    except OSError:
        return None
    link = root / f"sys/dev/block/{device >> 8 & 0xFFF}:{device & 0xFF}"
    try:
        name = link.resolve(strict=True)
    except OSError:
        return None
    if "/nvme" in str(name):
        return NVME_GBPS
    queue = next((one / "queue" for one in (name, name.parent) if (one / "queue").is_dir()), None)
    if queue is None or "/virtual/" in str(name) or "/virtio" in str(name):
        return None
    return 0.15 if read_if_any(queue / "rotational") == "1" else 0.5
