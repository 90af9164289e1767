"""`r1tui` where the screen cannot be shown: a sentence, not a traceback."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from r1tui.system.paths import Paths
from tests.conftest import CommandLine
from tests.ptys import Terminal


def started(columns: int, rows: int, *arguments: str, **environment: str) -> tuple[int, subprocess.Popen[bytes]]:
    """Our end of a terminal of this size, and `r1tui` in it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "r1tui", *arguments], stdin=slave, stdout=slave, stderr=slave, env=env | environment
    )
    os.close(slave)
    return master, process


def in_terminal(columns: int, rows: int, **environment: str) -> tuple[int, str]:
    """The exit status and output of `r1tui` in a terminal of this size."""
    master, process = started(columns, rows, **environment)
    output = b""
    try:
        while data := os.read(master, 4096):
            output += data
    except OSError:
        pass  # the other end is closed
    os.close(master)
    return process.wait(timeout=60), output.decode()


def test_without_a_terminal(r1tui: CommandLine) -> None:
    for command in ([], ["demo"]):
        ran = r1tui(*command)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "needs a terminal" in ran.stderr
        assert "r1tui chat" in ran.stderr


@pytest.mark.parametrize(
    ("columns", "rows", "term", "said"),
    [(40, 10, "xterm-256color", "40×10"), (120, 40, "dumb", "TERM=dumb"), (120, 40, "", "TERM=dumb")],
)
def test_a_terminal_that_cannot_show_it(r1tui: CommandLine, columns: int, rows: int, term: str, said: str) -> None:
    status, output = in_terminal(columns, rows, TERM=term)
    assert status == 1
    assert said in output
    assert "Traceback" not in output


def test_a_connection_that_drops_ends_it(paths: Paths, tmp_path: Path) -> None:
    master, process = started(120, 40, "--attach", f"unix:{tmp_path}/none.sock", TERM="xterm-256color")
    shown = b""
    while b"Enter sends" not in shown:
        shown += os.read(master, 4096)
    process.send_signal(signal.SIGHUP)
    os.close(master)
    assert process.wait(timeout=60) == 130


@pytest.mark.parametrize("arguments", [(), ("--no-mouse",)])
def test_the_mouse_is_left_to_the_terminal_when_asked(paths: Paths, arguments: tuple[str, ...]) -> None:
    with Terminal("--attach", f"unix:{paths.run}/none.sock", *arguments) as terminal:
        terminal.wait_for("Enter sends")
    wanted = re.search(rb"\x1b\[\?100[0236]h", terminal.shown)
    assert (wanted is None) == bool(arguments)
