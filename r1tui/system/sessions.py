"""The processes of a session: a program that was started in one of its own is found in it with all that it started."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from r1tui.system.lazy import psutil

PROC = Path("/proc")
HAS_PROC = sys.platform == "linux"


def all_pids() -> list[int]:
    """The pids of all processes that this one can see."""
    if HAS_PROC:
        return [int(one.name) for one in PROC.iterdir() if one.name.isdigit()]
    return list(psutil.pids())


def is_own(pid: int) -> bool:
    """Whether the process is this user's."""
    if HAS_PROC:
        try:
            return (PROC / str(pid)).stat().st_uid == os.geteuid()
        except OSError:
            return False
    try:
        return psutil.Process(pid).uids().effective == os.geteuid()
    except psutil.Error:
        return False


def own_pids() -> list[int]:
    """The pids of this user's processes."""
    return list(filter(is_own, all_pids()))


def started_at(pid: int) -> str | None:
    """What differs when the same pid is given out again; None for nobody's, and for that of a zombie."""
    if HAS_PROC:
        fields = stat_fields(pid)
        return None if fields is None or fields[0] in "ZX" else fields[19]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def session_of(pid: int) -> int:
    """The session that the process is in, named by its leader's pid; -1 when it has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def members(session: int) -> list[int]:
    """The processes of a session that still run, this one left out."""
    me = os.getpid()
    return [pid for pid in all_pids() if pid != me and session_of(pid) == session and started_at(pid) is not None]


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (proc(5)): state first, start time in ticks at index 19."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()  # the name in parentheses may hold anything
