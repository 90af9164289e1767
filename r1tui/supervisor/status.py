"""What is true of the server now, by the state file and the processes that there are."""

from collections.abc import Callable
from functools import partial
from time import monotonic

import msgspec

from r1tui.errors import R1tuiError, os_error
from r1tui.messages import ENDED, VERSION, ProcessId, ServerRecord, Status
from r1tui.remedies import RestartServer, Run, StartServer, StopServer
from r1tui.supervisor.found import HomeProcesses, find_processes, is_recorded_server, is_supervisor, recent_processes
from r1tui.supervisor.state_file import read_record
from r1tui.supervisor.trust import check_folder
from r1tui.system.locks import holder
from r1tui.system.paths import Paths
from r1tui.system.processes import alive, boot_id, identify, runs_command


def another_server(other: Status) -> R1tuiError:
    name = other.variant or other.model or "A server"
    process = f", PID {other.pid}" if other.pid else ""
    return R1tuiError(f"{name} is already running ({other.state}{process}).", StopServer())


def status(paths: Paths, max_age_s: float = 0.0) -> Status:
    """The truth, from the state file and the processes that there are; asks nobody and starts nothing.

    Where no file tells of a process, the system's list of them is looked through, unless that was done in the last
    `max_age_s`. That is no work for an event loop, see `recent_status`.
    """
    return _status(paths, partial(find_processes, paths, max_age_s))


def recent_status(paths: Paths) -> Status:
    """As `status`, by the last look at the system's list of processes: quick enough for an event loop."""
    return _status(paths, partial(recent_processes, paths))


def _status(paths: Paths, find: Callable[[], HomeProcesses]) -> Status:
    try:
        check_folder(paths.run)
        holder_pid, foreign = holder(paths.supervisor_lock) or None, None
    except R1tuiError as error:
        holder_pid, foreign = None, error
    except OSError as error:
        holder_pid, foreign = None, os_error(error)
    record, damage = None, ""
    try:
        record = read_record(paths)
    except msgspec.DecodeError as error:
        damage = f"{paths.state_file} cannot be understood: {error}."
    supervisor = _supervisor_pid(record, holder_pid, paths)
    server = running_server(record, paths, find) if record is not None else None
    if supervisor is None and server is None and ((found := find()).supervisors or found.servers):
        now = _without_record(paths, found, damage)
    elif record is not None:
        now = describe(record, server=server, keeper_pid=supervisor)
    elif damage:
        now = Status(state="failed", keeper_pid=supervisor, cause=damage, remedies=(RestartServer(),))
    else:
        now = Status(state="starting" if supervisor else "stopped", keeper_pid=supervisor)
    if foreign is not None:
        now = msgspec.structs.replace(now, state="failed", cause=foreign.cause, remedies=foreign.remedies)
    return now


def _supervisor_pid(record: ServerRecord | None, holder_pid: int | None, paths: Paths) -> int | None:
    """The supervisor's pid: the lock's holder, or the one in the record where the lock's file was removed."""
    named = record.keeper if record is not None else None
    if record is None or named is None:  # a killed one lets go of its lock a moment after its end
        return holder_pid if holder_pid is not None and identify(holder_pid) is not None else None
    if named.pid == holder_pid and not alive(named):
        return None  # somebody else looks at the lock that a killed supervisor left
    if holder_pid is None and record.state not in ENDED and alive(named) and is_supervisor(named.pid, paths):
        return named.pid
    return holder_pid


def _without_record(paths: Paths, found: HomeProcesses, damage: str) -> Status:
    """What runs though the state file does not tell of it; a supervisor that lives writes it anew in a moment."""
    supervisor = found.supervisors[0].pid if found.supervisors else None
    server = found.servers[0].pid if found.servers else None
    if supervisor is not None:
        return Status(state="starting", pid=server, keeper_pid=supervisor)
    why = damage or f"{paths.state_file} does not name it."
    return Status(
        state="failed", pid=server, cause=f"A llama-server is running (PID {server}). {why}", remedies=(StopServer(),)
    )


def running_server(record: ServerRecord, paths: Paths, find: Callable[[], HomeProcesses]) -> ProcessId | None:
    """The record's llama-server if it runs: the same pid, the same start, the same command, and of this home.

    Where both are dead, another one with a command of the record's counts: its supervisor was killed before it could
    write the file.
    """
    spec, server = record.spec, record.server
    named = server is not None and alive(server) and runs_command(server.pid, spec.argv)
    if server is not None and named and is_recorded_server(server.pid, paths):
        return server
    if record.state in ENDED or record.boot not in ("", boot_id()) or alive(record.keeper):
        return None
    commands = (spec.argv, *(one.argv for one in spec.smaller))
    return next((one for one in find().servers if any(runs_command(one.pid, argv) for argv in commands)), None)


def describe(record: ServerRecord, *, server: ProcessId | None, keeper_pid: int | None) -> Status:
    spec = record.spec
    state, cause, remedies = record.state, record.cause, record.remedies
    if server is None and keeper_pid is None and state not in ENDED:
        rebooted = record.boot != boot_id()
        state = "stopped" if rebooted or state == "stopping" else "failed"
        waited = record.state == "restarting" and record.server is None
        killed = (
            "The supervisor was killed while it waited"
            if waited
            else "llama-server and its supervisor were both killed"
        )
        cause = None if state == "stopped" else f"{killed}."
        remedies = () if state == "stopped" else (StartServer(),)
    elif server is not None and keeper_pid is None:
        if state != "failed":
            cause = "The supervisor was killed; llama-server is still running."
            remedies = (Run("r1tui", "takes it over"), StopServer())
        state = "loading" if state == "starting" or (state == "restarting" and record.server is None) else state
    elif server is None and state in ("loading", "ready", "sleeping"):
        state = (
            "restarting" if spec.restart_delays_s else "stopping"
        )  # its supervisor is about to see that it has ended
    elif record.version != VERSION and cause is None:
        cause = f"The supervisor belongs to another r1tui (state version {record.version})."
        remedies = (RestartServer(),)
    gone = state in ENDED
    return Status(
        state=state,
        pid=server.pid if server else None,
        keeper_pid=keeper_pid,
        restarts=record.restarts,
        exit_status=record.exit_status,
        variant=spec.variant or None,
        endpoint=None if gone else f"unix:{spec.socket}",
        uptime_s=round(max(monotonic() - record.started_s, 0.0), 1) if server else None,
        argv=list(spec.argv) or None,
        log=record.log or None,
        cause=cause,
        remedies=remedies,
        model=spec.model or None,
        tcp=None if gone else spec.tcp,
        key_file=None if gone else spec.key_file,
        plan=spec.plan,
        answers=list(record.answers) if server or keeper_pid else [],
        evidence=list(record.evidence),
        kind=record.kind,
        endings=list(record.endings),
        version=record.version,
        load_s=None if record.ready_s is None else record.ready_s - record.started_s,
    )
