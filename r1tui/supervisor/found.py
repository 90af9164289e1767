"""The supervisors and llama-servers of a home, found in the list of processes by their environment or command."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic

from r1tui.messages import ProcessId
from r1tui.system.paths import Paths
from r1tui.system.processes import (
    alive,
    command_line,
    has_open,
    identify,
    is_own,
    leads_session,
    own_pids,
    parent_pid,
    variable,
)

KEEPER_OF = "R1TUI_KEEPER_OF"
SERVER_OF = "R1TUI_SERVER_OF"
"""The variables of a supervisor and of its server; both hold the folder of their sockets."""


_FOLDERS = ("R1TUI_HOME", "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR")


@dataclass(frozen=True)
class HomeProcesses:
    """What runs of a home, this process left out."""

    supervisors: tuple[ProcessId, ...] = ()
    servers: tuple[ProcessId, ...] = ()

    def still_alive(self) -> "HomeProcesses":
        return HomeProcesses(tuple(filter(alive, self.supervisors)), tuple(filter(alive, self.servers)))


_seen: dict[Path, tuple[float, HomeProcesses]] = {}


def find_processes(paths: Paths, max_age_s: float = 0.0) -> HomeProcesses:
    """What runs of this home now, or by a look that is no older than `max_age_s`."""
    at_s, seen = _seen.get(paths.run, (float("-inf"), HomeProcesses()))
    if monotonic() - at_s > max_age_s:
        at_s, seen = monotonic(), _find(paths)
        _seen[paths.run] = at_s, seen
        return seen
    return seen.still_alive()


def recent_processes(paths: Paths) -> HomeProcesses:
    """What of the last look still runs; no look is taken."""
    return _seen.get(paths.run, (0.0, HomeProcesses()))[1].still_alive()


def supervisor_environment(env: Mapping[str, str], paths: Paths) -> dict[str, str]:
    """The environment of a supervisor of this home, which runs in another folder."""
    folders = {name: env[name] for name in _FOLDERS if env.get(name) and not env[name].startswith(("/", "~"))}
    return {**env, **{name: str(Path(value).absolute()) for name, value in folders.items()}, KEEPER_OF: str(paths.run)}


def mark_environment(env: Mapping[str, str], paths: Paths) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != KEEPER_OF} | {SERVER_OF: str(paths.run)}


def is_server(pid: int, paths: Paths) -> bool:
    """Whether this process of ours is a server of this home."""
    if (run := variable(pid, SERVER_OF)) is not None:
        return _is_run(run, paths) and leads_session(pid)
    socket = str(paths.server_socket)  # one that an older r1tui has started
    return any(flag == "--host" and value.split(",")[0] == socket for flag, value in pairwise(command_line(pid)))


def is_recorded_server(pid: int, paths: Paths) -> bool:
    """Whether the process in the state file is this home's server, also after the home was moved, not copied."""
    if is_server(pid, paths):
        return True
    run = variable(pid, SERVER_OF)
    return run is not None and _is_moved(run) and leads_session(pid)


def is_supervisor(pid: int, paths: Paths) -> bool:
    """Whether this user's process supervises this home, or is another r1tui with its lock; no file proves that."""
    if not is_own(pid):
        return False
    run = variable(pid, KEEPER_OF)
    if run is not None and (_is_run(run, paths) or not _is_moved(run)):
        return _is_run(run, paths)
    return any("r1tui" in word for word in command_line(pid)) and has_open(pid, paths.supervisor_lock)


def _is_moved(run: str) -> bool:
    return not Path(run).parent.exists()


def _is_run(run: str, paths: Paths) -> bool:
    """Whether a process's variable means the folder of this home's sockets, whatever links or moves lie between."""
    return run == str(paths.run) or os.path.realpath(run) == os.path.realpath(paths.run)


def _find(paths: Paths) -> HomeProcesses:
    supervisors: dict[int, None] = {}
    servers: dict[int, None] = {}
    for pid in own_pids():
        if pid == os.getpid():
            continue
        if (run := variable(pid, KEEPER_OF)) is not None:
            if _is_run(run, paths):
                supervisors[pid] = None
        elif is_server(pid, paths):
            servers[pid] = None
    for pid in servers:  # a supervisor in a terminal has no such variable; its server is its child
        supervisor = parent_pid(pid)
        if supervisor not in (None, 0, 1, os.getpid()) and supervisor is not None and is_supervisor(supervisor, paths):
            supervisors[supervisor] = None
    keeping = [pid for pid in supervisors if has_open(pid, paths.supervisor_lock)]  # one that is going has let go of it
    return HomeProcesses(_known(keeping), _known(servers))


def _known(pids: Iterable[int]) -> tuple[ProcessId, ...]:
    return tuple(filter(None, map(identify, pids)))
