"""The bytes of a model from the hub to this disk: several connections, each for a range, until every byte is right."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress

from r1tui.errors import is_full, os_error
from r1tui.hub.download.failures import NETWORK, Failures, Manners, Silence, explain
from r1tui.hub.download.part import PartialFile, in_thread
from r1tui.hub.download.ranges import piece_bytes
from r1tui.hub.download.source import Body, RangedFile
from r1tui.hub.listing.answers import LOST_TRIES, RetryError
from r1tui.hub.listing.ready import ready_endpoint
from r1tui.hub.listing.remote import RemoteFiles
from r1tui.hub.local.folders import RESERVE_BYTES
from r1tui.system.lazy import huggingface_hub
from r1tui.text import duration, size

CHUNK_BYTES = 1 << 20
MOST_CHUNKS = 512
"""Written at once at most: the system takes no more than 1024 (IOV_MAX)."""
FEW_BYTES = 64 << 10
"""An answer that ends before its piece does and has brought less than this is a failure: one waits before the next."""
REPEAT_EVERY = 10
"""Every so many failures in silence the same reason is reported again."""


class Transfer:
    """Fetches parts; `check` is awaited for each as soon as it is complete and says whether it is right."""

    def __init__(
        self,
        listing: RemoteFiles,
        parts: list[PartialFile],
        manners: Manners,
        notify: Callable[[str], None],
        check: Callable[[PartialFile], Awaitable[bool]],
    ) -> None:
        self.parts = parts
        self.retries = 0
        self._listing = listing
        self._manners = manners
        self._notify = notify
        self._check = check
        self._changed = asyncio.Condition()
        self._unsettled = list(parts)
        self._whole: set[str] = set()
        """Files that their server sends only whole."""
        self._last_reason = ""
        self._reported_reason = ""
        self._room = asyncio.Lock()
        self._disk_full = False
        self._waiting_for_room = ""
        self._failures = Failures(manners)

    @property
    def paused(self) -> str:
        """Why nothing comes at the moment; empty while something does."""
        silent = self._failures.silent
        if self._waiting_for_room or silent <= self._manners.connections:
            return self._waiting_for_room
        return f"No data: {self._last_reason} ({silent} attempts)."

    async def run(self) -> None:
        """Until all parts are checked. Raises R1tuiError, OSError; what has come is safe on disk then."""
        ready_endpoint()  # before the library is imported
        async with huggingface_hub.get_async_session() as session:
            sources = {
                part.file.path: RangedFile(self._listing, part.file, session, self._manners.stall_s)
                for part in self.parts
            }
            try:
                for part in self.parts:
                    part.open()
                async with asyncio.TaskGroup() as group:
                    for part in self.parts:
                        if part.complete:  # it was only to be checked when the last run ended
                            group.create_task(self._settle(part))
                    for _ in range(self._manners.connections):
                        group.create_task(self._connection(group, sources))
            except BaseExceptionGroup as errors:
                first: BaseException = errors
                while isinstance(first, BaseExceptionGroup):
                    first = first.exceptions[0]
                raise first from None
            finally:
                for part in self.parts:
                    with suppress(OSError):
                        await part.save()
                    part.close()

    async def _connection(self, group: asyncio.TaskGroup, sources: dict[str, RangedFile]) -> None:
        """Fetch piece after piece, whatever happens to each."""
        silence = Silence()
        while (claim := await self._claim()) is not None:
            part, start, stop = claim
            came, pause_s = _Came(), 0.0
            try:
                await self._wait_for_room()
                async with sources[part.file.path].open(start, stop) as body:
                    await self._receive(part, body, (start, stop), came)
            except _NotWholeError:
                pass
            except Exception as error:  # told apart there, and raised again where trying does not help
                if came.new_bytes:
                    silence = Silence()
                pause_s = self._pause_s(part, error, silence)
            else:
                silence = Silence()
            finally:
                part.claimed.remove((start, stop))
            if part.complete and not part.claimed and part in self._unsettled:
                group.create_task(self._settle(part))
            async with self._changed:
                self._changed.notify_all()
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _claim(self) -> tuple[PartialFile, int, int] | None:
        """The next bytes to fetch, marked as taken; None when every part is right."""
        async with self._changed:
            while self._unsettled:
                most = piece_bytes(sum(part.missing_bytes for part in self._unsettled), self._manners.connections)
                for part in self._unsettled:
                    whole = part.file.path in self._whole
                    if whole and part.claimed:
                        continue
                    piece = part.next_piece(part.file.size_bytes if whole else most)
                    if piece is not None:
                        part.claimed.append(piece)
                        return part, *piece
                await self._changed.wait()
        return None

    async def _receive(self, part: PartialFile, body: Body, piece: tuple[int, int], came: "_Came") -> None:
        """Write what arrives, and make it safe in time. Raises RetryError for a body that brings too little."""
        if body.ranged:
            self._whole.discard(part.file.path)
        else:
            self._whole.add(part.file.path)
            if any(other != piece for other in part.claimed):
                raise _NotWholeError
        at, held, chunks = body.start, 0, list[bytes]()
        try:
            async for chunk in body.chunks:
                chunks.append(chunk)
                held += len(chunk)
                if at + held > body.stop:
                    chunks.clear()
                    raise RetryError("the server sends more than it was asked for")
                if held >= CHUNK_BYTES or len(chunks) >= MOST_CHUNKS:
                    await in_thread(part.write, at, chunks)
                    self._arrived(part, at, at + held, came)
                    at, held, chunks = at + held, 0, []
                    await part.save_when_due(self._manners.connections)
        finally:
            if chunks:
                part.write(at, chunks)
                self._arrived(part, at, at + held, came)
        if at + held < body.stop:
            raise RetryError("the answer ended early", tries=LOST_TRIES)
        if body.stop < piece[1] and came.new_bytes < FEW_BYTES:
            raise RetryError(f"the server sends only {size(came.new_bytes)} at a time", tries=LOST_TRIES)

    def _arrived(self, part: PartialFile, start: int, stop: int, came: "_Came") -> None:
        """Bytes have been written; only those that were not here before are news."""
        before = part.arrived_bytes
        part.arrived(start, stop)
        if new_bytes := part.arrived_bytes - before:
            came.new_bytes += new_bytes
            self._failures.something_came()
            self._reported_reason = ""  # a failure from now on is news again

    async def _settle(self, part: PartialFile) -> None:
        """Have a complete part checked; a wrong one is fetched again by whoever is free."""
        while True:
            await self._wait_for_room()
            try:
                await part.save()
                right = await self._check(part)
                break
            except OSError as error:
                self._note_full_disk(error)
        if right:
            self._unsettled.remove(part)
        else:
            part.start_again()
        async with self._changed:
            self._changed.notify_all()

    def _pause_s(self, part: PartialFile, error: Exception, silence: Silence) -> float:
        """Report a failure whose reason is new, and from time to time while it stays; how long to wait after it.

        Raises where there is no hope.
        """
        if isinstance(error, OSError) and not isinstance(error, NETWORK):
            self._note_full_disk(error)
            return 0.0
        failure = explain(error, self._manners.stall_s)
        pause_s = self._failures.pause_s(silence, failure, part.file.path)
        self.retries += 1
        self._last_reason, tried = failure.reason, self._failures.silent
        if failure.reason != self._reported_reason or tried % REPEAT_EVERY == 0:
            self._reported_reason = failure.reason
            when = f"again in {duration(pause_s)}" if pause_s >= 1 else "again at once"
            so_far = f" ({tried} tries so far)" if tried >= REPEAT_EVERY else ""
            self._notify(f"{part.file.path.rpartition('/')[2]}: {failure.reason}; {when}{so_far}.")
        return pause_s

    def _note_full_disk(self, error: OSError) -> None:
        """Raises for any other trouble."""
        if not is_full(error):
            raise os_error(error) from None
        self._disk_full = True

    async def _wait_for_room(self) -> None:
        """While the disk is full, wait until it is not; one connection looks, all wait."""
        async with self._room:
            if not self._disk_full:
                return
            folder = self.parts[0].path.parent
            missing_bytes = sum(part.missing_bytes for part in self.parts)
            self._waiting_for_room = f"The disk of {folder} is full. Waiting for room: {size(missing_bytes)} to come."
            self._notify(self._waiting_for_room)
            enough = min(2 * RESERVE_BYTES, RESERVE_BYTES + missing_bytes)
            while shutil.disk_usage(folder).free < enough:  # noqa: ASYNC110  the system has no event for it
                await asyncio.sleep(self._manners.disk_poll_s)
            self._waiting_for_room, self._disk_full = "", False
            self._failures.something_came()
            self._notify("There is room on the disk again.")


class _Came:
    """What one answer has brought."""

    new_bytes = 0


class _NotWholeError(Exception):
    """The file comes only whole, and another connection is at it."""
