"""The truth about the server: the state file, and the supervisors and llama-servers in the list of processes."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic

import msgspec

from r1tui.errors import R1tuiError, os_error
from r1tui.messages import ENDED, VERSION, ProcessId, ServerRecord, Status, Version, decode_own
from r1tui.remedies import RestartServer, Run, StartServer, StopServer
from r1tui.supervisor.protocol import check_folder
from r1tui.system.files import read_bytes, write_private
from r1tui.system.locks import holder
from r1tui.system.paths import Paths
from r1tui.system.processes import (
    alive,
    boot_id,
    command_line,
    has_open,
    identify,
    is_own,
    own_pids,
    parent_pid,
    runs_command,
    session_of,
    variable,
)

KEEPER_OF = "R1TUI_KEEPER_OF"
SERVER_OF = "R1TUI_SERVER_OF"
"""The variables of a supervisor and of its server; both hold the folder of their sockets."""
_FOLDERS = ("R1TUI_HOME", "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR")


def status(paths: Paths, max_age_s: float = 0.0) -> Status:
    """The truth, from the state file and the processes that there are; asks nobody and starts nothing.

    Where no file tells of a process, the system's list of them is looked through, unless that was done in the last
    `max_age_s`. That is no work for an event loop, see `recent_status`.
    """
    return _status(paths, partial(find_processes, paths, max_age_s))


def recent_status(paths: Paths) -> Status:
    """As `status`, by the last look at the system's list of processes: quick enough for an event loop."""
    return _status(paths, partial(recent_processes, paths))


def another_server(other: Status) -> R1tuiError:
    """The error of a start while another server runs."""
    name = other.variant or other.model or "A server"
    process = f", PID {other.pid}" if other.pid else ""
    return R1tuiError(f"{name} is already running ({other.state}{process}).", StopServer())


def read_record(paths: Paths) -> ServerRecord | None:
    """The state file; None when there is none. Raises msgspec.DecodeError for anything but a record."""
    try:
        raw = read_bytes(paths.state_file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise msgspec.DecodeError(error.strerror or str(error)) from error
    try:
        return decode_own(raw, ServerRecord)
    except msgspec.DecodeError:
        version = decode_own(raw, Version).version
        if version == VERSION:
            raise
        raise msgspec.DecodeError(f"another r1tui version wrote it (state version {version})") from None


def write_record(paths: Paths, record: ServerRecord) -> None:
    """Replace the state file, whole or not at all, also across a power failure; its folder is not made for it."""
    write_private(paths.state_file, msgspec.json.encode(record))


def is_being_stopped(paths: Paths) -> bool:
    """True if the server is being stopped in order, or was and is gone; not one that ended by itself."""
    try:
        record = read_record(paths)
    except msgspec.DecodeError:
        return False
    return record is None or record.state in ("stopping", "stopped")


def _status(paths: Paths, find: "Callable[[], HomeProcesses]") -> Status:
    holder_pid, foreign, record, damage = None, None, None, ""
    try:
        check_folder(paths.run)
        holder_pid = holder(paths.supervisor_lock) or None
    except R1tuiError as error:
        foreign = error
    except OSError as error:
        foreign = os_error(error)
    try:
        record = read_record(paths)
    except msgspec.DecodeError as error:
        damage = f"{paths.state_file} cannot be read: {error}."
    supervisor = _supervisor_pid(record, holder_pid, paths)
    server = running_server(record, paths, find) if record is not None else None
    if supervisor is None and server is None and ((found := find()).supervisors or found.servers):
        now = _without_record(paths, found, damage)
    elif record is not None:
        now = describe(record, server=server, supervisor_pid=supervisor)
    elif damage:
        now = Status(state="failed", supervisor_pid=supervisor, cause=damage, remedies=(RestartServer(),))
    else:
        now = Status(state="starting" if supervisor else "stopped", supervisor_pid=supervisor)
    if foreign is not None:
        now = msgspec.structs.replace(now, state="failed", cause=foreign.cause, remedies=foreign.remedies)
    return now


def _supervisor_pid(record: ServerRecord | None, holder_pid: int | None, paths: Paths) -> int | None:
    """The supervisor's pid: the lock's holder, or the one in the record where the lock's file was removed."""
    named = record.supervisor if record is not None else None
    if record is None or named is None:  # a killed one lets go of its lock a moment after its end
        return holder_pid if holder_pid is not None and identify(holder_pid) is not None else None
    if named.pid == holder_pid and not alive(named):
        return None  # somebody else looks at the lock that a killed supervisor left
    if holder_pid is None and record.state not in ENDED and alive(named) and is_supervisor(named.pid, paths):
        return named.pid
    return holder_pid


def _without_record(paths: Paths, found: "HomeProcesses", damage: str) -> Status:
    """The status of processes that no state file names; a living supervisor writes it anew in a moment."""
    server = found.servers[0].pid if found.servers else None
    if found.supervisors:
        return Status(state="starting", pid=server, supervisor_pid=found.supervisors[0].pid)
    cause = f"A llama-server is running (PID {server}). {damage or f'It is not in {paths.state_file}.'}"
    return Status(state="failed", pid=server, cause=cause, remedies=(StopServer(),))


def running_server(record: ServerRecord, paths: Paths, find: "Callable[[], HomeProcesses]") -> ProcessId | None:
    """The record's llama-server if it runs: the same pid, the same start, the same command, and of this home.

    Where both are dead, another one with a command of the record's counts: its supervisor was killed before it could
    write the file.
    """
    spec, server = record.spec, record.server
    if server is not None and alive(server) and runs_command(server.pid, spec.argv) and _is_recorded(server.pid, paths):
        return server
    if record.state in ENDED or record.boot not in ("", boot_id()) or alive(record.supervisor):
        return None
    commands = (spec.argv, *(one.argv for one in spec.smaller))
    return next((one for one in find().servers if any(runs_command(one.pid, argv) for argv in commands)), None)


def describe(record: ServerRecord, *, server: ProcessId | None, supervisor_pid: int | None) -> Status:
    """The status that a record means while these processes run."""
    spec = record.spec
    state, cause, remedies = record.state, record.cause, record.remedies
    never_spawned = record.server is None
    if server is None and supervisor_pid is None and state not in ENDED:
        if state == "stopping" or record.boot != boot_id():
            state, cause, remedies = "stopped", None, ()
        else:
            cause = "llama-server and its supervisor were both killed."
            if state == "restarting" and never_spawned:
                cause = "The supervisor was killed while it waited."
            state, remedies = "failed", (StartServer(),)
    elif server is not None and supervisor_pid is None:
        if state != "failed":
            cause = "The supervisor was killed; llama-server is still running."
            remedies = (Run("r1tui", "takes it over"), StopServer())
        if state == "starting" or (state == "restarting" and never_spawned):
            state = "loading"
    elif server is None and state in ("loading", "ready", "sleeping"):  # the supervisor is about to see its end
        state = "restarting" if spec.restart_delays_s else "stopping"
    elif record.version != VERSION and cause is None:
        cause = f"The supervisor is of another r1tui version (state version {record.version})."
        remedies = (RestartServer(),)
    gone = state in ENDED
    return Status(
        state=state,
        pid=server.pid if server else None,
        supervisor_pid=supervisor_pid,
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
        answers=list(record.answers) if server or supervisor_pid else [],
        evidence=list(record.evidence),
        kind=record.kind,
        endings=list(record.endings),
        version=record.version,
        load_s=None if record.ready_s is None else record.ready_s - record.started_s,
    )


@dataclass(frozen=True)
class HomeProcesses:
    """Running processes of a home, without this one."""

    supervisors: tuple[ProcessId, ...] = ()
    servers: tuple[ProcessId, ...] = ()

    def still_alive(self) -> "HomeProcesses":
        return HomeProcesses(tuple(filter(alive, self.supervisors)), tuple(filter(alive, self.servers)))


_seen: dict[Path, tuple[float, HomeProcesses]] = {}


def find_processes(paths: Paths, max_age_s: float = 0.0) -> HomeProcesses:
    """Find the running processes of this home; an earlier result of at most `max_age_s` may be used."""
    at_s, seen = _seen.get(paths.run, (float("-inf"), HomeProcesses()))
    if monotonic() - at_s <= max_age_s:
        return seen.still_alive()
    at_s, seen = monotonic(), _find(paths)
    _seen[paths.run] = at_s, seen
    return seen


def recent_processes(paths: Paths) -> HomeProcesses:
    """Processes of the last search that still run, without a new search."""
    return _seen.get(paths.run, (0.0, HomeProcesses()))[1].still_alive()


def supervisor_environment(env: Mapping[str, str], paths: Paths) -> dict[str, str]:
    """The environment of a supervisor of this home, which runs in another folder."""
    folders = {name: env[name] for name in _FOLDERS if env.get(name) and not env[name].startswith(("/", "~"))}
    return {**env, **{name: str(Path(value).absolute()) for name, value in folders.items()}, KEEPER_OF: str(paths.run)}


def mark_environment(env: Mapping[str, str], paths: Paths) -> dict[str, str]:
    """The environment of a server of this home."""
    return {name: value for name, value in env.items() if name != KEEPER_OF} | {SERVER_OF: str(paths.run)}


def is_supervisor(pid: int, paths: Paths) -> bool:
    """True if this user's process supervises this home, or is another r1tui with its lock; no file proves that."""
    if not is_own(pid):
        return False
    run = variable(pid, KEEPER_OF)
    if run is not None and (_is_run(run, paths) or not _is_moved(run)):
        return _is_run(run, paths)
    return any("r1tui" in word for word in command_line(pid)) and has_open(pid, paths.supervisor_lock)


def _is_server(pid: int, paths: Paths) -> bool:
    """True if this process of ours is a server of this home."""
    if (run := variable(pid, SERVER_OF)) is not None:
        return _is_run(run, paths) and session_of(pid) == pid
    socket = str(paths.server_socket)  # one that an older r1tui has started
    return any(flag == "--host" and value.split(",")[0] == socket for flag, value in pairwise(command_line(pid)))


def _is_recorded(pid: int, paths: Paths) -> bool:
    """True if the process in the state file is this home's server, also after the home was moved, not copied."""
    if _is_server(pid, paths):
        return True
    run = variable(pid, SERVER_OF)
    return run is not None and _is_moved(run) and session_of(pid) == pid


def _is_moved(run: str) -> bool:
    return not Path(run).parent.exists()


def _is_run(run: str, paths: Paths) -> bool:
    """True if a process's variable means the folder of this home's sockets, whatever links or moves lie between."""
    return run == str(paths.run) or os.path.realpath(run) == os.path.realpath(paths.run)


def _find(paths: Paths) -> HomeProcesses:
    supervisors: set[int] = set()
    servers: list[int] = []
    for pid in own_pids():
        if pid == os.getpid():
            continue
        if (run := variable(pid, KEEPER_OF)) is not None:
            if _is_run(run, paths):
                supervisors.add(pid)
        elif _is_server(pid, paths):
            servers.append(pid)
    # A supervisor in a terminal has no such variable; its server is its child.
    parents = {parent_pid(server) or 0 for server in servers} - {0, 1, os.getpid()}
    supervisors |= {pid for pid in parents if is_supervisor(pid, paths)}
    # Not one that is going.
    keeping = [pid for pid in sorted(supervisors) if has_open(pid, paths.supervisor_lock, or_moved=True)]
    return HomeProcesses(_known(keeping), _known(servers))


def _known(pids: Iterable[int]) -> tuple[ProcessId, ...]:
    return tuple(filter(None, map(identify, pids)))
