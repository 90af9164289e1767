"""Restores what others find a supervisor by when it is removed: lock, sockets, state file and key."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import ENDED, ServerRecord
from r1tui.supervisor.book import Book
from r1tui.supervisor.control import Control
from r1tui.supervisor.key import write_key
from r1tui.supervisor.recorder import Recorder
from r1tui.supervisor.state_file import read_record
from r1tui.supervisor.worker import in_thread
from r1tui.system.files import make_way
from r1tui.system.locks import Hold
from r1tui.system.paths import Paths, private_folder

LOOK_S = 1.0
GONE_S = 60.0
"""A home whose state folder has been gone for so long is given up, with its server."""
TAKEN_S = 5.0
"""So long another process may hold the lock in our place: one that only looks whether it may start lets go of it."""
SOCKET_GONE = "Its socket was removed."
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    home: bool = False
    """Whether there is a state folder."""
    lock: bool = False
    """Whether the lock is ours."""
    control: bool = False
    record: bool = False
    socket: bool = False


class Presence:
    """Of one supervisor, for as long as its server is not wanted to end."""

    def __init__(self, paths: Paths, lock: Hold, control: Control, book: Book, recorder: Recorder) -> None:
        self._paths = paths
        self._lock = lock
        self._control = control
        self._book = book
        self._recorder = recorder

    async def watch(
        self, key: Callable[[], str | None], leave: Callable[[], None], restart: Callable[[str], None]
    ) -> None:
        """Look and mend until cancelled. `leave` is called when the home is gone or another's, `restart` with why."""
        there_s = ours_s = monotonic()
        missed = False
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                seen = await in_thread(self._look, self._book.record, key())
            except (OSError, R1tuiError) as error:
                _log.warning("what others find this supervisor by cannot be looked at: %s", error)
                continue
            now_s = monotonic()
            there_s = now_s if seen.home else there_s
            ours_s = now_s if seen.lock or not seen.home else ours_s
            if now_s - there_s >= GONE_S or now_s - ours_s >= TAKEN_S:
                _log.warning("another process has taken the lock" if seen.home else "the state folder is gone")
                leave()
                return
            record = self._book.record
            if not seen.lock or record.state in ENDED:
                continue
            if not seen.control:
                with suppress(OSError):
                    await self._control.listen()
            if not seen.record:
                await self._book.catch_up(is_lost=True)
            settled = record.state in ("ready", "sleeping")
            if settled and not seen.socket and missed and not self._recorder.reads:
                restart(SOCKET_GONE)
            missed = settled and not seen.socket

    def _look(self, record: ServerRecord, key: str | None) -> _Seen:
        """What is there; the lock and the key are put back at once. Raises OSError and R1tuiError."""
        paths = self._paths
        if not paths.state.is_dir():
            return _Seen()
        private_folder(paths.run)
        if not self._lock.take_again():
            return _Seen(home=True)
        spec = record.spec
        for ours in (paths.supervisor_socket, paths.state_file):
            make_way(ours)
        if key is not None and spec.key_file is not None and not Path(spec.key_file).exists():
            write_key(Path(spec.key_file), key)
        written = None
        with suppress(msgspec.DecodeError):
            written = read_record(paths)
        return _Seen(
            home=True,
            lock=True,
            control=self._control.is_there(),
            record=written is not None and written.keeper == record.keeper,
            socket=Path(spec.socket).is_socket(),
        )
