"""Brings machine, engine, settings and model together for the planner, and its plan into llama-server's command."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r1tui.bandwidth import Bandwidth, load_bandwidth
from r1tui.capabilities import EngineDevice
from r1tui.catalog import Variant
from r1tui.config import Config, PlanSettings
from r1tui.engine import Engine, current_devices
from r1tui.engine.dry_run import dry_run
from r1tui.errors import R1tuiError, UsageError
from r1tui.experience import known_of
from r1tui.gguf import Header, read_header
from r1tui.hardware import Machine, cpu_features, detect_machine
from r1tui.hub.found import Search, own_folder
from r1tui.hub.headers import fetch_headers, known_headers, place_in_repository
from r1tui.paths import Paths
from r1tui.plan import Device, DeviceBackend, Plan, PlanRequest, is_known, make_plan
from r1tui.plan.rates import DeviceRates, HostRates, Range, host_rates
from r1tui.plan.repack import repacked_types
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


@dataclass(frozen=True)
class Running:
    """What our own running server holds, from its plan's JSON object. Process ids would not tell it from others: in a
    container the driver shows the host's."""

    devices_mib: Mapping[str, int]
    host_mib: int
    """Anonymous memory; what is mapped counts as free anyway."""
    workers: tuple[EngineDevice, ...]
    """Its RPC workers as they were: a worker serves one client and answers nobody else meanwhile."""

    @classmethod
    def of(cls, plan: Mapping[str, Any] | None) -> "Running | None":
        """None for a server without a plan, and for no server."""
        if not plan:
            return None
        devices = plan["devices"]
        held = {one["name"]: one["weights_mib"] + one["kv_mib"] + one["compute_mib"] for one in devices}
        workers = tuple(
            EngineDevice(one["name"], "", one["total_mib"], one["free_mib"] - held[one["name"]])
            for one in devices
            if device_backend(one["name"]) == "rpc"
        )
        return cls(held, plan["host"]["anonymous_mib"], workers)


def find_subject(
    variant: Variant, paths: Paths, config: Config, *, fetch: bool = False, search: Search | None = None
) -> Subject | None:
    """The model as far as it is known here; `fetch` asks the hub for its headers. Raises R1tuiError.

    One `search` for a whole list saves looking into the same folders again and again.
    """
    found = (search or Search(paths, config)).find(variant)
    if found is not None:
        return Subject(read_header(found.path), found.path, found.path, on_disk=True)
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


def plan_here(
    subject: Subject,
    request: PlanRequest,
    engine: Engine,
    paths: Paths,
    rpc: Sequence[str],
    *,
    running: Running | None = None,
) -> Plan:
    """The plan for this machine, corrected by what earlier runs showed and by the engine's own figures.

    The engine is asked where a device is to be filled and for models that r1tui does not know; a plan that is too
    large by its figures is made again with more left free. Raises R1tuiError for a model that cannot be read.
    """
    request = replace(request, learned=known_of(paths, subject.file, engine.server))
    plan = make_plan(subject.header, request)
    if is_known(subject.header) and not request.devices:
        return plan
    if running is not None and running.workers:
        return plan.because("These figures are r1tui's estimate: the RPC workers answer only the running server.")
    for _ in range(TRIES):
        try:
            asked = ask_engine(plan, engine, subject.file, rpc)
        except R1tuiError as error:
            if not is_known(subject.header):
                raise
            return plan.because(f"These figures are r1tui's estimate; the engine gave none: {error.cause}")
        over = {
            device.name: planned.planned_mib - device.usable_mib
            for device, planned in zip(request.devices, asked.devices, strict=True)
        }
        if plan.as_given or plan.verdict == "no" or plan.strategy == "engine" or max(over.values(), default=0) <= 0:
            break
        smaller = (
            device.with_margin(round(over[device.name]) + STEP_MIB) if over[device.name] > 0 else device
            for device in request.devices
        )
        request = replace(request, devices=tuple(smaller))
        plan = make_plan(subject.header, request)
    return asked


TRIES, STEP_MIB = 4, 64


def request_here(
    config: Config,
    paths: Paths,
    engine: Engine | None,
    running: Running | None = None,
    devices: tuple[Device, ...] | None = None,
) -> PlanRequest:
    """What the planner is asked: the config's wishes, on this machine as it is now, for this engine.

    What our own server holds that is `running` is free for the next one; `devices` stand in for those that are here.
    """
    machine, settings, server = detect_machine(), config.plan, config.server
    here = devices_here(config, machine, engine, running) if devices is None else devices
    total_mib, free_mib = machine.memory_total_bytes >> 20, machine.memory_available_bytes >> 20
    return PlanRequest(
        host_total_mib=total_mib,
        host_free_mib=min(total_mib, free_mib + (running.host_mib if running else 0)),
        threads=server.threads or machine.physical_cores,
        settings=settings,
        devices=tuple(_with_margin(device, settings) for device in here),
        numa_nodes=sum(1 for node in machine.numa_nodes if node.memory_total_bytes) or 1,
        overrides=override_rules(server.extra_args) or override_rules(["-ot", *settings.override_tensors]),
        rates=_host_rates(machine, load_bandwidth(paths, machine.fingerprint)),
        repacked_types=repacked_types(cpu_features()),
        capabilities=engine.capabilities if engine else None,
    )


def devices_here(
    config: Config, machine: Machine, engine: Engine | None, running: Running | None = None
) -> tuple[Device, ...]:
    """The devices that the engine sees; before there is one to ask, those that the driver shows."""
    if engine is not None:
        workers = running.workers if running else ()
        there = (*current_devices(engine, [] if workers else config.server.rpc), *workers)
        return plan_devices(there, config.server.devices, machine, running)
    return tuple(
        Device(f"CUDA{gpu.index}", "cuda", (gpu.total_bytes or 0) >> 20, (gpu.free_bytes or 0) >> 20)
        for gpu in machine.gpus
    )


def _host_rates(machine: Machine, bandwidth: Bandwidth | None) -> HostRates:
    """What was measured, or what the driver says of the bus; the rest is typical."""
    peaks = [gpu.bus_gbps for gpu in machine.gpus if gpu.bus_gbps]
    bus = list(bandwidth.bus_gbps.values()) if bandwidth else []
    return host_rates(
        machine.physical_cores,
        bandwidth.memory_gbps if bandwidth else None,
        bandwidth.disk_gbps if bandwidth else None,
        Range(min(bus), max(bus)) if bus else Range(min(peaks) * 0.5, max(peaks) * 0.9) if peaks else None,
    )


def _device_rates(device: EngineDevice, machine: Machine) -> DeviceRates | None:
    """The driver's figures for the GPU of this name; CUDA numbers GPUs in another order than the driver."""
    for gpu in machine.gpus:
        if gpu.name and gpu.name in device.description and gpu.memory_gbps and gpu.tflops:
            return DeviceRates(Range(gpu.memory_gbps, gpu.memory_gbps), Range(gpu.tflops, gpu.tflops))
    return None


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
    devices: Sequence[EngineDevice],
    chosen: Sequence[str] | None,
    machine: Machine,
    running: Running | None = None,
) -> tuple[Device, ...]:
    """The engine's devices as the planner wants them; only the chosen ones, in that order. Raises UsageError.

    What our own `running` server holds is free for the next one; the rest of the used memory belongs to others.
    """
    ours = running.devices_mib if running else {}
    known = {device.name: device for device in devices}
    for name in chosen or ():
        if name not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"server.devices: there is no device {name!r}.", f"There are: {names}.")
    return tuple(
        Device(
            device.name,
            backend,
            device.total_mib,
            min(device.total_mib, device.free_mib + ours.get(device.name, 0)),
            rates=_device_rates(device, machine),
        )
        for device in (devices if chosen is None else [known[name] for name in chosen])
        if (backend := device_backend(device.name)) is not None
    )


def device_backend(name: str) -> DeviceBackend | None:
    """What kind of device llama.cpp means by a name such as `CUDA0`; None for one that takes no layers (BLAS)."""
    kinds: dict[str, DeviceBackend] = {
        "CUDA": "cuda", "ROCm": "hip", "Vulkan": "vulkan", "MTL": "metal", "Metal": "metal", "RPC": "rpc",
    }  # fmt: skip
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), None)
