"""`r1tui status`, `stop` and `logs`: the running server. None of them reads the config or speaks HTTP."""

from contextlib import aclosing

import click

from r1tui.cli.context import Context, json_option, pass_context, print_result, say
from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.remedies import Run
from r1tui.supervisor.status import status as current_status
from r1tui.system.lazy import asyncio
from r1tui.system.log_reader import follow as follow_lines
from r1tui.system.log_reader import read_tail
from r1tui.text import duration

TAIL_BYTES = 4 << 20


@click.command()
@json_option
@pass_context
def status(context: Context, *, as_json: bool) -> None:
    """Show the running server."""
    now = current_status(context.paths)
    if now.supervisor_pid is not None:
        from r1tui.supervisor.client import verified_status  # noqa: PLC0415  sockets

        now = verified_status(context.paths, now)
    print_result(now.as_json(), *describe(now), as_json=as_json)


def describe(now: Status) -> list[str]:
    """The server's status in lines for a person."""
    what = f" {now.variant}" if now.variant else ""
    lines = [f"{now.state}{what}" + (f", up {duration(now.uptime_s)}" if now.uptime_s is not None else "")]
    if now.pid:
        lines.append(
            f"  llama-server PID {now.pid}, supervisor PID {now.supervisor_pid or 'none'}, {now.restarts} restarts"
        )
    if now.endings:
        lines.append(f"  before that: {now.endings[-1].cause} {now.endings[-1].next}")
    if now.endpoint:
        lines.append(f"  listens on {now.endpoint}" + (f" and http://{now.tcp}" if now.tcp else ""))
    if now.tcp and now.key_file:
        lines.append(f"  API key: {now.key_file} (for curl and other tools too)")
    if now.log:
        lines.append(f"  log: {now.log}")
    lines += [f"  {text}" for text in (now.cause, now.remedy) if text]
    if now.state == "stopped":
        lines.append("  `r1tui serve VARIANT` starts one; `r1tui variants` lists them.")
    return lines


@click.command()
@pass_context
def stop(context: Context) -> None:
    """Stop the running server: first running answers, then llama-server, then its supervisor."""
    from r1tui.supervisor.client import stop as stop_server  # noqa: PLC0415  asyncio, sockets

    before = current_status(context.paths)
    after = stop_server(context.paths)
    if after.pid is not None:
        raise R1tuiError(f"llama-server (PID {after.pid}) does not stop.", Run(f"ps -fp {after.pid}", "shows it"))
    say("Stopped." if before.running else "No server was running.", err=True)


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Print new lines as they come.")
@click.option(
    "--lines", "-n", type=click.IntRange(0), default=200, show_default=True, help="Number of last lines to show."
)
@pass_context
def logs(context: Context, lines: int, *, follow: bool) -> None:
    """Show the server's log, without terminal control sequences."""
    path = context.paths.server_log
    if not path.is_file():
        raise R1tuiError("There is no server log yet.", Run("r1tui serve VARIANT", "starts a server"))
    raw, offset = read_tail(path, TAIL_BYTES)
    say(*(raw.decode(errors="replace").splitlines()[-lines:] if lines else ()))

    async def follow_log() -> None:
        async with aclosing(follow_lines(path, offset, lambda: current_status(context.paths, 3.0).running)) as added:
            async for line in added:
                say(line)

    if follow:
        asyncio.run(follow_log())
