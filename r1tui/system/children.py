"""Programs that run while we wait for them: their output line by line, and nothing of them left when we stop."""

import os
import re
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from types import FrameType

from r1tui.errors import CancelledError
from r1tui.system.lazy import shutil
from r1tui.system.processes import members, send_signal
from r1tui.text import plain

POLL_S = 0.1
GRACE_S = 3.0  # between asking a program to end and killing what is left of it

# Ties the program to us: the kernel sends it SIGTERM when we die, however we die. And `nice` keeps its meaning: Linux
# shares the processors out by session, which is new here. A program of its own, since `preexec_fn` is unsafe where
# threads run.
_LEASH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, linux/prctl.h
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
try:
    with open("/proc/self/autogroup", "w") as autogroup:
        autogroup.write(str(os.nice(0)))
except OSError:
    pass
os.execv(sys.argv[2], sys.argv[2:])
"""

Cancel = threading.Event


def cancelled(what: str) -> CancelledError:
    """The error of work that its user stopped."""
    return CancelledError(f"{what} was stopped.", "Start it again to continue.")


def check(cancel: Cancel | None, what: str) -> None:
    if cancel is not None and cancel.is_set():
        raise cancelled(what)


def run_lines(
    argv: Sequence[str | Path],
    line: Callable[[str], None],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    cancel: Cancel | None = None,
    timeout_s: float | None = None,
) -> int:
    """Run the program, give each line of its stdout and stderr to `line`, return its exit status (-N: signal N).

    Any way out, an exception of `line` included, ends the program and all that it started. Raises CancelledError when
    `cancel` is set, TimeoutError after `timeout_s`, OSError when the program cannot be started.
    """
    deadline_s = None if timeout_s is None else monotonic() + timeout_s
    with _started(argv, env) as (child, output):
        for text in _lines(child, output):
            if text is not None:
                line(text)
            check(cancel, what)
            if deadline_s is not None and monotonic() > deadline_s:
                raise TimeoutError(f"{what} took longer than {timeout_s:.0f} s.")
        return child.wait()


def run_quietly(
    argv: Sequence[str | Path],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    cancel: Cancel | None = None,
    timeout_s: float | None = None,
) -> tuple[int, list[str]]:
    """Run the program as `run_lines` does: its exit status, and the lines that it wrote."""
    said: list[str] = []
    return run_lines(argv, said.append, what=what, env=env, cancel=cancel, timeout_s=timeout_s), said


@contextmanager
def sigterm_raises(what: str) -> Iterator[None]:
    """SIGTERM raises CancelledError for the block, so that it ends its programs; only where nobody else handles it."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not ours:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise cancelled(what)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _started(
    argv: Sequence[str | Path], env: Mapping[str, str] | None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    command = [os.fspath(part) for part in argv]
    if sys.platform == "linux":
        found = shutil.which(command[0], path=None if env is None else env.get("PATH"))
        if found is None:
            raise FileNotFoundError(f"{command[0]}: not found")
        leash = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid())]
        command = [*leash, str(Path(found).absolute()), *command[1:]]
    output, theirs = os.pipe()
    try:
        try:
            child = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        try:
            yield child, output
        finally:
            _end_session(child)
    finally:
        os.close(output)


def _lines(child: subprocess.Popen[bytes], output: int) -> Iterator[str | None]:
    """The output's lines, free of control sequences; None at least every POLL_S while there is none."""
    os.set_blocking(output, False)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            ended = child.poll() is not None
            ready = selector.select(0 if ended else POLL_S)
            try:
                chunk = os.read(output, 1 << 16) if ready else None
            except BlockingIOError:
                chunk = None
            if chunk:
                *whole, rest = re.split(rb"\r\n|\n|\r(?!$)", rest + chunk)
                for raw in whole:
                    yield _clean(raw)
            elif chunk == b"" or ended:  # closed, or held open by something that outlives the program
                break
            else:
                yield None
    if rest:
        yield _clean(rest)
    while child.poll() is None:  # it has closed its output and works on
        yield None
        sleep(POLL_S)


def _clean(raw: bytes) -> str:
    return plain(raw.decode(errors="replace")).rstrip()


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """End the program and everything in its session: first asked, then killed; bounded by 2 × GRACE_S."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline_s = monotonic() + GRACE_S
        while left := members(child.pid):
            if monotonic() > deadline_s:
                break
            if number == signal.SIGKILL or child.poll() is not None:
                for pid in left:  # ninja gives each compiler a process group of its own
                    send_signal(pid, number)
            sleep(0.02)
            child.poll()
        if not left:
            break
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
