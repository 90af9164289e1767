"""`r1tui variants`, `download` and `inspect`: the models."""

import click

from r1tui.catalog import load_catalog
from r1tui.cli.context import Context, json_option, pass_context, print_json
from r1tui.cli.printer import Printer
from r1tui.cli.stages import reporting
from r1tui.cli.target import needed_variant
from r1tui.errors import R1tuiError
from r1tui.gguf import inspect as inspect_header
from r1tui.hub import download as download_model
from r1tui.overview import overview
from r1tui.planning import find_subject
from r1tui.text import plain, size


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
