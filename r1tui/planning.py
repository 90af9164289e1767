"""Brings machine, engine, settings and model together for the planner, and its plan into llama-server's command."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import msgspec

from r1tui.bandwidth import Bandwidth, load_bandwidth
from r1tui.capabilities import EngineDevice
from r1tui.catalog import Variant
from r1tui.config import Config, PlanSettings
from r1tui.engine import Engine, current_devices
from r1tui.engine.dry_run import dry_run, fit
from r1tui.errors import R1tuiError, UsageError
from r1tui.experience import known_of
from r1tui.gguf import GgufError, Header, read_header
from r1tui.hardware import Machine, cpu_features, detect_machine
from r1tui.hub.found import Search, own_folder
from r1tui.hub.headers import fetch_headers, known_headers, place_in_repository
from r1tui.messages import Range, Status
from r1tui.paths import Paths
from r1tui.plan import Device, DeviceBackend, Plan, PlanRequest, is_known, make_plan
from r1tui.plan.memory import EMBEDDING, MIB
from r1tui.plan.rates import DeviceRates, HostRates, host_rates
from r1tui.plan.repack import repacked_types
from r1tui.plan.verdict import Verdict, judge
from r1tui.server.command import Option, Tcp, compose, parse_options
from r1tui.server.sampling import sampling_for


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
class Held:
    """What our own server holds, from its plan: process ids would not tell it from others in a container, where the
    driver shows the host's."""

    devices_mib: Mapping[str, int]
    host_mib: int
    """Anonymous memory; what is mapped counts as free anyway."""
    rpc: frozenset[str] = frozenset()
    """Its RPC workers as HOST:PORT: one serves one client and answers nobody else meanwhile."""
    workers: tuple[EngineDevice, ...] = ()
    """The same as devices, as they were before it."""

    @classmethod
    def by(cls, server: Status) -> "Held | None":
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
        held = {one.name: one.planned_mib for one in plan.devices}
        return cls(held, plan.host.anonymous_mib, frozenset(rpc.split(",")) - {""}, workers)

    def occupies(self, rpc: Sequence[str]) -> bool:
        """Whether these workers are its own. Raises R1tuiError where only some of them are."""
        taken = self.rpc.intersection(rpc)
        if taken and taken != set(rpc):
            raise R1tuiError(f"{', '.join(sorted(taken))} serves the running server.", "Stop it first: r1tui stop")
        return bool(taken)


HOLDING = ("loading", "ready")


FRESH_S = 86400.0
"""Headers fetched so long ago are asked for again: models are uploaded anew."""


def find_subject(
    variant: Variant, paths: Paths, config: Config, *, fetch: bool = False, search: Search | None = None
) -> Subject | None:
    """The model as far as it is known here; `fetch` asks the hub for its headers. Raises R1tuiError.

    One `search` for a whole list saves looking into the same folders again and again.
    """
    found = (search or Search(paths, config)).find(variant)
    if found is not None:
        return subject_of(variant, found.path)
    stub = known_headers(variant, paths, FRESH_S) if fetch else known_headers(variant, paths)
    if stub is None and fetch and variant.repo is not None:
        stub = fetch_headers(variant, paths)
    if stub is None:
        return None
    return Subject(read_header(stub), stub, own_folder(variant, paths) / place_in_repository(stub, variant, paths),
                   on_disk=False)  # fmt: skip


def subject_of(variant: Variant, model: Path) -> Subject:
    """The variant's file on this machine. Raises R1tuiError, which says what fetches it again."""
    try:
        return Subject(read_header(model), model, model, on_disk=True)
    except GgufError as error:
        raise R1tuiError(error.cause, error.remedy.replace("VARIANT", variant.fetched_as or "VARIANT")) from error


def ask_engine(plan: Plan, engine: Engine, file: Path, rpc: Sequence[str]) -> Plan:
    """The plan with the engine's own figures, and what they differ from the estimate. Raises R1tuiError."""
    workers = ["--rpc", ",".join(rpc)] if rpc else []
    arguments = [*workers, *plan.arguments(engine.capabilities)]
    if plan.n_gpu_layers is None:  # llama.cpp is to decide: have it do so, and ask what that takes
        chosen = fit(engine, file, arguments)
        plan = plan.as_fitted(chosen)
        arguments = [*arguments, *chosen, "--fit", "off"]
    return plan.with_engine_figures(dry_run(engine, file, arguments))


def plan_here(
    subject: Subject,
    request: PlanRequest,
    engine: Engine,
    paths: Paths,
    rpc: Sequence[str],
    *,
    held: Held | None = None,
) -> Plan:
    """The plan for this machine, corrected by what earlier runs showed and by the engine's own figures.

    The engine is asked where a device is to be filled and for models that r1tui does not know; a plan that is too
    large by its figures is made again with more left free. Raises R1tuiError for a model that cannot be read.
    """
    request = replace(request, learned=known_of(paths, subject.file, engine.server))
    plan = make_plan(subject.header, request)
    if is_known(subject.header) and not request.devices:
        return plan
    if held is not None and held.occupies(rpc):
        return plan.because("These figures are r1tui's estimate: the RPC workers answer only the running server.")
    try:
        return fitting_by_the_engine(plan, subject, request, lambda made: ask_engine(made, engine, subject.file, rpc))
    except R1tuiError as error:
        if not is_known(subject.header):
            raise
        return plan.because(f"These figures are r1tui's estimate; the engine gave none: {error.cause}")


def fitting_by_the_engine(plan: Plan, subject: Subject, request: PlanRequest, ask: Callable[[Plan], Plan]) -> Plan:
    """The plan, or a smaller one, with the engine's figures and the verdict that follows from them."""
    missed = dict.fromkeys((device.name for device in request.devices), 0)
    for _ in range(TRIES):
        asked = ask(plan)
        asked = asked.judged(_verdict(asked, subject.header, request))
        if asked.verdict != "no" or plan.verdict == "no" or plan.as_given or plan.n_gpu_layers is None:
            return asked
        for estimate, figure in zip(plan.devices, asked.devices, strict=True):
            missed[figure.name] = max(missed[figure.name] + STEP_MIB, figure.planned_mib - estimate.planned_mib)
        wiser = replace(request, devices=tuple(device.with_margin(missed[device.name]) for device in request.devices))
        plan = make_plan(subject.header, wiser)
    return asked


def _verdict(asked: Plan, header: Header, request: PlanRequest) -> Verdict:
    """The verdict by the engine's figures."""
    pairs = zip(asked.devices, request.devices, strict=True)
    if any(planned.planned_mib > max(device.usable_mib, 0) for planned, device in pairs if planned.planned_mib):
        return "no"
    embedding_mib = next((one.size_bytes / MIB for one in header.tensors if one.name == EMBEDDING), 0.0)
    return judge(
        request,
        asked.host.anonymous_mib,
        asked.host.weights_mib,
        on_devices=any(device.planned_mib for device in asked.devices),
        all_on_devices=asked.host.weights_mib <= embedding_mib + 1,
    )


TRIES, STEP_MIB = 5, 64


def request_here(
    config: Config,
    paths: Paths,
    engine: Engine | None,
    held: Held | None = None,
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


def devices_here(
    config: Config, machine: Machine, engine: Engine | None, held: Held | None = None
) -> tuple[Device, ...]:
    """The devices that the engine sees; before there is one to ask, those that the driver shows."""
    if engine is not None:
        rpc = config.server.rpc
        if held is not None and held.occupies(rpc):
            there = (*current_devices(engine), *held.workers)
        else:
            there = current_devices(engine, rpc)
        return plan_devices(there, config.server.devices, machine, held)
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


def for_variant(request: PlanRequest, config: Config, variant: Variant) -> PlanRequest:
    """The request with the -ot rules that the variant's arguments, the server's or the plan's settings have.

    Raises UsageError for what is no rule, and for a device that is not there.
    """
    rules = (
        *override_rules(variant.extra_args, f"variants.{variant.name}.extra_args"),
        *override_rules(config.server.extra_args, "server.extra_args"),
        *override_rules([f"-ot={rule}" for rule in config.plan.override_tensors], "plan.override_tensors"),
    )
    names = [device.name for device in request.devices]
    for pattern, where in rules:
        if where.partition("[")[0] not in names and not where.startswith("CPU"):
            raise UsageError(
                f"-ot {pattern}={where}: there is no {where}.", f"There are: {', '.join([*names, 'CPU'])}."
            )
    return replace(request, overrides=rules)


def override_rules(arguments: Sequence[str], origin: str) -> tuple[tuple[str, str], ...]:
    """The -ot rules among llama-server's arguments as (regular expression, device); raises UsageError for a bad one."""
    rules: list[tuple[str, str]] = []
    for option in parse_options(arguments, origin):
        if not _places_tensors(option):
            continue
        for rule in ",".join(option.values).split(","):
            pattern, equals, where = rule.rpartition("=")
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(
                    f"{origin}: -ot {rule!r}: {error}.", "Write REGEX=DEVICE, such as exps=CPU."
                ) from error
            if not (equals and pattern and where):
                raise UsageError(f"{origin}: -ot {rule!r} is no rule.", "Write REGEX=DEVICE, such as exps=CPU.")
            rules.append((pattern, where))
    return tuple(rules)


def _places_tensors(option: Option) -> bool:
    return option.flag in ("-ot", "--override-tensor")


def _without_rules(arguments: Sequence[str], origin: str) -> list[str]:
    """The arguments but for their -ot rules, which the plan passes on: they must come before --n-cpu-moe to count."""
    return [
        word
        for option in parse_options(arguments, origin)
        if not _places_tensors(option)
        for word in (option.flag, *option.values)
    ]


def _check_margins(settings: PlanSettings, devices: Sequence[Device]) -> None:
    names = [device.name for device in devices]
    for name in settings.margins_mib if names else ():
        if name not in names:
            raise UsageError(f"plan.margins_mib: there is no device {name!r}.", f"There are: {', '.join(names)}.")


def server_argv(
    engine: Engine | None,
    variant: Variant,
    model: Path,
    plan: Plan,
    config: Config,
    *,
    paths: Paths,
    header: Header | None = None,
    tcp: Tcp | None = None,
) -> list[str]:
    """llama-server's whole command for a plan; before there is an engine, only what the plan itself wants.

    The model's `header` says what the file has of its own about sampling.
    """
    if engine is None:
        return ["llama-server", "--model", str(model), *plan.arguments(None)]
    own, settings = _without_rules(variant.extra_args, variant.name), config.server
    settings = msgspec.structs.replace(settings, extra_args=_without_rules(settings.extra_args, "server.extra_args"))
    return compose(
        engine.server,
        engine.capabilities,
        model,
        plan.arguments(engine.capabilities),
        server=settings,
        sampling=sampling_for(config.sampling, variant, header).passed,
        socket=paths.server_socket,
        tcp=tcp,
        threads=plan.threads,
        kept_prompts=paths.kept_prompts if config.server.kv_cache_gib else None,
        extra_args=own,
    )


def plan_devices(
    devices: Sequence[EngineDevice],
    chosen: Sequence[str] | None,
    machine: Machine,
    held: Held | None = None,
) -> tuple[Device, ...]:
    """The engine's devices as the planner wants them; only the chosen ones, in that order. Raises UsageError.

    What our own server has `held` is free for the next one; the rest of the used memory belongs to others.
    """
    ours = held.devices_mib if held else {}
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
