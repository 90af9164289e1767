"""`r1tui variants`, `download`, `delete` and `inspect`: the models."""

import os
import shlex
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import click

from r1tui.catalog.variants import Catalog, Variant, load_catalog
from r1tui.cli.context import (
    WORDS,
    Context,
    format_table,
    json_option,
    pass_context,
    print_json,
    print_result,
    print_text,
    say,
)
from r1tui.cli.stages import Printer, failed_event, our_errors, reporting
from r1tui.cli.target import needed_variant
from r1tui.engine.architectures import UnknownArchitectureError, check_architecture
from r1tui.engine.make import engine_to_ask
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import Emit, Notice, StageDone, StageFailed
from r1tui.gguf import inspect as inspect_header
from r1tui.hub.download.headers import fetch_headers
from r1tui.hub.download.model import download as download_model
from r1tui.hub.download.staging import download_job, log_events, unfinished
from r1tui.hub.listing.answers import UnreachableError
from r1tui.hub.listing.remote import ask_hub
from r1tui.hub.local.found import find_model
from r1tui.hub.removal import find_removal, remove
from r1tui.listing.overview import ModelEntry, other_variants, overview
from r1tui.listing.recommend import recommend, surroundings
from r1tui.machine.hardware import detect_machine
from r1tui.planning.subject import find_subject
from r1tui.remedies import FetchModel, Run
from r1tui.supervisor.status import status
from r1tui.system.jobs import Job
from r1tui.system.own_process import run_async
from r1tui.text import duration, plain, size


@click.command()
@click.option("--refresh", is_flag=True, help="Ask the hub for the sizes first.")
@json_option
@pass_context
def variants(context: Context, *, refresh: bool, as_json: bool) -> None:
    """List the models: size, what is on disk, quality, and how each would run on this machine.

    The verdict is exact where the model's header is known; ~ marks one estimated from the size.
    """
    catalog = load_catalog(context.config)
    if refresh:
        _refresh(catalog, context)
    entries = list(overview(catalog, context.config, context.paths))
    known = {one.variant.name: one.path for one in entries}
    found = list(overview(other_variants(known, context.config, context.paths), context.config, context.paths))
    advice = recommend(entries, surroundings(detect_machine(), context.paths, context.config))
    if as_json:
        both = {"variants": [one.to_json() for one in entries], "others": [one.to_json() for one in found]}
        print_json(both | {"recommended": advice.variant.name if advice else None})
        return
    rows = [
        ("model", "bits", "size", "here", "verdict", "on the GPU", "tokens/s", "quality", ""),
        *map(_cells, entries),
    ]
    shown = [n for n, column in enumerate(zip(*rows[1:], strict=True)) if any(column)]
    right = [shown.index(n) for n in (1, 2) if n in shown]
    say(*format_table([[row[n] for n in shown] for row in rows], right), "", _age_of_sizes(entries))
    if full := [entry.no_room for entry in entries if entry.no_room]:
        said = min(full, key=lambda one: one.lacking_bytes)
        say(plain(f"No room on disk for {len(full)} of {len(entries)} models. {said.cause} {said.remedies[0].words()}"))
    if advice is not None:
        say(f"Recommended for this machine: {advice.variant.name}, {advice.why}")
    if found:
        say("", "Also on this machine, for --model:")
    for entry in found:
        note = entry.problem or entry.variant.title
        file = str(entry.variant.file).replace("\n", "\\n")  # a name makes no lines of its own
        say(f"{entry.size:>10}  {entry.verdict or '?':<6}  {file}  ({note})")


def _cells(entry: ModelEntry) -> tuple[str, ...]:
    variant = entry.variant
    cells = (
        variant.name,
        f"{variant.bits:g}" if variant.bits is not None else "",
        entry.size or "?",
        entry.here,
        "disk full" if entry.no_room else ("" if entry.exact else "~") + (entry.verdict or "?"),
        entry.layers,
        entry.speed,
        variant.quality,
        entry.problem or variant.title,
    )
    return tuple(plain(cell) for cell in cells)


def _age_of_sizes(entries: Sequence[ModelEntry]) -> str:
    ages = [entry.listed_age_s for entry in entries if entry.listed_age_s is not None]
    if not ages:
        return "Sizes are from the catalog; `r1tui variants --refresh` asks the hub."
    asked = f"asked {duration(max(ages))} ago" if len(ages) == 1 else f"asked within the last {duration(max(ages))}"
    return f"{len(ages)} of {len(entries)} sizes are from the hub, {asked}; --refresh asks again."


def _refresh(catalog: Catalog, context: Context) -> None:
    """Ask once per repository; a refusal is told, and what was remembered stays."""
    by_repository = {(one.repo, one.revision): one for one in catalog if one.repo is not None}
    for variant in by_repository.values():
        try:
            ask_hub(variant, context.paths)
        except R1tuiError as error:
            say(f"{error.cause} {error.remedy}", err=True)
            if isinstance(error, UnreachableError):
                return


@click.command()
@click.argument("variant", type=WORDS)
@click.option("--verify", is_flag=True, help="Read a downloaded model again and check it.")
@json_option
@pass_context
def download(context: Context, variant: str, *, verify: bool, as_json: bool) -> None:
    """Download and verify VARIANT (a name, or hf:OWNER/REPO:QUANT), and print the first file's path.

    Ctrl+C keeps the downloaded part; the same command continues it.
    """
    target = load_catalog(context.config).find(variant)
    job = download_job(target, context.paths)
    with reporting("model", Printer(as_json=as_json)) as show:
        while (other := job.take()) is not None and other.pid != os.getpid():
            _follow(target, job, other.pid, show)
        emit = log_events(job, show) if other is None else show
        try:
            with our_errors("model"):
                _hint_at_plan(target, context, emit)
                path = download_model(target, context.paths, emit, config=context.config, verify=verify)
        except (R1tuiError, KeyboardInterrupt) as error:
            if other is None:  # who follows this process reads its log
                log_events(job, lambda event: None)(failed_event("model", error))
            raise
    if not as_json:
        print_text(str(path))


def _follow(target: Variant, job: Job, pid: int, emit: Emit) -> None:
    """Show what another process's download of this variant does, until that has ended."""

    async def show_events() -> None:
        emit(Notice("model", f"{target.name} is already being downloaded (PID {pid}); showing its progress."))
        async with aclosing(job.events("model")) as events:
            async for event in events:
                if not isinstance(event, StageDone | StageFailed | str):
                    emit(event)

    try:
        run_async(show_events())
    except KeyboardInterrupt:
        raise CancelledError(
            f"The download of {target.name} continues (PID {pid}).",
            Run(f"r1tui download {shlex.quote(target.name)}", "shows it"),
        ) from None


def _hint_at_plan(target: Variant, context: Context, emit: Emit) -> None:
    """Before a download begins, say how the model would run here; for that its headers are fetched.

    Raises UnknownArchitectureError.
    """
    paths = context.paths
    if target.repo is None or unfinished(target, paths, context.config) or find_model(target, paths, context.config):
        return
    try:
        engine = engine_to_ask(context.config.engine, paths)
        fetch_headers(target, paths, partial(check_architecture, engine=engine, settings=context.config.engine))
        entry = next(overview(Catalog({target.name: target}), context.config, paths))
        if entry.plan is not None:
            said = entry.plan.summary().placement
            emit(Notice("model", f"On this machine: {said}. `r1tui plan {shlex.quote(target.name)}` shows why."))
    except UnknownArchitectureError:
        raise
    except R1tuiError:  # the download itself says what is wrong
        pass


@click.command()
@click.argument("variant", type=WORDS)
@click.option("--yes", is_flag=True, help="Delete without asking.")
@json_option
@pass_context
def delete(context: Context, variant: str, *, yes: bool, as_json: bool) -> None:
    """Delete the files of VARIANT that r1tui downloaded, unfinished ones too; other programs' files stay."""
    target = load_catalog(context.config).find(variant)
    now = status(context.paths)
    in_use = Path(now.model) if now.running and now.model else None
    removal = find_removal(target, context.paths, context.config, in_use)
    freed = size(removal.freed_bytes)
    if not yes:
        say(*map(str, removal.files), err=True)
        click.confirm(plain(f"Delete {target.name}? It frees {freed}"), abort=True, err=True)
    remove(removal, context.paths, context.config)
    done = {"deleted": [str(file) for file in removal.files], "freed_bytes": removal.freed_bytes}
    print_result(done, f"{target.name}: deleted, {freed} freed.", as_json=as_json)


@click.command()
@click.argument("file")
@json_option
@pass_context
def inspect(context: Context, file: str, *, as_json: bool) -> None:
    """Show the header of FILE: a GGUF file or a variant on this machine."""
    target = needed_variant(context, file, None)
    subject = find_subject(target, context.paths, context.config, fetch=True)
    if subject is None:
        raise R1tuiError(f"{target.name} is not on this machine yet.", FetchModel(target.name))
    header = subject.header
    facts = inspect_header(header)
    kind = ", ".join(word for word in (facts["architecture"], header.file_type) if word)
    cache = ", ".join(f"{name} {size(n_bytes)}" for name, n_bytes in facts["kv_bytes_per_token"].items())
    attention = "MLA" if facts["mla"] else "plain"
    experts = f", {facts['n_experts']} experts" if facts["n_experts"] else ""
    print_result(
        facts,
        f"{header.name or subject.model.name}: {kind}, {size(facts['size_bytes'])}",
        f"  {facts['n_layers']} layers{experts}, {attention} attention, vocabulary {facts['vocab_size']:,}",
        f"  trained for {facts['n_ctx_train']:,} tokens; cache per token: {cache}",
        f"  {len(header.shards)} file(s), first: {subject.model}",
        as_json=as_json,
    )
