"""An H200 for pictures where there is no card: NVML, memory and the engine's devices, as they were recorded there."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import psutil
import yaml

from r1tui.machine import hardware
from r1tui.plan.capabilities import EngineDevice
from tests.fake_nvml import fake_nvml, unsupported

MIB = 1 << 20
SAID: dict[str, Any] = yaml.safe_load((Path(__file__).parent.parent / "data" / "h200.yaml").read_text())


@contextmanager
def played_card(server_pid: Callable[[], int | None]) -> Iterator[None]:
    """An H200 in this process: full as the real one was, while there is a server with this id, else empty."""
    machine, card = SAID["machine"], SAID["card"]
    total_mib, free_mib = machine["memory_total_mib"], machine["memory_available_mib"]
    usable_mib = card["total_mib"] - card["reserved_mib"]

    memory = psutil.virtual_memory()._replace(
        total=total_mib * MIB, available=free_mib * MIB, cached=machine["page_cache_mib"] * MIB, buffers=0, shared=0
    )

    def devices(*_: Any) -> tuple[EngineDevice, ...]:
        held_mib = 0 if server_pid() is None else card["held_mib"]
        return (EngineDevice("CUDA0", card["name"], usable_mib, usable_mib - held_mib),)

    def detect_machine() -> hardware.Machine:
        return replace(hardware.detect_machine(), cpu_name=machine["cpu_name"], physical_cores=machine["cores"])

    played = {
        "r1tui.machine.hardware._meminfo": lambda _: {"MemTotal": memory.total, "MemAvailable": memory.available},
        "psutil.virtual_memory": lambda: memory,
        "r1tui.planning.request.detect_machine": detect_machine,
        "r1tui.planning.devices.current_devices": devices,
    }
    with ExitStack() as stack:
        stack.enter_context(patch.dict("sys.modules", pynvml=_nvml(card, server_pid)))
        for name, stand_in in played.items():
            stack.enter_context(patch(name, stand_in))
        yield


def _nvml(card: dict[str, Any], server_pid: Callable[[], int | None]) -> SimpleNamespace:
    total, reserved, held = (card[f"{name}_mib"] * MIB for name in ("total", "reserved", "held"))

    def memory(*_: Any) -> SimpleNamespace:
        used = 0 if server_pid() is None else held
        return SimpleNamespace(total=total, reserved=reserved, used=used, free=total - reserved - used)

    def holders(_: int) -> list[SimpleNamespace]:
        pid = server_pid()
        return [] if pid is None else [SimpleNamespace(pid=pid, usedGpuMemory=held)]

    return fake_nvml(
        nvmlMemory_v2=0,
        nvmlSystemGetDriverVersion=lambda: card["driver"],
        nvmlDeviceGetName=lambda _: card["name"],
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetPciInfo=lambda _: SimpleNamespace(busId=card["pci_bus_id"].encode()),
        nvmlDeviceGetCudaComputeCapability=lambda _: tuple(card["compute_capability"]),
        nvmlDeviceGetMaxClockInfo=unsupported,
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=card["busy_percent"], memory=0),
        nvmlDeviceGetTemperatureV=lambda *_: card["temperature_c"],
        nvmlDeviceGetPowerUsage=lambda _: card["power_w"] * 1000,
        nvmlDeviceGetComputeRunningProcesses=holders,
        nvmlSystemGetProcessName=lambda _: "llama-server",
    )
