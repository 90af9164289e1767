"""`r1tui status`, `stop` and `logs`: the running server. None of them reads the config or speaks HTTP."""

from contextlib import aclosing
from pathlib import Path

import click

from r1tui.cli.context import Context, json_option, pass_context, print_json
from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.remedies import Run
from r1tui.supervisor.status import status as current_status
from r1tui.system.lazy import asyncio
from r1tui.text import duration, plain


@click.command()
@json_option
@pass_context
def status(context: Context, *, as_json: bool) -> None:
    """Show the running server."""
    now = current_status(context.paths)
    if now.keeper_pid is not None:
        from r1tui.supervisor.client import verified_status  # noqa: PLC0415  sockets

        now = verified_status(context.paths, now)
    if as_json:
        print_json(now.as_json())
        return
    for line in describe(now):
        click.echo(plain(line))


def describe(now: Status) -> list[str]:
    """The server's status in lines for a person."""
    what = f" {now.variant}" if now.variant else ""
    lines = [f"{now.state}{what}" + (f", up {duration(now.uptime_s)}" if now.uptime_s is not None else "")]
    if now.pid:
        lines.append(
            f"  llama-server PID {now.pid}, supervisor PID {now.keeper_pid or 'none'}, {now.restarts} restarts"
        )
    if now.endings:
        lines.append(f"  before that: {now.endings[-1].cause} {now.endings[-1].next}")
    if now.endpoint:
        lines.append(f"  listens on {now.endpoint}" + (f" and http://{now.tcp}" if now.tcp else ""))
    if now.tcp and now.key_file:
        lines.append(f"  its key is in {now.key_file}; the same path works for curl and other tools")
    if now.log:
        lines.append(f"  log: {now.log}")
    lines += [f"  {text}" for text in (now.cause, now.remedy) if text]
    if now.state == "stopped":
        lines.append("  `r1tui serve VARIANT` starts one; `r1tui variants` lists them.")
    return lines


@click.command()
@pass_context
def stop(context: Context) -> None:
    """Stop the running server: running answers first, then llama-server, then its supervisor."""
    from r1tui.supervisor.client import stop as stop_server  # noqa: PLC0415  asyncio, sockets

    before = current_status(context.paths)
    after = stop_server(context.paths)
    if after.pid is not None:
        raise R1tuiError(f"llama-server (PID {after.pid}) does not end.", Run(f"ps -fp {after.pid}", "shows it"))
    click.echo("Stopped." if before.running else "Nothing was running.", err=True)


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on printing what is written.")
@click.option("--lines", "-n", type=click.IntRange(0), default=200, show_default=True, help="Lines to begin with.")
@pass_context
def logs(context: Context, lines: int, *, follow: bool) -> None:
    """Show the server's log, without terminal control sequences."""
    path = context.paths.server_log
    if not path.is_file():
        raise R1tuiError("There is no server log yet.", Run("r1tui serve VARIANT", "starts a server"))
    tail, offset = _tail(path, lines)
    for line in tail:
        click.echo(plain(line))
    if follow:
        _follow(context, path, offset)


def _tail(path: Path, count: int) -> tuple[list[str], int]:
    """The last lines of the file, of at most 4 MiB, and where it ends."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - (4 << 20)))
        text = file.read(end - file.tell()).decode(errors="replace")
    whole = text.splitlines()
    return whole[len(whole) - min(count, len(whole)) :], end


def _follow(context: Context, path: Path, offset: int) -> None:
    from r1tui.system.log_reader import follow  # noqa: PLC0415

    async def run() -> None:
        async with aclosing(follow(path, offset, lambda: current_status(context.paths, 3.0).running)) as lines:
            async for line in lines:
                click.echo(plain(line))

    asyncio.run(run())
