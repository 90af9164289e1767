"""The bytes of a model from the hub to this disk: several connections, each for a range, until every byte is right."""

import asyncio
import secrets
import shutil
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from r1tui.errors import R1tuiError, is_full, os_error
from r1tui.hub.download.part import PartialFile, Range, in_thread, piece_bytes
from r1tui.hub.download.source import Body, RangedFile
from r1tui.hub.listing.answers import LOST_TRIES, FilesGoneError, RetryError, explain
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
_NETWORK = (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, TimeoutError)
"""Errors of the system that are not the disk's."""


@dataclass(frozen=True)
class Manners:
    """A transfer's limits for the network and the disk."""

    connections: int = 4
    stall_s: float = 30.0
    """A connection without a byte for this long is given up and made anew."""
    backoff_s: float = 1.0
    """The first pause after a failure; each one after it is twice as long."""
    longest_backoff_s: float = 30.0
    patience_s: float = 24 * 3600.0
    """A transfer to which nothing new has come for this long ends."""
    disk_poll_s: float = 5.0
    """Interval between looks at a full disk."""


@dataclass
class _Connection:
    new_bytes: int = 0
    """New bytes from its last answer."""
    failures: int = 0
    """Since it last brought something."""
    counted: int = 0
    """Failures that count towards the end, since anything new came on any connection."""
    news: int = 0
    """The transfer's `_news` when it failed last."""


class _NotWholeError(Exception):
    """The file comes only whole, and another connection is at it."""


class Transfer:
    """Fetches parts; `check` is awaited for each as soon as it is complete: is it right?"""

    def __init__(
        self,
        listing: RemoteFiles,
        parts: list[PartialFile],
        manners: Manners,
        notify: Callable[[str], None],
        check: Callable[[PartialFile], Awaitable[bool]],
    ) -> None:
        self.retries = 0
        self._listing = listing
        self._parts = parts
        self._manners = manners
        self._notify = notify
        self._check = check
        self._changed = asyncio.Condition()
        self._unsettled = list(parts)
        self._whole: set[str] = set()
        """Files that their server sends only whole."""
        self._news = 0
        """Times that new bytes have come."""
        self._silent = 0
        """Failures since then, on all connections."""
        self._last_news_s = monotonic()
        self._last_reason = ""
        self._reported_reason = ""
        self._room = asyncio.Lock()
        self._disk_full = False
        self._waiting_for_room = ""

    @property
    def paused(self) -> str:
        """Reason for the stall; empty while data comes."""
        if self._waiting_for_room or self._silent <= self._manners.connections:
            return self._waiting_for_room
        return f"No data: {self._last_reason} ({self._silent} attempts)."

    async def run(self) -> None:
        """Fetch until all parts are checked. Raises R1tuiError, OSError; all that has arrived is then safe on disk."""
        ready_endpoint()  # before the library is imported
        async with huggingface_hub.get_async_session() as session:
            sources = {
                part.file.path: RangedFile(self._listing, part.file, session, self._manners.stall_s)
                for part in self._parts
            }
            try:
                for part in self._parts:
                    part.open()
                async with asyncio.TaskGroup() as group:
                    for part in self._parts:
                        if not part.missing_bytes:  # it was only to be checked when the last run ended
                            group.create_task(self._settle(part))
                    for _ in range(self._manners.connections):
                        group.create_task(self._connect(group, sources))
            except BaseExceptionGroup as errors:
                first: BaseException = errors
                while isinstance(first, BaseExceptionGroup):
                    first = first.exceptions[0]
                raise first from None
            finally:
                for part in self._parts:
                    with suppress(OSError):
                        await part.save()
                    part.close()

    async def _connect(self, group: asyncio.TaskGroup, sources: dict[str, RangedFile]) -> None:
        connection = _Connection()
        while (claim := await self._claim()) is not None:
            part, piece = claim
            pause_s, connection.new_bytes = 0.0, 0
            try:
                await self._wait_for_room()
                async with sources[part.file.path].open(*piece) as body:
                    await self._receive(part, body, piece, connection)
                connection.failures = connection.counted = 0
            except _NotWholeError:
                pass
            except Exception as error:  # told apart there, and raised again where trying does not help
                pause_s = self._pause_s(part, error, connection)
            finally:
                part.claimed.remove(piece)
            if not part.missing_bytes and not part.claimed and part in self._unsettled:
                group.create_task(self._settle(part))
            async with self._changed:
                self._changed.notify_all()
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _claim(self) -> tuple[PartialFile, Range] | None:
        """The next bytes to fetch, marked as taken; None when every part is right."""
        async with self._changed:
            while self._unsettled:
                most = piece_bytes(sum(part.missing_bytes for part in self._unsettled), self._manners.connections)
                for part in self._unsettled:
                    whole = part.file.path in self._whole
                    piece = part.next_piece(part.file.size_bytes if whole else most)
                    if piece is not None and not (whole and part.claimed):
                        part.claimed.append(piece)
                        return part, piece
                await self._changed.wait()
        return None

    async def _receive(self, part: PartialFile, body: Body, piece: Range, connection: _Connection) -> None:
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
                    raise RetryError("the server sent more than requested")
                if held >= CHUNK_BYTES or len(chunks) >= MOST_CHUNKS:
                    await in_thread(part.write, at, chunks)
                    self._arrived(part, (at, at + held), connection)
                    at, held, chunks = at + held, 0, []
                    await part.save_when_due(self._manners.connections)
        finally:
            if chunks:
                part.write(at, chunks)
                self._arrived(part, (at, at + held), connection)
        if at + held < body.stop:
            raise RetryError("the answer ended early", tries=LOST_TRIES)
        if body.stop < piece[1] and connection.new_bytes < FEW_BYTES:
            raise RetryError(f"the server sends only {size(connection.new_bytes)} at a time", tries=LOST_TRIES)

    def _arrived(self, part: PartialFile, written: Range, connection: _Connection) -> None:
        """Bytes have been written; only those that were not here before are news."""
        if new_bytes := part.arrived(*written):
            connection.new_bytes += new_bytes
            self._reported_reason = ""  # a failure from now on is news again
            self._end_silence()

    def _end_silence(self) -> None:
        self._news += 1
        self._silent = 0
        self._last_news_s = monotonic()

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

    def _pause_s(self, part: PartialFile, error: Exception, connection: _Connection) -> float:
        """Count a failure, and report it when its reason is new, or from time to time; how long to wait after it.

        Raises where there is no hope (FilesGoneError when the hub's list is to be asked for again), and when there have
        been enough; a connection may fail as long as others bring something.
        """
        if isinstance(error, OSError) and not isinstance(error, _NETWORK):
            self._note_full_disk(error)
            return 0.0
        failure, manners, name = explain(error, self._manners.stall_s), self._manners, part.file.path
        if connection.new_bytes:
            connection.failures = 0
        if connection.new_bytes or connection.news != self._news:
            connection.news, connection.counted = self._news, 0
        connection.failures += 1
        connection.counted += failure.tries is not None
        self._silent += 1
        if failure.tries is not None and connection.counted >= failure.tries:
            raised = FilesGoneError if failure.other else R1tuiError
            raise raised(
                f"{name} could not be downloaded: {failure.reason} ({connection.counted} attempts).", failure.remedy
            )
        if (waited_s := monotonic() - self._last_news_s) > manners.patience_s:
            raise R1tuiError(f"No data of {name} for {duration(waited_s)}: {failure.reason}.", failure.remedy)
        jitter = 0.5 + secrets.randbelow(500) / 1000  # so that connections do not all come at once
        doubled_s = manners.backoff_s * 2.0 ** min(connection.failures - 1, 10)
        pause_s = jitter * min(doubled_s, manners.longest_backoff_s)
        if failure.after_s is not None:
            pause_s = max(failure.after_s, pause_s if connection.failures > 1 else 0.0)
        self.retries += 1
        self._last_reason = failure.reason
        if failure.reason != self._reported_reason or self._silent % REPEAT_EVERY == 0:
            self._reported_reason = failure.reason
            when = f"retrying in {duration(pause_s)}" if pause_s >= 1 else "retrying"
            so_far = f" ({self._silent} attempts so far)" if self._silent >= REPEAT_EVERY else ""
            self._notify(f"{name.rpartition('/')[2]}: {failure.reason}; {when}{so_far}.")
        return pause_s

    def _note_full_disk(self, error: OSError) -> None:
        """Raises for any other trouble."""
        if not is_full(error):
            raise os_error(error) from None
        self._disk_full = True

    async def _wait_for_room(self) -> None:
        """Wait while the disk is full; one connection looks, all wait."""
        async with self._room:
            if not self._disk_full:
                return
            folder = self._parts[0].path.parent
            missing_bytes = sum(part.missing_bytes for part in self._parts)
            self._waiting_for_room = (
                f"The disk of {folder} is full. Waiting for free space: {size(missing_bytes)} still to download."
            )
            self._notify(self._waiting_for_room)
            enough = min(2 * RESERVE_BYTES, RESERVE_BYTES + missing_bytes)
            while shutil.disk_usage(folder).free < enough:  # noqa: ASYNC110  the system has no event for it
                await asyncio.sleep(self._manners.disk_poll_s)
            self._waiting_for_room, self._disk_full = "", False
            self._end_silence()
            self._notify("The disk has free space again. Continuing.")
