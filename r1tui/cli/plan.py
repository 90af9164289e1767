"""`r1tui plan`: what would run where, and why."""

import shlex
from functools import partial
from typing import Any

import click
import msgspec

from r1tui.catalog.variants import Variant, load_catalog
from r1tui.cli.compare import ComparedPlan, compare, compared, cost_of
from r1tui.cli.context import WORDS, Context, json_option, pass_context, print_json
from r1tui.cli.target import needed_variant, wanted_variant
from r1tui.config import LEAST_CONTEXT, Config, PlanSettings, check_setting
from r1tui.engine.architectures import check_architecture
from r1tui.engine.find import Engine
from r1tui.engine.make import engine_to_ask
from r1tui.errors import R1tuiError, UsageError
from r1tui.hub.listing.answers import UnreachableError
from r1tui.machine.hardware import detect_machine
from r1tui.plan import DeviceBackend, Plan, PlanRequest
from r1tui.planning.command import server_argv
from r1tui.planning.corrected import plan_elsewhere, plan_here
from r1tui.planning.devices import devices_here, imagined_devices, is_one_memory
from r1tui.planning.held import HeldMemory
from r1tui.planning.kept import AUTO, PLACEMENT, ModelSettings, find_kept, keep
from r1tui.planning.overrides import for_variant
from r1tui.planning.request import imagined_host, request_here
from r1tui.planning.sketched import plan_sketched, sketch_subject
from r1tui.planning.subject import Subject, find_subject
from r1tui.remedies import BuildEngine, FetchModel
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.text import plain, rough

BAR_WIDTH = 40
_NAMES: dict[DeviceBackend, str] = {"cuda": "CUDA", "hip": "ROCm", "vulkan": "Vulkan", "metal": "MTL", "rpc": "RPC"}


@click.command()
@click.argument("variant", type=WORDS, required=False)
@click.option("--model", metavar="FILE", help="A GGUF file instead of a variant.")
@click.option("--gpu-backend", type=click.Choice(list(_NAMES)), help="Kind of the devices in --vram.")
@click.option("--strategy", type=click.Choice(["auto", "experts", "layers", "rule", "engine"]))
@click.option("--vram", metavar="GIB[,GIB…]", help="Plan for GPUs with this much VRAM in GiB; 0: no GPU.")
@click.option("--unified", is_flag=True, help="The GPU shares the machine's memory: DGX Spark, Jetson, Strix Halo.")
@click.option("--ram", type=click.FloatRange(min=0.1), metavar="GIB", help="Plan for this much RAM in GiB.")
@click.option("--ctx", type=click.IntRange(min=LEAST_CONTEXT), metavar="N", help="Context in tokens.")
@click.option("--cache-type", type=WORDS, metavar="TYPE", help="Cache type of K; for MLA files of K and V.")
@click.option("--n-gpu-layers", type=click.IntRange(min=0), metavar="N", help="Take this as given.")
@click.option("--n-cpu-moe", type=click.IntRange(min=0), metavar="N", help="Take this as given.")
@click.option("--rpc", type=WORDS, metavar="HOST:PORT,…", help="Offload to these ggml-rpc-servers.")
@click.option("--exact", is_flag=True, help="Let the engine compute the memory on the real devices.")
@click.option(
    "--price", type=click.FloatRange(min=0, min_open=True), metavar="PER_HOUR", help="Show the cost of answers."
)
@click.option("--compare", "comparing", is_flag=True, help="Compare strategies for all variants, or for VARIANT.")
@click.option("--forget", is_flag=True, help="Drop the settings that were kept for VARIANT on the screen.")
@json_option
@pass_context
def plan(
    context: Context,
    /,
    variant: str | None,
    *,
    model: str | None,
    gpu_backend: DeviceBackend | None,
    vram: str | None,
    ram: float | None,
    unified: bool,
    rpc: str | None,
    exact: bool,
    price: float | None,
    comparing: bool,
    forget: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Show how VARIANT would run on this machine, and why. Nothing is loaded."""
    config = context.config
    if rpc is not None:
        config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, rpc=_addresses(rpc)))
    if (strategy := wishes.pop("strategy")) is not None:
        config = msgspec.structs.replace(config, plan=msgspec.structs.replace(config.plan, strategy=strategy))
    given = _given(wishes)
    engine = engine_to_ask(config.engine, context.paths, must_run=True)
    if vram is None and (unified or gpu_backend):
        raise UsageError(f"{'--unified' if unified else '--gpu-backend'} says what --vram is.", "Add --vram.")
    held = HeldMemory.by(supervisor.status(context.paths))
    totals_mib = None if vram is None else [mib for gib in _numbers(vram) if (mib := int(gib * 1024))]
    request = _request(
        config,
        context.paths,
        engine,
        held,
        totals_mib=totals_mib,
        ram_gib=ram,
        gpu_backend=gpu_backend,
        unified=unified,
    )
    if price is not None and not price < 1e12:
        raise UsageError(f"--price {price:g} is not a price.", "Give what an hour costs, such as --price 2.5.")
    if comparing and exact:
        raise UsageError("--exact was given together with --compare.", "Plan one variant exactly.")
    if forget:
        _forget(needed_variant(context, variant, model), config, context.paths)
    if comparing:
        chosen = wanted_variant(context, variant, model)
        rows = compare([chosen] if chosen else load_catalog(config), request, config, context.paths, given)
        _show_comparison(rows, price, as_json=as_json)
        return
    target = needed_variant(context, variant, model)
    what_if = vram is not None or ram is not None
    if exact and what_if:
        raise UsageError("--exact uses the real devices.", "Remove --vram and --ram.")
    passed_over = (*PLACEMENT, "threads") if what_if else PLACEMENT if strategy is not None else ()
    kept = find_kept(target, config, context.paths).without(*passed_over)
    request = for_variant(request, config, target, kept, given)
    made, subject = _planned(target, context.paths, config, engine, request, held=held, what_if=what_if, exact=exact)
    argv = server_argv(engine, target, subject.model, made, config, paths=context.paths, header=subject.header)
    if as_json:
        summary = made.summary(target.name, str(subject.model), argv)
        print_json(msgspec.to_builtins(msgspec.structs.replace(summary, cost_per_1000_tokens=cost_of(made, price))))
        return
    click.echo(plain(f"{target.title}  ({subject.model}{'' if subject.on_disk else ', not downloaded yet'})"))
    for line in table(made):
        click.echo(plain(line))
    if request.kept:
        name = f"--model {shlex.quote(model)}" if model else shlex.quote(target.name)
        click.echo(plain(f"- `r1tui plan {name} --forget` drops your settings."))
    if price is not None:
        cost = cost_of(made, price)
        said = f"cost {rough(*cost)}" if cost else "have an unknown cost: the speed is unknown"
        click.echo(f"- 1,000 tokens of answers {said}, at {price:g} an hour.")


def _forget(target: Variant, config: Config, paths: Paths) -> None:
    """Drop the settings that were kept for the model, and say which."""
    kept = find_kept(target, config, paths)
    keep(target, AUTO, config, paths)
    said = f"Dropped your settings for {target.name}: {', '.join(kept.words())}."
    click.echo(plain(said if kept.chosen else f"No settings were kept for {target.name}."), err=True)


def _planned(
    target: Variant,
    paths: Paths,
    config: Config,
    engine: Engine | None,
    request: PlanRequest,
    *,
    held: HeldMemory | None,
    what_if: bool,
    exact: bool,
) -> tuple[Plan, Subject]:
    """The plan and its model; by size and published dimensions where its header cannot be had."""
    check = partial(check_architecture, engine=engine, settings=config.engine)
    missing = R1tuiError(f"{target.name} is not on this machine yet.", FetchModel(target.name))
    try:
        subject = find_subject(target, paths, config, fetch=True, check_architecture=check)
    except UnreachableError as error:
        subject, missing = None, error
    if subject is None:
        subject = sketch_subject(target, paths)
        if subject is None or exact:
            raise missing
        said = f"{missing.cause} These numbers are estimated from the model's size and published dimensions."
        return plan_sketched(subject.header, target, request).because(said), subject
    check(subject.header.architecture)
    if engine is not None and not what_if:
        return plan_here(subject, request, engine, paths, config.server.rpc, held=held, exact=exact), subject
    if exact:
        raise R1tuiError("The engine is not built yet.", BuildEngine())
    made = plan_elsewhere(subject, request, engine)
    if engine is None and not what_if and config.server.rpc:
        made = made.because("RPC workers are not counted: the engine that asks them is not built yet.")
    return made, subject


def _request(
    config: Config,
    paths: Paths,
    engine: Engine | None,
    held: HeldMemory | None,
    *,
    totals_mib: list[int] | None,
    ram_gib: float | None,
    gpu_backend: DeviceBackend | None,
    unified: bool,
) -> PlanRequest:
    """The planner's request for this machine, or for GPUs and RAM of these sizes instead."""
    if ram_gib is not None and not ram_gib < 1e6:
        raise UsageError(f"--ram {ram_gib:g} is not a size.", "Give GiB, such as --ram 128.")
    devices = None
    if totals_mib is not None:
        own = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, rpc=[], devices=None))
        here = () if gpu_backend else devices_here(own, detect_machine(), engine)
        backend = gpu_backend or (here[0].backend if here else "cuda")
        if (unified or gpu_backend == "metal") and ram_gib is None and len(totals_mib) == 1:
            ram_gib = totals_mib[0] / 1024
        host_mib = None if ram_gib is None else int(ram_gib * 1024)
        one_memory = unified or is_one_memory(totals_mib, host_mib, backend)
        if one_memory and host_mib is not None and (largest_mib := max(totals_mib)) > host_mib:
            raise UsageError(
                f"--vram {largest_mib / 1024:g} is more than --ram {ram_gib:g}, which it is a part of.",
                "Give the machine's whole memory as --ram.",
            )
        devices = imagined_devices(totals_mib, _NAMES[backend], backend, unified=one_memory)
        names = {device.name for device in devices}  # those of this machine may be others
        margins_mib = {name: mib for name, mib in config.plan.margins_mib.items() if name in names}
        config = msgspec.structs.replace(config, plan=msgspec.structs.replace(config.plan, margins_mib=margins_mib))
    request = request_here(config, paths, engine, held, devices)
    return request if ram_gib is None else imagined_host(request, int(ram_gib * 1024))


def _show_comparison(rows: list[ComparedPlan], price: float | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"plans": [row.to_json(price) for row in rows]})
        return
    for line in compared(rows, price):
        click.echo(plain(line))


def _given(wishes: dict[str, Any]) -> ModelSettings:
    """The command line's wishes, which come before those kept for the model and the config's."""
    names = {"ctx": "ctx_size", "cache_type": "cache_type_k"}
    given = {names.get(key, key): value for key, value in wishes.items() if value is not None}
    if "cache_type_k" in given:
        check_setting(PlanSettings, "cache_type_k", given["cache_type_k"], "--cache-type")
    return ModelSettings(**given)


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1.0]
    if not all(0 <= number < 1e6 for number in numbers):
        raise UsageError(
            f"--vram {text!r} is not a list of sizes.", "Give GiB per GPU, such as --vram 24 or --vram 80,80."
        )
    return numbers


def _addresses(rpc: str) -> list[str]:
    addresses = [part.strip() for part in rpc.split(",")]
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise UsageError(f"--rpc {rpc!r} is not a list of workers.", "Give HOST:PORT,…, such as 127.0.0.1:50052.")
    return addresses


def table(made: Plan) -> list[str]:
    """The plan for a person: a bar of weights, cache, compute and free per device, and the reasons."""
    threads = f", {made.threads} threads" if made.threads else ""
    lines = [
        f"{made.verdict}: {made.summary().placement}, context {made.ctx_size:,}{threads}",
        "",
    ]
    for device in made.devices:
        taken = device.total_mib - device.free_mib
        parts = (device.weights_mib, device.kv_mib, device.compute_mib, device.pool_mib)
        others = f", {taken:,} of it taken by others" if taken else ""
        lines.append(
            f"{device.name:>8} {_bar((*parts, taken), device.total_mib)} {_figures(parts, device.total_mib)}{others}"
        )
    host = made.host
    on_host = (host.weights_mib, host.kv_mib, host.compute_mib)
    on_disk = f", {made.disk_mib:,} of it on disk" if made.disk_mib else ""
    lines.append(f"{'host':>8} {_bar((*on_host, 0, 0), host.total_mib)} {_figures(on_host, host.total_mib)}{on_disk}")
    lines += ["", "         # weights   = cache   + compute   % beside buffers   x others   . free", ""]
    return lines + [f"- {reason}" for reason in made.reasons]


def _bar(parts_mib: tuple[int, int, int, int, int], total_mib: int) -> str:
    bar = "".join(
        mark * round(BAR_WIDTH * part / max(total_mib, 1)) for mark, part in zip("#=+%x", parts_mib, strict=True)
    )
    return f"[{bar[:BAR_WIDTH]:.<{BAR_WIDTH}}]"


def _figures(parts_mib: tuple[int, ...], total_mib: int) -> str:
    used = " + ".join(f"{part:,}" for part in parts_mib)
    return f"{used} of {total_mib:,} MiB"
