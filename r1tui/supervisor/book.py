"""The supervisor's record: kept in memory, written to the state file, told to everybody who watches."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import ENDED, VERSION, ServerRecord, State, Status
from r1tui.supervisor.status import describe, write_record
from r1tui.supervisor.worker import WorkerThread
from r1tui.system.locks import Hold
from r1tui.system.paths import Paths
from r1tui.system.processes import identify

OnStatus = Callable[[Status], None]
DISK_S = 2.5
"""How long a change waits to be written before it is told; a disk that hangs must not keep it from those who watch."""
NOTE_S = 1.0
"""As above, for what a client waits to be confirmed."""
REPORT_S = 2.0
_log = logging.getLogger(__name__)


class Book:
    """The only writer of the record. Changes happen on the event loop, so a state is never seen half-made."""

    def __init__(
        self, record: ServerRecord, paths: Paths, disk: WorkerThread, lock: Hold, on_status: OnStatus | None
    ) -> None:
        self.record = msgspec.structs.replace(record, version=VERSION, supervisor=identify(os.getpid()))
        self._paths = paths
        self._disk = disk
        self._lock = lock
        self._on_status = on_status
        self._reports = WorkerThread("reports")
        self._queues: set[asyncio.Queue[Status]] = set()
        self._written: ServerRecord | None = None
        self._is_refused = False
        self._erased = False

    def status(self) -> Status:
        if self.record.state in ENDED:
            return describe(self.record, server=None, supervisor_pid=None)
        return describe(self.record, server=self.record.server, supervisor_pid=os.getpid())

    @contextmanager
    def statuses(self) -> "Iterator[asyncio.Queue[Status]]":
        """A queue that receives every status while the block lasts."""
        queue: asyncio.Queue[Status] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def replace(self, **fields: Any) -> None:
        """Change the record in memory; it is written and told with the next change. A new cause drops old remedies."""
        if "cause" in fields:
            fields = {"remedy": None, "remedies": (), **fields}
        self.record = msgspec.structs.replace(self.record, **fields)

    async def note(self, **fields: Any) -> None:
        """Change the record and write it, without telling."""
        self.replace(**fields)
        await self._save(NOTE_S)

    async def catch_up(self, *, is_lost: bool = False) -> None:
        """Write the record if the last one could not be written, or is lost: somebody removed or damaged the file."""
        if is_lost:
            self._written = None
        if self._written is not self.record:
            await self._save()

    async def erase(self, remove: Callable[[], None]) -> None:
        """Remove what is left of a server that was stopped; the file is not written again."""
        self._erased = True
        await self._disk.wait_at_most(self._disk.put(remove), DISK_S)

    async def change(self, state: State, *, must_save: bool = False, **fields: Any) -> None:
        """Enter a state: written to the state file first, then told to everybody.

        With `must_save` it raises R1tuiError when the file cannot be written. Without, a full disk costs nothing but
        the file, and one that hangs nothing but DISK_S.
        """
        self.replace(state=state, **fields)
        try:
            await self._save(must=must_save)
        finally:
            self.tell()

    def tell(self, **fields: Any) -> None:
        """Tell the status as it is, or as it becomes by these fields, which are not written."""
        self.replace(**fields)
        self.tell_watchers()
        if self._on_status is not None:
            self._reports.put(self._on_status, self.status())

    def tell_watchers(self) -> None:
        """Tell the status as it is to those who watch the control socket alone."""
        current = self.status()
        for queue in self._queues:
            queue.put_nowait(current)

    async def close(self) -> None:
        """Wait until everything is written and reported, but not for a disk or a terminal that hangs."""
        await self._disk.finish(DISK_S)
        await self._reports.finish(REPORT_S)

    async def _save(self, timeout_s: float = DISK_S, *, must: bool = False) -> None:
        outcome = self._disk.put(self._write_newest)
        if not must:
            await self._disk.wait_at_most(outcome, timeout_s)
            return
        try:
            await asyncio.shield(outcome)
        except OSError as error:
            raise R1tuiError(
                f"{self._paths.state_file} cannot be written: {error.strerror}.",
                "Free some space there, or set R1TUI_HOME to another disk.",
            ) from error

    def _write_newest(self) -> None:
        record = self.record
        if record is self._written or self._erased or self._lock.is_taken():  # then it is another supervisor's
            return
        try:
            write_record(self._paths, record)
        except OSError as error:
            if not self._is_refused:  # it is tried again and again
                _log.warning("the state file cannot be written: %s", error)
            self._is_refused = True
            raise
        self._written, self._is_refused = record, False
