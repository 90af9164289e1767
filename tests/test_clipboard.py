"""Copies: the exact bytes that a terminal gets, bare, in tmux and in GNU screen; and a real tmux that takes them."""

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from r1tui.tui.terminal import MOST_BYTES, SCREEN_CHUNK, format_copied, wrapped
from tests.ptys import Terminal
from tests.supervisor_rig import until

TEXT = "naïve 🦙\n\tx"
OSC = f"\x1b]52;c;{base64.b64encode(TEXT.encode()).decode()}\a"
TMUX = OSC + "\x1bPtmux;\x1b" + OSC + "\x1b\\"
SCREEN = f"\x1bP{OSC}\x1b\\"
COPIER = Path(__file__).parent / "copier.py"


@pytest.mark.parametrize(
    ("environment", "written"),
    [
        ({"TERM": "xterm-256color"}, OSC),
        ({"TERM": "tmux-256color", "TMUX": "/none,1,0"}, TMUX),
        ({"TERM": "screen-256color", "TMUX": "/none,1,0"}, TMUX),
        ({"TERM": "tmux-256color"}, TMUX),
        ({"TERM": "screen", "STY": "1.pts"}, SCREEN),
        ({"TERM": "screen-256color"}, OSC + SCREEN),
    ],
)
def test_a_terminal_gets_these_bytes(
    environment: dict[str, str], written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMUX", "STY", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Terminal(program=[str(COPIER), TEXT], term=environment["TERM"]) as terminal:
        until(lambda: b"\x1b[?1049l" in terminal.shown, 60)
        shown = terminal.shown.decode(errors="replace")
    copies = "".join(re.findall(r"\x1b\]52;[^\a]*\a|\x1bP.*?(?<!\x1b)\x1b\\", shown))
    assert copies == written


def test_screen_gets_pieces_that_it_does_not_cut() -> None:
    sequence = f"\x1b]52;c;{'A' * 5000}\a"
    pieces = re.findall(r"\x1bP([^\x1b]*|\x1b\][^\x1b]*)\x1b\\", wrapped(sequence, {"STY": "1"}))
    assert "".join(pieces) == sequence
    assert max(map(len, pieces)) <= SCREEN_CHUNK


def test_what_is_too_long_for_many_terminals_is_told() -> None:
    assert format_copied("x", {}) == "Copied: 1 character. Sent to the terminal."
    assert format_copied("x" * 2140, {"TMUX": "1"}) == "Copied: 2,140 characters. Sent to the terminal and tmux."
    assert "At 75 KB many terminals cut or drop it." in format_copied("x" * (MOST_BYTES + 1000), {})


Tmux = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tmux(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tmux]:
    """A tmux server of its own, whose configuration is tmux's default."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    monkeypatch.delenv("TMUX", raising=False)
    with TemporaryDirectory(prefix="r1", dir="/tmp") as folder:

        def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
            command = ["tmux", "-S", f"{folder}/s", "-f", "/dev/null", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        yield run
        run("kill-server")


@pytest.mark.parametrize(
    ("clipboard", "by"),
    [("on", "its command"), ("external", "its command"), ("off", "its command"), ("on", "OSC 52")],
)
def test_a_real_tmux_has_what_was_copied(tmux: Tmux, clipboard: str, by: str) -> None:
    hidden = "env -u TMUX" if by == "OSC 52" else "env"
    command = f"{hidden} {sys.executable} {COPIER} '{TEXT}'"
    done = tmux("new-session", "-d", "-x", "80", "-y", "24", "cat")
    assert done.returncode == 0, done.stderr
    tmux("set-option", "-s", "set-clipboard", clipboard)
    tmux("new-window", "-e", f"PYTHONPATH={os.getcwd()}", command)  # noqa: PTH109
    until(lambda: tmux("show-buffer").stdout != "", 60)
    assert tmux("show-buffer").stdout == TEXT
    assert len(tmux("list-buffers").stdout.splitlines()) == 1
