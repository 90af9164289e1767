"""A supervisor's whole run: the lock taken, its server started or taken over, and kept until the end."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
from time import monotonic

import msgspec

from r1tui.errors import CancelledError, R1tuiError
from r1tui.messages import ProcessId, ServerRecord, ServerSpec, Status
from r1tui.remedies import StartServer
from r1tui.supervisor.book import OnStatus
from r1tui.supervisor.ending import clean_up
from r1tui.supervisor.lifecycle import Supervisor, with_fallback
from r1tui.supervisor.status import another_server, find_processes, read_record, running_server, status
from r1tui.system.locks import Hold, locked
from r1tui.system.logs import make_no_log_folder
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import boot_id, runs_command

UMASK = 0o077
"""Of the supervisor and of its server: what they write holds what people wrote."""


def run_supervisor(
    spec: ServerSpec, paths: Paths, on_status: OnStatus | None = None, *, detached: bool = False
) -> Status:
    """Start the server and keep it until it ends or is told to stop: by a client, SIGTERM or Ctrl+C.

    The status at the end is `stopped` or `failed`. Raises R1tuiError, before anything is started, when another server
    is running, and CancelledError, after everything is stopped, for Ctrl+C.
    """
    with _supervisor_lock(paths) as lock:
        before = status(paths)
        if before.pid is None and (servers := find_processes(paths).servers):  # whose files somebody has removed
            before = Status(state="failed", pid=servers[0].pid)
        if before.pid is not None:
            raise another_server(before)
        clean_up(paths, spec)
        record = ServerRecord(spec=spec, boot=boot_id(), log=str(paths.server_log))
        supervisor = Supervisor(record, paths, lock, on_status)
        last = asyncio.run(supervisor.run(detached=detached))
    if supervisor.interrupted:
        raise CancelledError("The server was stopped.")
    return last


def adopt_server(paths: Paths, on_status: OnStatus | None = None, *, detached: bool = False) -> Status:
    """Take over the server of a killed supervisor, as `run_supervisor` does; raises R1tuiError without one."""
    with _supervisor_lock(paths) as lock:
        record = read_record(paths)
        server = running_server(record, paths, partial(find_processes, paths)) if record is not None else None
        if record is None or server is None:
            raise R1tuiError("There is no server to take over.", StartServer())
        supervisor = Supervisor(_caught_up(record, server), paths, lock, on_status)
        return asyncio.run(supervisor.run(detached=detached))


def _caught_up(record: ServerRecord, server: ProcessId) -> ServerRecord:
    """The record of this server, which may have been started since the file could last be written."""
    if server == record.server:
        return record
    fallback = next((one for one in record.spec.smaller if runs_command(server.pid, one.argv)), None)
    spec = with_fallback(record.spec, fallback) if fallback else record.spec
    return msgspec.structs.replace(
        record, spec=spec, server=server, state="loading", started_s=monotonic(), ready_s=None
    )


@contextmanager
def _supervisor_lock(paths: Paths) -> Iterator[Hold]:
    for name in ("psutil", "pynvml"):  # packages may be replaced while the supervisor runs: it imports nothing later
        with suppress(Exception):  # bindings of a driver raise anything; their user says what is wrong with them
            import_module(name)
    with ExitStack() as held:
        held.callback(os.umask, os.umask(UMASK))
        private_folder(paths.run)
        private_folder(paths.state)
        make_no_log_folder()
        try:
            lock = held.enter_context(locked(paths.supervisor_lock, "The supervisor of this R1TUI_HOME"))
        except R1tuiError as error:
            raise another_server(status(paths)) from error
        yield lock
