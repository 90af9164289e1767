"""The terminal: pastes from it that press no keys, and copies to its clipboard.

Textual 8.2.8 looks for keys inside a bracketed paste as well: what stands behind an escape character there is pressed,
and lost from the text. Its parser offers nothing against that, so the input is put right before it is parsed.

Copies are OSC 52, through tmux and GNU screen where they are. Nobody answers to it, so that no success can be told.
tmux takes text by a command of its own, which works as it comes (its `set-clipboard external` ignores a program's
OSC 52, and passing it through is off), and which does answer.
"""

from __future__ import annotations

import asyncio
import os
import re
import selectors
import subprocess
from codecs import getincrementaldecoder
from collections.abc import Mapping
from contextlib import suppress

from textual._parser import ParseError
from textual._xterm_parser import XTermParser  # which has no public name
from textual.app import App
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

from r1tui.text import without_controls
from r1tui.tui.escapes import without_repeated_styles

START, END = "\x1b[200~", "\x1b[201~"
BURST_S = 0.05
"""What comes within this time of the end of a paste may belong to it."""
POLL_S = 0.1
_PIECE_BYTES = 1 << 16
_KEY_CHARS = 8
"""No more come with one key, but for an escape sequence."""
OSC_52 = "\x1b]52;"
MOST_BYTES = 74_000
"""Many terminals drop a longer text: 100 KB, as xterm and others allow, once it is in base64."""
SCREEN_CHUNK = 768
"""GNU screen cuts a longer string."""
TMUX_WAIT_S = 5.0
_KEYS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Pastes:
    """Makes pasted text harmless in a stream of input; other input passes unchanged.

    A paste ends at the last mark of an end in its burst of input. An earlier one stands in its text, put there by
    somebody who wants what follows to be typed.
    """

    def __init__(self) -> None:
        self._outside = ""
        """The last characters outside, which may be the beginning of a mark."""
        self._paste: str | None = None
        """What has come of a paste and after it, while its burst goes on."""

    def goes_on(self, piece: str) -> bool:
        """True if more of the burst is to be waited for after this piece, of which nothing is to be parsed yet."""
        if self._paste is None:
            return False
        is_key = len(piece) < _KEY_CHARS and "\x1b" not in piece
        return not (is_key and END in self._paste)

    def feed(self, piece: str) -> str:
        """Return the input that can be parsed already."""
        if self._paste is not None:
            self._paste += piece
            return ""
        seen = self._outside + piece
        before, start, rest = seen.partition(START)
        if not start:
            self._outside = seen[1 - len(START) :]
            return piece
        passed = len(self._outside)  # of the mark, too: the parser knows it by now
        self._outside, self._paste = "", rest
        return (before + START)[passed:]

    def end_burst(self) -> str:
        """Return the rest of the input after a moment without more."""
        if self._paste is None or END not in self._paste:
            return ""
        text, _, rest = self._paste.rpartition(END)
        self._paste = None
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        return without_controls(lines) + END + self.feed(rest)


class PasteDriver(LinuxDriver):
    """Textual's, whose input goes through `Pastes`."""

    def run_input_thread(self) -> None:
        """Read, decode, parse and hand on until the application ends."""
        parser, pastes = XTermParser(self._debug), Pastes()
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                told = ""
                if selector.select(POLL_S):
                    if not (data := os.read(self.fileno, _PIECE_BYTES)):
                        self.exit_event.wait(POLL_S)  # the terminal is gone
                    told = pastes.feed(piece := decode(data))
                    while pastes.goes_on(piece) and selector.select(BURST_S):
                        if not (data := os.read(self.fileno, _PIECE_BYTES)):
                            break
                        told += pastes.feed(piece := decode(data))
                    told += pastes.end_burst()
                for event in parser.feed(told) if told else ():
                    self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass


def wrapped(sequence: str, environment: Mapping[str, str]) -> str:
    """The OSC sequence, wrapped for tmux or GNU screen.

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


def format_copied(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The notice on a copied text."""
    where = "the terminal and tmux" if environment.get("TMUX") else "the terminal"
    said = f"Copied: {len(text):,} character{'' if len(text) == 1 else 's'}. Sent to {where}."
    size_bytes = len(text.encode("utf-8", "replace"))
    return f"{said} At {size_bytes / 1000:.0f} KB many terminals cut or drop it." if size_bytes > MOST_BYTES else said


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
    """A driver that wraps OSC 52, and sends no style twice."""

    def write(driver: Driver, data: str) -> None:
        is_copy = data.startswith(OSC_52)
        base.write(driver, wrapped(data, os.environ) if is_copy else without_repeated_styles(data))

    return type("WrappingDriver", (base,), {"write": write})


class CopyingApp(App[None]):
    """An application whose copies all go this way, Textual's own widgets included."""

    _copied = ""

    def get_driver_class(self) -> type[Driver]:
        """The platform's, wrapping; a paste presses no keys in it."""
        found = super().get_driver_class()
        return wrapping(PasteDriver if found is LinuxDriver else found)

    @property
    def clipboard(self) -> str:
        """The text that was copied last."""
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
