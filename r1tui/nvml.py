"""NVIDIA's GPUs as the driver's own library shows them; a machine without one is an answer, not an error.

`read_nvidia` says once what is there; an `NvmlSession` stays open and says again and again what it is doing.
"""

from dataclasses import dataclass
from typing import Any

from r1tui.errors import R1tuiError


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

    @property
    def architecture(self) -> str | None:
        """As CMAKE_CUDA_ARCHITECTURES wants it: compute capability 9.0 is `90`."""
        return None if self.compute_capability is None else "{}{}".format(*self.compute_capability)


@dataclass(frozen=True)
class Nvidia:
    """The GPUs, the driver, and the newest CUDA it runs; `reason` says why there are none."""

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class GpuUse:
    """What one GPU is doing; None for what the driver or the card does not tell. `problem` says why it tells nothing.

    `used_bytes` is everybody's, not only ours.
    """

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


class NvmlError(R1tuiError):
    """NVML is missing or failed."""


class NvmlSession:
    """NVML opened once, its handles kept. Any call may hang when the driver does: use it in a thread of its own."""

    def __init__(self) -> None:
        """Open it; raises NvmlError."""
        try:
            import pynvml  # noqa: PLC0415
        except ImportError as error:
            raise NvmlError(f"the NVML module is missing ({error})") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NvmlError(_words(error)) from error
        try:
            self._cards = [self._card(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            self.close()
            raise NvmlError(_words(error)) from error
        if not self._cards:
            self.close()
            raise NvmlError("the driver shows no GPU")

    def read(self, pid: int | None = None) -> tuple[GpuUse, ...]:
        """Every GPU now, and what the process holds there; raises NvmlError when not one of them answers."""
        uses = tuple(self._use(index, name, handle, pid) for index, (name, handle) in enumerate(self._cards))
        if all(use.problem for use in uses):
            raise NvmlError(f"GPU 0: {uses[0].problem}")
        return uses

    def pids(self) -> set[int]:
        """The processes that hold memory of a GPU; in a container the driver may show none."""
        found: set[int] = set()
        for _, handle in self._cards:
            if not isinstance(handle, Exception):
                running = _ask(self._nvml, self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
                found.update(process.pid for process in running or ())
        return found

    def close(self) -> None:
        """Close it; what NVML says to that does not matter any more."""
        _ask(self._nvml, self._nvml.nvmlShutdown)

    def _card(self, index: int) -> tuple[str, Any]:
        """Its name and handle; the handle's error where there is none, so that a lost card hides no other."""
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        except self._nvml.NVMLError as error:
            return "NVIDIA GPU", error
        return _text(_ask(self._nvml, self._nvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU", handle

    def _use(self, index: int, name: str, handle: Any, pid: int | None) -> GpuUse:
        nvml = self._nvml
        if isinstance(handle, Exception):
            return GpuUse(index, name, problem=_words(handle))
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError_NotSupported:  # memory shared with the CPU, as on Jetson and Grace
            memory = None
        except nvml.NVMLError as error:
            return GpuUse(index, name, problem=_words(error))
        rates = _ask(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
        milliwatts = _ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
        return GpuUse(
            index,
            name,
            memory.used if memory else None,
            memory.total if memory else None,
            None if rates is None else rates.gpu,
            self._temperature_c(handle),
            None if milliwatts is None else milliwatts / 1000,
            own_bytes=None if pid is None else self._held_bytes(handle, pid),
        )

    def _held_bytes(self, handle: Any, pid: int) -> int | None:
        """Without the counter of a process (WDDM, MIG without the right to) nothing is known of it."""
        running = _ask(self._nvml, self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        held = [process.usedGpuMemory for process in running or () if process.pid == pid]
        return sum(held) if held and None not in held else None

    def _temperature_c(self, handle: Any) -> int | None:
        """Drivers older than CUDA 12.8 know only the second call, those of CUDA 14 will know only the first."""
        nvml = self._nvml
        for name in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            call = getattr(nvml, name, None)
            value = _ask(nvml, call, handle, nvml.NVML_TEMPERATURE_GPU) if call else None
            if isinstance(value, int):
                return value
        return None


def read_nvidia() -> Nvidia:
    """What is there at this moment. Never raises."""
    try:
        import pynvml  # noqa: PLC0415
    except ImportError as error:
        return Nvidia(reason=f"the NVML module is missing ({error})")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Nvidia(reason=_words(error))
    try:
        return _read(pynvml)
    except pynvml.NVMLError as error:
        return Nvidia(reason=_words(error))
    finally:
        _ask(pynvml, pynvml.nvmlShutdown)


def _read(pynvml: Any) -> Nvidia:
    cuda = _ask(pynvml, pynvml.nvmlSystemGetCudaDriverVersion_v2)
    count = pynvml.nvmlDeviceGetCount()
    gpus, failures = [], []
    for index in range(count):
        try:
            gpus.append(_gpu(pynvml, index))
        except pynvml.NVMLError as error:  # a card that fell off the bus hides no other
            failures.append(f"GPU {index}: {_words(error)}")
    reason = "; ".join(failures) or (None if gpus else "the driver shows no GPU")
    return Nvidia(
        tuple(gpus),
        _text(_ask(pynvml, pynvml.nvmlSystemGetDriverVersion)) or None,
        (cuda // 1000, cuda % 1000 // 10) if cuda else None,  # 13020 is 13.2, nvml.h
        reason,
    )


def _gpu(pynvml: Any, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    capability = _ask(pynvml, pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    return Gpu(
        index,
        _text(_ask(pynvml, pynvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU",
        _text(_ask(pynvml, pynvml.nvmlDeviceGetUUID, handle)),
        memory.total if memory else None,
        memory.free if memory else None,
        memory.used if memory else None,
        (int(capability[0]), int(capability[1])) if capability else None,
        *_peaks(pynvml, handle),
    )


PCIE_LANE_GBPS = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""Of one lane, by the link's generation."""


def _peaks(pynvml: Any, handle: Any) -> tuple[float | None, float | None, float | None]:
    """What memory, arithmetic and bus reach at most; None for what driver, card or binding do not tell."""

    def ask(name: str, *arguments: Any) -> int | None:
        call = getattr(pynvml, name, None)
        value = None if call is None else _ask(pynvml, call, handle, *arguments)
        return value if isinstance(value, int) and value > 0 else None

    memory_mhz = ask("nvmlDeviceGetMaxClockInfo", pynvml.NVML_CLOCK_MEM)
    core_mhz = ask("nvmlDeviceGetMaxClockInfo", pynvml.NVML_CLOCK_SM)
    width_bits, cores = ask("nvmlDeviceGetMemoryBusWidth"), ask("nvmlDeviceGetNumGpuCores")
    lane_gbps = PCIE_LANE_GBPS.get(ask("nvmlDeviceGetMaxPcieLinkGeneration") or 0)
    lanes = ask("nvmlDeviceGetMaxPcieLinkWidth")
    return (
        2 * memory_mhz * width_bits / 8 / 1000 if memory_mhz and width_bits else None,
        2 * core_mhz * cores / 1e6 if core_mhz and cores else None,
        lane_gbps * lanes if lane_gbps and lanes else None,
    )


def _ask(pynvml: Any, call: Any, *arguments: Any) -> Any:
    """The call's answer, or None where this driver or card does not support it."""
    try:
        return call(*arguments)
    except pynvml.NVMLError:
        return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
