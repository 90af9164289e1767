"""Samples the machine once a second: CPU, memory, the server's process; GPUs in a thread that may hang with NVML."""

import os
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from r1tui.machine.nvml import GpuUse, NvmlSession
from r1tui.machine.nvml_binding import format_error
from r1tui.system.lazy import psutil

NVML_RETRY_S = 30.0
STOP_S = 0.5
NOT_BUSY = ("idle", "iowait", "guest", "guest_nice")
"""A CPU's times without work; those of guests are counted in `user` already."""
NOT_YET = "NVML has not answered yet"
ROOT = Path("/")


@dataclass(frozen=True)
class ServerUse:
    """Resource use of the server's process; the two kinds of memory are None if the kernel does not report them."""

    pid: int
    rss_bytes: int
    anonymous_bytes: int | None
    """Cache, buffers and copied weights: memory of its own."""
    mapped_bytes: int | None
    """The part of the model's file that is in memory; page cache, which the kernel may drop."""
    cpu_percent: float | None
    """Of all CPUs that can be used."""
    read_bytes_per_s: float | None = None
    """From disk, mapped files included; None where the kernel does not let us look."""


@dataclass(frozen=True)
class Sample:
    """One look at the machine. `cpu_percent` is of the CPUs that can be used, and None in the first sample."""

    time_s: float
    """By the monotonic clock."""
    cpu_percent: float | None
    memory_total_bytes: int
    memory_available_bytes: int
    page_cache_bytes: int
    """Of the machine; it counts as available and never as used."""
    server: ServerUse | None = None
    gpus: tuple[GpuUse, ...] | None = None
    """None when NVML shows none at this moment; `gpus_reason` says why."""
    gpus_reason: str | None = None
    gpus_age_s: float | None = None
    """Seconds since NVML's last answer; None if it never answered."""
    disk_bytes_per_s: float | None = None
    """Disk reads of the whole machine."""
    cores_percent: tuple[float, ...] = ()
    """Each usable CPU's use by all programs; empty in the first sample, and where a quota gives fewer."""

    @property
    def awaits_gpus(self) -> bool:
        """True until NVML has answered for the first time: nobody knows then whether there is a GPU."""
        return self.gpus_reason == NOT_YET

    @property
    def memory_used_bytes(self) -> int:
        return max(0, self.memory_total_bytes - self.memory_available_bytes)


@dataclass(frozen=True)
class Limits:
    """Limits of this process below the whole machine."""

    cpus: int | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: Callable[[], int] | None = None
    """Asked at every sample: what a cgroup leaves changes."""


class _Repeating:
    """Work in a daemon thread, again and again until it is stopped."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin at once."""
        self._thread.start()

    def stop(self) -> None:
        """End within STOP_S; a thread that hangs is left behind."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        raise NotImplementedError


class Sampler(_Repeating):
    """Samples until it is stopped. Reading is free: `latest()` is there already. `server_pid` is asked each time."""

    def __init__(
        self,
        server_pid: Callable[[], int | None] = lambda: None,
        interval_s: float = 1.0,
        *,
        limits: Limits | None = None,
        nvml_retry_s: float = NVML_RETRY_S,
        root: Path = ROOT,
    ) -> None:
        super().__init__("telemetry")
        self._interval_s = interval_s
        self._host = HostReader(server_pid, limits or Limits(), root)
        self._gpus = GpuReader(interval_s, nvml_retry_s, server_pid)
        self._latest: Sample | None = None

    def start(self) -> None:
        """Begin; the first sample comes at once."""
        self._gpus.start()
        super().start()

    def stop(self) -> None:
        """End within a second, also when NVML hangs."""
        self._gpus.stop()
        super().stop()

    def latest(self) -> Sample | None:
        """The newest sample; None before the first."""
        return self._latest

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._latest = self._host.read(*self._gpus.latest())
            self._stopping.wait(self._interval_s)


class GpuReader(_Repeating):
    """Reads NVML in a thread of its own, opens it again now and then after a failure, and answers from memory."""

    def __init__(self, interval_s: float, retry_s: float, server_pid: Callable[[], int | None]) -> None:
        super().__init__("nvml")
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._server_pid = server_pid
        self._stale_s = max(5.0 * interval_s, 0.2)
        self._read: tuple[tuple[GpuUse, ...] | None, str | None, float | None]
        self._read = None, NOT_YET, None
        """The GPUs, why there are none, and when that was read; replaced in one step."""

    def latest(self) -> tuple[tuple[GpuUse, ...] | None, str | None, float | None]:
        """The GPUs or None, why not, and how old the last answer is in seconds."""
        uses, reason, answered_s = self._read
        age_s = None if answered_s is None else monotonic() - answered_s
        if uses is not None and age_s is not None and age_s > self._stale_s:
            return None, f"NVML has not answered for {age_s:.0f} s", age_s
        return uses, reason, age_s

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as error:
                self._read = None, format_error(error), self._read[2]
            self._stopping.wait(self._retry_s)

    def _follow(self) -> None:
        with closing(NvmlSession()) as session:
            while not self._stopping.is_set():
                uses = session.read(self._server_pid())
                problems = [f"GPU {use.index}: {use.problem}" for use in uses if use.problem]
                self._read = uses, "; ".join(problems) or None, monotonic()
                self._stopping.wait(self._interval_s)


class Rate:
    """Growth rate of a counter: each reading gives the growth per second since the one before."""

    def __init__(self) -> None:
        self._before: tuple[object, float, float] | None = None

    def look(self, now_s: float, count: float | None, whose: object = None) -> float | None:
        """None at the first look at a counter, and for one that tells nothing."""
        before, self._before = self._before, None if count is None else (whose, now_s, count)
        if count is None or before is None or before[0] != whose or now_s <= before[1]:
            return None
        return max(0.0, count - before[2]) / (now_s - before[1])


class HostReader:
    """Reads CPU, memory, disk and the server's process; figures that need two looks are of the time between them."""

    def __init__(self, server_pid: Callable[[], int | None], limits: Limits, root: Path) -> None:
        self._server_pid = server_pid
        self._limits = limits
        self._root = root
        self._affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        self._cpus = limits.cpus or len(self._affinity or ()) or os.cpu_count() or 1
        self._cores: list[Rate] = []
        self._cpu, self._disk, self._server_cpu, self._server_disk = Rate(), Rate(), Rate(), Rate()

    def read(self, gpus: tuple[GpuUse, ...] | None, gpus_reason: str | None, gpus_age_s: float | None) -> Sample:
        now = monotonic()
        total, available, cache = self._memory()
        busy_s, cores_s = self._quota_busy_s(), []
        if busy_s is None:
            cores_s = self._read_cores()
            busy_s = sum(cores_s)
        return Sample(
            now,
            self._percent(self._cpu.look(now, busy_s)),
            total,
            available,
            cache,
            self._server_use(now),
            gpus,
            gpus_reason,
            gpus_age_s,
            self._disk.look(now, self._disk_bytes()),
            cores_percent=tuple(min(100.0, 100.0 * rate) for rate in self._core_rates(now, cores_s)),
        )

    def _memory(self) -> tuple[int, int, int]:
        memory = psutil.virtual_memory()
        total, available = memory.total, memory.available
        if self._limits.memory_total_bytes is not None:
            total = min(total, self._limits.memory_total_bytes)
        if self._limits.memory_available_bytes is not None:
            available = min(available, self._limits.memory_available_bytes())
        cache = getattr(memory, "cached", 0) + getattr(memory, "buffers", 0) - getattr(memory, "shared", 0)
        return total, min(available, total), max(0, min(cache, available))

    def _disk_bytes(self) -> int | None:
        with suppress(OSError, RuntimeError, NotImplementedError):
            counters = psutil.disk_io_counters()
            return None if counters is None else counters.read_bytes
        return None

    def _read_cores(self) -> list[float]:
        """CPU seconds spent, by everybody, on each of the CPUs that this process may use."""
        times = psutil.cpu_times(percpu=True)
        if self._affinity and self._affinity[-1] < len(times):
            times = [times[cpu] for cpu in self._affinity]
        return [sum(one) - sum(getattr(one, name, 0.0) for name in NOT_BUSY) for one in times]

    def _core_rates(self, now: float, cores_s: list[float]) -> list[float]:
        """The share of its time in which each of them was busy."""
        if len(self._cores) != len(cores_s):
            self._cores = [Rate() for _ in cores_s]
        looks = zip(self._cores, cores_s, strict=True)
        return [rate for core, busy_s in looks if (rate := core.look(now, busy_s)) is not None]

    def _quota_busy_s(self) -> float | None:
        """CPU seconds spent by this container, where a quota leaves fewer CPUs than there are; None without one."""
        if self._limits.cpus is None or self._affinity is None or self._limits.cpus >= len(self._affinity):
            return None
        groups = self._root / "sys/fs/cgroup"
        with suppress(OSError, ValueError, StopIteration):
            lines = (groups / "cpu.stat").read_text().splitlines()
            return int(next(line.split()[1] for line in lines if line.startswith("usage_usec "))) / 1e6
        for folder in ("cpuacct", "cpu,cpuacct"):
            with suppress(OSError, ValueError):
                return int((groups / folder / "cpuacct.usage").read_text()) / 1e9
        return None

    def _server_use(self, now: float) -> ServerUse | None:
        pid = self._server_pid()
        if pid is None:
            return None
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, rss = process.cpu_times(), process.memory_info().rss
        except (psutil.Error, OSError, ValueError):
            return None
        # Not smaps_rollup: it walks the page tables of 131 GiB under the mmap lock.
        anonymous_bytes, mapped_bytes = self._numbers(pid, "status", "RssAnon", "RssFile")
        (read_bytes,) = self._numbers(pid, "io", "read_bytes")  # from storage, page faults included
        return ServerUse(
            pid,
            rss,
            anonymous_bytes,
            mapped_bytes,
            self._percent(self._server_cpu.look(now, times.user + times.system, pid)),
            self._server_disk.look(now, read_bytes, pid),
        )

    def _numbers(self, pid: int, file: str, *names: str) -> list[int | None]:
        """The numbers behind these names in a file of /proc, KiB as bytes; None where they cannot be read."""
        found: dict[str, int] = {}
        with suppress(OSError, ValueError, IndexError):
            for line in (self._root / f"proc/{pid}/{file}").read_text(errors="replace").splitlines():
                name, _, rest = line.partition(":")
                if name in names:
                    found[name] = int(rest.split()[0]) * (1024 if rest.endswith("kB") else 1)
        return [found.get(name) for name in names]

    def _percent(self, busy: float | None) -> float | None:
        return None if busy is None else min(100.0, 100.0 * busy / self._cpus)
