"""HTTP to one server: redirects within it, its errors in its own words, everything else as R1tuiError."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import decode_foreign
from r1tui.remedies import RestartServer
from r1tui.server.endpoint import Endpoint
from r1tui.server.refusal import HTTPS_HINT, ServerOwner, explain, explain_transport, no_proxy_login, web_page
from r1tui.server.wire import ServerError, foreign_json, looks_like_html, read_error
from r1tui.system.environment import KEY_VARIABLE, check_network, clean_secret
from r1tui.system.lazy import httpx2

T = TypeVar("T")
TIMEOUT_S = 10.0
MOST_REDIRECTS = 5
LARGEST_BODY_BYTES = 64 << 20
_KEEP_METHOD = (307, 308)
_GET_ONLY = (301, 302, 303)
_NO_SUCH_CALL = (404, 405, 501)
_UNREADABLE = ("br", "zstd", "compress")


class NoSuchCallError(R1tuiError):
    """The server does not have what it was asked for; one that is no llama-server has little."""


class ServerHttp:
    """The connection to one server, for as long as it is not closed."""

    def __init__(self, endpoint: Endpoint, key: str | None, owner: ServerOwner) -> None:
        if not endpoint.is_loopback:
            check_network()
        if key and owner.is_ours:
            key = clean_secret(key, "The file of the server's key", RestartServer())
        elif key:
            key = clean_secret(key, KEY_VARIABLE, "Set it to the server's key only, in plain characters, or unset it.")
        transport = None
        if endpoint.speaks_plain:  # no TLS: the certificates would take longer to read than all the rest
            socket = str(endpoint.socket) if endpoint.socket else None
            transport = httpx2.AsyncHTTPTransport(verify=False, uds=socket)
        self.endpoint = endpoint
        self.owner = owner
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx2.AsyncClient(
                base_url=endpoint.base_url,
                transport=transport,
                trust_env=not endpoint.is_loopback,
                headers={"Accept-Encoding": "identity", **authorization},
                timeout=httpx2.Timeout(TIMEOUT_S),
            )
        except (httpx2.InvalidURL, ValueError, OSError) as error:
            raise R1tuiError(
                f"{endpoint} cannot be used ({type(error).__name__}).",
                "Check the address, and HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE.",
            ) from error

    async def close(self) -> None:
        await self._client.aclose()

    async def is_healthy(self) -> bool:
        """True if `/health` answers 200; False while a model loads and when nobody answers."""
        try:
            return (await self._client.get("/health")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def fetch(
        self, method: str, path: str, kind: type[T], body: object = None, params: dict[str, str] | None = None
    ) -> T:
        """The JSON of an answer as `kind`. Raises R1tuiError."""
        response, content = await self._exchange(self._client.build_request(method, path, json=body, params=params))
        if not response.is_success:
            error = self.refusal(response, content)
            raise NoSuchCallError(error.cause, *error.remedies) if response.status_code in _NO_SUCH_CALL else error
        try:
            return decode_foreign(content, kind)
        except msgspec.DecodeError as error:
            if looks_like_html(content):
                raise web_page(self.endpoint) from error
            raise R1tuiError(f"{self.endpoint} is not a model server.", "Check the address.") from error

    async def ask(self, path: str) -> Any:
        """The JSON that a server of whatever kind answers; None where it has none. Raises R1tuiError when nobody does,
        or what answers is a web page."""
        response, content = await self._exchange(self._client.build_request("GET", path))
        if response.status_code in (401, 403, 407):
            raise self.refusal(response, content)
        if response.status_code != 200:
            return None
        if looks_like_html(content):
            raise web_page(self.endpoint)
        return foreign_json(content)

    async def _exchange(self, request: httpx2.Request) -> tuple[httpx2.Response, bytes]:
        response = await self.send(request)
        try:
            return response, await self.body(response)
        finally:
            await response.aclose()

    async def delete(self, path: str, params: dict[str, str], timeout_s: float) -> bool:
        """True if the server says that it has done so. Raises R1tuiError when nobody answers."""
        request = self._client.build_request("DELETE", path, params=params, timeout=timeout_s)
        response = await self.send(request)
        await response.aclose()
        return response.is_success

    def streaming_request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        body: object = None,
        params: dict[str, str] | None = None,
    ) -> httpx2.Request:
        """A request whose answer may take as long as it takes."""
        timeout = httpx2.Timeout(TIMEOUT_S, read=None)
        return self._client.build_request(method, path, json=body, params=params, headers=headers, timeout=timeout)

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """The response, not read yet, after redirects within the same host. Raises R1tuiError."""
        has_key = "authorization" in request.headers
        for _ in range(MOST_REDIRECTS):
            try:
                response = await self._client.send(request, stream=True)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                raise explain_transport(error, self.endpoint, self.owner) from error
            again, location = response.next_request, response.headers.get("location", "")
            if has_key and "authorization" not in request.headers and response.status_code in (401, 403):
                again, location = None, str(request.url)  # another port may be another's server: it got no key
            elif response.status_code not in (*_KEEP_METHOD, *(_GET_ONLY if request.method == "GET" else ())):
                return response
            await response.aclose()
            # from https nowhere else, and to https only where certificates are checked
            only = "https" if request.url.scheme == "https" else "http" if self.endpoint.speaks_plain else ""
            if again is None or again.url.host != request.url.host or only not in ("", again.url.scheme):
                raise self._elsewhere(location)
            request = again
        raise R1tuiError(f"{self.endpoint} redirects too often.", "Check the address.")

    async def body(self, response: httpx2.Response) -> bytes:
        """All of a response, up to 64 MiB. Raises R1tuiError; a refusal that cannot be unpacked is empty."""
        content = bytearray()
        try:
            pieces = unpacked(response)
        except R1tuiError:
            if response.is_success:
                raise
            return b""
        try:
            async for data in pieces:
                content += data
                if len(content) > LARGEST_BODY_BYTES:
                    raise R1tuiError(f"{self.endpoint} sent more than 64 MiB in one answer.", "Check the address.")
        except (httpx2.HTTPError, OSError) as error:
            if isinstance(error, httpx2.DecodingError) and not response.is_success:
                return b""
            raise explain_transport(error, self.endpoint, self.owner) from error
        return bytes(content)

    def error_of(self, response: httpx2.Response, content: bytes) -> ServerError | R1tuiError:
        """Error of a response that is not 200: the server's own words with its status, or why it has none."""
        location = response.headers.get("location", "")
        if HTTPS_HINT.search(content) and self.endpoint.base_url.startswith("http:"):
            return R1tuiError(f"{self.endpoint} uses https.", "Use https:// in the address.")
        if response.is_redirect and location:
            return self._elsewhere(location)
        if response.status_code == 407 and not self.endpoint.is_loopback:
            return no_proxy_login(self.endpoint)
        if looks_like_html(content):
            return web_page(self.endpoint, response.status_code)
        wait = response.headers.get("retry-after", "").strip()
        wait_s = int(wait) if re.fullmatch("[0-9]{1,5}", wait) else None
        return msgspec.structs.replace(read_error(content, response.status_code), wait_s=wait_s)

    def refusal(self, response: httpx2.Response, content: bytes) -> R1tuiError:
        """As `error_of`, in words."""
        error = self.error_of(response, content)
        return error if isinstance(error, R1tuiError) else explain(error, self.owner)

    def _elsewhere(self, location: str) -> R1tuiError:
        try:
            where = urlsplit(location)
        except ValueError:
            where = urlsplit("")
        shown = f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}" if where.netloc else location
        return R1tuiError(
            f"{self.endpoint} redirects to another address: {shown or 'nowhere'}.", "Use that address, if you trust it."
        )


def unpacked(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes; unpacked where a server packs it although it was asked not to. Raises R1tuiError."""
    packed = response.headers.get("content-encoding", "").strip().lower()
    if unreadable := [way for way in _UNREADABLE if way in packed.replace(",", " ").split()]:
        raise R1tuiError(
            f"The server compresses its answer ({unreadable[0]}); r1tui cannot read that.",
            "Turn off compression on the server.",
        )
    if packed == "x-gzip":  # the same by its older name
        response.headers["content-encoding"] = "gzip"
    return response.aiter_bytes() if packed else response.aiter_raw()
