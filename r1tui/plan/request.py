"""What a plan is made for: the machine as data, and what the user settled already."""

from dataclasses import dataclass, field
from typing import Literal

from r1tui.capabilities import Capabilities
from r1tui.config import PlanSettings

DeviceBackend = Literal["cuda", "hip", "vulkan", "metal", "rpc"]

MARGIN_MIB = 1024
MARGIN_SHARE = 0.03


@dataclass(frozen=True)
class Device:
    """A device that layers can go to, by the name that `llama-server --list-devices` gives it."""

    name: str
    backend: DeviceBackend
    total_mib: int
    free_mib: int
    margin_mib: int | None = None
    """Left free for the driver and what the estimate misses; None: 1 GiB or 3 %, the larger."""

    @property
    def usable_mib(self) -> float:
        """What a plan may fill."""
        margin = max(MARGIN_MIB, MARGIN_SHARE * self.total_mib) if self.margin_mib is None else self.margin_mib
        return self.free_mib - margin


@dataclass(frozen=True)
class PlanRequest:
    """Settings with the user's wishes in them, and the machine.

    `host_free_mib` is what this process may still take, page cache counted as free, limits of its cgroup respected.
    """

    host_total_mib: int
    host_free_mib: int
    threads: int
    settings: PlanSettings = field(default_factory=PlanSettings)
    devices: tuple[Device, ...] = ()
    numa_nodes: int = 1
    overrides: tuple[tuple[str, str], ...] = ()
    """Hand-written -ot rules: a regular expression for tensors' names, and the device or `CPU`."""
    capabilities: Capabilities | None = None
    """The engine's, when there is one; the plan then uses only flags that it has."""
