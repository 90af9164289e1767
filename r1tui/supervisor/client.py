"""What other programs do with the keeper: start it, ask it, watch it, stop it, replace it when it was killed.

Everything here works on what is true, whether the keeper answers, hangs, or is gone.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import Refusal, ServerSpec, Status, decode
from r1tui.supervisor.asking import KeeperHangsError, ask, hanging, settled_end, tested, wait_until, watch_async
from r1tui.supervisor.found import keeper_environment
from r1tui.supervisor.status import another_server, glance, status
from r1tui.supervisor.stopping import stop
from r1tui.system.log_reader import older_log
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import alive, spawn_detached
from r1tui.system.processes import stop as stop_process

__all__ = [
    "KeeperHangsError",
    "adopt",
    "answer_ended",
    "answer_started",
    "glance",
    "hanging",
    "restart",
    "run_keeper",
    "start",
    "status",
    "stop",
    "tested",
    "watch_async",
]

START_S = 30.0
"""The longest that a keeper may take to come up; it is a tenth of a second on an idle machine."""
KEEPER_LOG_BYTES = 1 << 20


def start(spec: ServerSpec, paths: Paths) -> Status:
    """Start a detached keeper with this server; returns once the keeper is there, long before the server is ready.

    Raises R1tuiError when another server is running, or the keeper could not start.
    """
    current = settled_end(paths)
    if current.running:
        raise another_server(current)
    return _spawn_keeper(paths, msgspec.json.encode(spec))


def run_keeper(spec: ServerSpec, paths: Paths, on_status: Callable[[Status], None] | None = None) -> Status:
    """Keep the server in this process until it ends, or a client, a signal or Ctrl+C stops it; how it ended.

    Raises R1tuiError, before anything is started, when another server is running.
    """
    from r1tui.supervisor.running import run_keeper as run  # noqa: PLC0415  asyncio, which `r1tui status` needs not

    return run(spec, paths, on_status)


def adopt(paths: Paths, max_age_s: float = 0.0) -> Status:
    """Give a server whose keeper was killed a new keeper; without such a server just the status.

    `max_age_s` as in `status`.
    """
    current = settled_end(paths, max_age_s)
    if current.keeper_pid is not None or current.pid is None or current.stray:
        return current
    try:
        return _spawn_keeper(paths, b"", "--adopt")
    except R1tuiError:
        current = status(paths)
        if current.keeper_pid is None:
            raise
        return current  # somebody else was faster


def answer_started(paths: Paths, conversation_id: str) -> None:
    """Tell the keeper that an answer is being generated, so that a stop ends it first."""
    ask(paths, "answer_started", conversation_id)


def answer_ended(paths: Paths, conversation_id: str) -> None:
    """Tell the keeper that the answer is whole or was stopped."""
    ask(paths, "answer_ended", conversation_id)


def restart(paths: Paths) -> None:
    """Have the keeper end the server and start it again as it was; without a keeper nothing happens."""
    ask(paths, "restart")


def _spawn_keeper(paths: Paths, spec: bytes, *options: str) -> Status:
    """A detached keeper that holds the lock and has written its state."""
    private_folder(paths.run)
    private_folder(paths.logs)
    with suppress(OSError):
        if paths.keeper_log.stat().st_size > KEEPER_LOG_BYTES:
            paths.keeper_log.replace(older_log(paths.keeper_log))
    fd, name = tempfile.mkstemp(dir=paths.run, prefix=f"spec-{os.getpid()}-", suffix=".json")
    with os.fdopen(fd, "wb") as file:
        file.write(spec)
    spec_file = Path(name)
    try:
        argv = [sys.executable, "-P", "-m", "r1tui.supervisor", *options, name]
        keeper = spawn_detached(argv, keeper_environment(os.environ, paths), paths.keeper_log, Path("/"))
        wait_until(lambda: not spec_file.exists() or not alive(keeper), START_S)
        if not spec_file.exists():
            return status(paths)
        stop_process(keeper, (1.0, 0.0, 1.0))
        raise _why_not(paths, spec_file)
    finally:
        spec_file.unlink(missing_ok=True)


def _why_not(paths: Paths, spec_file: Path) -> R1tuiError:
    with suppress(OSError, msgspec.DecodeError):
        refusal = decode(spec_file.read_bytes(), Refusal)
        return R1tuiError(refusal.cause, *refusal.remedies)
    return R1tuiError("The keeper could not start.", f"{paths.keeper_log} says why.")
