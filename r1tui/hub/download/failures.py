"""A transfer's failures: what each is called, how long to wait after it, and when there have been enough."""

import secrets
import ssl
from dataclasses import dataclass
from time import monotonic

from r1tui.errors import R1tuiError
from r1tui.hub.listing.answers import LOG_IN, LOST_TRIES, SURE_TRIES, FilesGoneError, RetryError
from r1tui.system.lazy import httpx2
from r1tui.text import duration

NETWORK = (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, TimeoutError)
"""Errors of the system that are not the disk's."""


@dataclass(frozen=True)
class Manners:
    """How a transfer behaves towards the network and the disk."""

    connections: int = 4
    stall_s: float = 30.0
    """A connection without a byte for this long is given up and made anew."""
    backoff_s: float = 1.0
    """The first pause after a failure; each one after it is twice as long."""
    longest_backoff_s: float = 30.0
    patience_s: float = 24 * 3600.0
    """A transfer to which nothing new has come for this long ends."""
    disk_poll_s: float = 5.0
    """How often a full disk is looked at."""


@dataclass
class Silence:
    """A connection's failures since it last brought something."""

    all: int = 0
    counted: int = 0
    """Those that cannot go on for ever, since anything new came on any connection."""
    news: int = 0
    """What `Failures.news` was then."""


class Failures:
    """The failures of one transfer. A connection may fail as long as others bring something."""

    def __init__(self, manners: Manners) -> None:
        self.news = 0
        """Times that new bytes have come."""
        self.silent = 0
        """Failures since then, on all connections."""
        self._manners = manners
        self._last_news_s = monotonic()

    def something_came(self) -> None:
        """New bytes have come, or there was another reason why they could not."""
        self.news += 1
        self.silent = 0
        self._last_news_s = monotonic()

    def pause_s(self, silence: Silence, failure: RetryError, name: str) -> float:
        """Count a failure of a connection with a file; how long to wait before the next try.

        Raises R1tuiError (FilesGoneError when the hub's list is to be asked for again) when there have been enough.
        """
        if silence.news != self.news:
            silence.news, silence.counted = self.news, 0
        silence.all += 1
        silence.counted += failure.tries is not None
        self.silent += 1
        if failure.tries is not None and silence.counted >= failure.tries:
            raised = FilesGoneError if failure.other else R1tuiError
            raise raised(f"{name} cannot be fetched: {failure.reason}, {silence.counted} times.", failure.remedy)
        if (waited_s := monotonic() - self._last_news_s) > self._manners.patience_s:
            raise R1tuiError(f"Nothing of {name} came for {duration(waited_s)}: {failure.reason}.", failure.remedy)
        jitter = 0.5 + secrets.randbelow(500) / 1000  # so that connections do not all come at once
        doubled_s = self._manners.backoff_s * 2.0 ** min(silence.all - 1, 10)
        pause_s = jitter * min(doubled_s, self._manners.longest_backoff_s)
        if failure.after_s is not None:
            pause_s = max(failure.after_s, pause_s if silence.all > 1 else 0.0)
        return pause_s


def explain(error: Exception, stall_s: float) -> RetryError:
    """A failure of the network, without its address, which may be signed; raises any other error.

    There is no end to the tries only where there is no way to the server.
    """
    match error:
        case RetryError():
            return error
        case httpx2.ReadTimeout() | TimeoutError():
            return RetryError(f"no byte came for {duration(stall_s)}", tries=LOST_TRIES)
        case httpx2.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return RetryError("its certificate is not trusted (captive portal or proxy?)", remedy=LOG_IN)
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return RetryError("no connection", tries=None)
        case httpx2.ProxyError():
            return RetryError("the proxy failed", tries=SURE_TRIES if "407" in str(error) else None, remedy=LOG_IN)
        case httpx2.TooManyRedirects():
            return RetryError("its addresses lead in a circle")
        case httpx2.DecodingError():
            return RetryError("what came cannot be unpacked")
        case httpx2.TransportError() | OSError() if not isinstance(
            error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError
        ):
            return RetryError("the connection was lost", tries=LOST_TRIES)
        case httpx2.HTTPError() | httpx2.InvalidURL():
            return RetryError(f"the request failed ({type(error).__name__})")
        case _:
            raise error
