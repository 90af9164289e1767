"""`r1tui serve`: a variant's server, under a supervisor, here or detached."""

import shlex
from pathlib import Path

import click
import msgspec

from r1tui.cli.context import WORDS, Context, json_option, pass_context, print_json_line, print_text, say
from r1tui.cli.running import describe
from r1tui.cli.stages import Printer, check_ready, join, show
from r1tui.cli.target import check_same_model, needed_variant
from r1tui.errors import R1tuiError, UsageError
from r1tui.events import StageDone, encode_event
from r1tui.launch.stages import Launch
from r1tui.messages import Status
from r1tui.remedies import Run, ShowLog
from r1tui.server.command import as_script, parse_tcp, ssh_line
from r1tui.supervisor import client as supervisor
from r1tui.supervisor.status import status as current_status
from r1tui.system.own_process import run_async

KEPT = "It was already running and keeps its settings."


@click.command()
@click.argument("variant", type=WORDS, required=False)
@click.option("--model", metavar="FILE", help="A GGUF file instead of a variant.")
@click.option("--tcp", type=WORDS, metavar="HOST:PORT", help="Listen on a loopback port too, with a random API key.")
@click.option("--detach", is_flag=True, help="Leave the server running; return when it is ready (0) or failed (1).")
@click.option(
    "--print",
    "print_only",
    is_flag=True,
    help="Only print the command as a script (needs engine and model).",
)
@json_option
@pass_context
def serve(
    context: Context,
    variant: str | None,
    model: str | None,
    tcp: str | None,
    *,
    detach: bool,
    print_only: bool,
    as_json: bool,
) -> None:
    """Start the server of VARIANT and keep it running; build the engine and download the model first if needed.

    Without --detach, Ctrl+C stops the server.
    """
    if print_only and as_json:
        raise UsageError("--print writes a script, not JSON.", "Use only one of them.")
    target = needed_variant(context, variant, model)
    if tcp:
        parse_tcp(tcp)
    config = context.config
    if print_only:  # nobody would keep prompts of a server that is run by hand
        config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, kv_cache_gib=0.0))
    launch = Launch(target, config, context.paths, config_file=context.config_file, tcp=tcp)
    printer = Printer(as_json=as_json)
    if print_only:
        run_async(show(launch.prepare(), printer))
        spec, socket = launch.spec(), context.paths.script_socket
        argv = [word.replace(spec.socket, str(socket)) for word in spec.argv]
        key = Path(spec.key_file).with_name("by-hand-key") if spec.key_file else None
        print_text(as_script(argv, socket, key, spec.plan.env if spec.plan else None), nl=False)
        return
    target_words = f"--model {shlex.quote(model)}" if model else shlex.quote(target.name)
    now = supervisor.adopt(context.paths)
    if now.running:
        check_same_model(now, target, context)
        now = run_async(join(context, now))
        if now.state != "stopped":
            _check_port(now, tcp, config.server.tcp, target_words)
            _print_endpoint(now, as_json=as_json)
            say(KEPT if detach else f"{KEPT} It does not belong to this terminal.", err=True)
            return
    if not detach:
        run_async(show(launch.prepare(), printer))
        _in_foreground(context, launch, as_json=as_json)
        return
    try:
        run_async(show(launch.run(), printer))
    except KeyboardInterrupt:
        if launch.started:
            supervisor.stop(context.paths)
        raise
    now = current_status(context.paths)
    if not launch.started:  # another r1tui was faster
        _check_port(now, tcp, config.server.tcp, target_words)
    if not as_json:  # its events have said it
        _print_endpoint(now, as_json=False)


def _check_port(now: Status, wanted: str | None, configured: str | None, target: str) -> None:
    """Raise R1tuiError when a server that ran before does not listen where it is wanted to; say it of the config's."""
    address = wanted or configured
    if address is None or now.state not in ("ready", "sleeping"):
        return
    tcp = parse_tcp(address)
    listens = parse_tcp(now.tcp) if now.tcp else None
    if listens is not None and listens.host == tcp.host and tcp.port in (0, listens.port):
        return
    has = f"listens on {listens}" if listens else "has no port"
    cause = f"The server is already running and {has}; its port cannot change while it runs."
    remedy = Run(f"r1tui stop && r1tui serve {target} --detach --tcp {tcp}", "restarts it on that port")
    if wanted is not None:
        raise R1tuiError(cause, remedy)
    say(f"{cause} The config says {tcp}: {remedy.words()}", err=True)


def _in_foreground(context: Context, launch: Launch, *, as_json: bool) -> None:
    def changed(status: Status) -> None:
        if status.state == "ready":
            _print_endpoint(status, as_json=as_json)
        elif not as_json:
            why = f": {status.cause} {status.remedy}" if status.cause else ""
            say(f"server: {status.state}{why}", err=True)

    last = supervisor.run_supervisor(launch.spec(), context.paths, changed)
    if last.state == "failed":
        raise R1tuiError(last.cause or "llama-server ended.", *(last.remedies or (ShowLog(),)))


def _print_endpoint(status: Status, *, as_json: bool) -> None:
    """Say where the server listens; raises R1tuiError when it does not answer there."""
    check_ready(status)
    if as_json:
        print_json_line(encode_event(StageDone("server", status.endpoint or "", status.state)))
        return
    say(*describe(status), err=True)
    if status.tcp:
        say(f"  from another machine: {ssh_line(parse_tcp(status.tcp))}", err=True)
    print_text(status.endpoint or "")
