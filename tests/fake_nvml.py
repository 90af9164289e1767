"""NVML at its own boundary: a `pynvml` whose answers a test chooses."""

from types import SimpleNamespace
from typing import Any

GIB = 1 << 30


class NVMLError(Exception):
    """pynvml's own base class."""


class NotSupportedError(NVMLError):
    """What pynvml calls NVMLError_NotSupported."""


def fails(*_arguments: Any) -> Any:
    """A call on a card that has fallen off the bus."""
    raise NVMLError("GPU is lost")


def unsupported(*_arguments: Any) -> Any:
    """A call that card or driver does not know."""
    raise NotSupportedError("Not Supported")


def fake_nvml(**changes: Any) -> SimpleNamespace:
    """A `pynvml` with one H100 that is at work for process 4242 and one other."""
    calls: dict[str, Any] = {
        "NVMLError": NVMLError,
        "NVMLError_NotSupported": NotSupportedError,
        "NVML_TEMPERATURE_GPU": 0,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.65.06",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13000,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: "NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetMemoryInfo": lambda handle, _=None: SimpleNamespace(total=80 * GIB, free=60 * GIB, used=20 * GIB),
        "nvmlDeviceGetPciInfo": lambda handle: SimpleNamespace(busId=f"00000000:{0x65 + handle:02X}:00.0".encode()),
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (9, 0),
        "nvmlDeviceGetMaxClockInfo": lambda handle, clock: {1: 1980, 2: 2619}[clock],
        "nvmlDeviceGetMemoryBusWidth": lambda handle: 5120,
        "nvmlDeviceGetNumGpuCores": lambda handle: 16896,
        "nvmlDeviceGetClockInfo": lambda handle, clock: {1: 1755, 2: 2619}[clock],
        "nvmlDeviceGetFanSpeed": unsupported,
        "nvmlDeviceGetCurrPcieLinkGeneration": lambda handle: 5,
        "nvmlDeviceGetCurrPcieLinkWidth": lambda handle: 16,
        "nvmlDeviceGetMaxPcieLinkGeneration": lambda handle: 5,
        "nvmlDeviceGetMaxPcieLinkWidth": lambda handle: 16,
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=87, memory=40),
        "nvmlDeviceGetTemperatureV": lambda handle, sensor: 63,
        "nvmlDeviceGetPowerUsage": lambda handle: 412_500,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [
            SimpleNamespace(pid=4242, usedGpuMemory=15 * GIB),
            SimpleNamespace(pid=77, usedGpuMemory=4 * GIB),
        ],
        "nvmlDeviceGetGraphicsRunningProcesses": lambda handle: [],
        "nvmlSystemGetProcessName": lambda pid: {4242: "/opt/llama/llama-server", 77: "/usr/bin/python3"}.get(
            pid, "Xorg"
        ),
    }
    return SimpleNamespace(**{**calls, **changes})
