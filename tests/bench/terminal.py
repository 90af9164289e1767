"""A program in a terminal of its own: what it writes is counted, what it costs is read from the kernel."""

import asyncio
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Sequence
from pathlib import Path
from time import monotonic


def cpu_ms(pid: int) -> float:
    """CPU time of all of a process's threads so far."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


class Terminal:
    """Runs a command in a pseudo-terminal, truecolor, of this many columns and rows."""

    def __init__(self, command: Sequence[str], columns: int = 120, rows: int = 40) -> None:
        self.bytes_written = 0
        self._awaited: tuple[bytes, asyncio.Future[float]] | None = None
        self._recent = b""
        self._started_s = monotonic()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", COLUMNS=str(columns), LINES=str(rows))
            os.execvp(command[0], list(command))  # noqa: S606
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    async def wait_for(self, text: str, timeout_s: float = 60.0) -> float:
        """Seconds from the start until the text was written, from now on."""
        self._recent = b""
        self._awaited = (text.encode(), asyncio.get_running_loop().create_future())
        return await asyncio.wait_for(self._awaited[1], timeout_s) - self._started_s

    async def echo(self, letter: str) -> float:
        """Seconds from the press of a key until its letter, which must be nowhere else, was written."""
        pressed_s = monotonic() - self._started_s
        self.type(letter)
        return await self.wait_for(letter) - pressed_s

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def cpu_ms(self) -> float:
        """CPU time of all its threads so far."""
        return cpu_ms(self.pid)

    def peak_mib(self) -> float:
        """Its largest resident size."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def close(self) -> None:
        """End it."""
        asyncio.get_running_loop().remove_reader(self._fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
        self.bytes_written += len(data)
        if self._awaited is not None and not self._awaited[1].done():
            self._recent = self._recent[-200:] + data
            if self._awaited[0] in self._recent:
                self._awaited[1].set_result(monotonic())
