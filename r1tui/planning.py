"""Brings machine, engine, settings and model together for the planner, and its plan into llama-server's command."""

from collections.abc import Sequence
from pathlib import Path

from r1tui.capabilities import EngineDevice
from r1tui.catalog import Variant
from r1tui.config import Config, PlanSettings, ServerSettings
from r1tui.engine import Engine
from r1tui.errors import UsageError
from r1tui.hardware import Machine
from r1tui.paths import Paths
from r1tui.plan import Device, DeviceBackend, Plan, PlanRequest
from r1tui.server.command import Tcp, compose


def plan_request(
    settings: PlanSettings, server: ServerSettings, machine: Machine, devices: tuple[Device, ...], engine: Engine | None
) -> PlanRequest:
    """What the planner is asked: these wishes, on this machine, for this engine."""
    return PlanRequest(
        host_total_mib=machine.memory_total_bytes >> 20,
        host_free_mib=machine.memory_available_bytes >> 20,
        threads=server.threads or machine.physical_cores,
        settings=settings,
        devices=devices,
        capabilities=engine.capabilities if engine else None,
    )


def server_argv(
    engine: Engine | None,
    variant: Variant,
    model: Path,
    plan: Plan,
    config: Config,
    *,
    paths: Paths,
    tcp: Tcp | None = None,
) -> list[str]:
    """llama-server's whole command for a plan; before there is an engine, only what the plan itself wants."""
    if engine is None:
        return ["llama-server", "--model", str(model), *plan.arguments(None)]
    return compose(
        engine.server,
        engine.capabilities,
        model,
        plan.arguments(engine.capabilities),
        server=config.server,
        sampling=config.sampling,
        socket=paths.server_socket,
        tcp=tcp,
        threads=plan.threads,
        extra_args=variant.extra_args,
    )


def plan_devices(devices: Sequence[EngineDevice], chosen: Sequence[str] | None) -> tuple[Device, ...]:
    """The engine's devices as the planner wants them; only the chosen ones, in that order. Raises UsageError."""
    known = {device.name: device for device in devices}
    for name in chosen or ():
        if name not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"server.devices: there is no device {name!r}.", f"There are: {names}.")
    return tuple(
        Device(device.name, backend, device.total_mib, device.free_mib)
        for device in (devices if chosen is None else [known[name] for name in chosen])
        if (backend := device_backend(device.name)) is not None
    )


def device_backend(name: str) -> DeviceBackend | None:
    """What kind of device llama.cpp means by a name such as `CUDA0`; None for one that takes no layers (BLAS)."""
    kinds: dict[str, DeviceBackend] = {
        "CUDA": "cuda", "ROCm": "hip", "Vulkan": "vulkan", "MTL": "metal", "Metal": "metal", "RPC": "rpc",
    }  # fmt: skip
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), None)
