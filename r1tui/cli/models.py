"""`r1tui variants`, `download` and `inspect`: the models."""

import os
from contextlib import suppress

import click

from r1tui.catalog import Catalog, Variant, load_catalog
from r1tui.cli.context import Context, json_option, pass_context, print_json
from r1tui.cli.printer import Printer
from r1tui.cli.stages import reporting
from r1tui.cli.target import needed_variant
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import Emit, Notice, StageDone, StageFailed
from r1tui.gguf import inspect as inspect_header
from r1tui.hub import download as download_model
from r1tui.hub import find_model
from r1tui.hub.download import unfinished
from r1tui.hub.headers import fetch_headers
from r1tui.hub.jobs import download_job, follow_events, logged
from r1tui.overview import overview
from r1tui.planning import find_subject
from r1tui.process import Job
from r1tui.process.signals import run_async
from r1tui.text import plain, plan_in_words, size


@click.command()
@json_option
@pass_context
def variants(context: Context, *, as_json: bool) -> None:
    """List the models: size, what is on disk, and how each would run on this machine.

    The verdict is the plan's for a model on disk, and from its size alone (~) for the others.
    """
    entries = list(overview(load_catalog(context.config), context.config, context.paths))
    if as_json:
        print_json({"variants": [entry.to_json() for entry in entries]})
        return
    width = max(len(entry.variant.name) for entry in entries)
    for entry in entries:
        gib = f"{entry.size_gib:7.1f} GiB" if entry.size_gib is not None else "          ?"
        verdict = ("" if entry.exact else "~") + (entry.verdict or "?")
        here = "on disk" if entry.path else ""
        text = entry.problem or entry.variant.title
        click.echo(plain(f"{entry.variant.name:<{width}}  {gib}  {verdict:>7}  {here:<7}  {text}").rstrip())


@click.command()
@click.argument("variant")
@click.option("--verify", is_flag=True, help="Read a model that is there again and check it.")
@json_option
@pass_context
def download(context: Context, variant: str, *, verify: bool, as_json: bool) -> None:
    """Fetch and verify VARIANT (a name, or hf:OWNER/REPO:QUANT), and print the first file's path.

    Ctrl+C keeps what came; the same command goes on where it was.
    """
    target = load_catalog(context.config).find(variant)
    job = download_job(target, context.paths)
    with reporting("model", Printer(as_json=as_json), as_json=as_json) as show:
        while (other := job.take()) is not None and other.pid != os.getpid():
            _follow(target, job, other.pid, show)
        emit = logged(job, show) if other is None else show
        _hint_at_plan(target, context, emit)
        path = download_model(target, context.paths, emit, config=context.config, verify=verify)
    if not as_json:
        click.echo(str(path))


def _follow(target: Variant, job: Job, pid: int, emit: Emit) -> None:
    """Show what another process's download of this variant does, until that has ended."""

    async def show_events() -> None:
        emit(Notice("model", f"Process {pid} is downloading {target.name} already; this is how far it is."))
        async for event in follow_events(job):
            if not isinstance(event, StageDone | StageFailed):
                emit(event)

    try:
        run_async(show_events())
    except KeyboardInterrupt:
        raise CancelledError(
            f"The download of {target.name} goes on in process {pid}.", f"`r1tui download {target.name}` shows it."
        ) from None


def _hint_at_plan(target: Variant, context: Context, emit: Emit) -> None:
    """Before a download begins, say how the model would run here; for that its headers are fetched."""
    paths = context.paths
    if target.repo is None or unfinished(target, paths) or find_model(target, paths, context.config):
        return
    with suppress(R1tuiError):  # the download itself says what is wrong
        fetch_headers(target, paths)
        entry = next(overview(Catalog({target.name: target}), context.config, paths))
        if entry.plan is not None:
            said = plan_in_words(entry.plan.to_json())
            emit(Notice("model", f"On this machine: {said}. `r1tui plan {target.name}` says why."))


@click.command()
@click.argument("file")
@json_option
@pass_context
def inspect(context: Context, file: str, *, as_json: bool) -> None:
    """Show what the header of FILE, a GGUF file or a variant on this machine, says."""
    target = needed_variant(context, file, None)
    subject = find_subject(target, context.paths, context.config, fetch=True)
    if subject is None:
        raise R1tuiError(f"{target.name} is not on this machine yet.", f"Fetch it: r1tui download {target.name}")
    header = subject.header
    facts = inspect_header(header)
    if as_json:
        print_json(facts)
        return
    kind = ", ".join(word for word in (facts["architecture"], header.file_type) if word)
    cache = ", ".join(f"{name} {size(n_bytes)}" for name, n_bytes in facts["kv_bytes_per_token"].items())
    attention = "MLA" if facts["mla"] else "plain"
    experts = f", {facts['n_experts']} experts" if facts["n_experts"] else ""
    for line in (
        f"{header.name or subject.model.name}: {kind}, {size(facts['size_bytes'])}",
        f"  {facts['n_layers']} layers{experts}, {attention} attention, vocabulary {facts['vocab_size']:,}",
        f"  trained for {facts['n_ctx_train']:,} tokens; cache per token: {cache}",
        f"  {len(header.shards)} file(s), the first {subject.model}",
    ):
        click.echo(plain(line))
