"""`r1tui doctor`: what this machine has, what it lacks, and the command that mends it; or all of it in one file."""

from dataclasses import asdict
from pathlib import Path

import click

from r1tui.catalog.variants import load_catalog
from r1tui.cli.bundle import check_target, pack
from r1tui.cli.checks import Check, Checkup, is_healthy
from r1tui.cli.context import Context, json_option, pass_context, print_json
from r1tui.cli.report import parts_of_report
from r1tui.hub.local.found import ModelSearch
from r1tui.machine.bandwidth import measure
from r1tui.system.paths import expand
from r1tui.text import plain, size


@click.command()
@click.option("--measure", "measuring", is_flag=True, help="Measure memory, bus and disk first, ten seconds long.")
@click.option("--bundle", metavar="FILE", help="Pack logs, versions, config, plan and hardware for a bug report.")
@json_option
@pass_context
def doctor(context: Context, bundle: str | None, *, measuring: bool, as_json: bool) -> int:
    """Show what this machine has and lacks, and the command that mends it.

    Exit status: 1 when something is missing without which there is no chat here, else 0. With --bundle all of it goes
    into FILE (a new .tar.gz or .zip), without secrets and chat text; then 0 says that it was written.
    """
    target = expand(bundle) if bundle is not None else None
    if target is not None:
        check_target(target)
    if measuring:
        click.echo("Measuring how fast memory, bus and disk are read…", err=True)
        measure(context.paths, _largest_model(context))
    checks = list(Checkup(context).checks())
    if target is not None:
        members = pack(target, parts_of_report(context, checks))
        _print_packed(target, members, as_json=as_json)
        return 0
    if as_json:
        print_json({"ok": is_healthy(checks), "checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    return 0 if is_healthy(checks) else 1


def _print(checks: list[Check]) -> None:
    for check in checks:
        mark = {"ok": "ok ", "note": " i ", "missing": "NO "}[check.level]
        click.echo(plain(f"{mark} {check.name:<10} {check.found}"))
        for line in check.remedy.splitlines():
            click.echo(plain(f"{'':15}{line}"))


def _print_packed(target: Path, members: list[tuple[str, int]], *, as_json: bool) -> None:
    n_bytes = target.stat().st_size
    if as_json:
        files = [{"name": name, "bytes": length} for name, length in members]
        print_json({"bundle": str(target), "bytes": n_bytes, "members": files})
        return
    for name, length in members:
        click.echo(plain(f"  {size(length):>10}  {name}"))
    click.echo(plain(f"Packed {len(members)} parts into {target} ({size(n_bytes)}). Read it before you send it."))


def _largest_model(context: Context) -> Path | None:
    search = ModelSearch(context.paths, context.config)
    models = [found.path for variant in load_catalog(context.config) if (found := search.find(variant)) is not None]
    return max(models, key=lambda model: model.stat().st_size, default=None)
