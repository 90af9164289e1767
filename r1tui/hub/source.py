"""One file on the hub, asked for by ranges: the hub's redirect to a signed address, and every way to be refused."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from r1tui.errors import R1tuiError
from r1tui.hub.headers import hub_utilities
from r1tui.hub.refusals import explained
from r1tui.hub.remote import Listing, RemoteFile, hub_api
from r1tui.text import duration

READ_BYTES = 1 << 20
LONGEST_WAIT_S = 900.0
"""A server may ask for a longer pause; we look again."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})


class RetryError(Exception):
    """It did not work this time. With `hope` it will, however often it takes; without, some tries are enough."""

    def __init__(self, reason: str, *, hope: bool = True, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hope = hope
        self.after_s = after_s
        """How long the server asks us to wait."""


class GoneError(R1tuiError):
    """The hub has the revision or the file no more."""


@dataclass(frozen=True)
class Body:
    """Bytes that arrive, and the offset of the first; `ranged` is False for a server that sends the file whole."""

    start: int
    chunks: AsyncIterator[bytes]
    ranged: bool


class Source:
    """A file of a listing. Its signed address is remembered until it is refused, so that the hub is asked rarely."""

    def __init__(self, listing: Listing, file: RemoteFile, session: Any, stall_s: float) -> None:
        import httpx2  # noqa: PLC0415
        from huggingface_hub import hf_hub_url  # noqa: PLC0415

        self.file = file
        self._repo = listing.repo
        self._session = session
        self._stall_s = stall_s
        self._timeout = httpx2.Timeout(stall_s, pool=None)
        url = hf_hub_url(listing.repo, file.path, revision=listing.revision, endpoint=hub_api().endpoint)
        self._url = httpx2.URL(url)
        self._authorised: dict[str, str] = hub_utilities().build_hf_headers(library_name="r1tui")
        self._signed: Any = None
        self._keeps = True
        self._served_again = False
        """Whether a remembered address has ever worked; where it never does, none is remembered."""

    @asynccontextmanager
    async def open(self, start: int, stop: int) -> AsyncIterator[Body]:
        """Ask for a range. Raises RetryError, httpx2's errors, and R1tuiError where there is no hope."""
        signed = self._signed
        headers = {} if signed else self._authorised  # the token is the hub's alone
        headers = {**headers, "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        async with self._session.stream(
            "GET", signed or self._url, headers=headers, follow_redirects=True, timeout=self._timeout
        ) as response:
            if response.status_code not in (200, 206):
                self._refuse(response, signed)
            body = self._body(response, start, stop)
            if signed is not None:
                self._served_again = True
            elif self._keeps and response.url.origin != self._url.origin:
                self._signed = response.url
            yield body

    def _refuse(self, response: Any, signed: Any) -> NoReturn:
        status = response.status_code
        if status in TRANSIENT:
            raise RetryError(_answer(status), after_s=_retry_after_s(response.headers.get("Retry-After", "")))
        if signed is not None:
            self._keeps = self._served_again
            if self._signed == signed:
                self._signed = None
            raise RetryError(f"the signed address has expired ({status})", after_s=0.0)
        if response.url.origin == self._url.origin and 400 <= status < 500 and status != 416:
            self._refused_by_the_hub(response)
        raise RetryError(_answer(status), hope=False)

    def _refused_by_the_hub(self, response: Any) -> None:
        try:
            with explained(self._repo):
                hub_utilities().hf_raise_for_status(response)
        except R1tuiError as error:
            if response.status_code in (404, 410):
                raise GoneError(error.cause, error.remedy) from None
            raise

    def _body(self, response: Any, start: int, stop: int) -> Body:
        """What a good answer brings; raises RetryError when it is about another file or another range."""
        size = self.file.size_bytes
        if response.status_code == 200:
            if int(response.headers.get("Content-Length") or size) != size:
                raise RetryError("the server sends something else in the file's place", hope=False)
            return Body(0, _chunks(response, self._stall_s), ranged=False)
        said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not said or int(said[1]) != start or int(said[2]) >= stop or said[3] not in ("*", str(size)):
            raise RetryError("the server sends another range than it was asked for", hope=False)
        return Body(start, _chunks(response, self._stall_s), ranged=True)


async def _chunks(response: Any, stall_s: float) -> AsyncIterator[bytes]:
    """The body as it comes.

    What httpx2 does to each 64 KiB costs as much processor time as all else together. So once its parser has handed
    over what came with the headers and holds nothing back, the rest is read from the connection itself, which is not
    used again then.
    """
    import httpcore2  # noqa: PLC0415

    parsed = response.aiter_raw()
    left = int(response.headers.get("Content-Length", 0))
    connection = response.extensions.get("network_stream")
    direct = connection is not None and response.http_version == "HTTP/1.1" and left
    async for chunk in parsed:
        yield chunk
        left -= len(chunk)
        if direct and left > 0:
            break
    while direct and left > 0:
        try:
            chunk = await connection.read(min(left, READ_BYTES), timeout=stall_s)
        except httpcore2.TimeoutException:
            raise RetryError(f"no byte came for {duration(stall_s)}") from None
        except (httpcore2.NetworkError, OSError):
            chunk = b""
        if not chunk:
            raise RetryError("the connection was lost")
        yield chunk
        left -= len(chunk)


def _answer(status: int) -> str:
    return "too many requests (429)" if status == 429 else f"the server answered {status}"


def _retry_after_s(value: str) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3)."""
    if value.strip().isdigit():
        return min(float(value), LONGEST_WAIT_S)
    try:
        left_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(left_s, 0.0), LONGEST_WAIT_S)
