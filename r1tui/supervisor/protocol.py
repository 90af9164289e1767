"""The control protocol, and the checks that its socket and the process behind it are this user's own.

One JSON object a line in both directions, each with a version. Requests: `{"v": 2, "op": …, "conversation_id": …}`;
`op` is one of `Op`, and the last two of them want the id. Replies: `{"v": 2, "ok": true, "status": {…}}` or
`{"v": 2, "ok": false, "cause": …, "remedy": …}`. `watch` is replied to with a line now and one at every change, `stop`
with one at once and one when the server has ended.
"""

import os
import secrets
import socket
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import VERSION, ControlRequest, Reply, Status, Version, decode
from r1tui.remedies import RestartServer, StopServer

_OWN_FOLDER = "Set R1TUI_HOME to a folder that you own."
_LOCAL_PEERCRED = 0, 1, 76  # macOS: the level, the option, and the bytes of its struct xucred (<sys/un.h>)
LONGEST_REQUEST_BYTES = 64 << 10
LONGEST_REPLY_BYTES = 16 << 20  # a status carries the plan and the command
CONNECT_S = 3.0
REPLY_S = 5.0
"""A supervisor that has not answered by then hangs."""
POLL_S = 0.02
PIECE_BYTES = 1 << 16
LONGEST_PID = 10


class ForeignError(R1tuiError):
    """Something in our place is another user's."""


def check_folder(folder: Path) -> None:
    """Raise ForeignError when the folder is there and another user's; one of our own is closed to others."""
    try:
        info = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        what = "belongs to another user" if info.st_uid != os.getuid() else "is no folder"
        raise ForeignError(f"{folder} {what}.", _OWN_FOLDER)
    if info.st_mode & 0o077:
        folder.chmod(0o700)


def check_socket(path: Path) -> None:
    """Raise ForeignError when the socket or its folder is another user's, FileNotFoundError when there is none."""
    check_folder(path.parent)
    info = path.lstat()
    if not stat.S_ISSOCK(info.st_mode) or info.st_uid != os.getuid():
        raise ForeignError(f"{path} is not your socket.", "Remove it.", StopServer())


def check_peer(connection: socket.socket, path: Path) -> None:
    """Raise ForeignError when another user's process listens at the other end of a connected Unix socket."""
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:
        _, uid = struct.unpack_from("2I", connection.getsockopt(*_LOCAL_PEERCRED))
    if uid != os.geteuid():
        raise ForeignError(f"A process of another user (uid {uid}) listens at {path}.", _OWN_FOLDER)


class VersionError(R1tuiError):
    """The supervisor belongs to another r1tui."""


def encode_line(message: ControlRequest | Reply) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def read_status(line: bytes) -> Status:
    """The status that a reply carries; raises VersionError, or R1tuiError with what stands against the request."""
    try:
        version = decode(line, Version).v
        if version != VERSION:
            cause = f"The supervisor is of another r1tui version (protocol {version}; this one: {VERSION})."
            raise VersionError(cause, RestartServer())
        reply = decode(line, Reply)
    except msgspec.DecodeError as error:
        raise R1tuiError(f"The supervisor's answer cannot be read: {error}.", RestartServer()) from error
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
                    raise TimeoutError("the supervisor accepts no more connections") from error
                sleep(POLL_S)
        check_peer(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def talk(path: Path, request: ControlRequest, timeout_s: float) -> Iterator[Callable[[float], bytes]]:
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
                    raise TimeoutError("a line has no end")
                connection.settimeout(left_s)
                piece = connection.recv(PIECE_BYTES)
                if not piece or len(held) > LONGEST_REPLY_BYTES:
                    return b""
                held += piece
            line, _, held = held.partition(b"\n")
            return line

        yield read_line


def new_conversation_id() -> str:
    """A name for an answer that nobody else uses and that tells which process asked."""
    return f"{os.getpid()}-{secrets.token_hex(16)}"


def asker_of(name: str) -> int | None:
    """The process that asked; None for a name that does not tell."""
    pid = name.partition("-")[0]
    return int(pid) if pid.isdecimal() and len(pid) <= LONGEST_PID else None


def is_asked_by_others(answers: Sequence[str], pid: int) -> bool:
    """True if one of these answers is for another process than `pid`; it may have been killed, and come back."""
    return any(asker_of(answer) not in (pid, None) for answer in answers)
