"""Copying to the clipboard of the terminal that the user sits at: OSC 52, through tmux and GNU screen where they are.

Nobody answers to OSC 52, so that no success can be told. tmux takes text by a command of its own, which works as it
comes (its `set-clipboard external` ignores a program's OSC 52, and passing it through is off), and which does answer.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Mapping

from textual.app import App
from textual.driver import Driver

from r1tui.tui.driver import with_safe_pastes

OSC_52 = "\x1b]52;"
MOST_BYTES = 74_000
"""Many terminals drop a longer text: 100 KB, as xterm and others allow, once it is in base64."""
SCREEN_CHUNK = 768
"""GNU screen cuts a longer string."""
TMUX_WAIT_S = 5.0
_KEYS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def wrapped(sequence: str, environment: Mapping[str, str]) -> str:
    """An OSC sequence as the terminal behind tmux or screen gets it.

    tmux takes the bare form with `set-clipboard on`, the wrapped one with `allow-passthrough on`, and drops the other.
    Behind an SSH connection only TERM tells of either; `screen` may then be both, and both drop what is the other's.
    """
    term = environment.get("TERM", "")
    if environment.get("TMUX") or (term.startswith("tmux") and not environment.get("STY")):
        return sequence + "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if environment.get("STY"):
        return _for_screen(sequence)
    if term.startswith("screen"):
        return sequence + _for_screen(sequence)
    return sequence


def told(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """What the user is told when a text was copied."""
    where = "Sent to the terminal and tmux." if environment.get("TMUX") else "Sent to the terminal."
    size_bytes = len(text.encode("utf-8", "replace"))
    if size_bytes > MOST_BYTES:
        return f"{where} At {size_bytes / 1000:.0f} KB many terminals cut or drop it."
    return where


def give_to_tmux(text: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Put the text into tmux's newest buffer and its terminal's clipboard (tmux 3.2); whether it said that it did."""
    if not environment.get("TMUX"):
        return False
    try:
        command = ["tmux", "load-buffer", "-w", "-"]
        given = text.encode("utf-8", "replace")
        done = subprocess.run(command, input=given, capture_output=True, timeout=TMUX_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def wrapping(base: type[Driver]) -> type[Driver]:
    """A driver that wraps OSC 52."""

    def write(driver: Driver, data: str) -> None:
        base.write(driver, wrapped(data, os.environ) if data.startswith(OSC_52) else data)

    return type("WrappingDriver", (base,), {"write": write})


class CopyingApp(App[None]):
    """An application all of whose copies go this way, those of Textual's own widgets too."""

    _copied = ""

    def get_driver_class(self) -> type[Driver]:
        """The platform's, wrapping; a paste presses no keys in it."""
        return wrapping(with_safe_pastes(super().get_driver_class()))

    @property
    def clipboard(self) -> str:
        """What was copied last."""
        return self._copied

    def copy_to_clipboard(self, text: str) -> None:
        """Copy a text, to tmux's buffer too where it runs in one; nothing in it acts as a key where it is pasted."""
        self._copied = text = _KEYS.sub("", text)
        self.run_worker(self._send(text), name="Copying", group="copy")

    async def _send(self, text: str) -> None:
        if not await asyncio.to_thread(give_to_tmux, text):
            super().copy_to_clipboard(text.encode("utf-8", "replace").decode())


def _for_screen(sequence: str) -> str:
    pieces = (sequence[start : start + SCREEN_CHUNK] for start in range(0, len(sequence), SCREEN_CHUNK))
    return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
