"""How the managed server is reached: its address and its key, both checked to be this user's own."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from r1tui.errors import R1tuiError
from r1tui.messages import ServerSpec, Status
from r1tui.remedies import AskAgain, RestartServer, ShowStatus, StopServer
from r1tui.server.endpoint import Endpoint
from r1tui.supervisor.protocol import ForeignError, check_folder, connect
from r1tui.system.files import write_private
from r1tui.system.paths import Paths

LONGEST_KEY_BYTES = 4096


def make_key(path: Path) -> str:
    """A random key, written to `path` for this user alone (0600). Raises OSError."""
    key = secrets.token_urlsafe(32)
    write_key(path, key)
    return key


def write_key(path: Path, key: str) -> None:
    write_private(path, key.encode() + b"\n")


def key_of(status: Status, paths: Paths) -> str | None:
    """The server's key; None when it wants none. Raises ForeignError for a file that is none of r1tui's keys."""
    if status.key_file is None:
        return None
    file = Path(status.key_file)
    if file.parent != paths.run:
        raise ForeignError(f"{file} is not in r1tui's folder for keys.", RestartServer())
    return _read_own(file)


def address_of(status: Status, paths: Paths) -> tuple[Endpoint, str | None]:
    """The server's address, and its key if it has one. Raises ForeignError for another's. Blocks for seconds."""
    endpoint = Endpoint.parse(status.endpoint or "")
    if endpoint.socket is None or endpoint.socket.parent != paths.run:
        raise ForeignError(f"{status.endpoint} is not the socket of an r1tui server.", RestartServer())
    try:
        connect(endpoint.socket).close()
    except OSError as error:
        raise R1tuiError(
            f"Nothing answers at {endpoint}.", ShowStatus(), "Wait a moment and try again.", AskAgain()
        ) from error
    return endpoint, key_of(status, paths)


def read_key_if_any(spec: ServerSpec) -> str | None:
    """The key of the server of this spec; None without one, and where its file is not this user's own."""
    with suppress(ForeignError, OSError, ValueError):
        return _read_own(Path(spec.key_file)) if spec.key_file is not None else None
    return None


def _read_own(path: Path) -> str | None:
    """The key in this user's own file; None without one. Raises ForeignError for any other file."""
    check_folder(path.parent)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # the latter: no path
        raise ForeignError(f"{path} cannot be read: {error}.", "Remove it.", StopServer()) from error
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.getuid():
            raise ForeignError(f"{path} is not your file.", "Remove it.", StopServer())
        raw = file.read(LONGEST_KEY_BYTES).strip()
    return raw.decode() if raw.isascii() and raw else None
