"""The bytes of a model from the hub to this disk: several connections, each for a range, until every byte is right."""

import asyncio
import secrets
import shutil
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from r1tui.errors import R1tuiError, is_full, os_error
from r1tui.hub.folders import RESERVE_BYTES
from r1tui.hub.part import Part, in_thread
from r1tui.hub.ranges import piece_bytes
from r1tui.hub.remote import Listing, hub_api
from r1tui.hub.source import Body, RetryError, Source
from r1tui.text import duration, size

CHUNK_BYTES = 1 << 20
MOST_CHUNKS = 512
"""Written at once at most: the system takes no more than 1024 (IOV_MAX)."""
LONGEST_BACKOFF_S = 30.0
HOPELESS_TRIES = 6
"""Failures without hope in a row on one connection, with no new byte between them, that end the transfer."""
NETWORK = (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, TimeoutError)
"""Errors of the system that are not the disk's."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Manners:
    """How a transfer behaves towards the network and the disk."""

    connections: int = 4
    stall_s: float = 30.0
    """A connection without a byte for this long is given up and made anew."""
    backoff_s: float = 1.0
    """The first pause after a failure; each one after it is twice as long."""
    disk_poll_s: float = 5.0
    """How often a full disk is looked at."""


class Transfer:
    """Fetches parts; `check` is awaited for each as soon as it is complete and says whether it is right."""

    def __init__(
        self,
        listing: Listing,
        parts: list[Part],
        manners: Manners,
        tell: Tell,
        check: Callable[[Part], Awaitable[bool]],
    ) -> None:
        self.parts = parts
        self.retries = 0
        self.paused = ""
        """Why nothing comes at the moment."""
        self._listing = listing
        self._manners = manners
        self._tell = tell
        self._check = check
        self._changed = asyncio.Condition()
        self._unsettled = list(parts)
        self._whole: set[str] = set()
        """Files that their server sends only whole."""
        self._last_told = ""
        self._disk_full = False
        self._room = asyncio.Lock()

    async def run(self) -> None:
        """Until all parts are checked. Raises R1tuiError, OSError; what has come is safe on disk then."""
        from huggingface_hub import get_async_session  # noqa: PLC0415

        hub_api()  # silences its log
        async with get_async_session() as session:
            sources = {
                part.file.path: Source(self._listing, part.file, session, self._manners.stall_s) for part in self.parts
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
                raise _first(errors) from None
            finally:
                for part in self.parts:
                    with suppress(OSError):
                        await part.save()
                    part.close()

    async def _connection(self, group: asyncio.TaskGroup, sources: dict[str, Source]) -> None:
        """Fetch piece after piece, whatever happens to each."""
        failures = _Failures()
        while (claim := await self._claim()) is not None:
            part, start, stop = claim
            before = part.arrived_bytes
            pause_s = 0.0
            try:
                await self._wait_for_room()
                async with sources[part.file.path].open(start, stop) as body:
                    await self._receive(part, body, (start, stop))
            except _NotWholeError:
                pass
            except Exception as error:  # told apart there, and raised again where trying does not help
                if part.arrived_bytes > before:
                    failures = _Failures()
                pause_s = self._pause_s(part, error, failures)
            else:
                failures = _Failures()
            finally:
                part.claimed.remove((start, stop))
            if part.complete and not part.claimed and part in self._unsettled:
                group.create_task(self._settle(part))
            await self._notify()
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _claim(self) -> tuple[Part, int, int] | None:
        """The next bytes to fetch, marked as taken; None when every part is right."""
        async with self._changed:
            while self._unsettled:
                remaining = sum(part.file.size_bytes - part.arrived_bytes for part in self._unsettled)
                most = piece_bytes(remaining, self._manners.connections)
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

    async def _receive(self, part: Part, body: Body, piece: tuple[int, int]) -> None:
        """Write what arrives, and make it safe in time."""
        if body.ranged:
            self._whole.discard(part.file.path)
        else:
            self._whole.add(part.file.path)
            if any(other != piece for other in part.claimed):
                raise _NotWholeError
        at, held, chunks = body.start, 0, list[bytes]()
        stop = piece[1] if body.ranged else part.file.size_bytes
        try:
            async for chunk in body.chunks:
                chunks.append(chunk)
                held += len(chunk)
                if at + held > stop:
                    chunks.clear()
                    raise RetryError("the server sends more than it was asked for", hope=False)
                if held >= CHUNK_BYTES or len(chunks) >= MOST_CHUNKS:
                    await in_thread(part.write, at, chunks)
                    part.arrived(at, at + held)
                    at, held, chunks = at + held, 0, []
                    await part.save_when_due(self._manners.connections)
                    self._all_is_well()
        finally:
            if chunks:
                part.write(at, chunks)
                part.arrived(at, at + held)

    async def _settle(self, part: Part) -> None:
        """Have a complete part checked; a wrong one is fetched again by whoever is free."""
        while True:
            await self._wait_for_room()
            try:
                await part.save()
                right = await self._check(part)
                break
            except OSError as error:
                self._disk_is_full(error)
        if right:
            self._unsettled.remove(part)
        else:
            part.start_again()
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _pause_s(self, part: Part, error: Exception, failures: "_Failures") -> float:
        """Tell of a failure, and how long to wait before the next try. Raises where there is no hope."""
        if isinstance(error, OSError) and not isinstance(error, NETWORK):
            self._disk_is_full(error)
            return 0.0
        reason, hope = self._reason(error)
        failures.all += 1
        failures.hopeless = 0 if hope else failures.hopeless + 1
        if failures.hopeless >= HOPELESS_TRIES:
            raise R1tuiError(
                f"{part.file.path} cannot be fetched: {reason}, {HOPELESS_TRIES} times.",
                "Start again later; what came is kept. With HF_ENDPOINT set, try without it.",
            )
        jitter = 0.5 + secrets.randbelow(500) / 1000  # so that connections do not all come at once
        pause_s = jitter * min(self._manners.backoff_s * 2.0 ** min(failures.all - 1, 10), LONGEST_BACKOFF_S)
        if isinstance(error, RetryError) and error.after_s is not None:
            pause_s = max(error.after_s, pause_s if failures.all > 1 else 0.0)
        self.retries += 1
        if reason != self._last_told:
            self._last_told = reason
            when = f"again in {duration(pause_s)}" if pause_s >= 1 else "again at once"
            self._tell(f"{part.file.path.rpartition('/')[2]}: {reason}; {when}.")
        return pause_s

    def _reason(self, error: Exception) -> tuple[str, bool]:
        """A failure in words, without an address, which may be signed; and whether it will surely pass.

        Raises it again where another try is no use.
        """
        import httpx2  # noqa: PLC0415

        match error:
            case RetryError(reason=reason, hope=hope):
                return reason, hope
            case httpx2.ReadTimeout():
                return f"no byte came for {duration(self._manners.stall_s)}", True
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                return "no connection", True
            case httpx2.ProxyError():
                return "the proxy failed", True
            case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError():
                return f"the request failed ({type(error).__name__})", False
            case httpx2.TransportError() | OSError():
                return "the connection was lost", True
            case httpx2.HTTPError() | httpx2.InvalidURL():
                return f"the request failed ({type(error).__name__})", False
            case _:
                raise error

    def _disk_is_full(self, error: OSError) -> None:
        """Remember it; raises for any other trouble."""
        if not is_full(error):
            raise os_error(error) from None
        self._disk_full = True

    def _all_is_well(self) -> None:
        """Bytes come: a failure from now on is news again."""
        self._last_told = ""

    async def _wait_for_room(self) -> None:
        """While the disk is full, wait until it is not; one connection looks, all wait."""
        async with self._room:
            if not self._disk_full:
                return
            folder = self.parts[0].path.parent
            remaining = sum(part.file.size_bytes - part.arrived_bytes for part in self.parts)
            self.paused = (
                f"The disk of {folder} is full, and {size(remaining)} are to come: waiting until there is room."
            )
            self._tell(self.paused)
            enough = min(2 * RESERVE_BYTES, RESERVE_BYTES + remaining)
            while shutil.disk_usage(folder).free < enough:  # noqa: ASYNC110  the system has no event for it
                await asyncio.sleep(self._manners.disk_poll_s)
            self.paused, self._disk_full = "", False
            self._tell("There is room on the disk again.")


@dataclass
class _Failures:
    """Of one connection since it last brought something."""

    all: int = 0
    hopeless: int = 0


class _NotWholeError(Exception):
    """The file comes only whole, and another connection is at it."""


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the group."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
