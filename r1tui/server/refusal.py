"""What a server's errors mean and what mends them, of our own llama-server and of somebody else's; and its silence."""

import errno
import re
from dataclasses import dataclass

from r1tui.errors import R1tuiError
from r1tui.remedies import (
    Advice,
    AnyRemedy,
    AskAgain,
    ChooseModel,
    NewChat,
    Remedies,
    ShowLog,
    ShowStatus,
    StartServer,
)
from r1tui.server import wire
from r1tui.server.endpoint import Endpoint
from r1tui.server.wire import ServerError
from r1tui.system.environment import proxy_login, proxy_variable
from r1tui.system.lazy import httpx2
from r1tui.text import duration

FOREIGN_LOG = Advice("Read the server's own log; --attach must be the server's address.")
_UNKNOWN_HOST = re.compile(
    r"Name or service not known|nodename nor servname|getaddrinfo|name resolution|No address", re.I
)
_BAD_CERTIFICATES = tuple(
    (re.compile(pattern, re.IGNORECASE), cause, remedy)
    for pattern, cause, remedy in (
        (
            "certificate has expired|not yet valid",
            "has expired",
            "Renew the certificate, and check this machine's clock.",
        ),
        ("(Hostname|IP address) mismatch", "is for another name", "Use the host name in the certificate."),
        (
            "CERTIFICATE_VERIFY_FAILED|certificate verify failed",
            "is not trusted",
            "Set SSL_CERT_FILE to the certificate file of its authority (CA).",
        ),
    )
)
_NOT_LISTENING = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.EACCES: "cannot be opened: permission denied",
    errno.ECONNREFUSED: "has no server listening",
    errno.ENOTSOCK: "has no server listening",
}
_NOT_TLS = re.compile(r"WRONG_VERSION_NUMBER|wrong version number|record layer|UNEXPECTED_EOF|packet length", re.I)
_TOO_LONG = re.compile(
    r"context[_ ](length|size|window|limit)|(prompt|input) is too long|too many tokens|max_(model|seq|input)_len", re.I
)
_CHECK_ADDRESS = "Check the address."
HTTPS_HINT = re.compile(rb"HTTP request (was sent )?to (an )?HTTPS|plain HTTP request", re.I)


@dataclass(frozen=True)
class ServerOwner:
    """Owner of a server: the words for its remedies. r1tui's own commands say nothing about another's."""

    name: str = "llama-server"
    is_ours: bool = True

    @property
    def subject(self) -> str:
        return f"The {self.name}" if self.name == "server" else self.name

    @property
    def log(self) -> AnyRemedy:
        """The remedy that leads to more about a failure."""
        return ShowLog() if self.is_ours else FOREIGN_LOG

    @property
    def after_break(self) -> AnyRemedy:
        """The remedy after an answer that broke off."""
        return ShowLog() if self.is_ours else AskAgain()

    @property
    def look(self) -> Remedies:
        """The remedies that find out whether a server is there."""
        if self.is_ours:
            return ShowStatus(), Advice("Or check the address.")
        return (Advice("Check that the server runs, and its address."),)


OURS = ServerOwner()
FOREIGN = ServerOwner("server", is_ours=False)
FOREIGN_SOCKET = ServerOwner(is_ours=False)
"""On a Unix socket nothing but a llama-server listens."""


_KEY = "Set LLAMA_API_KEY to the server's key."
_KNOWN: dict[str, tuple[str, *tuple[str | AnyRemedy, ...]]] = {
    "authentication_error": ("The server does not accept this key.", _KEY),
    wire.SERVER_STOPPED_ERROR: ("The server was stopped.", StartServer(), AskAgain()),
    wire.ENDED_ERROR: ("llama-server ended in the middle of the answer.", ShowLog(), AskAgain()),
    wire.LOST_ERROR: ("Part of the answer was lost while no supervisor recorded it.", AskAgain()),
    wire.UNRECORDED_ERROR: (
        "The rest of the answer could not be recorded, because of an error in r1tui.", "Its log shows why.", AskAgain()
    ),
}  # fmt: skip
"""The type of an error -> its cause and remedies."""


def server_stopped() -> R1tuiError:
    """The error of an answer whose server was stopped in order."""
    return R1tuiError(*_KNOWN[wire.SERVER_STOPPED_ERROR])


def explain(error: ServerError, owner: ServerOwner = OURS) -> R1tuiError:
    """Cause and remedies of an error that a server reports."""
    if error.type == wire.TOO_LONG_ERROR and error.n_prompt_tokens and error.n_ctx:
        cause = f"The conversation has {error.n_prompt_tokens} tokens and the context holds {error.n_ctx}."
        ours = "Or set a larger plan.ctx_size and restart the server."
        return R1tuiError(cause, NewChat(), ours if owner.is_ours else "Or give the server a larger context.")
    if error.type == "unavailable_error" and owner.is_ours:
        return R1tuiError("The model is still loading.", "Wait until it is loaded.", ShowStatus())
    if error.type in _KNOWN:
        return R1tuiError(*_KNOWN[error.type])
    said = error.message or error.type
    status = f" ({error.status})" if error.status else ""
    cause = f"The server refused{status}" + (f": {said.rstrip('.')}." if said else " without giving a reason.")
    if error.status in (401, 403):
        return R1tuiError(cause, _KEY)
    if owner.is_ours:
        return R1tuiError(cause, owner.log)
    if error.status == 503 and "load" in said.lower():
        return R1tuiError(cause, "Wait until its model is loaded.", AskAgain())
    if error.status in (429, 503):
        return R1tuiError(cause, f"Wait {duration(error.wait_s) if error.wait_s else 'a moment'}.", AskAgain())
    if _TOO_LONG.search(f"{error.code} {said}"):
        return R1tuiError(cause, NewChat(), "Or give the server a larger context.")
    has_no_model = error.status in (400, 404, 422) and "model" in said.lower()
    return R1tuiError(cause, ChooseModel() if has_no_model else owner.log)


def explain_transport(error: Exception, endpoint: Endpoint, owner: ServerOwner) -> R1tuiError:
    """Cause and remedies of an HTTP library's error while `endpoint` was asked."""
    said = _explain_transport(error, endpoint, owner)
    return R1tuiError(said.cause, *said.remedies, *([] if "PROXY" in said.remedy.upper() else _without_proxy(endpoint)))


def _without_proxy(endpoint: Endpoint) -> list[str]:
    """The remedy where a proxy lies in between, which may be what answers."""
    proxy = "" if endpoint.is_loopback else proxy_variable(endpoint.base_url)
    return [f"Or set NO_PROXY={endpoint.host} to go past the proxy of {proxy}."] if proxy else []


def _explain_transport(error: Exception, endpoint: Endpoint, owner: ServerOwner) -> R1tuiError:
    errors = _chain(error)
    said = " ".join(map(str, errors))
    codes = {one.errno for one in errors if isinstance(one, OSError)}
    if isinstance(error, httpx2.ProxyError) and "407" in said:
        return no_proxy_login(endpoint)
    if isinstance(error, httpx2.ProxyError):
        remedy = f"Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or set NO_PROXY={endpoint.host}."
        return R1tuiError(f"The proxy refuses the connection to {endpoint}.", remedy)
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return R1tuiError(f"{endpoint} is not a valid address.", _CHECK_ADDRESS)
    if isinstance(error, httpx2.DecodingError):
        return R1tuiError(f"{endpoint} sends data that cannot be decompressed.", _CHECK_ADDRESS)
    if wrong := [(cause, remedy) for pattern, cause, remedy in _BAD_CERTIFICATES if pattern.search(said)]:
        return R1tuiError(f"The certificate of {endpoint} {wrong[0][0]}.", wrong[0][1])
    if endpoint.base_url.startswith("https:") and _NOT_TLS.search(said):
        return R1tuiError(f"{endpoint} does not use https.", "Use http:// in the address.")
    if endpoint.socket is not None and (known := [words for code, words in _NOT_LISTENING.items() if code in codes]):
        return R1tuiError(f"{endpoint.socket} {known[0]}.", *owner.look)
    proxy = "" if endpoint.is_loopback else proxy_variable(endpoint.base_url)
    if isinstance(error, httpx2.ConnectError) and proxy:
        return R1tuiError(f"{endpoint} cannot be reached through the proxy of {proxy}.", f"Check {proxy}, or unset it.")
    if _UNKNOWN_HOST.search(said):
        return R1tuiError(f"There is no host named {endpoint.host}.", "Check the name and the network.")
    if isinstance(error, httpx2.RemoteProtocolError) and "illegal" in said.lower():
        return R1tuiError(f"{endpoint} does not use HTTP.", "Check the port; an https server needs https://.")
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError) and not owner.is_ours:
        remedy = "Check the port; if the server uses https, use https:// in the address."
        return R1tuiError(f"{endpoint} closed the connection without an answer.", remedy)
    if isinstance(error, httpx2.TimeoutException):
        return R1tuiError(f"{endpoint} does not answer in time.", *owner.look)
    return R1tuiError(f"No {owner.name} answers at {endpoint}.", *owner.look)


def no_proxy_login(endpoint: Endpoint) -> R1tuiError:
    """The error of a proxy that asks for a name and password."""
    name, remedy = proxy_login(endpoint.base_url)
    return R1tuiError(f"The proxy of {name} asks for a name and password (407).", remedy)


def web_page(endpoint: Endpoint, status: int | None = None) -> R1tuiError:
    """The error of an address at which a web page answers."""
    shown = f" ({status})" if status else ""
    cause = f"{endpoint} answers with a web page{shown}: a proxy, a login page or another program."
    return R1tuiError(cause, "Check the address and its port.", *_without_proxy(endpoint))


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
