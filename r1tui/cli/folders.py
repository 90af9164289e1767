"""Whether folders can be used for what r1tui does there: tried for real, since permissions do not tell of a full or
read-only disk."""

import errno
import fcntl
import os
import secrets
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from r1tui.errors import LOCAL_DISK, is_full

ELSEWHERE = "Set R1TUI_HOME to a folder of your own."
TRIED_BYTES = 4096


@dataclass(frozen=True)
class FolderProblem:
    """Why a folder cannot be used, and what to do."""

    found: str
    remedy: str


def problem_of(folder: Path) -> FolderProblem | None:
    """Why a file cannot be written there; None when it can. Where the folder is not there yet, above it.

    Writes a file without a name, which is gone at once.
    """
    place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        if not place.is_dir():
            return FolderProblem(f"{place} is not a folder", f"Move it away, or: {ELSEWHERE}")
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            file.write(bytes(TRIED_BYTES))
    except OSError as error:
        if is_full(error):
            return FolderProblem(f"{place} is full", "Make room, or set R1TUI_HOME elsewhere.")
        return FolderProblem(f"{place} cannot be written: {error.strerror or error}", ELSEWHERE)
    return None


def sockets_problem(folder: Path) -> FolderProblem | None:
    """Why a Unix socket or a lock cannot be made in the folder; None when they can. Some network disks know neither.

    Not tried in a folder that is not there yet.
    """
    if not folder.is_dir():
        return None
    if folder.lstat().st_uid != os.getuid():
        return FolderProblem(f"{folder} belongs to another user", ELSEWHERE)
    tried = folder / f".{secrets.token_hex(2)}"  # no longer than the names of ours
    what = "Unix sockets"
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.fspath(tried))
        what = "file locks"
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            return None  # said by `problem_of`
        found = f"{folder} is on a file system without {what}: {error.strerror or error}"
        return FolderProblem(found, LOCAL_DISK)
    finally:
        with suppress(OSError):
            tried.unlink()
    return None
