"""The server's log: one file that the server itself writes, kept from growing, with one older beside it."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from r1tui.system.log_reader import older_log, read_tail
from r1tui.system.paths import private_folder

TAIL_BYTES = 256 << 10


def begin_log(log: Path) -> None:
    """Put an earlier server's log aside; the next one begins an empty file."""
    private_folder(log.parent)
    with suppress(FileNotFoundError):
        if log.stat().st_size:
            log.replace(older_log(log))


def cap_log(log: Path, limit_bytes: int) -> bool:
    """Start the log afresh when it is too large, its content moved to the older log; True when it was done.

    The server goes on writing to the same file, so that it depends on nobody who reads a pipe: the content is copied
    and the file emptied. Without room for the copy the content is given up.
    """
    try:
        fd = os.open(log, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with os.fdopen(fd, "r+b", buffering=0) as file:
        if os.fstat(fd).st_size <= limit_bytes:
            return False
        copy = log.with_name(f".{log.name}.copy")
        try:
            with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as target:
                shutil.copyfileobj(file, target, 1 << 20)
                target.flush()
                shutil.copyfileobj(file, target, 1 << 20)  # what came meanwhile
            copy.replace(older_log(log))
        except OSError:
            copy.unlink(missing_ok=True)
        file.truncate(0)
    return True


def last_lines(log: Path, *, with_older: bool) -> list[str]:
    """The last lines of the log; `with_older` says that the older one is of the same server, not of one before it."""
    data = _tail(log, TAIL_BYTES)
    if with_older and len(data) < TAIL_BYTES:
        data = _tail(older_log(log), TAIL_BYTES - len(data)) + data
    return data.decode(errors="replace").splitlines()


def _tail(path: Path, length_bytes: int) -> bytes:
    with suppress(OSError):
        return read_tail(path, length_bytes)[0]
    return b""
