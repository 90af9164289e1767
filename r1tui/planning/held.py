"""What our own server holds of the machine's memory, which is free for the next one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from r1tui.errors import R1tuiError
from r1tui.messages import DevicePlan, Status
from r1tui.plan.capabilities import EngineDevice
from r1tui.plan.pool import PROCESS_MIB
from r1tui.plan.request import device_backend
from r1tui.remedies import StopServer


@dataclass(frozen=True)
class HeldMemory:
    """Memory held by our own server, from its plan: process ids would not tell it from others in a container, where the
    driver shows the host's."""

    devices_mib: Mapping[str, int]
    host_mib: int
    """Anonymous memory; what is mapped counts as free anyway."""
    rpc: frozenset[str] = frozenset()
    """Its RPC workers as HOST:PORT: one serves one client and answers nobody else meanwhile."""
    workers: tuple[EngineDevice, ...] = ()
    """The same as devices, as they were before it."""
    totals_mib: Mapping[str, int] = field(default_factory=dict)
    """The whole memory of each device."""

    @classmethod
    def by(cls, server: Status) -> "HeldMemory | None":
        """None for one that does not run, and for one that sleeps or was started without a plan."""
        plan = server.plan
        if server.pid is None or server.state not in HOLDING or plan is None:
            return None
        workers = tuple(
            EngineDevice(one.name, "", one.total_mib, one.free_mib - one.planned_mib)
            for one in plan.devices
            if device_backend(one.name) == "rpc"
        )
        rpc = next((value for flag, value in pairwise(server.argv or ()) if flag == "--rpc"), "")
        held = {one.name: _held_mib(one) for one in plan.devices}
        totals = {one.name: one.total_mib for one in plan.devices}
        return cls(held, plan.host.anonymous_mib, frozenset(rpc.split(",")) - {""}, workers, totals)

    def occupies(self, rpc: Sequence[str]) -> bool:
        """True if these workers are its own. Raises R1tuiError where only some of them are."""
        taken = self.rpc.intersection(rpc)
        if taken and taken != set(rpc):
            raise R1tuiError(f"{', '.join(sorted(taken))} is used by the running server.", StopServer())
        return bool(taken)


def _held_mib(device: DevicePlan) -> int:
    """MiB held at least: the pool grows to its planned size only with conversations."""
    process_mib = PROCESS_MIB.get(device_backend(device.name) or "", 0)
    return device.planned_mib - device.pool_mib + min(device.pool_mib, process_mib)


HOLDING = ("loading", "ready")
