"""NVIDIA's GPUs as the driver's own library shows them; a machine without one is an answer, not an error."""

from dataclasses import dataclass
from typing import Any


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
