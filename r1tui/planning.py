"""Brings machine, engine, settings and model together for the planner, and its plan into llama-server's command."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r1tui.capabilities import EngineDevice
from r1tui.catalog import Variant
from r1tui.config import Config, PlanSettings, ServerSettings
from r1tui.engine import Engine
from r1tui.engine.dry_run import dry_run
from r1tui.errors import UsageError
from r1tui.gguf import Header, read_header
from r1tui.hardware import Machine
from r1tui.hub import find_model
from r1tui.hub.found import own_folder
from r1tui.hub.headers import fetch_headers, known_headers, place_in_repository
from r1tui.paths import Paths
from r1tui.plan import Device, DeviceBackend, Plan, PlanRequest, is_known, make_plan
from r1tui.server.command import Tcp, compose, parse_options


@dataclass(frozen=True)
class Subject:
    """A model to plan for, which need not be here: a file of headers alone does for planning and for the engine."""

    header: Header
    file: Path
    """What can be read: the model's (first) file, or its header as a file of full length without weights."""
    model: Path
    """Where the model is, or will be."""
    on_disk: bool


def find_subject(variant: Variant, paths: Paths, config: Config, *, fetch: bool = False) -> Subject | None:
    """The model as far as it is known here; `fetch` asks the hub for its headers. Raises R1tuiError."""
    model = find_model(variant, paths, config)
    if model is not None:
        return Subject(read_header(model), model, model, on_disk=True)
    stub = known_headers(variant, paths)
    if stub is None and fetch and variant.repo is not None:
        stub = fetch_headers(variant, paths)
    if stub is None:
        return None
    return Subject(read_header(stub), stub, own_folder(variant, paths) / place_in_repository(stub, variant, paths),
                   on_disk=False)  # fmt: skip


def ask_engine(plan: Plan, engine: Engine, file: Path, rpc: Sequence[str]) -> Plan:
    """The plan with the engine's own figures, and what they differ from the estimate. Raises R1tuiError."""
    workers = ["--rpc", ",".join(rpc)] if rpc else []
    return plan.with_engine_figures(dry_run(engine, file, [*workers, *plan.arguments(engine.capabilities)]))


def plan_for(subject: Subject, request: PlanRequest, engine: Engine | None, rpc: Sequence[str]) -> Plan:
    """The plan; with the engine's own figures where r1tui does not know the model's architecture."""
    plan = make_plan(subject.header, request)
    if is_known(subject.header) or engine is None:
        return plan
    return ask_engine(plan, engine, subject.file, rpc)


def plan_request(
    settings: PlanSettings, server: ServerSettings, machine: Machine, devices: tuple[Device, ...], engine: Engine | None
) -> PlanRequest:
    """What the planner is asked: these wishes, on this machine, for this engine."""
    return PlanRequest(
        host_total_mib=machine.memory_total_bytes >> 20,
        host_free_mib=machine.memory_available_bytes >> 20,
        threads=server.threads or machine.physical_cores,
        settings=settings,
        devices=tuple(_with_margin(device, settings) for device in devices),
        numa_nodes=sum(1 for node in machine.numa_nodes if node.memory_total_bytes) or 1,
        overrides=override_rules(server.extra_args) or override_rules(["-ot", *settings.override_tensors]),
        capabilities=engine.capabilities if engine else None,
    )


def override_rules(arguments: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The -ot rules among llama-server's arguments as (regular expression, device); raises UsageError for a bad one."""
    rules: list[tuple[str, str]] = []
    for option in parse_options(arguments, "-ot"):
        if option.flag not in ("-ot", "--override-tensor"):
            continue
        for rule in ",".join(option.values).split(",") if option.values else ():
            pattern, equals, where = rule.rpartition("=")
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(f"-ot {rule!r}: {error}.", "Write REGEX=DEVICE, such as 'exps=CPU'.") from error
            if not (equals and pattern and where):
                raise UsageError(f"-ot {rule!r} is no rule.", "Write REGEX=DEVICE, such as 'exps=CPU'.")
            rules.append((pattern, where))
    return tuple(rules)


def _with_margin(device: Device, settings: PlanSettings) -> Device:
    return replace(device, margin_mib=settings.margins_mib.get(device.name, settings.margin_mib))


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


def plan_devices(
    devices: Sequence[EngineDevice], chosen: Sequence[str] | None, ours_mib: Mapping[str, int] | None = None
) -> tuple[Device, ...]:
    """The engine's devices as the planner wants them; only the chosen ones, in that order. Raises UsageError.

    `ours_mib` is what our own running server holds, by device: it is free for the next one. What is left of the used
    memory belongs to others.
    """
    ours = ours_mib or {}
    known = {device.name: device for device in devices}
    for name in chosen or ():
        if name not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"server.devices: there is no device {name!r}.", f"There are: {names}.")
    return tuple(
        Device(
            device.name, backend, device.total_mib, min(device.total_mib, device.free_mib + ours.get(device.name, 0))
        )
        for device in (devices if chosen is None else [known[name] for name in chosen])
        if (backend := device_backend(device.name)) is not None
    )


def held_mib(plan: Mapping[str, Any] | None) -> dict[str, int]:
    """What the server that runs by this plan (its JSON object) holds on each device."""
    devices = (plan or {}).get("devices")
    held: dict[str, int] = {}
    for device in devices if isinstance(devices, list) else ():
        parts = [device.get(key) for key in ("weights_mib", "kv_mib", "compute_mib")]
        held[str(device.get("name"))] = sum(part for part in parts if isinstance(part, int))
    return held


def device_backend(name: str) -> DeviceBackend | None:
    """What kind of device llama.cpp means by a name such as `CUDA0`; None for one that takes no layers (BLAS)."""
    kinds: dict[str, DeviceBackend] = {
        "CUDA": "cuda", "ROCm": "hip", "Vulkan": "vulkan", "MTL": "metal", "Metal": "metal", "RPC": "rpc",
    }  # fmt: skip
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), None)
