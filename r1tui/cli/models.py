"""`r1tui variants`, `download` and `inspect`: the models."""

from typing import Any

import click

from r1tui.catalog import Variant, load_catalog
from r1tui.cli.context import Context, json_option, pass_context, print_json
from r1tui.cli.printer import Printer
from r1tui.cli.stages import reporting
from r1tui.cli.target import needed_variant
from r1tui.engine import current_devices, find_engine
from r1tui.errors import R1tuiError
from r1tui.gguf import inspect as inspect_header
from r1tui.gguf import read_header
from r1tui.hardware import detect_machine
from r1tui.hub import download as download_model
from r1tui.hub import find_model
from r1tui.launch import plan_devices, plan_request
from r1tui.plan import PlanRequest, make_plan, verdict_by_size
from r1tui.text import plain, size


@click.command()
@json_option
@pass_context
def variants(context: Context, *, as_json: bool) -> None:
    """List the models: size, what is on disk, and how each would run on this machine.

    The verdict is the plan's for a model on disk, and from its size alone (~) for the others.
    """
    request = _request(context)
    rows = [_row(context, variant, request) for variant in load_catalog(context.config)]
    if as_json:
        print_json({"variants": rows})
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        gib = f"{row['size_gib']:7.1f} GiB" if row["size_gib"] is not None else "          ?"
        verdict = ("" if row["exact"] else "~") + (row["verdict"] or "?")
        here = "on disk" if row["on_disk"] else ""
        click.echo(plain(f"{row['name']:<{width}}  {gib}  {verdict:>7}  {here:<7}  {row['title']}").rstrip())


def _request(context: Context) -> PlanRequest:
    config = context.config
    engine = find_engine(config.engine, context.paths)
    devices = plan_devices(current_devices(engine, config.server.rpc), config.server.devices) if engine else ()
    return plan_request(config.plan, config.server, detect_machine(), devices, engine)


def _row(context: Context, variant: Variant, request: PlanRequest) -> dict[str, Any]:
    path = find_model(variant, context.paths, context.config)
    size_gib, verdict = variant.size_gib, None
    if path is not None:
        header = read_header(path)
        size_gib, verdict = header.size_bytes / 2**30, make_plan(header, request).verdict
    elif size_gib is not None:
        verdict = verdict_by_size(size_gib, request)
    return {
        "name": variant.name,
        "title": variant.title,
        "size_gib": round(size_gib, 2) if size_gib is not None else None,
        "on_disk": path is not None,
        "path": str(path) if path else None,
        "verdict": verdict,
        "exact": path is not None,
    }


@click.command()
@click.argument("variant")
@click.option("--verify", is_flag=True, help="Read a model that is there again and check it.")
@json_option
@pass_context
def download(context: Context, variant: str, *, verify: bool, as_json: bool) -> None:
    """Fetch and verify VARIANT (a name, or hf:OWNER/REPO:QUANT), and print the first file's path."""
    target = load_catalog(context.config).find(variant)
    with reporting("model", Printer(as_json=as_json), as_json=as_json) as emit:
        path = download_model(target, context.paths, emit, config=context.config, verify=verify)
    if not as_json:
        click.echo(str(path))


@click.command()
@click.argument("file")
@json_option
@pass_context
def inspect(context: Context, file: str, *, as_json: bool) -> None:
    """Show what the header of FILE, a GGUF file or a variant on this machine, says."""
    target = needed_variant(context, file, None)
    path = find_model(target, context.paths, context.config)
    if path is None:
        raise R1tuiError(f"{target.name} is not on this machine yet.", f"Fetch it: r1tui download {target.name}")
    header = read_header(path)
    facts = inspect_header(header)
    if as_json:
        print_json(facts)
        return
    cache = ", ".join(f"{kind} {size(n_bytes)}" for kind, n_bytes in facts["kv_bytes_per_token"].items())
    attention = "MLA" if facts["mla"] else "plain"
    experts = f", {facts['n_experts']} experts" if facts["n_experts"] else ""
    for line in (
        f"{header.name or path.name}: {facts['architecture']}, {header.file_type}, {size(facts['size_bytes'])}",
        f"  {facts['n_layers']} layers{experts}, {attention} attention, vocabulary {facts['vocab_size']:,}",
        f"  trained for {facts['n_ctx_train']:,} tokens; cache per token: {cache}",
        f"  {len(header.shards)} file(s), the first {path}",
    ):
        click.echo(plain(line))
