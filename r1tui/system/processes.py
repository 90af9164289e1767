"""Processes: started detached, known again by pid *and* start, waited for, stopped with all of their session."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from r1tui.messages import ProcessId
from r1tui.system.files import check_is_file, make_folder, make_way
from r1tui.system.lazy import asyncio, psutil

T = TypeVar("T")
PROC = Path("/proc")
HAS_PROC = sys.platform == "linux"
POLL_S = 0.1
STOP_WAITS_S = (5.0, 3.0, 2.0)


def identify(pid: int) -> ProcessId | None:
    """The process that has the pid now; None without one, and for a zombie that has ended and not been collected."""
    if not HAS_PROC:
        start = _from_psutil(pid, _started_at, default=None)
        return None if start is None else ProcessId(pid, start)
    fields = _stat_fields(pid)
    return ProcessId(pid, f"{boot_id()}/{fields[19]}") if fields and fields[0] not in "ZX" else None


def boot_id() -> str:
    """The identifier of this boot of the machine; empty where it cannot be known."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def alive(process: ProcessId | None) -> bool:
    """True while exactly this process runs; a zombie does not."""
    return process is not None and identify(process.pid) == process


def is_own(pid: int) -> bool:
    if not HAS_PROC:
        return _from_psutil(pid, lambda process: process.uids().effective == os.geteuid(), default=False)
    try:
        return (PROC / str(pid)).stat().st_uid == os.geteuid()
    except OSError:
        return False


def own_pids() -> list[int]:
    return list(filter(is_own, _all_pids()))


def command_line(pid: int) -> list[str]:
    """The arguments that the process was started with; empty when they cannot be read."""
    if not HAS_PROC:
        return _from_psutil(pid, lambda process: list(process.cmdline()), default=[])
    raw = _read_proc(pid, "cmdline")
    return [os.fsdecode(part) for part in raw.removesuffix(b"\0").split(b"\0")] if raw else []


def variable(pid: int, name: str) -> str | None:
    """The environment variable that the process was started with; None without, and where it cannot be read."""
    if not HAS_PROC:
        return _from_psutil(pid, lambda process: process.environ().get(name), default=None)
    _, found, rest = (b"\0" + _read_proc(pid, "environ")).partition(b"\0" + os.fsencode(name) + b"=")
    return os.fsdecode(rest.partition(b"\0")[0]) if found else None


def parent_pid(pid: int) -> int | None:
    """The pid of the process's parent; None when it has ended."""
    if not HAS_PROC:
        return _from_psutil(pid, lambda process: process.ppid(), default=None)
    stat = _stat_fields(pid)
    return int(stat[1]) if stat else None


def is_suspended(pid: int) -> bool:
    """True if the process was stopped by Ctrl+Z or SIGSTOP and waits to be continued."""
    if not HAS_PROC:
        return _from_psutil(pid, lambda process: process.status() == psutil.STATUS_STOPPED, default=False)
    return _stat_fields(pid)[:1] == ["T"]


def has_open(pid: int, path: Path, *, or_moved: bool = False) -> bool:
    """True when the process has this file open, or had before it was removed, and where the system does not say.

    With `or_moved` one of its name counts wherever it is: somebody may have moved the folder.
    """
    if not HAS_PROC:
        return True
    name = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
    with suppress(OSError), os.scandir(PROC / str(pid) / "fd") as entries:
        for entry in entries:
            with suppress(OSError):
                link = os.readlink(entry.path)  # noqa: PTH115
                link = link.removesuffix(" (deleted)")
                if link == name or (or_moved and os.path.basename(link) == path.name):  # noqa: PTH119
                    return True
                if os.path.samestat(entry.stat(), path.stat()):
                    return True
    return False


def runs_command(pid: int, argv: Sequence[str]) -> bool:
    """True when the process runs this command; a script's interpreter may stand before it."""
    return bool(argv) and command_line(pid)[-len(argv) :] == list(argv)


def find_command(argv: Sequence[str]) -> ProcessId | None:
    """A process of this user that runs exactly this command, whoever started it."""
    for pid in own_pids():
        if pid != os.getpid() and runs_command(pid, argv) and (found := identify(pid)):
            return found
    return None


def spawn_detached(argv: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> ProcessId:
    """Start a program in its own session, without input, output appended to `log` (0600), a regular file.

    A link to /dev/null, which a user may have made to have no log, is as good. Raises OSError.
    """
    child = spawn(argv, env, log, cwd)
    threading.Thread(target=child.wait, daemon=True).start()  # collects it, should it end before this program
    return identify(child.pid) or ProcessId(child.pid, "")


def spawn(argv: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> "subprocess.Popen[bytes]":
    """The same as `spawn_detached`, for a caller that wants the exit status and collects the child itself."""
    make_folder(log.parent)
    if not log.is_symlink():  # which a user may have made on purpose
        make_way(log)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        if os.fstat(fd).st_rdev != Path(os.devnull).stat().st_rdev:
            check_is_file(fd, log)
        os.set_blocking(fd, True)
        child = subprocess.Popen(
            list(argv), env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, start_new_session=True
        )
    finally:
        os.close(fd)
    deadline_s = monotonic() + POLL_S
    while not command_line(child.pid) and identify(child.pid) and monotonic() < deadline_s:
        sleep(0.001)  # seen: for an instant after it was started, a process has no arguments to be known by
    return child


def wait(process: ProcessId, timeout_s: float | None = None) -> bool:
    """Wait until the process has ended, a child of ours or not; False when the time is over first."""
    deadline_s = None if timeout_s is None else monotonic() + timeout_s
    with suppress(ProcessLookupError):
        fd = open_pidfd(process)
        if fd is None:
            while alive(process):
                if deadline_s is not None and monotonic() >= deadline_s:
                    return False
                sleep(POLL_S)
            return True
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
        finally:
            os.close(fd)
    return True


async def wait_ended(process: ProcessId) -> None:
    """Wait for the end without a limit and without a thread; it is noticed at once where the system has pidfds."""
    try:
        fd = open_pidfd(process)
    except ProcessLookupError:
        return
    if fd is None:
        while alive(process):
            await asyncio.sleep(POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def open_pidfd(process: ProcessId) -> int | None:
    """A descriptor that is readable at the process's end; None without pidfds. Raises ProcessLookupError when ended."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None  # a kernel or a sandbox without it
    if not alive(process):
        os.close(fd)
        raise ProcessLookupError(process.pid)
    return fd


def stop(process: ProcessId, waits_s: tuple[float, float, float] = STOP_WAITS_S) -> bool:
    """End the process and its session by SIGTERM twice, then SIGKILL, with these waits; True when it has ended."""
    ended = False
    for number, wait_s in zip((signal.SIGTERM, signal.SIGTERM, signal.SIGKILL), waits_s, strict=True):
        if alive(process):
            send_signal(process.pid, number)
        if ended := wait(process, wait_s):
            break
    kill_session(process)
    return ended


def kill_session(process: ProcessId) -> None:
    """SIGKILL for the process and everything in the session that it leads or led.

    A pid is not given out again while a session goes by it, so what is found in that session is the process's own.
    """
    leader = identify(process.pid)
    if process.pid <= 1 or (leader is not None and leader != process):
        return
    for pid in members(process.pid):
        send_signal(pid, signal.SIGKILL)


def session_of(pid: int) -> int:
    """The session that the process is in, named by its leader's pid; -1 when it has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def members(session: int) -> list[int]:
    """The processes of a session that still run, this one left out."""
    me = os.getpid()
    return [pid for pid in _all_pids() if pid != me and session_of(pid) == session and identify(pid) is not None]


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _all_pids() -> list[int]:
    return [int(one.name) for one in PROC.iterdir() if one.name.isdigit()] if HAS_PROC else list(psutil.pids())


def _read_proc(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (proc(5)): state first, start time in ticks at index 19."""
    return _read_proc(pid, "stat").decode(errors="replace").rpartition(") ")[2].split()  # the name may hold anything


def _from_psutil(pid: int, ask: "Callable[[psutil.Process], T]", default: T) -> T:
    try:
        return ask(psutil.Process(pid))
    except psutil.Error:
        return default


def _started_at(process: "psutil.Process") -> str | None:
    return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
