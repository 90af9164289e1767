"""Why a server could not be asked: what the HTTP library raised, told apart for a person."""

import errno
import re

from r1tui.errors import R1tuiError
from r1tui.server.endpoint import Endpoint
from r1tui.server.refusal import Whose
from r1tui.system.environment import proxy_variable
from r1tui.system.lazy import httpx2

_UNKNOWN_HOST = re.compile(
    r"Name or service not known|nodename nor servname|getaddrinfo|name resolution|No address", re.I
)
_BAD_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", re.I)
_EXPIRED = re.compile(r"certificate has expired|not yet valid", re.I)
_ANOTHER_NAME = re.compile(r"(Hostname|IP address) mismatch", re.I)
_NOT_TLS = re.compile(r"WRONG_VERSION_NUMBER|wrong version number|record layer|UNEXPECTED_EOF|packet length", re.I)
WEB_PAGE = "answers with a web page, as a proxy, a login page or another program does"
HTTPS_HINT = re.compile(rb"HTTP request (was sent )?to (an )?HTTPS|plain HTTP request", re.I)


def explain_transport(error: Exception, endpoint: Endpoint, whose: Whose) -> R1tuiError:
    """Cause and remedy of an HTTP library's error while `endpoint` was asked."""
    said = " ".join(str(one) for one in _chain(error))
    address = "Check the address."
    if isinstance(error, httpx2.ProxyError):
        remedy = f"Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or set NO_PROXY={endpoint.host}."
        return R1tuiError(f"The proxy refuses the connection to {endpoint}.", remedy)
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return R1tuiError(f"{endpoint} is not a valid address.", address)
    if isinstance(error, httpx2.DecodingError):
        return R1tuiError(f"{endpoint} sends data that cannot be decompressed.", address)
    if (wrong := _bad_certificate(said, endpoint)) is not None:
        return wrong
    if endpoint.base_url.startswith("https:") and _NOT_TLS.search(said):
        return R1tuiError(f"{endpoint} does not speak https.", "Write http:// in the address.")
    if endpoint.socket is not None and (missing := _not_listening(error)):
        return R1tuiError(f"{endpoint.socket} {missing}.", *whose.look)
    if isinstance(error, httpx2.ConnectError) and (proxy := _proxy(endpoint)):
        return R1tuiError(f"{endpoint} cannot be reached through the proxy of {proxy}.", f"Check {proxy}, or unset it.")
    if _UNKNOWN_HOST.search(said):
        return R1tuiError(f"There is no host named {endpoint.host}.", "Check the name, and the network.")
    if isinstance(error, httpx2.RemoteProtocolError) and "illegal" in said.lower():
        return R1tuiError(f"{endpoint} does not speak HTTP.", "Check the port; an https server needs https://.")
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError) and not whose.is_ours:
        remedy = "Check the port; if the server speaks https, write https:// in the address."
        return R1tuiError(f"{endpoint} closed the connection without an answer.", remedy)
    if isinstance(error, httpx2.TimeoutException):
        return R1tuiError(f"{endpoint} does not answer in time.", *whose.look)
    return R1tuiError(f"No {whose.name} answers at {endpoint}.", *whose.look)


def _bad_certificate(said: str, endpoint: Endpoint) -> R1tuiError | None:
    its = f"The certificate of {endpoint}"
    if _EXPIRED.search(said):
        return R1tuiError(f"{its} has expired.", "Have it renewed, and check this machine's clock.")
    if _ANOTHER_NAME.search(said):
        return R1tuiError(f"{its} is for another name.", "Use the name that stands in it.")
    if _BAD_CERTIFICATE.search(said):
        remedy = "Set SSL_CERT_FILE to the file of the authority that signed it."
        return R1tuiError(f"{its} is not trusted.", remedy)
    return None


def _not_listening(error: Exception) -> str:
    """What the system says of a path at which no socket listens; empty where it says something else."""
    codes = {one.errno for one in _chain(error) if isinstance(one, OSError)}
    if codes & {errno.ENOENT, errno.ENOTDIR}:
        return "does not exist"
    if errno.EACCES in codes:
        return "cannot be opened: permission denied"
    return "has no server listening" if codes & {errno.ECONNREFUSED, errno.ENOTSOCK} else ""


def web_page(endpoint: Endpoint, status: int | None = None) -> R1tuiError:
    """The error of an address at which a web page answers."""
    shown = f" ({status})" if status else ""
    return R1tuiError(f"{endpoint} {WEB_PAGE}{shown}.", "Check the address and its port.")


def _proxy(endpoint: Endpoint) -> str:
    return "" if endpoint.is_loopback else proxy_variable(endpoint.base_url)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
