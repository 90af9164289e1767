"""One file on the hub, asked for by ranges: the hub's redirect to a signed address, and every way to be refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from r1tui.errors import R1tuiError
from r1tui.hub.listing.answers import (
    LOST_TRIES,
    MAGIC,
    SURE_TRIES,
    TRANSIENT,
    FilesGoneError,
    RetryError,
    check_beginning,
    check_range,
    is_packed,
    status_error,
)
from r1tui.hub.listing.ready import ready_endpoint
from r1tui.hub.listing.refusals import explain_refusals
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles
from r1tui.system.lazy import httpcore2, httpx2, hub_utils, huggingface_hub
from r1tui.text import duration

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Body:
    """Bytes that arrive, from `start` up to `stop`; `ranged` is False for a server that sends the file whole."""

    start: int
    stop: int
    chunks: AsyncIterator[bytes]
    ranged: bool


class RangedFile:
    """A file of a listing. Its signed address is remembered until it is refused, so that the hub is asked rarely."""

    def __init__(self, listing: RemoteFiles, file: RemoteFile, session: Any, stall_s: float) -> None:
        endpoint = ready_endpoint()
        self.file = file
        self._repo = listing.repo
        self._session = session
        self._stall_s = stall_s
        self._timeout = httpx2.Timeout(stall_s, pool=None)
        url = huggingface_hub.hf_hub_url(listing.repo, file.path, revision=listing.revision, endpoint=endpoint)
        self._url = httpx2.URL(url)
        self._authorised: dict[str, str] = hub_utils.build_hf_headers(library_name="r1tui")
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
            try:
                size_bytes = self.file.size_bytes
                first, last = check_range(response, start, stop, size_bytes)
                chunks = _chunks(response, self._stall_s)
                if first == 0:
                    chunks = _checked(chunks, response, size_bytes)
                if signed is not None:
                    self._served_again = True
                elif self._keeps and response.url.origin != self._url.origin:
                    self._signed = response.url
                yield Body(first, last, chunks, ranged=response.status_code == 206)
            except RetryError as error:
                if error.tries == SURE_TRIES:  # the hub may know a better address
                    self._signed = None
                raise

    def _refuse(self, response: Any, signed: Any) -> NoReturn:
        status = response.status_code
        if signed is not None and status not in TRANSIENT:
            self._keeps = self._served_again
            if self._signed == signed:
                self._signed = None
            raise RetryError(f"the signed address has expired ({status})", tries=None, after_s=0.0)
        if response.url.origin == self._url.origin and 400 <= status < 500 and status not in (*TRANSIENT, 416):
            try:
                with explain_refusals(self._repo):
                    hub_utils.hf_raise_for_status(response)
            except R1tuiError as error:
                if status in (404, 410):
                    raise FilesGoneError(error.cause, *error.remedies) from None
                raise
        raise status_error(status, response.headers)


async def _checked(chunks: AsyncIterator[bytes], response: Any, size_bytes: int) -> AsyncIterator[bytes]:
    """The same bytes; raises RetryError before the first when they are not those of a GGUF file."""
    head, enough = b"", min(len(MAGIC), size_bytes)
    async for chunk in chunks:
        head += chunk
        if len(head) >= enough:
            check_beginning(head, response, size_bytes)
            yield head
            break
    async for chunk in chunks:
        yield chunk


async def _chunks(response: Any, stall_s: float) -> AsyncIterator[bytes]:
    """The body as it comes.

    What httpx2 does to each 64 KiB costs nearly as much processor time as all else together. So once its parser has
    handed over what came with the headers, the rest is read from the connection itself, which is not used again then.
    """
    connection = response.extensions.get("network_stream")
    left = 0 if "Transfer-Encoding" in response.headers else int(response.headers.get("Content-Length", 0))
    if is_packed(response) or connection is None or response.http_version != "HTTP/1.1" or not left:
        async for chunk in response.aiter_bytes():
            yield chunk
        return
    parsed = response.aiter_raw()  # held on to: its end closes the connection
    async for chunk in parsed:
        yield chunk
        left -= len(chunk)
        if left > 0:
            break
    while left > 0:
        try:
            chunk = await connection.read(min(left, READ_BYTES), timeout=stall_s)
        except httpcore2.TimeoutException:
            raise RetryError(f"no byte came for {duration(stall_s)}", tries=LOST_TRIES) from None
        except (httpcore2.NetworkError, OSError):
            chunk = b""
        if not chunk:
            raise RetryError("the connection was lost", tries=LOST_TRIES)
        yield chunk
        left -= len(chunk)
