"""A lock file that the kernel releases when its holder dies, with the holder's pid to name it."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from r1tui.errors import R1tuiError
from r1tui.system.files import make_folder, make_way

POLL_S = 0.1
GRACE_S = 0.3  # `holder` shares the lock for an instant


def holder(path: Path) -> int | None:
    """The pid of the lock's holder (0 while it is taking it), or None. Raises OSError without file locks."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that two who ask do not see each other
    except BlockingIOError:
        with suppress(ValueError):
            return int(os.pread(fd, 20, 0))
        return 0
    except OSError as error:
        raise _without_locks(path, error) from error
    finally:
        os.close(fd)
    return None


class Hold:
    """A lock that this process holds, though somebody may take its file away."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._write_name()

    def is_there(self) -> bool:
        """True while the file's name stands for this lock."""
        return _is_at(self._fd, self._path)

    def is_taken(self) -> bool:
        """True while the file's name stands for a lock that another process holds."""
        return not self.is_there() and holder(self._path) is not None

    def take_again(self) -> bool:
        """Have the file there again; False while another process holds one of that name. Raises OSError."""
        if self.is_there():
            return True
        if (fd := _lock(self._path)) is None:
            return False
        os.close(self._fd)
        self._fd = fd
        self._write_name()
        return self.is_there()

    def release(self) -> None:
        """Let go of the lock, and remove its file if it is this lock's."""
        if self.is_there():
            self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _write_name(self) -> None:
        with suppress(OSError):  # on a full disk the lock is as good without a name
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)


@contextmanager
def locked(
    path: Path, what: str, waiting: Callable[[int], None] | None = None, poll: Callable[[], None] = lambda: None
) -> Iterator[Hold]:
    """Hold the lock for the block; its file is gone afterwards.

    With `waiting`, wait for another holder and call that once with its pid; without, raise R1tuiError naming it.
    `poll` is called many times a second meanwhile: what it raises ends the wait. Raises OSError, naming the folder,
    where nothing can be written or the file system has no locks.
    """
    hold = Hold(path, _acquire(path, what, waiting, poll))
    try:
        yield hold
    finally:
        hold.release()


def _acquire(path: Path, what: str, waiting: Callable[[int], None] | None, poll: Callable[[], None]) -> int:
    make_folder(path.parent)
    started_s = monotonic()
    has_called = False
    while True:
        if (fd := _lock(path)) is not None:
            if _is_at(fd, path):
                return fd
            os.close(fd)  # its last holder removed the file between our open and our lock
            continue
        if monotonic() - started_s > GRACE_S:
            pid = holder(path) or 0
            if waiting is None:
                raise R1tuiError(f"{what} is in use by another process (PID {pid}).", "Wait for it to end, or stop it.")
            if not has_called:
                waiting(pid)
                has_called = True
        poll()
        sleep(POLL_S)


def _lock(path: Path) -> int | None:
    """The locked file; None while another process holds it."""
    make_way(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            return None
        raise _without_locks(path, error) from error
    return fd


def _without_locks(path: Path, error: OSError) -> OSError:
    """The error of a file system without locks: some network disks, FUSE."""
    why = f"this file system has no working file locks ({error.strerror or error})"
    return OSError(errno.ENOLCK, why, str(path.parent))


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return False
