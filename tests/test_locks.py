"""Locks that the kernel releases: two processes, a killed holder, a waiting one."""

import subprocess
import sys
from pathlib import Path

import pytest

from r1tui.errors import R1tuiError
from r1tui.system.locks import holder, locked

HOLD = """
import sys
from pathlib import Path
from r1tui.system.locks import locked
with locked(Path(sys.argv[1]), "It"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its stdin is closed."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_the_file_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.lock"
    with locked(path, "It"):
        assert path.exists()
    assert not path.exists()
    assert holder(path) is None


def test_another_process_s_lock_names_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    child = hold(path)
    try:
        assert holder(path) == child.pid
        with pytest.raises(R1tuiError, match=f"PID {child.pid}"), locked(path, "It"):
            pass
    finally:
        end(child)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    end(hold(path))
    assert path.exists()
    assert holder(path) is None
    with locked(path, "It"):
        pass
    assert not path.exists()


def test_waiting_is_told_once_and_ends_with_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    child = hold(path)
    told: list[int] = []

    def waiting(pid: int) -> None:
        told.append(pid)
        end(child)

    with locked(path, "It", waiting):
        assert told == [child.pid]


def test_polling_can_end_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    child = hold(path)

    def poll() -> None:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt), locked(path, "It", lambda pid: None, poll):
            pass
        assert holder(path) == child.pid
    finally:
        end(child)
