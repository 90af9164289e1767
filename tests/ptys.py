"""r1tui in a terminal of its own, which can be closed like a lost SSH connection closes it."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from tests.supervisor_rig import until

PATIENCE_S = 60.0


class Terminal:
    """Runs `r1tui`, or another module, in a pseudo-terminal; `shown` is all that it has written there."""

    def __init__(
        self,
        *arguments: str,
        columns: int = 100,
        rows: int = 30,
        term: str = "xterm-256color",
        program: Sequence[str] = ("-m", "r1tui"),
    ) -> None:
        self.shown = b""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM=term, COLUMNS=str(columns), LINES=str(rows))
            os.execv(sys.executable, [sys.executable, *program, *arguments])  # noqa: S606
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._closing = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._status is None:
            self.kill()

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> None:
        """Return when this is, or was, on the screen."""
        until(lambda: text.encode() in self.shown, PATIENCE_S)

    def hang_up(self) -> int:
        """Close the terminal: the kernel sends SIGHUP. How the program ended."""
        self._close()
        return self.ended()

    def kill(self) -> None:
        """End the program without a word."""
        os.kill(self.pid, signal.SIGKILL)
        self.ended()
        self._close()

    def ended(self) -> int:
        """Wait for the program's end; its exit status, negative for a signal."""
        until(self._collected, PATIENCE_S)
        assert self._status is not None
        return self._status

    def drain(self) -> None:
        """After its end: have all that it has written in `shown`."""
        self._reader.join(PATIENCE_S)

    def has_ended(self, within_s: float) -> bool:
        """Whether the program ends by itself in this time."""
        deadline_s = monotonic() + within_s
        while not self._collected() and monotonic() < deadline_s:
            sleep(0.02)
        return self._collected()

    def calm(self, quiet_s: float = 0.4, most_s: float = 5.0) -> None:
        """Return when nothing new was shown for a moment; after `most_s` at the latest."""
        deadline_s, length, since_s = monotonic() + most_s, len(self.shown), monotonic()
        while (now_s := monotonic()) < deadline_s and now_s - since_s < quiet_s:
            if len(self.shown) != length:
                length, since_s = len(self.shown), now_s
            sleep(0.02)

    def _collected(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is not None

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed
            while not self._closing:
                ready, _, _ = select.select([self._master], [], [], 0.05)
                if ready and not (data := os.read(self._master, 65536)):
                    break
                self.shown += data if ready else b""

    def _close(self) -> None:
        """Let go of the terminal: whoever still runs in it is sent SIGHUP."""
        self._closing = True
        self._reader.join()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
