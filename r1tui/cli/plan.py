"""`r1tui plan`: what would run where, and why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from r1tui.cli.context import Context, json_option, pass_context, print_json
from r1tui.cli.target import needed_variant
from r1tui.config import PlanSettings, ServerSettings, check_setting
from r1tui.engine import Engine, current_devices, find_engine
from r1tui.engine.dry_run import dry_run
from r1tui.errors import R1tuiError, UsageError
from r1tui.gguf import read_header
from r1tui.hardware import detect_machine
from r1tui.hub import find_model
from r1tui.plan import Device, DeviceBackend, Plan, make_plan
from r1tui.planning import plan_devices, plan_request, server_argv
from r1tui.text import plain, plan_in_words

BAR_WIDTH = 40
_NAMES: dict[DeviceBackend, str] = {"cuda": "CUDA", "hip": "ROCm", "vulkan": "Vulkan", "metal": "MTL", "rpc": "RPC"}


@click.command()
@click.argument("variant", required=False)
@click.option("--model", metavar="FILE", help="A GGUF file instead of a variant.")
@click.option("--gpu-backend", type=click.Choice(list(_NAMES)), help="The kind of device that --vram means.")
@click.option("--strategy", type=click.Choice(["auto", "experts", "layers", "rule", "engine"]))
@click.option("--vram", metavar="GIB[,GIB…]", help="Plan for GPUs with this much memory; 0 for none.")
@click.option("--ram", type=click.FloatRange(min=0.1), metavar="GIB", help="Plan for this much memory.")
@click.option("--ctx", type=click.IntRange(min=256), metavar="N", help="Context in tokens.")
@click.option("--cache-type", metavar="TYPE", help="Of K; for MLA files of K and V.")
@click.option("--n-gpu-layers", type=click.IntRange(min=0), metavar="N", help="Take this as given.")
@click.option("--n-cpu-moe", type=click.IntRange(min=0), metavar="N", help="Take this as given.")
@click.option("--rpc", metavar="HOST:PORT,…", help="Offload to these ggml-rpc-servers.")
@click.option("--exact", is_flag=True, help="Let the engine itself work out the memory, on the real devices.")
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
    rpc: str | None,
    exact: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Show what of VARIANT would run where on this machine, and why. Nothing is loaded."""
    config = context.config
    if rpc:
        config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, rpc=_addresses(rpc)))
    settings = _settings(config.plan, wishes)
    sizes_gib = None if vram is None else _numbers(vram)
    target = needed_variant(context, variant, model)
    file = find_model(target, context.paths, config)
    if file is None:
        raise R1tuiError(f"{target.name} is not on this machine yet.", f"Fetch it: r1tui download {target.name}")
    engine = find_engine(config.engine, context.paths)
    devices = _devices(engine, config.server, sizes_gib, gpu_backend)
    request = plan_request(settings, config.server, detect_machine(), devices, engine)
    if ram is not None:
        request = replace(request, host_total_mib=int(ram * 1024), host_free_mib=int(ram * 1024))
    made = make_plan(read_header(file), request)
    argv = server_argv(engine, target, file, made, config, paths=context.paths)
    if exact:
        made = _exact(made, engine, file, config.server.rpc, what_if=vram is not None or ram is not None)
    if as_json:
        print_json({"variant": target.name, "model": str(file), **made.to_json(), "argv": argv})
        return
    click.echo(plain(f"{target.title}  ({file})"))
    for line in table(made):
        click.echo(plain(line))


def _settings(settings: PlanSettings, wishes: dict[str, Any]) -> PlanSettings:
    """The config's wishes with the command line's in front of them."""
    names = {"ctx": "ctx_size", "cache_type": "cache_type_k"}
    given = {names.get(key, key): value for key, value in wishes.items() if value is not None}
    if "cache_type_k" in given:
        check_setting(PlanSettings, "cache_type_k", given["cache_type_k"], "--cache-type")
    return msgspec.structs.replace(settings, **given)


def _devices(
    engine: Engine | None, server: ServerSettings, sizes_gib: list[float] | None, backend: DeviceBackend | None
) -> tuple[Device, ...]:
    """The devices of this machine, or those that `--vram` describes."""
    here = _present(engine, server.rpc, server.devices)
    if sizes_gib is None:
        return here
    kind = backend or (here[0].backend if here else "cuda")
    totals_mib = [int(gib * 1024) for gib in sizes_gib if gib > 0]
    return tuple(Device(f"{_NAMES[kind]}{index}", kind, mib, mib) for index, mib in enumerate(totals_mib))


def _present(engine: Engine | None, rpc: list[str], chosen: list[str] | None) -> tuple[Device, ...]:
    if engine is None:
        gpus = detect_machine().gpus  # before there is an engine to ask
        return tuple(
            Device(f"CUDA{gpu.index}", "cuda", (gpu.total_bytes or 0) >> 20, (gpu.free_bytes or 0) >> 20)
            for gpu in gpus
        )
    return plan_devices(current_devices(engine, rpc), chosen)


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1.0]
    if not all(0 <= number < 1e6 for number in numbers):
        raise UsageError(
            f"--vram {text!r} is no list of sizes.", "Give GiB per GPU, such as --vram 24 or --vram 80,80."
        )
    return numbers


def _addresses(rpc: str) -> list[str]:
    return [part.strip() for part in rpc.split(",") if part.strip()]


def _exact(made: Plan, engine: Engine | None, file: Path, rpc: list[str], *, what_if: bool) -> Plan:
    if what_if:
        raise UsageError("--exact asks the devices that are here.", "Leave --vram and --ram out.")
    if engine is None:
        raise R1tuiError("There is no engine to ask yet.", "Build it: r1tui build")
    workers = ["--rpc", ",".join(rpc)] if rpc else []
    return made.with_engine_figures(dry_run(engine, file, [*workers, *made.arguments(engine.capabilities)]))


def table(made: Plan) -> list[str]:
    """The plan for a person: a bar of weights, cache, compute and free per device, and the reasons."""
    lines = [
        f"{made.verdict}: {plan_in_words(made.to_json())}, context {made.ctx_size:,}, {made.threads} threads",
        "",
    ]
    for device in made.devices:
        parts = (device.weights_mib, device.kv_mib, device.compute_mib)
        lines.append(f"{device.name:>8} {_bar(parts, device.total_mib)} {_figures(parts, device.total_mib)}")
    host = made.host
    parts = (host.weights_mib, host.kv_mib, host.compute_mib)
    lines.append(f"{'host':>8} {_bar(parts, host.total_mib)} {_figures(parts, host.total_mib)}")
    lines += ["", "         # weights   = cache   + compute   . free", ""]
    return lines + [f"- {reason}" for reason in made.reasons]


def _bar(parts_mib: tuple[int, int, int], total_mib: int) -> str:
    bar = "".join(
        mark * round(BAR_WIDTH * part / max(total_mib, 1)) for mark, part in zip("#=+", parts_mib, strict=True)
    )
    return f"[{bar[:BAR_WIDTH]:.<{BAR_WIDTH}}]"


def _figures(parts_mib: tuple[int, int, int], total_mib: int) -> str:
    used = " + ".join(f"{part:,}" for part in parts_mib)
    return f"{used} of {total_mib:,} MiB"
