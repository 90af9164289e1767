"""NVIDIA's GPUs as the driver's own library shows them; a machine without one is an answer, not an error.

`read_nvidia` says once what is there; an `NvmlSession` stays open and says again and again what it is doing. A driver
may hang in any call.
"""

import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from r1tui.machine.driver_values import text_line, version_pair, whole_number
from r1tui.machine.nvml_binding import Binding, BrokenBindingError, NvmlError, format_error


@dataclass(frozen=True)
class Gpu:
    """One GPU; what the driver would not tell is None (`uuid`: empty)."""

    index: int
    name: str
    uuid: str
    total_bytes: int | None
    free_bytes: int | None
    used_bytes: int | None
    compute_capability: tuple[int, int] | None
    memory_gbps: float | None = None
    """Peak rate of its memory, GB/s: two transfers a clock over the width of its bus."""
    tflops: float | None = None
    """Peak single-precision rate: two operations a clock on each CUDA core."""
    bus_gbps: float | None = None
    """Peak rate of its PCIe link, GB/s each way."""
    pci_bus_id: str = ""
    """As llama.cpp writes it: `0000:65:00.0`."""
    unified: bool = False
    """True if its memory is the machine's own (GB10, Jetson): the driver tells no size of it then."""

    @property
    def architecture(self) -> str | None:
        """As CMAKE_CUDA_ARCHITECTURES wants it: compute capability 9.0 is `90`."""
        return None if self.compute_capability is None else "{}{}".format(*self.compute_capability)


@dataclass(frozen=True)
class LostGpu:
    """A GPU that the driver counts and that does not answer."""

    index: int
    problem: str

    def __str__(self) -> str:
        return f"GPU {self.index}: {self.problem}"


@dataclass(frozen=True)
class Nvidia:
    """The GPUs, the driver, and the newest CUDA it runs; `reason` says why there are none, or which of them is lost."""

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
    reason: str | None = None
    lost: tuple[LostGpu, ...] = ()


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a GPU; `held_bytes` is None where the driver does not tell it."""

    pid: int
    name: str
    """Its program's file; empty where the driver does not know the process (containers)."""
    held_bytes: int | None


@dataclass(frozen=True)
class GpuUse:
    """One GPU's activity, of all processes; unknown values are None. `problem` says why nothing is known."""

    index: int
    name: str
    used_bytes: int | None = None
    total_bytes: int | None = None
    busy_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    problem: str | None = None
    own_bytes: int | None = None
    """What the process that was asked about holds; None as well where the driver shows no processes (containers)."""
    pci_bus_id: str = ""
    clock_mhz: int | None = None
    """Present clock of its processors."""
    memory_clock_mhz: int | None = None
    fan_percent: int | None = None
    """None as well where it has no fan of its own."""
    pcie_link: tuple[int, int] | None = None
    """Generation and lanes, as they are now: an idle card saves power with fewer."""
    processes: tuple[GpuProcess, ...] = ()
    """Those that compute or draw there; in a container the driver may show none."""


MOST_FAN_PERCENT = 200
"""A fan may turn faster than its maker calls its most."""
ANSWERS_S = 30.0
"""Eight GPUs without the persistence daemon take seconds each to wake."""


class NvmlSession:
    """NVML opened once, its handles kept. Any call may hang when the driver does: use it in a thread of its own."""

    def __init__(self) -> None:
        self._nvml = Binding()
        self._names: dict[int, str] = {}
        """Of the processes that were seen, by pid."""
        try:
            self._cards = [self._card(index) for index in range(_count(self._nvml))]
            self._addresses = ["" if isinstance(card, NvmlError) else self._nvml.pci_bus_id(card)
                               for _, card in self._cards]  # fmt: skip
        except NvmlError:
            self.close()
            raise

    def read(self, pid: int | None = None) -> tuple[GpuUse, ...]:
        """Every GPU now, and what the process holds there; raises NvmlError when not one of them answers."""
        uses = tuple(self._use(index, name, handle, pid) for index, (name, handle) in enumerate(self._cards))
        if all(use.problem for use in uses):
            raise NvmlError(f"GPU 0: {uses[0].problem}")
        return uses

    def pids(self) -> set[int]:
        """The processes that hold memory of a GPU; in a container the driver may show none."""
        cards = [handle for _, handle in self._cards if not isinstance(handle, NvmlError)]
        return {pid for handle in cards for pid, _ in self._processes(handle, "Compute")}

    def close(self) -> None:
        self._nvml.close()

    def _card(self, index: int) -> tuple[str, Any]:
        """Its name and handle; the handle's error where there is none, so that a lost card hides no other."""
        try:
            handle = self._nvml.call("nvmlDeviceGetHandleByIndex", index)
        except NvmlError as error:
            return "NVIDIA GPU", error
        return self._nvml.name(handle), handle

    def _use(self, index: int, name: str, handle: Any, pid: int | None) -> GpuUse:
        if isinstance(handle, NvmlError):
            return GpuUse(index, name, problem=handle.cause)
        try:
            return self._answered(index, name, handle, pid)
        except Exception as error:
            return GpuUse(index, name, problem=format_error(error))

    def _answered(self, index: int, name: str, handle: Any, pid: int | None) -> GpuUse:
        nvml = self._nvml
        memory = nvml.memory(handle)  # none where it is the CPU's: Jetson and Grace
        rates = nvml.ask("nvmlDeviceGetUtilizationRates", handle)
        milliwatts = nvml.number("nvmlDeviceGetPowerUsage", handle)
        computing = self._processes(handle, "Compute")
        return GpuUse(
            index,
            name,
            memory.used if memory else None,
            _usable(memory),
            whole_number(getattr(rates, "gpu", None), 100),
            self._temperature_c(handle),
            None if milliwatts is None else milliwatts / 1000,
            own_bytes=_held_bytes(computing, pid),
            pci_bus_id=self._addresses[index],
            clock_mhz=nvml.number("nvmlDeviceGetClockInfo", handle, nvml.constant("NVML_CLOCK_SM")),
            memory_clock_mhz=nvml.number("nvmlDeviceGetClockInfo", handle, nvml.constant("NVML_CLOCK_MEM")),
            fan_percent=whole_number(nvml.ask("nvmlDeviceGetFanSpeed", handle), MOST_FAN_PERCENT),
            pcie_link=self._pcie_link(handle),
            processes=tuple(
                GpuProcess(one, self._name(one), held)
                for one, held in {**dict(self._processes(handle, "Graphics")), **dict(computing)}.items()
            ),
        )

    def _pcie_link(self, handle: Any) -> tuple[int, int] | None:
        """Not its traffic, which the driver counts for 20 ms before it answers."""
        generation = self._nvml.number("nvmlDeviceGetCurrPcieLinkGeneration", handle)
        lanes = self._nvml.number("nvmlDeviceGetCurrPcieLinkWidth", handle)
        return (generation, lanes) if generation and lanes else None

    def _name(self, pid: int) -> str:
        if pid not in self._names:
            self._names[pid] = self._nvml.process_name(pid)
        return self._names[pid]

    def _processes(self, handle: Any, kind: str) -> list[tuple[int, int | None]]:
        """Processes of this kind there, and the bytes of memory that each holds, where the driver tells it."""
        running = self._nvml.ask(f"nvmlDeviceGet{kind}RunningProcesses", handle)
        found = []
        for process in running if isinstance(running, list | tuple) else ():
            pid, held = getattr(process, "pid", None), getattr(process, "usedGpuMemory", None)
            if isinstance(pid, int):
                found.append((pid, whole_number(held)))
        return found

    def _temperature_c(self, handle: Any) -> int | None:
        """Drivers older than CUDA 12.8 know only the second call, those of CUDA 14 will know only the first."""
        sensor = self._nvml.constant("NVML_TEMPERATURE_GPU")
        names = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
        return next((value for name in names if (value := self._nvml.number(name, handle, sensor)) is not None), None)


_hanging: list[threading.Thread] = []
"""The looks that the driver has not come back from; while there is one, nobody waits for another."""


def read_nvidia(most_s: float = ANSWERS_S) -> Nvidia:
    """Read the GPUs now. Never raises; a hanging driver becomes a reason after `most_s`."""
    if any(look.is_alive() for look in _hanging):
        return Nvidia(reason="NVML does not answer")
    found: list[Nvidia] = []
    look = threading.Thread(target=lambda: found.append(_look()), name="nvml-look", daemon=True)
    look.start()
    look.join(most_s)
    _hanging[:] = [look] if look.is_alive() else []
    return found[0] if found else Nvidia(reason=f"NVML has not answered for {most_s:.0f} s")


def read_uses(pid: int, most_s: float = 5.0) -> tuple[GpuUse, ...]:
    """Every GPU now, and what this process holds there; empty without NVML, and where the driver does not answer."""
    found: list[tuple[GpuUse, ...]] = []

    def look() -> None:
        with suppress(NvmlError), closing(NvmlSession()) as session:
            found.append(session.read(pid))

    looking = threading.Thread(target=look, name="nvml-uses", daemon=True)
    looking.start()
    looking.join(most_s)
    return found[0] if found else ()


def _held_bytes(processes: list[tuple[int, int | None]], pid: int | None) -> int | None:
    held = [held_bytes for process, held_bytes in processes if process == pid]
    known = [one for one in held if one is not None]  # not all under WDDM, and with MIG
    return sum(known) if known and len(known) == len(held) else None


def _look() -> Nvidia:
    try:
        with closing(Binding()) as nvml:
            return _read(nvml)
    except Exception as error:
        return Nvidia(reason=format_error(error))


def _count(nvml: Binding) -> int:
    count = nvml.call("nvmlDeviceGetCount")
    if not whole_number(count, 256):
        raise NvmlError("the driver shows no GPU")
    return int(count)


def _read(nvml: Binding) -> Nvidia:
    cuda = nvml.number("nvmlSystemGetCudaDriverVersion_v2")
    gpus, lost = [], []
    try:
        for index in range(_count(nvml)):
            try:
                gpus.append(_gpu(nvml, index))
            except Exception as error:  # a card that fell off the bus hides no other
                lost.append(LostGpu(index, format_error(error)))
        reason = "; ".join(map(str, lost)) or None
    except NvmlError as error:
        reason = error.cause
    return Nvidia(
        tuple(gpus),
        text_line(nvml.ask("nvmlSystemGetDriverVersion")) or None,
        (cuda // 1000, cuda % 1000 // 10) if cuda else None,  # 13020 is 13.2, nvml.h
        reason,
        tuple(lost),
    )


def _gpu(nvml: Binding, index: int) -> Gpu:
    """Raises NvmlError for a card that is lost, which some drivers say only when its memory is asked for."""
    handle = nvml.call("nvmlDeviceGetHandleByIndex", index)
    unified = False
    try:
        memory = nvml.memory(handle)
        unified = memory is None
    except BrokenBindingError:
        memory = None
    capability = nvml.ask("nvmlDeviceGetCudaComputeCapability", handle)
    return Gpu(
        index,
        nvml.name(handle),
        text_line(nvml.ask("nvmlDeviceGetUUID", handle)),
        _usable(memory),
        memory.free if memory else None,
        memory.used if memory else None,
        version_pair(capability),
        *_peaks(nvml, handle),
        nvml.pci_bus_id(handle),
        unified,
    )


def _usable(memory: Any) -> int | None:
    """Bytes that programs can have: an H200's driver keeps 616 MiB, and llama.cpp counts without them too."""
    return memory.total - getattr(memory, "reserved", 0) if memory else None


PCIE_LANE_GBPS = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""Of one lane, by the link's generation."""


def _peaks(nvml: Binding, handle: Any) -> tuple[float | None, float | None, float | None]:
    """Peak rates of memory, arithmetic and bus; None for those that driver, card or binding do not report."""

    def ask(name: str, *arguments: Any) -> int | None:
        value = nvml.number(name, handle, *arguments)
        return value if value is not None and value > 0 else None

    memory_mhz = ask("nvmlDeviceGetMaxClockInfo", nvml.constant("NVML_CLOCK_MEM"))
    core_mhz = ask("nvmlDeviceGetMaxClockInfo", nvml.constant("NVML_CLOCK_SM"))
    width_bits, cores = ask("nvmlDeviceGetMemoryBusWidth"), ask("nvmlDeviceGetNumGpuCores")
    lane_gbps = PCIE_LANE_GBPS.get(ask("nvmlDeviceGetMaxPcieLinkGeneration") or 0)
    lanes = ask("nvmlDeviceGetMaxPcieLinkWidth")
    return (
        2 * memory_mhz * width_bits / 8 / 1000 if memory_mhz and width_bits else None,
        2 * core_mhz * cores / 1e6 if core_mhz and cores else None,
        lane_gbps * lanes if lane_gbps and lanes else None,
    )
