"""Checks that a folder, a socket or the process behind it is this user's own, before anything is said to it."""

import os
import socket
import stat
import struct
from pathlib import Path

from r1tui.errors import R1tuiError
from r1tui.remedies import StopServer

_OWN_FOLDER = "Set R1TUI_HOME to a folder of your own."
_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2  # macOS, <sys/un.h>
_XUCRED_BYTES = 76


class ForeignError(R1tuiError):
    """Something in our place is another user's."""


def check_folder(folder: Path) -> None:
    """Raise ForeignError when the folder is there and another user's; one of our own is closed to others."""
    try:
        info = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise ForeignError(f"{folder} belongs to another user.", _OWN_FOLDER)
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
    if (uid := peer(connection)[1]) != os.geteuid():
        raise ForeignError(f"A process of another user (uid {uid}) listens at {path}.", _OWN_FOLDER)


def peer(connection: socket.socket) -> tuple[int, int]:
    """The pid and uid of the process that listens at the other end of a connected Unix socket. Raises OSError."""
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid, uid
    _, uid = struct.unpack_from("2I", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES))
    (pid,) = struct.unpack("i", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))
    return pid, uid
