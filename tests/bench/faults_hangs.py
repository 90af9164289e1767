"""Faults of processes that hang: supervisor or server stopped by SIGSTOP in each phase of their life.

Every command must end in bounded time, by what it was asked for or with a cause and a remedy; `stop` ends both.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from time import monotonic

from r1tui.messages import State, Status
from r1tui.supervisor import client
from tests.bench.faults_rig import PATIENCE_S, Home, kill
from tests.ptys import Terminal
from tests.supervisor_rig import open_stream, spec_for, until

Phase = Callable[[Home], Status]
SAID_S = 45.0
"""A screen says by then that somebody does not answer."""


def loading(here: Home) -> Status:
    """While a model is loaded that takes seconds."""
    client.start(spec_for(here.server, here.large, here.paths), here.paths)
    return _when(here, "loading")


def ready(here: Home) -> Status:
    """With nothing to do."""
    return here.ready(silence_s=1.0)


def answering(here: Home) -> Status:
    """In the middle of an answer."""
    now = here.ready(silence_s=1.0)
    client.answer_started(here.paths, "c1")
    open_stream(here.paths.server_socket, "c1").close()
    return now


def restarting(here: Home) -> Status:
    """Between two starts of a server that crashed."""
    kill(here.ready(restart_delays_s=[30.0]).pid)
    return _when(here, "restarting")


def stopping(here: Home) -> Status:
    """While a stop waits for a server that does not end."""
    now = answering(here)
    kill(now.pid, signal.SIGSTOP)
    here.meanwhile(subprocess.Popen([sys.executable, "-m", "r1tui", "stop"], stderr=subprocess.DEVNULL))
    return _when(here, "stopping")


def keeper_hangs(here: Home, phase: Phase) -> str:
    """The supervisor is stopped; then every command in turn."""
    now = phase(here)
    kill(now.supervisor_pid, signal.SIGSTOP)
    return _each_command(here, now)


def server_hangs(here: Home, phase: Phase) -> str:
    """The server is stopped; then every command in turn."""
    now = phase(here)
    kill(now.pid, signal.SIGSTOP)
    if now.state == "ready":
        hanging = until(lambda: (seen := client.status(here.paths)).hangs and seen, PATIENCE_S)
        return f"{hanging.cause} {_each_command(here, now, chat=False)}"
    said = here.command("status", "--json", within_s=15).told("status")  # loading may take as long as it takes
    return f"{said}; {here.command('stop', within_s=60, ok=True).told('stop')}"


def screen_with_a_keeper_that_hangs(here: Home) -> str:
    """The supervisor is stopped under a screen; it says so, and Ctrl+R starts both again."""
    here.keep_on_exit()
    now = here.ready()
    with Terminal() as terminal:
        terminal.wait_for("Models")
        until(lambda: client.status(here.paths).state == "ready", PATIENCE_S)
        kill(now.supervisor_pid, signal.SIGSTOP)
        started_s = monotonic()
        until(lambda: _is_said(terminal), SAID_S)
        said_s = monotonic() - started_s
        outcome = _starts_again(here, terminal, now)
    here.command("stop", ok=True)
    return f"said after {said_s:.0f} s; {outcome}"


def screen_that_comes_to_a_keeper_that_hangs(here: Home) -> str:
    """The supervisor is stopped before the screen comes; it says so, and Ctrl+R starts both again."""
    here.keep_on_exit()
    now = here.ready()
    kill(now.supervisor_pid, signal.SIGSTOP)
    with Terminal() as terminal:
        until(lambda: _is_said(terminal), SAID_S)
        outcome = _starts_again(here, terminal, now)
    here.command("stop", ok=True)
    return f"said; {outcome}"


def _is_said(terminal: Terminal) -> bool:
    return b"hangs" in terminal.shown or b"not answer" in terminal.shown


def _starts_again(here: Home, terminal: Terminal, before: Status) -> str:
    terminal.type("\x12")  # Ctrl+R
    until(lambda: client.status(here.paths).supervisor_pid not in (None, before.supervisor_pid), SAID_S)
    until(lambda: client.status(here.paths).state == "ready", PATIENCE_S)
    terminal.type("\x11")  # Ctrl+Q
    return f"Ctrl+R: a keeper and a server that answer; Ctrl+Q: exit {terminal.ended()}"


def _when(here: Home, state: State) -> Status:
    until(lambda: client.status(here.paths).state == state, PATIENCE_S)
    return client.status(here.paths)


def _each_command(here: Home, now: Status, *, chat: bool = True) -> str:
    here.set_longest_answer(50)
    model = now.model or str(here.model)
    said = [here.command("status", "--json", within_s=15).told("status")]
    if chat:  # a server that hangs lets a question wait, and says so
        said.append(here.command("chat", "--model", model, "hello", within_s=60).told("chat"))
    said.append(here.command("serve", "--detach", "--model", model, within_s=60).told("serve"))
    said.append(here.command("doctor", within_s=60).told("doctor"))
    said.append(here.command("stop", within_s=60, ok=True).told("stop"))
    until(lambda: not here.processes(), 10)
    return "; ".join(said)
