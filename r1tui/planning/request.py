"""What the planner is asked: the config's wishes on this machine as it is now."""

from collections.abc import Sequence
from dataclasses import replace

from r1tui.config import Config, PlanSettings
from r1tui.engine.find import Engine
from r1tui.errors import UsageError
from r1tui.machine.bandwidth import Bandwidth, load_bandwidth
from r1tui.machine.hardware import Machine, cpu_features, detect_machine
from r1tui.messages import Range
from r1tui.plan import Device, PlanRequest
from r1tui.plan.rates import HostRates, host_rates
from r1tui.plan.repack import repacked_types
from r1tui.planning.devices import devices_here
from r1tui.planning.held import HeldMemory
from r1tui.system.paths import Paths


def request_here(
    config: Config,
    paths: Paths,
    engine: Engine | None,
    held: HeldMemory | None = None,
    devices: tuple[Device, ...] | None = None,
) -> PlanRequest:
    """What the planner is asked: the config's wishes, on this machine as it is now, for this engine.

    What our own server has `held` is free for the next one; `devices` stand in for those that are here.
    """
    machine, settings, server = detect_machine(), config.plan, config.server
    here = devices_here(config, machine, engine, held) if devices is None else devices
    _check_margins(settings, here)
    total_mib, free_mib = machine.memory_total_bytes >> 20, machine.memory_available_bytes >> 20
    return PlanRequest(
        host_total_mib=total_mib,
        host_free_mib=min(total_mib, free_mib + (held.host_mib if held else 0)),
        threads=server.threads or machine.physical_cores,
        settings=settings,
        devices=tuple(
            replace(device, margin_mib=settings.margins_mib.get(device.name, settings.margin_mib)) for device in here
        ),
        numa_nodes=sum(1 for node in machine.numa_nodes if node.memory_total_bytes) or 1,
        rates=_host_rates(machine, load_bandwidth(paths, machine.fingerprint)),
        repacked_types=repacked_types(cpu_features()),
        capabilities=engine.capabilities if engine else None,
    )


def _host_rates(machine: Machine, bandwidth: Bandwidth | None) -> HostRates:
    peaks = [gpu.bus_gbps for gpu in machine.gpus if gpu.bus_gbps]
    bus = list(bandwidth.bus_gbps.values()) if bandwidth else []
    return host_rates(
        machine.physical_cores,
        bandwidth.memory_gbps if bandwidth else None,
        bandwidth.disk_gbps if bandwidth else None,
        Range(min(bus), max(bus)) if bus else Range(min(peaks) * 0.5, max(peaks) * 0.9) if peaks else None,
    )


def _check_margins(settings: PlanSettings, devices: Sequence[Device]) -> None:
    names = [device.name for device in devices]
    for name in settings.margins_mib if names else ():
        if name not in names:
            raise UsageError(f"plan.margins_mib: there is no device {name!r}.", f"There are: {', '.join(names)}.")
