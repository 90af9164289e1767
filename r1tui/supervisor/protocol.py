"""The control protocol: one JSON object a line in both directions over the supervisor's socket, each with a version.

Requests: `{"v": 2, "op": …, "conversation_id": …}`; `op` is one of `Op`, and the last two of them want the id.
Replies: `{"v": 2, "ok": true, "status": {…}}` or `{"v": 1, "ok": false, "cause": …, "remedy": …}`. `watch` is replied
to with a line now and one at every change, `stop` with one at once and one when the server has ended.
"""

import socket
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import VERSION, Reply, Request, Status, Version, decode
from r1tui.remedies import RestartServer
from r1tui.supervisor.trust import check_peer, check_socket

LONGEST_REQUEST_BYTES = 64 << 10
LONGEST_REPLY_BYTES = 16 << 20  # a status carries the plan and the command
CONNECT_S = 3.0
POLL_S = 0.02
PIECE_BYTES = 1 << 16


class VersionError(R1tuiError):
    """The supervisor belongs to another r1tui."""


def encode_line(message: Request | Reply) -> bytes:
    """A message as it goes over the socket."""
    return msgspec.json.encode(message) + b"\n"


def read_status(line: bytes) -> Status:
    """The status that a reply carries; raises VersionError, or R1tuiError with what stands against the request."""
    try:
        version = decode(line, Version).v
        if version != VERSION:
            raise VersionError(
                f"The supervisor belongs to another r1tui (protocol {version}, here {VERSION}).", RestartServer()
            )
        reply = decode(line, Reply)
    except msgspec.DecodeError as error:
        raise R1tuiError(f"The supervisor's answer cannot be understood: {error}.", RestartServer()) from error
    if reply.status is None:
        raise R1tuiError(reply.cause, *reply.remedies)
    return reply.status


def connect(path: Path) -> socket.socket:
    """A connection to the supervisor, which is this user's own process.

    Raises TimeoutError when it does not take connections, another OSError when there is none, and ForeignError when
    what is there is another user's.
    """
    check_socket(path)
    deadline_s = monotonic() + CONNECT_S
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_S)
        while True:
            try:
                connection.connect(str(path))
                break
            except BlockingIOError as error:  # as many wait for it as may
                if monotonic() >= deadline_s:
                    raise TimeoutError("so many wait for the supervisor that none can join them") from error
            sleep(POLL_S)
        check_peer(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


class Talk:
    """A request to the supervisor and its replies, line by line, for as long as the block lasts."""

    def __init__(self, path: Path, request: Request, timeout_s: float) -> None:
        self._connection = connect(path)
        self._held = b""
        try:
            self._connection.settimeout(timeout_s)
            self._connection.sendall(encode_line(request))
        except OSError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._connection.close()

    def line(self, timeout_s: float) -> bytes:
        """The next line; empty at the end. Raises TimeoutError when none comes in time."""
        deadline_s = monotonic() + timeout_s
        while b"\n" not in self._held:
            if (left_s := deadline_s - monotonic()) <= 0:
                raise TimeoutError("a line began and did not end")
            self._connection.settimeout(left_s)
            piece = self._connection.recv(PIECE_BYTES)
            if not piece or len(self._held) > LONGEST_REPLY_BYTES:
                return b""
            self._held += piece
        line, _, self._held = self._held.partition(b"\n")
        return line
