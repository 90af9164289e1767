"""Every wrong answer of a hub, or of what stands in for it: in words, with its remedy, and how often to try again."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import sleep
from typing import Any, TypeVar
from urllib.parse import urlsplit

from r1tui.errors import R1tuiError
from r1tui.system.environment import HUB, proxy_login, proxy_variable
from r1tui.system.lazy import httpx2, hub_errors, huggingface_hub
from r1tui.text import duration, one_line, size

T = TypeVar("T")
MAGIC = b"GGUF"
TIMEOUT_S = 30.0
"""Of the hub's answers that are no model."""
PAUSES_S = (0.5, 2.0)
"""Before a question whose answer was cut is asked again."""
SURE_TRIES = 6
"""Answers in a row that can hardly become better, with no new byte between them, that end a transfer."""
LOST_TRIES = 12
"""The same for connections that are lost before they bring a byte."""
LONGEST_WAIT_S = 900.0
"""A server may ask for a longer pause; we look again."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})
LATER = "Try again later; what was downloaded is kept. If HF_ENDPOINT is set, try without it."
LOG_IN = "Open any page in a browser and log in to the network, or check the proxy; then try again."
TOKENS_PAGE = "https://huggingface.co/settings/tokens"
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<?xml", b"<!--")


class RetryError(Exception):
    """Transient failure; `tries` in a row without a new byte end the transfer (None: any number may come)."""

    def __init__(
        self, reason: str, *, tries: int | None = SURE_TRIES, after_s: float | None = None, remedy: str = LATER,
        other: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.reason = reason
        self.tries = tries
        self.after_s = after_s
        """The pause that the server asks for."""
        self.remedy = remedy
        self.other = other
        """True when the server seems to have another file than the hub's list says."""


class FilesGoneError(R1tuiError):
    """The hub has the revision or the file no more."""


class UnreachableError(R1tuiError):
    """The hub was not asked at all: it is useless to ask it for something else."""


def explain(error: Exception, stall_s: float) -> RetryError:
    """A failure of the network, without its address, which may be signed; raises any other error.

    There is no end to the tries only where there is no way to the server.
    """
    match error:
        case RetryError():
            return error
        case httpx2.ReadTimeout() | TimeoutError():
            return RetryError(f"no data for {duration(stall_s)}", tries=LOST_TRIES)
        case httpx2.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            remedy = f"{LOG_IN} For a company's own certificates set SSL_CERT_FILE."
            return RetryError("its certificate is not trusted (captive portal or proxy?)", remedy=remedy)
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return RetryError("no connection", tries=None)
        case httpx2.ProxyError():
            if "407" in str(error):
                return _proxy_login()
            remedy = f"Check {proxy_variable(_endpoint()) or 'the proxy'}, or unset it."
            return RetryError("the proxy failed", tries=None, remedy=remedy)
        case httpx2.TooManyRedirects():
            return RetryError("too many redirects (captive portal or proxy?)", remedy=LOG_IN)
        case httpx2.DecodingError():
            return RetryError("the answer cannot be decompressed")
        case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError() | httpx2.InvalidURL():
            return RetryError(f"its address cannot be used ({type(error).__name__})")
        case httpx2.TransportError() | ConnectionError():
            return RetryError("the connection was lost", tries=LOST_TRIES)
        case OSError():  # such as a file of certificates that has none
            remedy = "Check SSL_CERT_FILE, or unset it." if os.environ.get("SSL_CERT_FILE") else LATER
            return RetryError(one_line(error.strerror or str(error)), tries=LOST_TRIES, remedy=remedy)
        case _:
            raise error


def status_error(status: int, headers: Any) -> RetryError:
    """A status that brings no bytes."""
    if status == 429:
        wait = "Wait a few minutes and try again; with HF_TOKEN set the hub allows more requests."
        after_s = retry_after_s(headers.get("Retry-After", ""))
        return RetryError("too many requests (429)", tries=None, after_s=after_s, remedy=wait)
    if status in TRANSIENT:
        after_s = retry_after_s(headers.get("Retry-After", ""))
        return RetryError(f"the server answered {status}", tries=None, after_s=after_s)
    if status == 407:
        return _proxy_login()
    if status == 511:
        return RetryError(f"the network needs a login (captive portal or proxy? {status})", remedy=LOG_IN)
    if status == 416:
        return RetryError("the server's file is shorter than the requested range (416)", other=True)
    return RetryError(f"the server answered {status}")


def _proxy_login() -> RetryError:
    return RetryError("the proxy asks for a name and password (407)", remedy=proxy_login(_endpoint())[1])


def retry_after_s(value: str) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3), at most LONGEST_WAIT_S; None for anything else."""
    if re.fullmatch(r"[0-9]+", value.strip()):
        return min(float(value), LONGEST_WAIT_S)
    try:
        left_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(left_s, 0.0), LONGEST_WAIT_S)


def check_range(response: Any, start: int, stop: int, size_bytes: int) -> tuple[int, int]:
    """The range of bytes that a good answer (200, 206) to a question for one brings; a 200 brings the whole file.

    Raises RetryError when it is about another file or another range.
    """
    if response.status_code == 200:
        return 0, size_bytes
    said = re.fullmatch(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", response.headers.get("Content-Range", "").strip())
    if said and said[3] not in ("*", str(size_bytes)):
        raise _other_size(int(said[3]), size_bytes)
    if not said or int(said[1]) != start or not start <= int(said[2]) < stop:
        raise RetryError("the server sent a different range than requested")
    if is_packed(response):
        raise RetryError("the server compresses its answers, so parts cannot be requested")
    return start, int(said[2]) + 1


def check_beginning(head: bytes, response: Any, size_bytes: int) -> None:
    """Raise RetryError when bytes from the beginning of an answer are not those of a GGUF file of that size."""
    kind = response.headers.get("Content-Type", "")
    if head[: len(MAGIC)] != MAGIC[:size_bytes]:
        if is_web_page(kind, head):
            raise RetryError("got a web page instead of the file (captive portal or proxy?)", remedy=LOG_IN)
        raise RetryError("the server sent something else instead of the file")
    length = response.headers.get("Content-Length", "")
    if response.status_code == 200 and length and not is_packed(response) and int(length) != size_bytes:
        raise _other_size(int(length), size_bytes)


def _other_size(there_bytes: int, listed_bytes: int) -> RetryError:
    there, listed = size(there_bytes), size(listed_bytes)
    if there == listed:
        there, listed = f"{there_bytes:,} B", f"{listed_bytes:,} B"
    return RetryError(f"the server's file has {there}, but the hub's list says {listed}", other=True)


def is_packed(response: Any) -> bool:
    """True when the body is compressed although we asked for it uncompressed."""
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


def is_web_page(content_type: str, head: bytes) -> bool:
    """True for a page for a browser, such as a network's login."""
    kind = content_type.partition(";")[0].strip().lower()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return kind in ("text/html", "application/xhtml+xml") or start.startswith(_PAGE_STARTS)


def no_hub(why: str) -> R1tuiError:
    """The error for an endpoint that is not a hub."""
    return R1tuiError(
        f"{_host()} does not answer like a model hub: {why}.",
        "Check HF_ENDPOINT, the proxy, and whether the network needs a login.",
    )


def web_page() -> R1tuiError:
    """The error for a browser's page in place of the hub's list."""
    return R1tuiError(f"{_host()} answers with a web page (captive portal or proxy?).", LOG_IN)


def ask(call: Callable[[], T], repo: str, revision: str | None = None) -> T:
    """The answer to a question to the hub, asked again when it was cut. Raises R1tuiError with a remedy."""
    for pause_s in (*PAUSES_S, None):
        try:
            return call()
        except (hub_errors.HFValidationError, httpx2.HTTPError, httpx2.InvalidURL, OSError, RetryError) as error:
            cut = isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError | RetryError)
            if pause_s is None or not cut or getattr(error, "tries", None) == SURE_TRIES:
                raise refusal(error, repo, revision) from error
            sleep(pause_s)
    raise AssertionError  # the last try has returned or raised


def refusal(error: Exception, repo: str, revision: str | None = None) -> R1tuiError:
    """The error, with a remedy, for a failure of the hub, its library or HTTP; raises any other error."""
    match error:
        case hub_errors.HFValidationError():
            return R1tuiError(f"{repo!r} is not a repository name.", "Write OWNER/NAME.")
        case hub_errors.HfHubHTTPError():
            return _refused(error, repo, revision)
        case RetryError():
            return R1tuiError(f"{repo} cannot be read on {_host()}: {error.reason}.", error.remedy)
    failure = explain(error, TIMEOUT_S)
    proxy = f" and {name}" if (name := proxy_variable(_endpoint())) else ""
    remedy = failure.remedy
    if remedy == LATER and os.environ.get("HF_ENDPOINT"):
        remedy = f"Check HF_ENDPOINT{proxy}, or unset it to use huggingface.co."
    elif remedy == LATER:
        remedy = f"Check the network{proxy}; for a mirror set HF_ENDPOINT."
    return UnreachableError(f"The hub at {_host()} cannot be reached for {repo}: {failure.reason}.", remedy)


def _refused(error: Any, repo: str, revision: str | None) -> R1tuiError:
    page = f"{urlsplit(_endpoint()).scheme or 'https'}://{_host()}/{repo}"
    has_token, status = huggingface_hub.get_token() is not None, error.response.status_code
    match error:
        case hub_errors.GatedRepoError() if has_token:
            return R1tuiError(
                f"{repo} is gated: its owner has not given this token's account access.",
                f"Accept the licence on {page} with HF_TOKEN's account; some owners need time to approve.",
            )
        case hub_errors.GatedRepoError():
            return R1tuiError(
                f"{repo} is gated: its owner asks you to accept a licence.",
                f"Accept the licence on {page}, create a read token ({TOKENS_PAGE}) and set HF_TOKEN to it.",
            )
        case hub_errors.DisabledRepoError():
            return R1tuiError(f"The hub has disabled {repo}.", "Choose another repository: hf:OWNER/REPO:QUANT.")
        case hub_errors.RepositoryNotFoundError():
            return R1tuiError(
                f"There is no repository {repo}, or it is private{' and this token may not read it' * has_token}.",
                f"Check OWNER/NAME on {page}; for a private one set HF_TOKEN to its owner's token.",
            )
        case hub_errors.RevisionNotFoundError():
            return R1tuiError(
                f"{repo} has no revision {revision or 'main'}.",
                f"Its branches and tags are on {page}; set the variant's `revision`, or remove it.",
            )
        case hub_errors.EntryNotFoundError():
            return R1tuiError(f"A file of {repo} is gone.", "Try again: r1tui then reads the new list of files.")
    if status == 401 and has_token:
        return R1tuiError(
            f"The hub does not accept the token for {repo} (401): it is wrong or was revoked.",
            f"Set HF_TOKEN to a valid token ({TOKENS_PAGE}), or unset it for a public repository.",
        )
    if status in (401, 403):
        return R1tuiError(f"The hub denied access to {repo} ({status}).", "Set HF_TOKEN to a token that can read it.")
    failure = status_error(status, error.response.headers)
    return R1tuiError(f"{repo} cannot be read on {_host()}: {failure.reason}.", failure.remedy)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").strip() or HUB


def _host() -> str:
    """The endpoint's host and port, and its path: never a name or password that stands before them."""
    parts = urlsplit(_endpoint())
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}".strip("/")
