"""Requests to the supervisor, and its reports of changes. Every wait is bounded; one that hangs is an error."""

from collections.abc import AsyncGenerator, Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import ENDED, Op, Request, Status
from r1tui.remedies import RestartServer
from r1tui.supervisor.protocol import LONGEST_REPLY_BYTES, connect, encode_line, read_status, talk
from r1tui.supervisor.status import status
from r1tui.system.lazy import asyncio
from r1tui.system.paths import Paths

if TYPE_CHECKING:
    import socket

POLL_S = 0.02
WATCH_POLL_S = 0.1
REPLY_S = 5.0
"""A supervisor that has not answered by then hangs."""
SILENCE_S = 10.0
"""A watcher whom nothing was told for so long asks whether the supervisor still lives."""
SETTLING_S = 2.0
UNREACHABLE_S = 60.0
"""A supervisor that nobody could connect to for so long hangs; whoever stops a server takes less."""


class SupervisorHangsError(R1tuiError):
    def __init__(self) -> None:
        super().__init__(
            "The supervisor of llama-server does not answer.",
            RestartServer(hangs=True),
        )


def ask(paths: Paths, op: Op, conversation_id: str | None = None) -> Status | None:
    """Ask the supervisor; None when there is none. Raises SupervisorHangsError, and R1tuiError for a refusal."""
    request = Request(op, conversation_id=conversation_id)
    try:
        with talk(paths.supervisor_socket, request, REPLY_S) as read_line:
            line = read_line(REPLY_S)
    except TimeoutError as error:
        raise SupervisorHangsError from error
    except OSError:
        return None
    return read_status(line) if line else None


def verified_status(paths: Paths, now: Status) -> Status:
    """The status, found by looking, or by the supervisor where no file tells; and what is wrong when that is silent."""
    if now.keeper_pid is None:
        return now
    try:
        told = ask(paths, "status")
    except SupervisorHangsError as error:
        return hanging_status(now, error)
    except R1tuiError:  # it belongs to another r1tui, and the status says so
        return now
    return now if told is None or now.argv is not None else told


def hanging_status(now: Status, error: SupervisorHangsError) -> Status:
    return msgspec.structs.replace(now, cause=error.cause, remedies=error.remedies, keeper_hangs=True)


async def watch_async(paths: Paths, max_age_s: float = 0.0) -> AsyncGenerator[Status, None]:
    """Yield the status now and at every change until the server has ended. Raises SupervisorHangsError."""
    changes = _Changes(paths, max_age_s)
    while not changes.over:
        try:
            connection = await _connect_async(paths)
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LONGEST_REPLY_BYTES)
            try:
                writer.write(encode_line(Request("watch")))
                async with asyncio.timeout(REPLY_S):
                    line = await reader.readline()
                while line:
                    yield changes.heard(line)
                    line = await _next_line_async(paths, reader)
            finally:
                writer.close()
        except TimeoutError as error:
            raise SupervisorHangsError from error
        except OSError:
            pass
        if not changes.over:
            for found in await asyncio.to_thread(changes.look):
                yield found
            await asyncio.sleep(0 if changes.over else WATCH_POLL_S)


async def _connect_async(paths: Paths) -> "socket.socket":
    """As `connect`; what is opened after a cancellation is closed."""

    def close(opened: "asyncio.Future[socket.socket]") -> None:
        if not opened.cancelled() and opened.exception() is None:
            opened.result().close()

    opening = asyncio.ensure_future(asyncio.to_thread(connect, paths.supervisor_socket))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(close)
        raise


async def _next_line_async(paths: Paths, reader: "asyncio.StreamReader") -> bytes:
    line = asyncio.ensure_future(reader.readline())
    try:
        while True:
            done, _ = await asyncio.wait([line], timeout=SILENCE_S)
            if done:
                return line.result()
            await asyncio.to_thread(ask, paths, "status")
    finally:
        line.cancel()


class _Changes:
    """What a watcher has seen: told by the supervisor or, where none listens, found by looking."""

    def __init__(self, paths: Paths, max_age_s: float = 0.0) -> None:
        self._paths = paths
        self._max_age_s = max_age_s
        self._last: Status | None = None
        self._heard_s = monotonic()
        self.over = False

    def heard(self, line: bytes) -> Status:
        self._last, self._heard_s = read_status(line), monotonic()
        self.over = self._last.state in ENDED
        return self._last

    def look(self) -> list[Status]:
        last, now = self._last, settled_status(self._paths, self._max_age_s)
        self.over = now.keeper_pid is None
        if not self.over and monotonic() - self._heard_s > UNREACHABLE_S:
            raise SupervisorHangsError
        self._last = now
        known = last is not None and (last.state, last.pid, last.keeper_pid) == (now.state, now.pid, now.keeper_pid)
        return [] if known else [now]


def settled_status(paths: Paths, max_age_s: float = 0.0) -> Status:
    """The status, once a supervisor that is coming up or ending has done so; `max_age_s` as in `status`."""
    deadline_s = monotonic() + SETTLING_S
    while True:
        now = status(paths, max_age_s)
        between = now.keeper_pid is not None and (now.state in ENDED or not paths.state_file.exists())
        if not between or monotonic() >= deadline_s:
            return now
        sleep(POLL_S)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came true in time."""
    deadline_s = monotonic() + timeout_s
    while not condition():
        if monotonic() >= deadline_s:
            return False
        sleep(POLL_S)
    return True
