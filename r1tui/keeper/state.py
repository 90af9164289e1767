"""What is known about the managed server: what it was started with, the state file, and what is true of it now."""

import os
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Literal

import msgspec

from r1tui.errors import R1tuiError, os_error
from r1tui.files import decode_own, read_bytes, write_private
from r1tui.keeper.found import Found, is_keeper, is_recorded_server, look
from r1tui.keeper.found import glance as glance_at
from r1tui.keeper.trust import check_folder
from r1tui.locks import holder
from r1tui.paths import Paths
from r1tui.process import ProcessId, alive, boot_id, identify, runs_command

VERSION = 2
"""Of the state file and the control protocol; raised when an older r1tui could misread them."""

State = Literal["stopped", "starting", "loading", "ready", "sleeping", "restarting", "stopping", "failed"]
ENDED = ("stopped", "failed")
START_AGAIN = "Start it again with `r1tui serve`."
LONGEST_PID = 10
STRAY = "`r1tui stop` ends it."
RESTART = "Restart it with this r1tui: `r1tui stop`, then `r1tui serve`."


class Smaller(msgspec.Struct, frozen=True, kw_only=True):
    """The same server with a plan that takes less memory, for when it runs out."""

    argv: list[str]
    plan: dict[str, Any] | None = None
    words: str = ""
    """What is less, for a person."""
    spares_host: bool = False
    """Whether it takes less of the machine's own memory too, not only of a GPU's."""


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a keeper needs to start a server, and to start it again."""

    version: int = VERSION
    variant: str = ""
    fetched_as: str = ""
    """What `r1tui download` knows the model by; empty for a file of the user's own."""
    model: str = ""
    argv: list[str] = []
    """llama-server's command, the binary first."""
    socket: str = ""
    """The Unix socket that `argv` makes it listen on."""
    tcp: str | None = None
    """HOST:PORT for other tools, if it listens there too."""
    plan: dict[str, Any] | None = None
    """The plan's JSON object as it came."""
    key_file: str | None = None
    """Where the keeper writes a random API key for the server; it removes it at the end. None: no key."""
    log_max_mib: int = 64
    owner: ProcessId | None = None
    """The server is for this process and ends with it, unless somebody else's answer is running; None: it stays."""
    restart_delays_s: list[float] = []
    """The waits before it is started again after it ended by itself; one after the last gives up. Empty: never."""
    steady_s: float = 600.0
    """A server that was ready for so long has its earlier failures forgotten."""
    smaller: list[Smaller] = []
    """What is tried in turn when memory runs out."""
    sleeps: bool = False
    """Whether it frees its memory when nobody uses it (`--sleep-idle-seconds`)."""
    silence_s: float = 20.0
    """A ready server that has not said for so long that it is well is shown as hanging."""
    cwd: str | None = None
    """The folder that relative paths in `argv` mean; None: the home of nothing, `/`."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A server that ended and was started again."""

    cause: str
    next: str
    """What was done then, for a person."""
    kind: str = ""
    """Of the cause, see `r1tui.server.diagnosis.Kind`."""
    plan: dict[str, Any] | None = None
    """The plan that it ran by."""


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The state file's content."""

    version: int = VERSION
    spec: ServerSpec = ServerSpec()
    state: State = "stopped"
    keeper: ProcessId | None = None
    server: ProcessId | None = None
    boot: str = ""
    started_s: float = 0.0
    """When llama-server was started, by the system's monotonic clock of that boot."""
    ready_s: float | None = None
    """When it became ready, by the same clock; None: it has not been."""
    restarts: int = 0
    """How often it was started again in all."""
    failures: int = 0
    """How often in a row, without a steady time between."""
    exit_status: int | None = None
    """Of the last server that ended by itself; negative for a signal, None while unknown."""
    log: str = ""
    log_capped: bool = False
    """Whether the older log holds the beginning of this server's."""
    cause: str | None = None
    remedy: str | None = None
    evidence: list[str] = []
    """The lines of the log that the cause rests on."""
    kind: str | None = None
    """Of the cause of a failure, see `r1tui.server.diagnosis.Kind`."""
    endings: list[Ending] = []
    """The last ones, oldest first; `restarts` counts them all."""
    answers: list[str] = []
    """The conversation ids of the answers being generated."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of the managed server now. The first twelve fields are the object of `status --json`."""

    state: State = "stopped"
    pid: int | None = None
    keeper_pid: int | None = None
    restarts: int = 0
    exit_status: int | None = None
    variant: str | None = None
    endpoint: str | None = None
    uptime_s: float | None = None
    argv: list[str] | None = None
    log: str | None = None
    cause: str | None = None
    remedy: str | None = None
    model: str | None = None
    tcp: str | None = None
    key_file: str | None = None
    plan: dict[str, Any] | None = None
    answers: list[str] = []
    evidence: list[str] = []
    kind: str | None = None
    endings: list[Ending] = []
    version: int = VERSION
    keeper_hangs: bool = False
    """Whether its keeper was asked and did not answer; no keeper says so of itself."""

    @property
    def hangs(self) -> bool:
        """Whether a server that was ready has stopped answering, or its keeper has; `cause` says so."""
        silent = self.cause is not None and self.version == VERSION
        return self.keeper_hangs or (self.state in ("ready", "sleeping") and self.keeper_pid is not None and silent)

    @property
    def comes_up(self) -> bool:
        """Whether a keeper is bringing it up."""
        known = self.keeper_pid is not None and self.argv is not None  # a keeper that is going has no record any more
        return known and not self.keeper_hangs and self.state in ("starting", "loading", "restarting")

    @property
    def waits_for_start(self) -> bool:
        """Whether its keeper can start it again now: it hangs, or waits to be started again."""
        return self.hangs or self.state == "restarting"

    @property
    def running(self) -> bool:
        """Whether there is a server, or a keeper that is about to have one."""
        return self.pid is not None or self.keeper_pid is not None

    @property
    def stray(self) -> bool:
        """Whether nobody keeps this server and no file tells what it is: it can be stopped, and no more."""
        return self.pid is not None and self.keeper_pid is None and self.argv is None

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen by itself before somebody uses the server."""
        return self.state in ("stopped", "ready", "sleeping", "failed")

    def as_json(self) -> dict[str, Any]:
        """The object of `status --json`."""
        return {name: getattr(self, name) for name in self.__struct_fields__[:12]}


def another_server(other: Status) -> R1tuiError:
    """The error of a start while there is a server."""
    name = other.variant or other.model or "A server"
    process = f", process {other.pid}" if other.pid else ""
    return R1tuiError(f"{name} is running already ({other.state}{process}).", "Stop it first: `r1tui stop`.")


def new_conversation_id() -> str:
    """A name for an answer that nobody else uses and that tells which process asked."""
    return f"{os.getpid()}-{secrets.token_hex(16)}"


def asker_of(name: str) -> int | None:
    """The process that asked; None for a name that does not tell."""
    pid = name.partition("-")[0]
    return int(pid) if pid.isdecimal() and len(pid) <= LONGEST_PID else None


def asked_by_others(answers: Sequence[str], pid: int) -> bool:
    """Whether one of these answers is for another process than `pid`; it may have been killed, and come back."""
    return any(asker_of(answer) not in (pid, None) for answer in answers)


def status(paths: Paths, max_age_s: float = 0.0) -> Status:
    """The truth, from the state file and the processes that there are; asks nobody and starts nothing.

    Where no file tells of a process, the system's list of them is looked through, unless that was done in the last
    `max_age_s`. That is no work for an event loop, see `glance`.
    """
    return _status(paths, partial(look, paths, max_age_s))


def glance(paths: Paths) -> Status:
    """As `status`, by the last look at the system's list of processes: quick enough for an event loop."""
    return _status(paths, partial(glance_at, paths))


def _status(paths: Paths, find: Callable[[], Found]) -> Status:
    try:
        check_folder(paths.run)
        holder_pid, foreign = holder(paths.keeper_lock) or None, None
    except R1tuiError as error:
        holder_pid, foreign = None, error
    except OSError as error:
        holder_pid, foreign = None, os_error(error)
    record, damage = None, ""
    try:
        record = read_record(paths)
    except msgspec.DecodeError as error:
        damage = f"{paths.state_file} cannot be understood: {error}."
    keeper = _keeper_pid(record, holder_pid, paths)
    server = running_server(record, paths, find) if record is not None else None
    if keeper is None and server is None and ((found := find()).keepers or found.servers):
        now = _without_record(paths, found, damage)
    elif record is not None:
        now = describe(record, server=server, keeper_pid=keeper)
    elif damage:
        now = Status(state="failed", keeper_pid=keeper, cause=damage, remedy=RESTART)
    else:
        now = Status(state="starting" if keeper else "stopped", keeper_pid=keeper)
    if foreign is not None:
        now = msgspec.structs.replace(now, state="failed", cause=foreign.cause, remedy=foreign.remedy)
    return now


def _keeper_pid(record: ServerRecord | None, holder_pid: int | None, paths: Paths) -> int | None:
    """The keeper: the lock's holder, or the one that the record names where somebody has removed the lock's file."""
    named = record.keeper if record is not None else None
    if record is None or named is None:  # a killed one lets go of its lock a moment after its end
        return holder_pid if holder_pid is not None and identify(holder_pid) is not None else None
    if named.pid == holder_pid and not alive(named):
        return None  # somebody else looks at the lock that a killed keeper left
    if holder_pid is None and record.state not in ENDED and alive(named) and is_keeper(named.pid, paths):
        return named.pid
    return holder_pid


def _without_record(paths: Paths, found: Found, damage: str) -> Status:
    """What runs though the state file does not tell of it; a keeper that lives writes it anew in a moment."""
    keeper = found.keepers[0].pid if found.keepers else None
    server = found.servers[0].pid if found.servers else None
    if keeper is not None:
        return Status(state="starting", pid=server, keeper_pid=keeper)
    why = damage or f"{paths.state_file} does not tell of it."
    return Status(state="failed", pid=server, cause=f"A llama-server runs (process {server}). {why}", remedy=STRAY)


def running_server(record: ServerRecord, paths: Paths, find: Callable[[], Found]) -> ProcessId | None:
    """The record's llama-server if it runs: the same pid, the same start, the same command, and of this home.

    Where keeper and server are dead there may be another one with a command of the record's: its keeper was killed
    while spawning it, or could not write the file.
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
    """The record in the light of which of its processes run."""
    spec = record.spec
    state, cause, remedy = record.state, record.cause, record.remedy
    if server is None and keeper_pid is None and state not in ENDED:
        rebooted = record.boot != boot_id()
        state = "stopped" if rebooted or state == "stopping" else "failed"
        waited = record.state == "restarting" and record.server is None
        killed = "The keeper was killed while it waited" if waited else "llama-server and its keeper were both killed"
        cause = None if state == "stopped" else f"{killed}."
        remedy = None if state == "stopped" else START_AGAIN
    elif server is not None and keeper_pid is None:
        if state != "failed":
            cause, remedy = (
                "The keeper was killed; llama-server runs on.",
                "`r1tui` takes it over; `r1tui stop` ends it.",
            )
        state = "loading" if state == "starting" or (state == "restarting" and record.server is None) else state
    elif server is None and state in ("loading", "ready", "sleeping"):
        state = "restarting" if spec.restart_delays_s else "stopping"  # its keeper is about to see that it has ended
    elif record.version != VERSION and cause is None:
        cause, remedy = f"The keeper belongs to another r1tui (state version {record.version}).", RESTART
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
        remedy=remedy,
        model=spec.model or None,
        tcp=None if gone else spec.tcp,
        key_file=None if gone else spec.key_file,
        plan=spec.plan,
        answers=list(record.answers) if server or keeper_pid else [],
        evidence=list(record.evidence),
        kind=record.kind,
        endings=list(record.endings),
        version=record.version,
    )


def is_being_stopped(paths: Paths) -> bool:
    """Whether the server is being stopped in order, or was and is gone; not one that ended by itself."""
    try:
        record = read_record(paths)
    except msgspec.DecodeError:
        return False
    return record is None or record.state in ("stopping", "stopped")


def read_record(paths: Paths) -> ServerRecord | None:
    """The state file; None when there is none. Raises msgspec.DecodeError for anything but a record."""
    try:
        raw = read_bytes(paths.state_file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise msgspec.DecodeError(error.strerror or str(error)) from error
    return decode_own(raw, ServerRecord)


def write_record(paths: Paths, record: ServerRecord) -> None:
    """Replace the state file, whole or not at all, also across a power failure; its folder is not made for it."""
    write_private(paths.state_file, msgspec.json.encode(record))
