"""Reads every answer to its end, whether anybody else does, and keeps the bytes in a file: the answer outlives its
reader, and what llama-server's buffer forgets. A keeper that comes after a killed one goes on where the file ends."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Literal
from urllib.parse import quote

from r1tui.keeper.http import opened
from r1tui.keeper.state import asker_of
from r1tui.paths import private_folder
from r1tui.process import identify
from r1tui.server.record import (
    DONE_EVENT,
    LOST_EVENT,
    SERVER_ENDED_EVENT,
    SERVER_STOPPED_EVENT,
    STOPPED_EVENT,
    record_file,
)

RETRY_S = 0.1
LONGEST_RETRY_S = 1.0
SYNC_S = 1.0
"""At most so much of an answer is lost with the power; nothing with the keeper."""
LAST_LOOKS = 3
NEVER_BEGAN_S = 30.0
"""How long an answer may be announced by nobody who can be asked, before it is given up."""
MOST_RECORDS = 1000
MOST_BYTES = 512 << 20
LONGEST_AGE_S = 14 * 86400.0

Outcome = Literal["done", "cut", "unknown", "lost"]


class Recorder:
    """Records the answers of one server, each in a task of its own. `over` is told of each that has ended."""

    def __init__(self, folder: Path, socket: Path, key: Callable[[], str | None], over: Callable[[str], None]) -> None:
        self._folder = folder
        self._socket = socket
        self._key = key
        self._over = over
        self._recordings: dict[str, _Recording] = {}

    def begin(self, conversation_id: str) -> None:
        """Record this answer from where its file ends; it may begin only later."""
        if conversation_id in self._recordings:
            return
        with suppress(OSError):
            private_folder(self._folder)
            prune(self._folder, keep=[record_file(self._folder, one) for one in self._recordings])
        recording = _Recording(conversation_id, record_file(self._folder, conversation_id), self._socket, self._key)
        self._recordings[conversation_id] = recording
        recording.task.add_done_callback(lambda _: self._ended(conversation_id))

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
            recording.task.cancel()
            await asyncio.wait([recording.task])
            if recording.began:
                recording.finish(SERVER_STOPPED_EVENT if stopped else SERVER_ENDED_EVENT)

    def _ended(self, conversation_id: str) -> None:
        if self._recordings.pop(conversation_id, None) is not None:
            self._over(conversation_id)


class _Recording:
    """One answer's record."""

    def __init__(self, conversation_id: str, path: Path, socket: Path, key: Callable[[], str | None]) -> None:
        self._id = conversation_id
        self._path = path
        self._socket = socket
        self._key = key
        self._bytes = path.stat().st_size if path.exists() else 0
        self._last_event = _tail(path)
        self._syncing: asyncio.Task[None] | None = None
        self.stopped_event = STOPPED_EVENT
        """What an answer that is stopped ends with."""
        self.asker_gone = asyncio.Event()
        self.began = self._bytes > 0
        """Whether the server has ever known of it."""
        self._followed = False
        """Whether this keeper has had its stream, to the last byte that there was."""
        self.task = asyncio.create_task(self._record())

    def finish(self, event: bytes) -> None:
        """Write how it ended, unless the record says so already."""
        if not self._is_whole():
            with suppress(OSError):
                self._append(event)

    async def _record(self) -> None:
        pause_s, waited_s, ends, looks_left = RETRY_S, 0.0, 0, LAST_LOOKS
        while not self._is_whole():
            before = self._bytes
            outcome = await self._read()
            ends = ends + 1 if outcome == "done" and self._bytes == before else 0
            if outcome == "lost":
                self.finish(LOST_EVENT)
            elif outcome == "unknown" and self.began:
                self.finish(self.stopped_event if self._followed else LOST_EVENT)
            elif not self.began and outcome != "done" and self._is_given_up(waited_s):
                looks_left -= 1  # a question may be on its way to the server while its asker goes
                if not looks_left:
                    return
            elif ends > 1:  # it is known, it has ended, and it never said how
                self.finish(SERVER_ENDED_EVENT)
            if not self._is_whole():
                soon = self._bytes != before or self.asker_gone.is_set()
                pause_s = RETRY_S if soon else min(pause_s * 1.5, LONGEST_RETRY_S)
                waited_s += pause_s
                await self._rest(pause_s)
        if self._syncing is not None:
            await self._syncing

    async def _rest(self, pause_s: float) -> None:
        """A pause, which ends when it is told that nobody waits for the answer."""
        if self.asker_gone.is_set():
            await asyncio.sleep(pause_s)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.asker_gone.wait(), pause_s)

    async def _read(self) -> Outcome:
        """Read on from the file's end until the stream ends or breaks."""
        held = b""
        target = f"/v1/stream?conv_id={quote(self._id, safe='')}&from={self._bytes}"
        try:
            async with opened(self._socket, "GET", target, self._key()) as (status, pieces):
                if status != 200:
                    return "lost" if status == 400 else "unknown" if status == 404 else "cut"
                self.began = self._followed = True
                async for piece in pieces:
                    whole, end, held = (held + piece).rpartition(b"\n\n")
                    if end:
                        self._append(whole + end)
        except (OSError, ValueError, IndexError):
            return "cut"
        return "done"

    def _append(self, data: bytes) -> None:
        """Add whole events; raises OSError, with the file as it was, when there is no room for them."""
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                written = os.pwrite(fd, data, self._bytes)
                while written < len(data):
                    written += os.pwrite(fd, data[written:], self._bytes + written)
            except OSError:
                self._followed = False
                os.ftruncate(fd, self._bytes)
                raise
        finally:
            os.close(fd)
        self._bytes += len(data)
        self._last_event = data.rstrip(b"\n").rpartition(b"\n\n")[2]
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync_soon())

    async def _sync_soon(self) -> None:
        await asyncio.sleep(0 if self._is_whole() else SYNC_S)
        with suppress(OSError):
            await asyncio.to_thread(_sync, self._path)

    def _is_whole(self) -> bool:
        return self._last_event.startswith((DONE_EVENT, b'data: {"error"', b"error:"))

    def _is_given_up(self, waited_s: float) -> bool:
        """Whether nobody will ask any more for an answer that has not begun."""
        asker = asker_of(self._id)
        if self.asker_gone.is_set():
            return True
        return waited_s > NEVER_BEGAN_S if asker is None else identify(asker) is None


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


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _tail(path: Path) -> bytes:
    """The last event of a record."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - (1 << 16), 0))
            return file.read().rstrip(b"\n").rpartition(b"\n\n")[2]
    except OSError:
        return b""
