"""Small files of ours: the one way to read them, whatever has become of them, and the one way to write them."""

import errno
import logging
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import msgspec
from msgspec.json import Decoder

from r1tui.messages import decode_foreign, decode_own
from r1tui.text import one_line

T = TypeVar("T")
LARGEST_BYTES = 64 << 20
"""No file of ours in JSON comes near this; a larger one is none of ours."""
_NEVER_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENXIO})
"""Reasons why a file can never be opened."""
_log = logging.getLogger(__name__)
_damages: "deque[Damage]" = deque(maxlen=100)
_stuck: "set[Damage]" = set()
"""Damaged files that could not be moved and have been reported."""


@dataclass(frozen=True)
class Damage:
    path: Path
    why: str
    kept: Path | None
    """Its new place; None when it could not be moved."""

    def notice(self) -> str:
        """It in one line, for the user."""
        now = f"It is now {self.kept.name}" if self.kept else "It stays there"
        return one_line(f"{self.path} cannot be used: {self.why}. {now}; r1tui continues without it.")


def take_damages() -> list[Damage]:
    """The damaged files that this process has found and the user has not been told of yet; each comes once."""
    return [_damages.popleft() for _ in range(len(_damages))]


def read_json(path: Path, kind: "type[T] | Decoder[T]", *, forgiving: bool = False) -> T | None:
    """The content of a file of ours; None where there is none that can be used.

    With `forgiving`, for words that a person wrote, bytes that are no UTF-8 become U+FFFD.

    One that cannot be understood, nor ever be read, is renamed to NAME.damaged (the newest is kept), and that is
    logged and reported by `take_damages`. So the next reader finds nothing, and may write it anew.

    Raises OSError where reading it later may succeed (a failing disk, too many open files).
    """
    try:
        raw, info = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno not in _NEVER_OURS:
            raise
        _set_aside(path, one_line(error.strerror or str(error)), None)
        return None
    if raw is None:
        _set_aside(path, f"larger than {LARGEST_BYTES >> 20} MiB, or not a file", info)
        return None
    try:
        return decode_foreign(raw, kind) if forgiving else decode_own(raw, kind)
    except msgspec.DecodeError as error:
        _set_aside(path, one_line(str(error)) or "not JSON", info)
        return None


def read_json_if_any(path: Path, kind: "type[T] | Decoder[T]") -> T | None:
    """The same as `read_json`, but None too where it cannot be read now: for files that are only a help."""
    try:
        return read_json(path, kind)
    except OSError as error:
        _log.warning("%s: %s", path, error.strerror or error)
        return None


def make_way(path: Path) -> None:
    """Clear the place of a file or socket of ours: set a folder aside, remove a link or a pipe.

    Raises OSError, for a device too: that is somebody else's, whoever has named it.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        _set_aside(path, "it is a folder", None)
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    elif not stat.S_ISREG(mode) and not stat.S_ISSOCK(mode):
        path.unlink(missing_ok=True)


def check_is_file(fd: int, path: Path) -> None:
    """Raise OSError where an open descriptor, named `path`, is of no regular file: a device, a pipe."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file of ours that need not be JSON; raises OSError, also for what is no plain file."""
    raw, _ = _read(path)
    if raw is None:
        raise OSError(errno.EINVAL, "Not a file of this user", str(path))
    return raw


def read_if_any(path: Path) -> str:
    """The text of a small file of the system, without space around it; empty if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def write_json(path: Path, value: Any, *, private: bool = True) -> None:
    """Replace a file by this value as JSON, making its folder; the umask rules if not `private`. Raises OSError."""
    make_folder(path.parent, private=private)
    _replace(path, msgspec.json.encode(value), 0o600 if private else 0o644)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file by one that only this user can read, in one step, even through a power loss. Raises OSError."""
    _replace(path, data, 0o600)


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that is not there yet; nothing of it stays where that fails. Raises FileExistsError, OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with _removed_on_failure(path), os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def replace_file(path: Path, data: bytes) -> None:
    """Replace the user's file, or what it is a link to, in one step: where that fails the old one stays.

    A device or a pipe is written to. Raises OSError.
    """
    real = Path(os.path.realpath(path))
    if real.is_file():
        _replace(real, data, stat.S_IMODE(real.stat().st_mode))
    elif real.exists():
        real.write_bytes(data)
    else:
        write_new(real, data, 0o666)


def _replace(path: Path, data: bytes, mode: int) -> None:
    partial = path.with_name(f".{path.name.encode()[:200].decode(errors='ignore')}.{token_hex(6)}")
    write_new(partial, data, mode)
    with _removed_on_failure(partial):
        partial.replace(path)


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def delete(path: Path) -> None:
    """Delete a file of ours that is of no more use, and what was set aside of it. Raises OSError."""
    path.unlink(missing_ok=True)
    with suppress(IsADirectoryError, PermissionError):
        aside_of(path).unlink(missing_ok=True)


def aside_of(path: Path) -> Path:
    return path.with_name(f"{path.name[:200]}.damaged")


def make_folder(path: Path, *, private: bool = False) -> Path:
    """Make a folder and its parents, writable by this user only; a new `private` one is 0700. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(0o700 if private else 0o755, exist_ok=True)
    return path


def keep_others_out() -> None:
    """Have nobody else write into what this process and its children make, should the umask let everybody do so."""
    before = os.umask(0o077)
    os.umask(before if before & stat.S_IWOTH else before | stat.S_IWOTH | stat.S_IWGRP)


def _read(path: Path) -> tuple[bytes | None, os.stat_result]:
    """The bytes of a plain file that is not too large, and which file it was."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place would make us wait
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return None, info
        raw = file.read(LARGEST_BYTES + 1)
    return (raw if len(raw) <= LARGEST_BYTES else None), info


def _set_aside(path: Path, why: str, seen: os.stat_result | None) -> None:
    """Rename the file, unless another process has replaced it since it was seen."""
    kept: Path | None = aside_of(path)
    try:
        now = path.lstat() if path.is_symlink() else path.stat()
        if seen is not None and not path.is_symlink() and not os.path.samestat(now, seen):
            return
        path.replace(aside_of(path))
    except FileNotFoundError:
        return  # another process was first
    except OSError:
        kept = None
    damage = Damage(path, why, kept)
    if damage in _stuck:
        return
    if kept is None:
        _stuck.add(damage)
    _log.warning("%s", damage.notice())
    _damages.append(damage)
