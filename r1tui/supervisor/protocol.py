"""The control protocol: one JSON object a line in both directions over the supervisor's socket, each with a version.

Requests: `{"v": 2, "op": …, "conversation_id": …}`; `op` is one of `Op`, and the last two of them want the id.
Replies: `{"v": 2, "ok": true, "status": {…}}` or `{"v": 1, "ok": false, "cause": …, "remedy": …}`. `watch` is replied
to with a line now and one at every change, `stop` with one at once and one when the server has ended.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

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
    """Connect to this user's supervisor. Raises TimeoutError when it is busy, OSError without one, ForeignError."""
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
                    raise TimeoutError("the supervisor takes no more connections") from error
            sleep(POLL_S)
        check_peer(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def talk(path: Path, request: Request, timeout_s: float) -> Iterator[Callable[[float], bytes]]:
    """Send a request; yields a function that reads the next reply line within its seconds, else TimeoutError."""
    with connect(path) as connection:
        connection.settimeout(timeout_s)
        connection.sendall(encode_line(request))
        held = b""

        def read_line(timeout_s: float) -> bytes:
            nonlocal held
            deadline_s = monotonic() + timeout_s
            while b"\n" not in held:
                if (left_s := deadline_s - monotonic()) <= 0:
                    raise TimeoutError("a line began and did not end")
                connection.settimeout(left_s)
                piece = connection.recv(PIECE_BYTES)
                if not piece or len(held) > LONGEST_REPLY_BYTES:
                    return b""
                held += piece
            line, _, held = held.partition(b"\n")
            return line

        yield read_line
