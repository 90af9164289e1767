"""What other programs do with the supervisor, whether it answers, hangs or was killed."""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import Refusal, ServerSpec, Status, decode
from r1tui.supervisor.asking import (
    SupervisorHangsError,
    ask,
    hanging_status,
    settled_status,
    verified_status,
    wait_until,
    watch_async,
)
from r1tui.supervisor.found import supervisor_environment
from r1tui.supervisor.status import another_server, recent_status, status
from r1tui.supervisor.stopping import stop
from r1tui.system.log_reader import older_log
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import alive, spawn_detached
from r1tui.system.processes import stop as stop_process

__all__ = [
    "SupervisorHangsError",
    "adopt",
    "answer_ended",
    "answer_started",
    "hanging_status",
    "recent_status",
    "restart",
    "run_supervisor",
    "start",
    "status",
    "stop",
    "verified_status",
    "watch_async",
]

START_S = 30.0
"""The longest that a supervisor may take to come up; it is a tenth of a second on an idle machine."""
LOG_BYTES = 1 << 20


def start(spec: ServerSpec, paths: Paths) -> Status:
    """Start a detached supervisor; returns before the server is ready. Raises R1tuiError, also when a server runs."""
    current = settled_status(paths)
    if current.running:
        raise another_server(current)
    return _spawn_supervisor(paths, msgspec.json.encode(spec))


def run_supervisor(spec: ServerSpec, paths: Paths, on_status: Callable[[Status], None] | None = None) -> Status:
    """Supervise a server in this process until it ends; its last status. Raises R1tuiError when one runs already."""
    from r1tui.supervisor.running import run_supervisor as run  # noqa: PLC0415  asyncio, which `r1tui status` needs not

    return run(spec, paths, on_status)


def adopt(paths: Paths, max_age_s: float = 0.0) -> Status:
    """Give the server of a killed supervisor a new one; otherwise only the status. `max_age_s` as in `status`."""
    current = settled_status(paths, max_age_s)
    if current.keeper_pid is not None or current.pid is None or current.stray:
        return current
    try:
        return _spawn_supervisor(paths, b"", "--adopt")
    except R1tuiError:
        current = status(paths)
        if current.keeper_pid is None:
            raise
        return current  # somebody else was faster


def answer_started(paths: Paths, conversation_id: str) -> None:
    """Tell the supervisor that an answer is being generated, so that a stop ends it first."""
    ask(paths, "answer_started", conversation_id)


def answer_ended(paths: Paths, conversation_id: str) -> None:
    """Tell the supervisor that the answer is whole or was stopped."""
    ask(paths, "answer_ended", conversation_id)


def restart(paths: Paths) -> None:
    """Have the supervisor end the server and start it again as it was; without a supervisor nothing happens."""
    ask(paths, "restart")


def _spawn_supervisor(paths: Paths, spec: bytes, *options: str) -> Status:
    """A detached supervisor that holds the lock and has written its state."""
    private_folder(paths.run)
    private_folder(paths.logs)
    with suppress(OSError):
        if paths.supervisor_log.stat().st_size > LOG_BYTES:
            paths.supervisor_log.replace(older_log(paths.supervisor_log))
    fd, name = tempfile.mkstemp(dir=paths.run, prefix=f"spec-{os.getpid()}-", suffix=".json")
    with os.fdopen(fd, "wb") as file:
        file.write(spec)
    spec_file = Path(name)
    try:
        argv = [sys.executable, "-P", "-m", "r1tui.supervisor", *options, name]
        supervisor = spawn_detached(argv, supervisor_environment(os.environ, paths), paths.supervisor_log, Path("/"))
        wait_until(lambda: not spec_file.exists() or not alive(supervisor), START_S)
        if not spec_file.exists():
            return status(paths)
        stop_process(supervisor, (1.0, 0.0, 1.0))
        raise _why_not(paths, spec_file)
    finally:
        spec_file.unlink(missing_ok=True)


def _why_not(paths: Paths, spec_file: Path) -> R1tuiError:
    with suppress(OSError, msgspec.DecodeError):
        refusal = decode(spec_file.read_bytes(), Refusal)
        return R1tuiError(refusal.cause, *refusal.remedies)
    return R1tuiError("The supervisor could not start.", f"See {paths.supervisor_log}.")
