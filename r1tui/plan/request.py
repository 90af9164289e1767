"""What a plan is made for: the machine as data, and what the user settled already."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from r1tui.config import PlanSettings
from r1tui.machine.hardware import IDLE, CpuLoad
from r1tui.plan.answers import EngineAnswer
from r1tui.plan.capabilities import Capabilities
from r1tui.plan.history import PlanHistory
from r1tui.plan.layout import ModelLayout
from r1tui.plan.rates import DeviceRates, HostRates, typical_device

DeviceBackend = Literal["cuda", "hip", "vulkan", "metal", "rpc"]
_BACKENDS: dict[str, DeviceBackend] = {
    "CUDA": "cuda", "ROCm": "hip", "Vulkan": "vulkan", "MTL": "metal", "Metal": "metal", "RPC": "rpc",
}  # fmt: skip
"""By the beginning of a device's name."""

MARGIN_MIB = 1024
"""Left free on each device, by us and by llama.cpp's --fit; other processes grow, and estimates miss something."""
HOST_RESERVE_MIB, HOST_RESERVE_SHARE = 2048, 0.03
"""Of the machine's own memory so much stays free: the larger, but of a small machine no more than a quarter."""


@dataclass(frozen=True)
class Device:
    """A device that layers can go to, by the name that `llama-server --list-devices` gives it."""

    name: str
    backend: DeviceBackend
    total_mib: int
    free_mib: int
    margin_mib: int | None = None
    """Left free; None: MARGIN_MIB."""
    rates: DeviceRates | None = None
    """None: typical of a device of this size."""
    pci_bus_id: str = ""
    """PCI address of the card; empty if unknown."""
    unified: bool = False
    """True if its memory is the host's: GB10, Jetson, Apple, Strix Halo."""

    @property
    def usable_mib(self) -> int:
        """The memory that a plan may fill."""
        return self.free_mib - self.left_free_mib

    @property
    def left_free_mib(self) -> int:
        if self.margin_mib is not None:
            return self.margin_mib
        return round(host_reserve_mib(self.total_mib)) if self.unified else MARGIN_MIB

    @property
    def likely_rates(self) -> DeviceRates:
        """Its rates, or those of a typical device of its size."""
        return self.rates or typical_device(self.total_mib, self.backend, unified=self.unified)

    @property
    def likely_gbps(self) -> float:
        """Speed of its memory; 0 for a worker that was not measured, which is behind a network."""
        return 0.0 if self.backend == "rpc" and self.rates is None else self.likely_rates.memory_gbps

    def with_margin(self, extra_mib: int) -> "Device":
        return replace(self, margin_mib=self.left_free_mib + extra_mib)


def host_reserve_mib(total_mib: int) -> float:
    """MiB to leave free of this much memory, for the system and other programs."""
    return min(max(HOST_RESERVE_MIB, HOST_RESERVE_SHARE * total_mib), total_mib / 4)


def device_backend(name: str) -> DeviceBackend | None:
    """The kind of device that llama.cpp means by a name such as `CUDA0`; None for one that takes no layers (BLAS)."""
    return next((kind for prefix, kind in _BACKENDS.items() if name.startswith(prefix)), None)


@dataclass(frozen=True)
class PlanRequest:
    """Settings with the user's wishes in them, and the machine.

    `host_free_mib` is what this process may still take, page cache counted as free, limits of its cgroup respected.
    """

    host_total_mib: int
    host_free_mib: int
    threads: int
    """0: the cores are not known, and llama-server counts them itself."""
    settings: PlanSettings = field(default_factory=PlanSettings)
    devices: tuple[Device, ...] = ()
    numa_nodes: int = 1
    overrides: tuple[tuple[str, str], ...] = ()
    """Hand-written -ot rules: a regular expression for tensors' names, and the device or `CPU`."""
    changed_by: tuple[str, ...] = ()
    """The user's own arguments for llama-server that take the place of the plan's."""
    kept: tuple[str, ...] = ()
    """Settings kept for this model that come before the config's, for people."""
    rates: HostRates | None = None
    """None: nothing was measured."""
    load: CpuLoad = IDLE
    """Other programs' use of the CPUs."""
    history: PlanHistory | None = None
    """Results of earlier runs of this model on this machine."""
    repacked_types: frozenset[str] = frozenset()
    """Tensor types that this CPU copies into a layout of its own, where no GPU is there."""
    answers: tuple[EngineAnswer, ...] = ()
    """The engine's memory figures for layouts of this model; used before our own."""
    settled: tuple[ModelLayout, tuple[str, ...]] | None = None
    """What goes where, and why, where that is not to be looked for again."""
    capabilities: Capabilities | None = None
    """The engine's, when there is one; the plan then uses only flags that it has."""

    @property
    def host_usable_mib(self) -> float:
        """The host's memory that a plan may fill, what devices with unified memory take included."""
        return self.host_free_mib - host_reserve_mib(self.host_total_mib)

    def unified_mib(self, planned_mib: Iterable[float]) -> float:
        """MiB of RAM that a plan takes for each device without its own memory."""
        return sum(mib for mib, device in zip(planned_mib, self.devices, strict=True) if device.unified)
