"""What the planner is asked: the config's wishes on this machine as it is now."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from r1tui.config import Config, PlanSettings
from r1tui.engine.find import Engine
from r1tui.errors import UsageError
from r1tui.machine.bandwidth import Bandwidth, load_bandwidth
from r1tui.machine.hardware import IDLE, Machine, cpu_features, detect_machine
from r1tui.machine.known_speeds import count_sockets, disk_gbps, is_virtual, memory_channels, memory_gbps
from r1tui.plan import Device, PlanRequest
from r1tui.plan.rates import BUS_GBPS, GBPS_PER_CORE, HostRates, typical_host
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
    """The planner's request: the config's wishes, on this machine as it is now, for this engine.

    What our own server has `held` is free for the next one; `devices` stand in for those that are here.
    """
    machine, settings, server = detect_machine(), config.plan, config.server
    here = devices_here(config, machine, engine, held) if devices is None else devices
    _check_margins(settings, here)
    total_mib, free_mib = machine.memory_total_bytes >> 20, machine.memory_available_bytes >> 20
    if held is not None:
        free_mib += held.host_mib + sum(held.devices_mib.get(one.name, 0) for one in here if one.unified)
    return PlanRequest(
        host_total_mib=total_mib,
        host_free_mib=min(total_mib, free_mib),
        threads=server.threads or machine.physical_cores,
        settings=settings,
        devices=tuple(
            replace(device, margin_mib=settings.margins_mib.get(device.name, settings.margin_mib)) for device in here
        ),
        numa_nodes=sum(1 for node in machine.numa_nodes if node.memory_total_bytes) or 1,
        rates=host_rates(machine, load_bandwidth(paths, machine.fingerprint), paths.models),
        load=machine.load if held is None else IDLE,  # our own server's work ends before the plan's begins
        repacked_types=repacked_types(cpu_features()),
        capabilities=engine.capabilities if engine else None,
    )


def imagined_host(request: PlanRequest, memory_mib: int) -> PlanRequest:
    """The request for a machine with this much memory, of which nothing else is known: this one's processor, memory
    and disk say nothing of it."""
    return replace(
        request,
        host_total_mib=memory_mib,
        host_free_mib=memory_mib,
        threads=0,
        numa_nodes=1,
        rates=None,
        load=IDLE,
        repacked_types=repacked_types(TYPICAL_FEATURES),
    )


TYPICAL_FEATURES = "avx2"


def host_rates(machine: Machine, bandwidth: Bandwidth | None, models: Path) -> HostRates:
    """Speed of this host: measured, else by CPU name and kind of disk, else guessed by its size."""
    peaks = [gpu.bus_gbps * BUS_REACHED for gpu in machine.gpus if gpu.bus_gbps]
    bus = list(bandwidth.bus_gbps.values()) if bandwidth else []
    disk = bandwidth.disk_gbps if bandwidth else None
    cores, virtual = machine.physical_cores, is_virtual()
    if bandwidth is not None:
        gbps, known = bandwidth.memory_gbps, True
    else:
        sockets, channels = count_sockets(), memory_channels()
        by_name = memory_gbps(machine.cpu_name, sockets, channels and max(channels // sockets, 1))
        known = by_name is not None and not virtual  # a virtual machine has a share of it
        guess = typical_host(machine.memory_total_bytes >> 20, cores).memory_gbps
        gbps = guess if by_name is None else min(by_name, cores * GBPS_PER_CORE)
    here = next((folder for folder in (models, *models.parents) if folder.exists()), models)
    return HostRates(
        gbps,
        cores,
        disk or disk_gbps(here),
        min(bus or peaks, default=BUS_GBPS),
        known=known,
        gflops=bandwidth.cpu_gflops if bandwidth else None,
        measured=bool(bandwidth and bus and bandwidth.cpu_gflops),
    )


BUS_REACHED = 0.9
"""Of a bus's peak by copies from pinned memory."""


def _check_margins(settings: PlanSettings, devices: Sequence[Device]) -> None:
    names = [device.name for device in devices]
    for name in settings.margins_mib if names else ():
        if name not in names:
            raise UsageError(f"plan.margins_mib: unknown device {name!r}.", f"Devices: {', '.join(names)}.")
