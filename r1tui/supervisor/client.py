"""What other programs do with the supervisor, whether it answers, hangs or was killed. Every wait is bounded."""

import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import ENDED, ControlRequest, Op, Refusal, ServerSpec, Status, decode
from r1tui.remedies import RestartServer
from r1tui.supervisor.protocol import LONGEST_REPLY_BYTES, POLL_S, REPLY_S, connect, encode_line, read_status, talk
from r1tui.supervisor.status import another_server, recent_status, status, supervisor_environment
from r1tui.supervisor.stopping import stop, wait_until
from r1tui.system.lazy import asyncio
from r1tui.system.log_reader import older_log
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import alive, spawn_detached
from r1tui.system.processes import stop as stop_process

if TYPE_CHECKING:
    import socket

__all__ = ["recent_status", "status", "stop"]

WATCH_POLL_S = 0.1
SILENCE_S = 10.0
"""A watcher whom nothing was told for so long asks whether the supervisor still lives."""
SETTLING_S = 2.0
UNREACHABLE_S = 60.0
"""A supervisor that nobody could connect to for so long hangs; whoever stops a server takes less."""
START_S = 30.0
"""The longest that a supervisor may take to come up; it is a tenth of a second on an idle machine."""
LOG_BYTES = 1 << 20
RECORD_S = 3.0
"""The longest that is waited for the supervisor's asking the server for an answer."""


class SupervisorHangsError(R1tuiError):
    def __init__(self) -> None:
        super().__init__("The supervisor of llama-server does not answer.", RestartServer(hangs=True))


def ask(paths: Paths, op: Op, conversation_id: str | None = None) -> Status | None:
    """Ask the supervisor; None when there is none. Raises SupervisorHangsError, and R1tuiError for a refusal."""
    request = ControlRequest(op, conversation_id=conversation_id)
    try:
        with talk(paths.supervisor_socket, request, REPLY_S) as read_line:
            line = read_line(REPLY_S)
    except TimeoutError as error:
        raise SupervisorHangsError from error
    except OSError:
        return None
    return read_status(line) if line else None


def answer_started(paths: Paths, conversation_id: str) -> None:
    """Tell the supervisor that an answer is being generated, so that a stop ends it first."""
    ask(paths, "answer_started", conversation_id)


def answer_ended(paths: Paths, conversation_id: str) -> None:
    """Tell the supervisor that the answer is whole or was stopped."""
    ask(paths, "answer_ended", conversation_id)


def restart(paths: Paths) -> None:
    """Have the supervisor end the server and start it again as it was; without a supervisor nothing happens."""
    ask(paths, "restart")


def verified_status(paths: Paths, now: Status) -> Status:
    """The status `now`, or the supervisor's where the state file is missing; one that hangs is shown as hanging."""
    if now.supervisor_pid is None:
        return now
    try:
        reported = ask(paths, "status")
    except SupervisorHangsError as error:
        return hanging_status(now, error)
    except R1tuiError:  # it belongs to another r1tui, and the status says so
        return now
    return now if reported is None or now.argv is not None else reported


def hanging_status(now: Status, error: SupervisorHangsError) -> Status:
    """The status with the supervisor's hanging as its cause."""
    return msgspec.structs.replace(now, cause=error.cause, remedies=error.remedies, supervisor_hangs=True)


def settled_status(paths: Paths, max_age_s: float = 0.0) -> Status:
    """The status, once a supervisor that is coming up or ending has done so; `max_age_s` as in `status`."""
    deadline_s = monotonic() + SETTLING_S
    while True:
        now = status(paths, max_age_s)
        between = now.supervisor_pid is not None and (now.state in ENDED or not paths.state_file.exists())
        if not between or monotonic() >= deadline_s:
            return now
        sleep(POLL_S)


async def watch_async(paths: Paths, max_age_s: float = 0.0) -> AsyncGenerator[Status, None]:
    """Yield the status now and at every change until the server has ended. Raises SupervisorHangsError."""
    last: Status | None = None
    heard_s = monotonic()
    while True:
        ended = False
        try:
            async with aclosing(_reports(paths)) as reports:
                async for last in reports:
                    heard_s, ended = monotonic(), last.state in ENDED
                    yield last
        except TimeoutError as error:
            raise SupervisorHangsError from error
        except OSError:
            pass
        if ended:
            return
        before, last = last, await asyncio.to_thread(settled_status, paths, max_age_s)
        if last.supervisor_pid is not None and monotonic() - heard_s > UNREACHABLE_S:
            raise SupervisorHangsError
        if before is None or any(getattr(before, name) != getattr(last, name) for name in _SEEN_BY_LOOKING):
            yield last
        if last.supervisor_pid is None:
            return
        await asyncio.sleep(WATCH_POLL_S)


_SEEN_BY_LOOKING = ("state", "pid", "supervisor_pid")


async def _reports(paths: Paths) -> AsyncGenerator[Status, None]:
    """The supervisor's reports of changes. Raises OSError without one, TimeoutError for one that hangs."""
    connection = await _connect_async(paths)
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LONGEST_REPLY_BYTES)
    try:
        writer.write(encode_line(ControlRequest("watch")))
        async with asyncio.timeout(REPLY_S):
            line = await reader.readline()
        while line:
            yield read_status(line)
            line = await _next_line(paths, reader)
    finally:
        writer.close()


async def _connect_async(paths: Paths) -> "socket.socket":
    """As `connect`; what is opened after a cancellation is closed."""
    opening = asyncio.ensure_future(asyncio.to_thread(connect, paths.supervisor_socket))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: "asyncio.Future[socket.socket]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _next_line(paths: Paths, reader: "asyncio.StreamReader") -> bytes:
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                return await reader.readline()
        await asyncio.to_thread(ask, paths, "status")


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
    if current.supervisor_pid is not None or current.pid is None or current.stray:
        return current
    try:
        return _spawn_supervisor(paths, b"", "--adopt")
    except R1tuiError:
        current = status(paths)
        if current.supervisor_pid is None:
            raise
        return current  # somebody else was faster


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
        with suppress(OSError, msgspec.DecodeError):
            refusal = decode(spec_file.read_bytes(), Refusal)
            raise R1tuiError(refusal.cause, *refusal.remedies)
        raise R1tuiError("The supervisor could not start.", f"See {paths.supervisor_log}.")
    finally:
        spec_file.unlink(missing_ok=True)


def has_record(paths: Paths, answer_id: str, *, managed: bool) -> bool:
    """True if the supervisor has, or will have, all of this answer from its request on; blocks for at most seconds.

    Of a `managed` server it has what it never heard of too: it is told to record what the server still knows.
    """
    from r1tui.server.record import record_file  # noqa: PLC0415  asyncio, which `r1tui status` needs not

    record, now = record_file(paths.answers, answer_id), status(paths)
    if record.exists() or answer_id in now.answers:
        return True
    if not (managed and now.running):
        return False
    with suppress(R1tuiError, OSError):
        adopt(paths)
        answer_started(paths, answer_id)
        answer_ended(paths, answer_id)  # whoever asked is gone
    wait_until(lambda: record.exists() or answer_id not in status(paths).answers, RECORD_S)
    if not record.exists():
        return answer_id in status(paths).answers
    with suppress(OSError), record.open("rb") as file:  # with more than the word that the answer was lost
        return not file.read(16).startswith(b'data: {"error"')
    return False
