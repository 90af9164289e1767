"""The terminal's driver, with pastes that stay text: an escape character in one presses no key.

Textual 8.2.8 looks for keys inside a bracketed paste as well: what stands behind an escape character there is pressed,
and lost from the text. Its parser offers nothing against that, so the input is put right before it is parsed.
"""

import os
import selectors
from codecs import getincrementaldecoder
from contextlib import suppress

from textual._parser import ParseError
from textual._xterm_parser import XTermParser  # which has no public name
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

from r1tui.text import without_controls

START, END = "\x1b[200~", "\x1b[201~"
BURST_S = 0.05
"""What comes within this time of the end of a paste may belong to it."""
POLL_S = 0.1
_PIECE_BYTES = 1 << 16
_KEY_CHARS = 8
"""No more come with one key, but for an escape sequence."""


class Pastes:
    """Makes the text of pastes harmless in a stream of input, and lets all else pass as it comes.

    A paste ends at the last mark of an end in its burst of input. An earlier one stands in its text, put there by
    somebody who wants what follows to be typed.
    """

    def __init__(self) -> None:
        self._outside = ""
        """The last characters outside, which may be the beginning of a mark."""
        self._paste: str | None = None
        """What has come of a paste and after it, while its burst goes on."""

    def goes_on(self, piece: str) -> bool:
        """Whether more of the burst is to be waited for after this piece, of which nothing is to be parsed yet."""
        if self._paste is None:
            return False
        is_key = len(piece) < _KEY_CHARS and "\x1b" not in piece
        return not (is_key and END in self._paste)

    def feed(self, piece: str) -> str:
        """What may be parsed of the input already."""
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
        """What may be parsed now that nothing more has come for a moment."""
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


def with_safe_pastes(found: type[Driver]) -> type[Driver]:
    """The driver for a terminal in place of Textual's; any other as it is."""
    return PasteDriver if found is LinuxDriver else found
