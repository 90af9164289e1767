"""Reads every answer to its end into a file, so that it outlives its reader and llama-server's buffer."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from time import time
from typing import Literal

from r1tui.server.record import (
    DONE_EVENT,
    LOST_EVENT,
    SERVER_ENDED_EVENT,
    SERVER_STOPPED_EVENT,
    STOPPED_EVENT,
    UNRECORDED_EVENT,
    gap_event,
    record_file,
    resumes_at,
)
from r1tui.server.sse import LOOKUP, MARGINS_BYTES, FoundStream, stream_target
from r1tui.supervisor.http import ask, opened, request
from r1tui.supervisor.protocol import asker_of
from r1tui.supervisor.worker import WorkerThread, log_errors
from r1tui.system.logs import log_unexpected
from r1tui.system.paths import private_folder
from r1tui.system.processes import identify

MOST_RECORDS = 1000
MOST_BYTES = 512 << 20
LONGEST_AGE_S = 14 * 86400.0
_TAIL_BYTES = 1 << 16
RETRY_S = 0.1
LONGEST_RETRY_S = 1.0
SYNC_S = 1.0
"""At most so much of an answer is lost with the power; nothing with the supervisor."""
REST_S = 0.1
"""What comes within this time is read and written at once, for the model needs the CPU."""
LAST_LOOKS = 3
NEVER_BEGAN_S = 30.0
"""How long an answer may be announced by nobody who can be asked, before it is given up."""
CLOSE_S = 3.0
"""Longest wait for a hanging disk at the end of a record."""
Outcome = Literal["done", "cut", "unknown", "dropped"]
OnEnd = Callable[[str], Awaitable[None]]


class RecordFile:
    """Whole events of a stream, each appended once, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 0
        self._last_event = b""
        self._is_open = False
        self.offset = 0
        """Of the stream: where what comes next belongs."""

    @property
    def is_whole(self) -> bool:
        """True if it says how the answer ended."""
        return self._last_event.startswith((DONE_EVENT, b'data: {"error"', b"error:"))

    @property
    def began(self) -> bool:
        """True if it has any event."""
        return self._bytes > 0

    def open(self) -> None:
        """Go on where an earlier writer of it was. Raises OSError."""
        if self._is_open:
            return
        with suppress(FileNotFoundError):
            data = self._path.read_bytes()
            self._bytes = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
            if self._bytes < len(data):  # the power went in the middle of an event
                os.truncate(self._path, self._bytes)
            whole = data[: self._bytes]
            self._last_event = _last_event(whole[-_TAIL_BYTES:])
            self.offset = resumes_at(whole)
        self._is_open = True

    def append(self, data: bytes, offset: int | None = None) -> None:
        """Add whole events of the stream, and before them, if `offset` is further on, a word on what is missing.

        Raises OSError, with the file as it was, when there is no room for them.
        """
        offset = self.offset if offset is None else offset
        self._write((gap_event(offset - self.offset, offset) if offset > self.offset else b"") + data)
        self.offset = offset + len(data)

    def finish(self, event: bytes) -> None:
        """Write how it ended, unless it says so already, and make it safe. Raises OSError."""
        self.open()
        if not self.is_whole:
            self._write(event)
        self.sync()

    def sync(self) -> None:
        """Have it survive a power failure. Raises OSError."""
        with suppress(FileNotFoundError):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _write(self, data: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                written = os.pwrite(fd, data, self._bytes)
                while written < len(data):
                    written += os.pwrite(fd, data[written:], self._bytes + written)
            except OSError:
                os.ftruncate(fd, self._bytes)
                raise
        finally:
            os.close(fd)
        self._bytes += len(data)
        self._last_event = _last_event(data)


def prune(folder: Path, keep: list[Path]) -> None:
    """Remove the oldest records: those beyond the number, the size, or the age that are kept."""
    found = sorted(
        ((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.sse") if path not in keep),
        reverse=True,
    )
    total_bytes = 0
    for number, (changed_s, size_bytes, path) in enumerate(found, 1):
        total_bytes += size_bytes
        if number >= MOST_RECORDS or total_bytes > MOST_BYTES or time() - changed_s > LONGEST_AGE_S:
            path.unlink(missing_ok=True)


def _last_event(data: bytes) -> bytes:
    return data.rstrip(b"\n").rpartition(b"\n\n")[2]


class Recorder:
    """Records a server's answers, each in a task of its own: a fault costs one record. `on_end` hears of each end."""

    def __init__(
        self, folder: Path, socket: Path, key: Callable[[], str | None], on_end: OnEnd, disk: WorkerThread
    ) -> None:
        self.folder = folder
        self.socket = socket
        self.key = key
        self.on_end = on_end
        self.disk = disk
        self.recordings: dict[str, _Recording] = {}

    def begin(self, conversation_id: str) -> None:
        """Record this answer from where its file ends; it may begin only later."""
        if conversation_id not in self.recordings:
            self.disk.put(_make_room, self.folder, [record_file(self.folder, one) for one in self.recordings])
            self.recordings[conversation_id] = _Recording(self, conversation_id)

    def reads(self) -> bool:
        """True if an answer is being read."""
        return any(recording.reading for recording in self.recordings.values())

    def asker_done(self, conversation_id: str) -> None:
        """Whoever asked waits no more: an answer that the server does not know by now is given up soon."""
        if (recording := self.recordings.get(conversation_id)) is not None:
            recording.asker_gone.set()

    def server_stops(self) -> None:
        """The server is about to be stopped in order: what ends now ends by that."""
        for recording in self.recordings.values():
            recording.stopped_event = SERVER_STOPPED_EVENT

    async def close(self, *, stopped: bool) -> None:
        """The server is gone: every record that has no end yet gets one."""
        recordings, self.recordings = list(self.recordings.values()), {}
        with log_errors("Closing the records of answers"):
            for recording in recordings:
                recording.task.cancel()
                await asyncio.wait([recording.task])
                await recording.close(SERVER_STOPPED_EVENT if stopped else SERVER_ENDED_EVENT)


class _Recording:
    """The recording of one answer, from when it is made."""

    def __init__(self, recorder: Recorder, conversation_id: str) -> None:
        self._recorder = recorder
        self._disk = recorder.disk
        self._id = conversation_id
        self._target = stream_target(conversation_id)
        self._file = RecordFile(record_file(recorder.folder, conversation_id))
        self._unsynced = asyncio.Event()
        self.stopped_event = STOPPED_EVENT
        """End of a stopped answer."""
        self.asker_gone = asyncio.Event()
        self._began = False
        """True if the server has ever known of it."""
        self._followed = False
        """True if this supervisor has had its stream, to the last byte that there was."""
        self.reading = False
        """True if its stream is open."""
        self.task = asyncio.create_task(self._run())

    async def close(self, event: bytes) -> None:
        """Write how it ended, unless its record says so already; does not wait for ever for a disk that hangs."""
        await self._disk.wait_at_most(self._disk.put(self._finish_if_begun, event), CLOSE_S)

    async def _run(self) -> None:
        try:
            await self._record()
        except Exception as error:
            log_unexpected(error, "Recording an answer")
            with log_errors("Closing the record of an answer"):  # on the server too: nobody will see the rest of it
                await self.close(UNRECORDED_EVENT)
                await request(self._recorder.socket, "DELETE", self._target, self._recorder.key())
        if self._recorder.recordings.pop(self._id, None) is not None:
            with log_errors("Closing a recording"):
                await self._recorder.on_end(self._id)

    async def _record(self) -> None:
        """Record it to its end, or until nobody will ask for it any more."""
        syncing = asyncio.create_task(self._sync_now_and_then())
        try:
            await self._disk.do(self._file.open)
            self._began = self._file.began
            await self._read_to_the_end()
        finally:
            syncing.cancel()
        with suppress(OSError):
            await self._disk.do(self._file.sync)

    def _finish_if_begun(self, event: bytes) -> None:
        self._file.open()
        if self._began or self._file.began:
            self._file.finish(event)

    async def _finish(self, event: bytes) -> None:
        with suppress(OSError):
            await self._disk.do(self._file.finish, event)

    async def _read_to_the_end(self) -> None:
        pause_s, waited_s, ends, looks_left = RETRY_S, 0.0, 0, LAST_LOOKS
        while not self._file.is_whole:
            before = self._file.offset
            outcome = await self._read(before)
            if outcome == "dropped":
                outcome = await self._read_what_is_left()
            ends = ends + 1 if outcome == "done" and self._file.offset == before else 0
            if outcome == "dropped":
                await self._finish(LOST_EVENT)
            elif outcome == "unknown" and self._began:
                await self._finish(self.stopped_event if self._followed else LOST_EVENT)
            elif not self._began and outcome != "done" and self._is_given_up(waited_s):
                looks_left -= 1  # a question may be on its way to the server while its asker goes
                if not looks_left:
                    return
            elif ends > 1:  # it is known, it has ended, and it never said how
                await self._finish(SERVER_ENDED_EVENT)
            if not self._file.is_whole:
                soon = self._file.offset != before or self.asker_gone.is_set()
                pause_s = RETRY_S if soon else min(pause_s * 1.5, LONGEST_RETRY_S)
                waited_s += pause_s
                sooner = asyncio.Event() if self.asker_gone.is_set() else self.asker_gone
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await sooner.wait()

    def _is_given_up(self, waited_s: float) -> bool:
        asker = asker_of(self._id)
        if self.asker_gone.is_set():
            return True
        return waited_s > NEVER_BEGAN_S if asker is None else identify(asker) is None

    async def _read_what_is_left(self) -> Outcome:
        """The server has dropped what comes next: go on where its buffer begins, which moves on while we ask."""
        socket, body = self._recorder.socket, {"conversation_ids": [self._id]}
        for margin_bytes in MARGINS_BYTES:
            found = await ask(socket, "POST", LOOKUP, list[FoundStream], self._recorder.key(), body=body)
            if not found:
                return "cut"
            outcome = await self._read(max(found[0].first_kept(margin_bytes), self._file.offset))
            if outcome != "dropped":
                return outcome
        return "dropped"

    async def _read(self, offset: int) -> Outcome:
        """Read on from here until the stream ends or breaks; what is before the first whole event belongs to a gap."""
        is_cut, held = offset > self._file.offset, b""
        target, key = f"{self._target}&from={offset}", self._recorder.key()
        try:
            stream = opened(self._recorder.socket, "GET", target, key, rest_s=REST_S)
            async with stream as (status, pieces), aclosing(pieces):
                if status != 200:
                    return "dropped" if status == 400 else "unknown" if status == 404 else "cut"
                self._began = self._followed = self.reading = True
                async for piece in pieces:
                    whole, end, held = (held + piece).rpartition(b"\n\n")
                    whole += end
                    if is_cut and end:
                        cut, _, whole = whole.partition(b"\n\n")
                        offset, is_cut = offset + len(cut) + 2, False
                    if whole:
                        await self._add(whole, offset)
                        offset += len(whole)
        except (OSError, ValueError, IndexError):
            return "cut"
        finally:
            self.reading = False
        return "done"

    async def _add(self, events: bytes, offset: int) -> None:
        try:
            await self._disk.do(self._file.append, events, offset)
        except OSError:
            self._followed = False
            raise
        self._unsynced.set()

    async def _sync_now_and_then(self) -> None:
        while True:
            await self._unsynced.wait()
            await asyncio.sleep(SYNC_S)
            self._unsynced.clear()
            with suppress(OSError):
                await self._disk.do(self._file.sync)


def _make_room(folder: Path, recording: list[Path]) -> None:
    private_folder(folder)
    prune(folder, keep=recording)
