"""One file on the hub, asked for by ranges: the hub's redirect to a signed address, and every way to be refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from r1tui.errors import R1tuiError
from r1tui.hub.listing import answers
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
    refusal,
    status_error,
)
from r1tui.hub.listing.ready import ready_endpoint
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles
from r1tui.system.lazy import httpcore2, httpx2, hub_errors, hub_utils, huggingface_hub
from r1tui.text import duration

READ_BYTES = 1 << 20
IGNORED_RANGE_BYTES = 64 << 20
"""A server that ignores Range sends the file from its start; a header is read on to a place no farther than this."""


@dataclass(frozen=True)
class Body:
    """Bytes that arrive, from `start` up to `stop`; `ranged` is False for a server that sends the file whole."""

    start: int
    stop: int
    chunks: AsyncIterator[bytes]
    ranged: bool


class _HubFile:
    """A file of a listing, asked for with huggingface_hub's own token and endpoint."""

    def __init__(self, listing: RemoteFiles, file: RemoteFile) -> None:
        endpoint = ready_endpoint()
        self.name = file.path
        self.size_bytes = file.size_bytes
        self._repo = listing.repo
        url = huggingface_hub.hf_hub_url(listing.repo, file.path, revision=listing.revision, endpoint=endpoint)
        self._url = httpx2.URL(url)
        self._token: dict[str, str] = hub_utils.build_hf_headers(library_name="r1tui")

    def _headers(self, start: int, stop: int, authorised: bool = True) -> dict[str, str]:
        asked = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        return self._token | asked if authorised else asked


class HubSource(_HubFile):
    """A file whose header alone is read."""

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, all that there are of `length`; raises R1tuiError when they cannot be had."""
        length = min(length, self.size_bytes - offset)
        return answers.ask(partial(self._read, offset, length), self._repo) if length > 0 else b""

    def _read(self, offset: int, length: int) -> bytes:
        session, headers = hub_utils.get_session(), self._headers(offset, offset + length)
        with session.stream(
            "GET", self._url, headers=headers, follow_redirects=True, timeout=answers.TIMEOUT_S
        ) as response:
            if response.status_code not in (200, 206):
                hub_utils.hf_raise_for_status(response)
                raise status_error(response.status_code, response.headers)
            first, stop = check_range(response, offset, offset + length, self.size_bytes)
            if offset - first > IGNORED_RANGE_BYTES:
                raise R1tuiError(
                    f"The hub cannot send parts of {self.name}.", "Unset HF_ENDPOINT, or download the model."
                )
            wanted = min(stop, offset + length) - first
            read = bytearray()
            for chunk in response.iter_bytes(1 << 20):
                if len(read) < len(MAGIC) <= len(read) + len(chunk) and first == 0:
                    check_beginning(bytes(read + chunk[: len(MAGIC) + 60]), response, self.size_bytes)
                read += chunk
                if len(read) >= wanted:
                    break
        if len(read) < offset - first + length:
            raise RetryError("the answer ended early", tries=LOST_TRIES)
        return bytes(read[offset - first : offset - first + length])


class RangedFile(_HubFile):
    """A file that is fetched. Its signed address is remembered until it is refused, so that the hub is asked rarely."""

    def __init__(self, listing: RemoteFiles, file: RemoteFile, session: Any, stall_s: float) -> None:
        super().__init__(listing, file)
        self._session = session
        self._stall_s = stall_s
        self._timeout = httpx2.Timeout(stall_s, pool=None)
        self._signed: Any = None
        self._keeps = True
        self._served_again = False
        """True once a remembered address has worked; where it never does, none is remembered."""

    @asynccontextmanager
    async def open(self, start: int, stop: int) -> AsyncIterator[Body]:
        """Ask for a range. Raises RetryError, httpx2's errors, and R1tuiError where there is no hope."""
        signed = self._signed
        headers = self._headers(start, stop, authorised=signed is None)  # the token is the hub's alone
        async with self._session.stream(
            "GET", signed or self._url, headers=headers, follow_redirects=True, timeout=self._timeout
        ) as response:
            if response.status_code not in (200, 206):
                self._refuse(response, signed)
            try:
                first, last = check_range(response, start, stop, self.size_bytes)
                chunks = _chunks(response, self._stall_s)
                if first == 0:
                    chunks = _checked(chunks, response, self.size_bytes)
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
                hub_utils.hf_raise_for_status(response)
            except hub_errors.HfHubHTTPError as error:
                refused = refusal(error, self._repo)
                if status in (404, 410):
                    refused = FilesGoneError(refused.cause, *refused.remedies)
                raise refused from error
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
            raise RetryError(f"no data for {duration(stall_s)}", tries=LOST_TRIES) from None
        except (httpcore2.NetworkError, OSError):
            chunk = b""
        if not chunk:
            raise RetryError("the connection was lost", tries=LOST_TRIES)
        yield chunk
        left -= len(chunk)
