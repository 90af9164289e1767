"""Programs that run while we wait: their lines, their end, and that nothing of them stays."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from r1tui.errors import CancelledError
from r1tui.system.children import run_lines, sigterm_raises

# A program with a child in a process group of its own (as ninja starts compilers) that is deaf to SIGTERM.
FAMILY = """
import os, signal, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import signal as s; s.signal(15, s.SIG_IGN); print('deaf', flush=True); s.pause()"],
    process_group=0,
)
print(child.pid, flush=True)
child.wait()
"""
# Runs FAMILY through run_lines and prints its lines.
RUNNER = """
import sys
from r1tui.system.children import run_lines, sigterm_raises
with sigterm_raises("It"):
    run_lines([sys.executable, "-c", sys.argv[1]], lambda text: print(text, flush=True), what="It")
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    try:
        psutil.Process(pid).wait(60)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_lines_of_both_streams_without_control_sequences() -> None:
    said: list[str] = []
    code = (
        r"import sys; print('one\x1b[31m red\x1b[0m'); sys.stdout.flush(); sys.stderr.write('two\rthree'); sys.exit(3)"
    )
    assert run_lines(python(code), said.append, what="It") == 3
    assert said == ["one red", "two", "three"]


def test_bytes_that_are_no_utf8_and_no_end_of_line() -> None:
    said: list[str] = []
    run_lines(python(r"import os; os.write(1, b'\xff\xfe tail')"), said.append, what="It")
    assert said == ["\N{REPLACEMENT CHARACTER}" * 2 + " tail"]


def test_a_signal_is_a_negative_status() -> None:
    assert run_lines(python("import os; os.kill(os.getpid(), 9)"), lambda text: None, what="It") == -9


def test_a_program_that_is_not_there_is_an_oserror() -> None:
    with pytest.raises(FileNotFoundError):
        run_lines(["r1tui-no-such-program"], lambda text: None, what="It")


def test_an_exception_of_the_reader_ends_the_program_and_its_children() -> None:
    pids: list[int] = []

    def line(text: str) -> None:
        if text == "deaf":
            raise KeyboardInterrupt
        pids.append(int(text))

    with pytest.raises(KeyboardInterrupt):
        run_lines(python(FAMILY), line, what="It")
    assert pids
    assert all(gone(pid) for pid in pids)


def test_cancel_from_another_thread() -> None:
    cancel = threading.Event()
    pids: list[int] = []

    def line(text: str) -> None:
        if text == "deaf":
            threading.Thread(target=cancel.set).start()
        else:
            pids.append(int(text))

    with pytest.raises(CancelledError, match="It was stopped"):
        run_lines(python(FAMILY), line, what="It", cancel=cancel)
    assert all(gone(pid) for pid in pids)


def test_a_silent_program_is_bounded() -> None:
    with pytest.raises(TimeoutError):
        run_lines(python("import signal; signal.pause()"), lambda text: None, what="It", timeout_s=0.5)


def test_a_program_that_closed_its_output_is_waited_for() -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(7)"
    assert run_lines(python(code), lambda text: None, what="It") == 7


def test_what_outlives_its_program_is_ended_too(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']).pid)"
    )
    said: list[str] = []
    assert run_lines(python(code), said.append, what="It") == 0
    assert gone(int(said[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_our_own_end_by_a_signal_ends_them(number: signal.Signals) -> None:
    runner = subprocess.Popen([*python(RUNNER), FAMILY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert runner.stdout is not None
    pids = [int(line) for line in (runner.stdout.readline(), runner.stdout.readline()) if line.strip().isdigit()]
    runner.send_signal(number)
    runner.communicate(timeout=60)
    assert pids
    assert all(gone(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
def test_our_own_kill_ends_the_program() -> None:
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    runner = subprocess.Popen([*python(RUNNER), code], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    pid = int(runner.stdout.readline())
    runner.kill()
    runner.communicate()
    assert gone(pid)


def test_sigterm_of_somebody_else_s_handler_is_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with sigterm_raises("It"):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
