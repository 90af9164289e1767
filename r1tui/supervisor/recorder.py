"""Reads every answer to its end into a file, so that it outlives its reader and llama-server's buffer.

A supervisor that follows a killed one goes on where the file ends.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Literal

from r1tui.server.dropped import LOOKUP, FoundStream, first_kept, lookup_body, margins_bytes, stream_target
from r1tui.server.record import (
    LOST_EVENT,
    SERVER_ENDED_EVENT,
    SERVER_STOPPED_EVENT,
    STOPPED_EVENT,
    UNRECORDED_EVENT,
    record_file,
)
from r1tui.supervisor.askers import asker_of
from r1tui.supervisor.http import ask, opened, request
from r1tui.supervisor.record_file import RecordFile, prune
from r1tui.supervisor.worker import WorkerThread, log_errors
from r1tui.system.logs import log_unexpected
from r1tui.system.paths import private_folder
from r1tui.system.processes import identify

RETRY_S = 0.1
LONGEST_RETRY_S = 1.0
SYNC_S = 1.0
"""At most so much of an answer is lost with the power; nothing with the supervisor."""
LAST_LOOKS = 3
NEVER_BEGAN_S = 30.0
"""How long an answer may be announced by nobody who can be asked, before it is given up."""
CLOSE_S = 3.0
"""How long the end of a record waits for a disk that hangs."""

Outcome = Literal["done", "cut", "unknown", "dropped"]
Over = Callable[[str], Awaitable[None]]


class Recorder:
    """Records a server's answers, each in its own task, so that a fault costs one record; `over` hears each end."""

    def __init__(
        self, folder: Path, socket: Path, key: Callable[[], str | None], over: Over, disk: WorkerThread
    ) -> None:
        self._folder = folder
        self._socket = socket
        self._key = key
        self._over = over
        self._disk = disk
        self._recordings: dict[str, _Recording] = {}

    def begin(self, conversation_id: str) -> None:
        """Record this answer from where its file ends; it may begin only later."""
        if conversation_id in self._recordings:
            return
        self._disk.put(_make_room, self._folder, [record_file(self._folder, one) for one in self._recordings])
        path = record_file(self._folder, conversation_id)
        recording = _Recording(conversation_id, path, self._socket, self._key, self._disk)
        self._recordings[conversation_id] = recording
        recording.task = asyncio.create_task(self._record(conversation_id, recording))

    @property
    def reads(self) -> bool:
        return any(recording.reading for recording in self._recordings.values())

    def asker_done(self, conversation_id: str) -> None:
        """Whoever asked waits no more: an answer that the server does not know by now is given up soon."""
        if (recording := self._recordings.get(conversation_id)) is not None:
            recording.asker_gone.set()

    def server_stops(self) -> None:
        """The server is about to be stopped in order: what ends now ends by that."""
        for recording in self._recordings.values():
            recording.stopped_event = SERVER_STOPPED_EVENT

    async def close(self, *, stopped: bool) -> None:
        """The server is gone: every record that has no end yet gets one."""
        recordings, self._recordings = list(self._recordings.values()), {}
        for recording in recordings:
            if recording.task is not None:
                recording.task.cancel()
                await asyncio.wait([recording.task])
            await recording.close(SERVER_STOPPED_EVENT if stopped else SERVER_ENDED_EVENT)

    async def _record(self, conversation_id: str, recording: "_Recording") -> None:
        try:
            await recording.record()
        except Exception as error:
            log_unexpected(error, "The recording of an answer")
            with log_errors("The end of an answer's record"):
                await recording.give_up()
        if self._recordings.pop(conversation_id, None) is not None:
            with log_errors("The end of a recording"):
                await self._over(conversation_id)


class _Recording:
    def __init__(
        self, conversation_id: str, path: Path, socket: Path, key: Callable[[], str | None], disk: WorkerThread
    ) -> None:
        self._id = conversation_id
        self._target = stream_target(conversation_id)
        self._socket = socket
        self._key = key
        self._disk = disk
        self._file = RecordFile(path)
        self._unsynced = asyncio.Event()
        self.stopped_event = STOPPED_EVENT
        """What an answer that is stopped ends with."""
        self.asker_gone = asyncio.Event()
        self._began = False
        """Whether the server has ever known of it."""
        self._followed = False
        """Whether this supervisor has had its stream, to the last byte that there was."""
        self.reading = False
        """Whether its stream is open."""
        self.task: asyncio.Task[None] | None = None

    async def record(self) -> None:
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

    async def close(self, event: bytes) -> None:
        """Write how it ended, unless its record says so already; does not wait for ever for a disk that hangs."""
        await self._disk.patiently(self._disk.put(self._finish_if_begun, event), CLOSE_S)

    async def give_up(self) -> None:
        """End the record, and on the server the answer: nobody will see the rest of it."""
        await self.close(UNRECORDED_EVENT)
        await request(self._socket, "DELETE", self._target, self._key())

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
                await self._pause(pause_s)

    async def _pause(self, pause_s: float) -> None:
        if self.asker_gone.is_set():
            await asyncio.sleep(pause_s)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.asker_gone.wait()

    async def _read_what_is_left(self) -> Outcome:
        """The server has dropped what comes next: go on where its buffer begins, which moves on while we ask."""
        for margin_bytes in margins_bytes():
            if (total_bytes := await self._total_bytes()) is None:
                return "cut"
            outcome = await self._read(max(first_kept(total_bytes, margin_bytes), self._file.offset))
            if outcome != "dropped":
                return outcome
        return "dropped"

    async def _total_bytes(self) -> int | None:
        """How many bytes the stream has had so far; None when the server does not say."""
        body = lookup_body(self._id)
        found = await ask(self._socket, "POST", LOOKUP, list[FoundStream], self._key(), body=body)
        return found[0].total_bytes if found else None

    async def _read(self, offset: int) -> Outcome:
        """Read on from here until the stream ends or breaks; what is before the first whole event belongs to a gap."""
        gap, held = offset > self._file.offset, b""
        is_cut = gap
        try:
            async with opened(self._socket, "GET", f"{self._target}&from={offset}", self._key()) as (status, pieces):
                if status != 200:
                    return "dropped" if status == 400 else "unknown" if status == 404 else "cut"
                self._began = self._followed = self.reading = True
                async with aclosing(pieces):
                    async for piece in pieces:
                        whole, end, held = (held + piece).rpartition(b"\n\n")
                        whole += end
                        if is_cut and end:
                            cut, _, whole = whole.partition(b"\n\n")
                            offset, is_cut = offset + len(cut) + 2, False
                        if whole:
                            await self._add(whole, offset if gap else None)
                            gap = False
        except (OSError, ValueError, IndexError):
            return "cut"
        finally:
            self.reading = False
        return "done"

    async def _add(self, events: bytes, after_gap_at: int | None) -> None:
        try:
            if after_gap_at is None:
                await self._disk.do(self._file.append, events)
            else:
                await self._disk.do(self._file.skip, after_gap_at, events)
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

    def _is_given_up(self, waited_s: float) -> bool:
        asker = asker_of(self._id)
        if self.asker_gone.is_set():
            return True
        return waited_s > NEVER_BEGAN_S if asker is None else identify(asker) is None


def _make_room(folder: Path, recording: list[Path]) -> None:
    private_folder(folder)
    prune(folder, keep=recording)
