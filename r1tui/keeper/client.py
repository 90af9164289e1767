"""What other programs do with the keeper: start it, ask it, watch it, stop it, replace it when it was killed.

Everything here works on what is true, whether the keeper answers, hangs, or is gone.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import msgspec

from r1tui.errors import R1tuiError
from r1tui.files import decode
from r1tui.keeper.asking import (
    POLL_S,
    REPLY_S,
    KeeperHangsError,
    ask,
    hanging,
    settled,
    settled_end,
    tested,
    wait_until,
    watch,
    watch_async,
)
from r1tui.keeper.protocol import Request, Talk, VersionError, connect, read_status
from r1tui.keeper.state import (
    ENDED,
    ServerSpec,
    Status,
    another_server,
    read_record,
    running_server,
    status,
)
from r1tui.locks import holder, locked
from r1tui.paths import Paths, private_folder
from r1tui.process import ProcessId, alive, identify, older_log, spawn_detached, wait
from r1tui.process import stop as stop_process

__all__ = [
    "KeeperHangsError",
    "adopt",
    "answer_ended",
    "answer_started",
    "hanging",
    "restart",
    "run_keeper",
    "settled",
    "start",
    "status",
    "stop",
    "tested",
    "watch",
    "watch_async",
]

START_S = 30.0
"""The longest that a keeper may take to come up; it is a tenth of a second on an idle machine."""
HANGING_S = 2.0
SPAWN_S = 0.2
"""A child whose parent was killed while spawning it shows its own command by then."""
KEEPER_LOG_BYTES = 1 << 20
STOP_S = 45.0
"""The longest that an orderly stop takes (`r1tui.keeper.ending.END_S`), and some."""


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
    from r1tui.keeper.machine import run_keeper as run  # noqa: PLC0415  asyncio, which `r1tui status` needs not

    return run(spec, paths, on_status)


def adopt(paths: Paths) -> Status:
    """Give a server whose keeper was killed a new keeper; without such a server just the status."""
    current = settled_end(paths)
    if current.keeper_pid is not None or current.pid is None:
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


def stop(paths: Paths) -> Status:
    """Stop the server and its keeper, in order if they let us, and clean up; bounded, and done when it returns."""
    deadline_s = monotonic() + 2 * STOP_S
    last_keeper = _recorded_keeper(paths)
    while monotonic() < deadline_s:
        keeper, recorded = _keeper(paths), _recorded_keeper(paths)
        if keeper is not None and recorded is not None and keeper != recorded and not _listens(paths):
            sleep(POLL_S)  # a client that stops what nobody keeps, or a keeper that is only just there
            continue
        if keeper is not None:
            if (grace_s := _ask_to_stop(paths, keeper)) is not None:
                stop_process(keeper, (grace_s, 0.0, 2.0))
            wait_until(lambda: holder(paths.keeper_lock) is None, 5.0)
        try:
            with locked(paths.keeper_lock, "The keeper of this R1TUI_HOME"):
                stopped = _stop_without_keeper(paths)
        except R1tuiError:
            if holder(paths.keeper_lock) is None:
                raise
            continue
        except OSError:  # a full or read-only disk must not keep a server alive
            return _stop_without_keeper(paths)
        if last_keeper is not None:
            wait(last_keeper, 0.5)  # its last act was to let go of the lock
        return stopped
    raise R1tuiError("The keeper cannot be stopped.", "End it with kill -9; `r1tui status` names its process.")


def _stop_without_keeper(paths: Paths) -> Status:
    """End a server that nobody keeps; the lock is held."""
    from r1tui.keeper.ending import clean_up, end_server, undead  # noqa: PLC0415  asyncio, which `r1tui status` needs not

    try:
        record = read_record(paths)
    except msgspec.DecodeError:
        record = None
    if record is not None and record.state not in ENDED and record.keeper is not None and alive(record.keeper):
        stop_process(record.keeper, (STOP_S, 0.0, 2.0))  # somebody has removed its lock's file
    server = running_server(record) if record is not None else None
    if record is not None and server is None and record.state in ("starting", "restarting"):
        wait_until(lambda: running_server(record) is not None, SPAWN_S)
        server = running_server(record)
    if record is not None and server is not None:
        import asyncio  # noqa: PLC0415

        if not asyncio.run(end_server(server, record.spec, record.answers)):
            raise R1tuiError(*undead(server))
    clean_up(paths, record.spec if record is not None else None)
    return Status()


def _listens(paths: Paths) -> bool:
    """Whether a keeper listens; one that could not write the state file is known by that alone."""
    try:
        connect(paths.keeper_socket).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def _ask_to_stop(paths: Paths, keeper: ProcessId) -> float | None:
    """Have the keeper stop: None when it has, else how long it deserves after a SIGTERM."""
    deadline_s = monotonic() + REPLY_S
    while alive(keeper) and monotonic() < deadline_s:
        try:
            with Talk(paths.keeper_socket, Request("stop"), REPLY_S) as talk:
                line = talk.line(REPLY_S)
                while line:
                    if read_status(line).state in ENDED:
                        return None
                    line = talk.line(STOP_S)
        except VersionError:
            return STOP_S  # it understands a signal
        except (OSError, R1tuiError):
            pass
        sleep(POLL_S)  # it may only just be starting
    return HANGING_S if alive(keeper) else None


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
        argv = [sys.executable, "-P", "-m", "r1tui.keeper", *options, name]
        keeper = spawn_detached(argv, os.environ, paths.keeper_log, Path("/"))
        wait_until(lambda: not spec_file.exists() or not alive(keeper), START_S)
        if not spec_file.exists():
            return status(paths)
        stop_process(keeper, (1.0, 0.0, 1.0))
        raise _why_not(paths, spec_file)
    finally:
        spec_file.unlink(missing_ok=True)


def _why_not(paths: Paths, spec_file: Path) -> R1tuiError:
    with suppress(OSError, msgspec.DecodeError):
        reason = decode(spec_file.read_bytes(), dict[str, str])
        if "cause" in reason:
            return R1tuiError(reason["cause"], reason.get("remedy", ""))
    return R1tuiError("The keeper could not start.", f"{paths.keeper_log} says why.")


def _keeper(paths: Paths) -> ProcessId | None:
    """The process that holds the keeper's lock."""
    pid = holder(paths.keeper_lock)
    return identify(pid) if pid else None


def _recorded_keeper(paths: Paths) -> ProcessId | None:
    with suppress(msgspec.DecodeError):
        record = read_record(paths)
        return record.keeper if record is not None else None
    return None
