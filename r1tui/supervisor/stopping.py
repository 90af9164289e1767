"""Stops a server and its supervisor from outside: in order where possible, and whatever files are left."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic, sleep

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import ENDED, ControlRequest, ProcessId, ServerRecord, Status
from r1tui.remedies import Run, ShowStatus
from r1tui.supervisor.protocol import (
    POLL_S,
    REPLY_S,
    ForeignError,
    VersionError,
    check_folder,
    connect,
    read_status,
    talk,
)
from r1tui.supervisor.status import find_processes, is_supervisor, read_record, running_server
from r1tui.system.lazy import asyncio
from r1tui.system.locks import holder, locked
from r1tui.system.paths import Paths
from r1tui.system.processes import alive, identify, wait
from r1tui.system.processes import stop as stop_process

HANGING_S = 2.0
SPAWN_S = 0.2
"""A child whose parent was killed while spawning it shows its own command by then."""
STOP_S = 45.0
"""The longest that an orderly stop takes (the sum of the waits in `r1tui.supervisor.ending.end_server`), and some."""
ROUNDS = 3
"""How often it is looked for what somebody has started meanwhile."""
NOT_OURS_S = 3.0
"""A lock that a process of somebody else holds for so long without a break is refused."""


def stop(paths: Paths) -> Status:
    """Stop the server and its supervisor, in order if they let us, and clean up; bounded, and done when it returns.

    Ends only what is proved to be this user's and of this home. Raises R1tuiError for what does not end, and
    ForeignError, after our own were stopped, when the folder of the sockets is another user's.
    """
    try:
        check_folder(paths.run)
    except ForeignError:
        _stop_unsupervised(paths, clean=False)
        raise
    deadline_s = monotonic() + 2 * STOP_S
    known_s = monotonic()
    last_supervisor = _record(paths).supervisor
    while monotonic() < deadline_s:
        supervisor, recorded = _lock_holder(paths), _record(paths).supervisor
        if supervisor is not None and not is_supervisor(supervisor.pid, paths):
            if monotonic() - known_s > NOT_OURS_S:
                raise R1tuiError(
                    f"{paths.supervisor_lock} is held by process {supervisor.pid}, which is not r1tui.",
                    "Remove that file and try again.",
                )
            sleep(POLL_S)  # the name of an earlier holder, or one that is just exiting and has no command line any more
            continue
        known_s = monotonic()
        if supervisor is not None and recorded is not None and supervisor != recorded and not _listens(paths):
            sleep(POLL_S)  # a client that stops what nobody keeps, or a supervisor that is only just there
            continue
        if supervisor is not None:
            if (grace_s := _ask_to_stop(paths, supervisor)) is not None:
                stop_process(supervisor, (grace_s, 0.0, 2.0))
            wait_until(lambda: holder(paths.supervisor_lock) is None, 5.0)
        try:
            with locked(paths.supervisor_lock, "The supervisor of this R1TUI_HOME"):
                stopped = _stop_unsupervised(paths)
        except R1tuiError:
            if holder(paths.supervisor_lock) is None:
                raise
            continue
        except OSError:  # a full or read-only disk must not keep a server alive
            return _stop_unsupervised(paths)
        if last_supervisor is not None:
            ends = last_supervisor.pid != os.getpid() and is_supervisor(last_supervisor.pid, paths)
            wait(last_supervisor, 5.0 if ends else 0.5)  # its last act was to let go of the lock
        return stopped
    raise R1tuiError("The supervisor cannot be stopped.", ShowStatus(), Run("kill -9 PROCESS", "ends it"))


def _stop_unsupervised(paths: Paths, *, clean: bool = True) -> Status:
    """End every server that nobody keeps, and supervisors whose files somebody has removed; the lock is held."""
    from r1tui.supervisor.ending import clean_up, did_not_exit_error, end_server  # noqa: PLC0415  asyncio, which `r1tui status` needs not

    def recorded_server() -> ProcessId | None:
        return running_server(record, paths, partial(find_processes, paths))

    record = _record(paths)
    if record.state not in ENDED and record.supervisor is not None:
        _stop_forgotten(record.supervisor, paths)
    if record.state in ("starting", "restarting"):
        wait_until(lambda: recorded_server() is not None, SPAWN_S)
    server = recorded_server()
    if server is not None and not asyncio.run(end_server(server, record.spec, record.answers)):
        raise did_not_exit_error(server)
    for _ in range(ROUNDS):
        found = find_processes(paths)
        for supervisor in found.supervisors:
            _stop_forgotten(supervisor, paths)
        for server in filter(alive, found.servers):
            if not stop_process(server):
                raise did_not_exit_error(server)
        if not found.supervisors and not found.servers:
            break
    if clean:
        clean_up(paths, record.spec)
    return Status()


def _stop_forgotten(supervisor: ProcessId, paths: Paths) -> None:
    if alive(supervisor) and is_supervisor(supervisor.pid, paths):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(supervisor.pid, signal.SIGCONT)
        stop_process(supervisor, (STOP_S, 0.0, 2.0))


def _listens(paths: Paths) -> bool:
    """True if a supervisor listens; one that could not write the state file is known by that alone."""
    try:
        connect(paths.supervisor_socket).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def _ask_to_stop(paths: Paths, supervisor: ProcessId) -> float | None:
    """Have the supervisor stop: None when it has, else how long it deserves after a SIGTERM."""
    deadline_s = monotonic() + REPLY_S
    while alive(supervisor) and monotonic() < deadline_s:
        try:
            with talk(paths.supervisor_socket, ControlRequest("stop"), REPLY_S) as read_line:
                line = read_line(REPLY_S)
                while line:
                    if read_status(line).state in ENDED:
                        return None
                    line = read_line(STOP_S)
        except VersionError:
            return STOP_S  # it understands a signal
        except (OSError, R1tuiError):
            pass
        sleep(POLL_S)  # it may only just be starting
    return HANGING_S if alive(supervisor) else None


def _lock_holder(paths: Paths) -> ProcessId | None:
    with suppress(OSError):  # without locks there is none, and a server ends all the same
        return identify(pid) if (pid := holder(paths.supervisor_lock)) else None
    return None


def _record(paths: Paths) -> ServerRecord:
    with suppress(msgspec.DecodeError):
        return read_record(paths) or ServerRecord()
    return ServerRecord()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """True if the condition came true in time."""
    deadline_s = monotonic() + timeout_s
    while not condition():
        if monotonic() >= deadline_s:
            return False
        sleep(POLL_S)
    return True
