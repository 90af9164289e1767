"""This machine as this process may use it: cores, memory, GPUs, NUMA nodes. `root` stands for `/` in tests."""

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from r1tui.machine.nvml import Gpu, Nvidia, read_nvidia
from r1tui.machine.visible import visible_gpus
from r1tui.system.files import read_if_any
from r1tui.system.lazy import psutil

ROOT = Path("/")
DISPLAY_CLASS = "0x03"  # the PCI base class of graphics cards, 3D controllers included
NVIDIA_VENDOR, AMD_VENDOR = "0x10de", "0x1002"


@dataclass(frozen=True)
class NumaNode:
    index: int
    cpus: tuple[int, ...]
    memory_total_bytes: int


class CpuLoad(NamedTuple):
    """Programs that wanted to run in the last minute, on average, and the CPUs of the whole machine."""

    programs: float
    cpus: int


IDLE = CpuLoad(0.0, 1)


@dataclass(frozen=True)
class Machine:
    """Hardware that this process may use. `nvidia.reason` says why no GPU is shown; the cgroup bounds `memory_*`."""

    cpu_name: str
    physical_cores: int
    logical_cpus: int
    memory_total_bytes: int
    memory_available_bytes: int
    nvidia: Nvidia
    numa_nodes: tuple[NumaNode, ...]
    load: CpuLoad = IDLE

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that CUDA programs of this environment see, in CUDA's order."""
        return visible_gpus(self.nvidia.gpus, os.environ)

    @property
    def fingerprint(self) -> str:
        """Identity of this machine among those with the same home: CPU, cores, memory, GPUs."""
        gpus = [gpu.uuid or gpu.name for gpu in self.nvidia.gpus]
        return " / ".join(
            [self.cpu_name, f"{self.physical_cores} cores", f"{self.memory_total_bytes >> 30} GiB", *gpus]
        )


def detect_machine(root: Path = ROOT) -> Machine:
    """Look at everything once; never raises for what is missing."""
    return Machine(
        cpu_name(root),
        usable_physical_cores(root),
        usable_logical_cpus(root),
        memory_total_bytes(root),
        memory_available_bytes(root),
        read_nvidia(),
        numa_nodes(root),
        cpu_load(root),
    )


def cpu_load(root: Path = ROOT) -> CpuLoad:
    """The load average of the last minute; 0 where the system has none."""
    first = (read_if_any(root / "proc/loadavg").split() or [""])[0]
    try:
        programs = float(first) if first else os.getloadavg()[0]
    except (OSError, ValueError):
        programs = 0.0
    return CpuLoad(programs, os.cpu_count() or 1)


def usable_physical_cores(root: Path = ROOT, affinity: frozenset[int] | None = None) -> int:
    """Usable physical cores, at least 1: affinity (or `affinity`), SMT siblings once, the cgroup's CPU quota."""
    siblings = set()
    for cpu in _affinity() if affinity is None else affinity:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        text = read_if_any(topology / "core_cpus_list") or read_if_any(topology / "thread_siblings_list")
        siblings.add(_cpu_list(text) or (cpu,))
    cores = len(siblings) or 1
    if not (root / "sys/devices/system/cpu").is_dir():
        cores = psutil.cpu_count(logical=False) or cores
    return _within_quota(root, cores)


def usable_logical_cpus(root: Path = ROOT, affinity: frozenset[int] | None = None) -> int:
    """Logical CPUs that this process may use, bounded by the cgroup's quota; ≥ 1."""
    return _within_quota(root, len(_affinity() if affinity is None else affinity))


def _within_quota(root: Path, cpus: int) -> int:
    quota = cpu_quota(root)
    return max(1, cpus if quota is None else min(cpus, int(quota)))


def cpu_quota(root: Path = ROOT) -> float | None:
    """The smallest CPU quota of this process's cgroups, in CPUs; None without one."""
    quotas = []
    for folder in _cgroup_folders(root, "cpu"):
        words = read_if_any(folder / "cpu.max").split()  # v2: "QUOTA PERIOD" in µs, QUOTA may be "max"
        if not words:
            words = [read_if_any(folder / "cpu.cfs_quota_us"), read_if_any(folder / "cpu.cfs_period_us")]
        quota, period = (_number(word) for word in (*words, "", "")[:2])
        if quota is not None and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory_total_bytes(root: Path = ROOT) -> int:
    """The machine's memory, or the cgroup's limit where that is less."""
    return min([_meminfo(root)["MemTotal"], *(limit for limit, _ in _memory_limits(root))])


def memory_available_bytes(root: Path = ROOT) -> int:
    """Memory that can be taken without swapping, now; what the cgroup still allows where that is less."""
    left = [max(0, limit - used) for limit, used in _memory_limits(root)]
    return min([_meminfo(root)["MemAvailable"], *left])


def numa_nodes(root: Path = ROOT) -> tuple[NumaNode, ...]:
    """The machine's memory nodes; empty where the kernel does not say."""
    nodes = []
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        total_kib = re.search(r"MemTotal:\s*(\d+)", read_if_any(folder / "meminfo"))
        total_bytes = int(total_kib[1]) * 1024 if total_kib else 0
        nodes.append(NumaNode(int(folder.name[4:]), _cpu_list(read_if_any(folder / "cpulist")), total_bytes))
    return tuple(sorted(nodes, key=lambda node: node.index))


def cpu_name(root: Path = ROOT) -> str:
    """The processor's name as the system gives it."""
    return _cpuinfo(root, "model name") or platform.processor() or platform.machine()


def cpu_features(root: Path = ROOT) -> str:
    """Instruction sets of this CPU, as the kernel lists them: a native build depends on them."""
    return " ".join(sorted(_cpuinfo(root, "flags", "Features").split())) or cpu_name(root)


def _cpuinfo(root: Path, *names: str) -> str:
    lines = read_if_any(root / "proc/cpuinfo").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")


def nvidia_hardware(root: Path = ROOT) -> bool:
    """True if an NVIDIA GPU is here, driver or not: the driver's /proc folder or a PCI display device."""
    return (root / "proc/driver/nvidia").exists() or _has_display(root, NVIDIA_VENDOR)


def amd_hardware(root: Path = ROOT) -> bool:
    """True if an AMD GPU is here (an integrated one counts)."""
    return (root / "dev/kfd").exists() or _has_display(root, AMD_VENDOR)


def _has_display(root: Path, vendor: str) -> bool:
    devices = (root / "sys/bus/pci/devices").glob("*")
    return any(
        read_if_any(device / "vendor") == vendor and read_if_any(device / "class").startswith(DISPLAY_CLASS)
        for device in devices
    )


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _cpu_list(text: str) -> tuple[int, ...]:
    """`0-3,8` as numbers."""
    cpus: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.strip().isdigit():
            cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)


def oom_kills(root: Path = ROOT) -> int:
    """Count the processes killed because memory ran out, here or in the cgroups above; it only grows."""
    groups = [
        read_if_any(folder / name)
        for folder in _cgroup_folders(root, "memory")
        for name in ("memory.events", "memory.oom_control")
    ]
    counts = [words[1] for text in (*groups, read_if_any(root / "proc/vmstat")) for line in text.splitlines()
              if len(words := line.split()) == 2 and words[0] == "oom_kill"]  # fmt: skip
    return sum(int(count) for count in counts)


def _memory_limits(root: Path) -> list[tuple[int, int]]:
    """(limit, used) in bytes of every cgroup above this process that has a limit; page cache does not count as used."""
    limits = []
    for folder in _cgroup_folders(root, "memory"):
        limit = _number(read_if_any(folder / "memory.max") or read_if_any(folder / "memory.limit_in_bytes"))
        used = _number(read_if_any(folder / "memory.current") or read_if_any(folder / "memory.usage_in_bytes"))
        if limit is None or used is None:
            continue
        stat = dict(line.split() for line in read_if_any(folder / "memory.stat").splitlines() if len(line.split()) == 2)
        cache = [stat.get(f"total_{key}", stat.get(key, "0")) for key in ("inactive_file", "active_file")]
        limits.append((int(limit), int(used) - sum(int(value) for value in cache)))
    return limits


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """This process's folder for the controller and its parents, in each hierarchy (v1, v2, both) that is mounted."""
    own: dict[str, str] = {}
    for line in read_if_any(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))  # v2's own name is empty
    for line in read_if_any(root / "proc/self/mountinfo").splitlines():
        words = line.split()
        kind, options = words[words.index("-") + 1], words[-1].split(",")
        key = "" if kind == "cgroup2" else controller if kind == "cgroup" and controller in options else None
        if key is None or key not in own:
            continue
        path = own[key]
        mount_root, mount = words[3], root / words[4].lstrip("/")
        inside = path.removeprefix(mount_root) if mount_root != "/" else path  # a container sees only its own part
        folder = mount / inside.strip("/")
        yield from (level for level in (folder, *folder.parents) if level == mount or level.is_relative_to(mount))


def _meminfo(root: Path) -> dict[str, int]:
    """/proc/meminfo in bytes, or psutil's figures under the same names."""
    found = {}
    for line in read_if_any(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    if "MemTotal" in found and "MemAvailable" in found:
        return found
    memory = psutil.virtual_memory()
    return {"MemTotal": memory.total, "MemAvailable": memory.available}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
