"""What the hub refuses, and why it cannot be reached, in words with a remedy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from r1tui.errors import R1tuiError, is_full
from r1tui.hub.listing.answers import LOG_IN, LOGIN_NEEDED
from r1tui.system.lazy import httpx2, hub_errors, huggingface_hub
from r1tui.system.variables import HUB

TRUE = frozenset({"1", "true", "yes", "on"})
TOKENS_PAGE = "https://huggingface.co/settings/tokens"
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")


class UnreachableError(R1tuiError):
    """The hub was not asked at all: it is useless to ask it for something else."""


def is_offline() -> bool:
    """Whether the user forbade the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUE


@contextmanager
def explain_refusals(repo: str, revision: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises in the block into R1tuiError with a remedy."""
    try:
        yield
    except hub_errors.GatedRepoError as error:
        raise _gated(repo) from error
    except hub_errors.DisabledRepoError as error:
        raise R1tuiError(f"The hub has disabled {repo}.", "Choose another repository: hf:OWNER/REPO:QUANT.") from error
    except hub_errors.RepositoryNotFoundError as error:
        raise _not_there(repo) from error
    except hub_errors.RevisionNotFoundError as error:
        raise R1tuiError(
            f"{repo} has no revision {revision or 'main'}.",
            f"Its branches and tags are on {_page(repo)}; set the variant's `revision`, or leave it out.",
        ) from error
    except hub_errors.HFValidationError as error:
        raise R1tuiError(f"{repo!r} is no repository's name.", "Write OWNER/NAME.") from error
    except hub_errors.EntryNotFoundError as error:
        raise _lost(repo, error) from error
    except hub_errors.HfHubHTTPError as error:
        raise _refused(repo, error.response.status_code) from error
    except hub_errors.OfflineModeIsEnabled as error:
        raise UnreachableError(
            f"HF_HUB_OFFLINE forbids to ask the hub for {repo}.", "Unset HF_HUB_OFFLINE, and start again."
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError) as error:
        raise _unreachable(repo, error) from error
    except OSError as error:
        if is_full(error):
            raise R1tuiError("The disk is full.", "Make room and start again: whole files are kept.") from error
        raise R1tuiError(f"Fetching from {repo} failed: {error}.", "Start again: whole files are kept.") from error


def no_hub(why: str) -> R1tuiError:
    """What answers is something else than a hub."""
    return R1tuiError(
        f"{_host()} answers, but not as a hub does: {why}.",
        "Check HF_ENDPOINT, or whether a proxy or a login page stands in between.",
    )


def web_page() -> R1tuiError:
    """A page for a browser came where the hub's list was asked for."""
    return R1tuiError(f"{_host()} answers with a web page (captive portal or proxy?).", LOG_IN)


def _gated(repo: str) -> R1tuiError:
    accept = f"Accept the licence on {_page(repo)}"
    if _has_token():
        return R1tuiError(
            f"{repo} is gated: its owner has not let this token's account in.",
            f"{accept} with the account that HF_TOKEN belongs to; some owners take a while to answer.",
        )
    return R1tuiError(
        f"{repo} is gated: its owner wants a licence accepted.",
        f"{accept}, make a token that may read ({TOKENS_PAGE}), and set HF_TOKEN to it.",
    )


def _not_there(repo: str) -> R1tuiError:
    if _has_token():
        return R1tuiError(
            f"There is no repository {repo}, or it is private and this token may not read it.",
            f"Check OWNER/NAME on {_page(repo)}; for a private one set HF_TOKEN to a token of its owner's.",
        )
    return R1tuiError(
        f"There is no repository {repo}, or it is private.",
        f"Check OWNER/NAME on {_page(repo)}; for a private one set HF_TOKEN to a token that may read it.",
    )


def _lost(repo: str, error: BaseException) -> R1tuiError:
    if isinstance(error, FileNotFoundError):  # LocalEntryNotFoundError: the hub gave no answer
        return _unreachable(repo, error.__cause__ or error)
    return R1tuiError(f"A file of {repo} is gone.", "Start again: the list of files is then fetched anew.")


def _refused(repo: str, status: int) -> R1tuiError:
    if status == 401 and _has_token():
        return R1tuiError(
            f"The hub does not accept the token for {repo} (401): it is mistyped, or was withdrawn.",
            f"Set HF_TOKEN to a token that is valid ({TOKENS_PAGE}), or unset it for a public repository.",
        )
    if status in (401, 403):
        return R1tuiError(
            f"The hub does not let us read {repo} ({status}).", "Set HF_TOKEN to a token that may read it."
        )
    if status == 429:
        return R1tuiError(
            "The hub has had too many requests from here (429).",
            "Wait some minutes and start again; with HF_TOKEN set it allows more.",
        )
    if status == LOGIN_NEEDED:
        return R1tuiError(f"The network wants a login before {_host()} can be reached ({status}).", LOG_IN)
    return R1tuiError(f"The hub answered {status} for {repo}.", "Start again later: whole files are kept.")


def _unreachable(repo: str, error: BaseException) -> UnreachableError:
    kind = type(error).__name__
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL | httpx2.LocalProtocolError):
        return UnreachableError(
            f"{_host()} is no address that can be asked for {repo} ({kind}).",
            "Write HF_ENDPOINT as https://HOST, and proxies as http://HOST:PORT.",
        )
    if isinstance(error, httpx2.TooManyRedirects):
        return UnreachableError(
            f"{_host()} sends us in a circle, from address to address (captive portal or proxy?).", LOG_IN
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnreachableError(
            f"The certificate of {_host()} is not trusted (captive portal or proxy?).",
            f"{LOG_IN} For a company's own certificates set SSL_CERT_FILE.",
        )
    if isinstance(error, httpx2.ProxyError):
        return UnreachableError(
            f"The proxy does not let us reach {_host()} for {repo}.", f"Check {_proxy()}, or unset it."
        )
    with_proxy = f" and {proxy}" if (proxy := _proxy()) else ""
    if os.environ.get("HF_ENDPOINT"):
        remedy = f"Check HF_ENDPOINT{with_proxy}, or unset it to ask huggingface.co itself."
    else:
        remedy = f"Check the network{with_proxy}; for a mirror set HF_ENDPOINT."
    if isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError | httpx2.ReadTimeout | httpx2.DecodingError):
        return UnreachableError(f"The hub at {_host()} gives no whole answer for {repo} ({kind}).", remedy)
    return UnreachableError(f"The hub at {_host()} cannot be reached for {repo} ({kind}).", remedy)


def _has_token() -> bool:
    return huggingface_hub.get_token() is not None


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").strip() or HUB


def _host() -> str:
    """The endpoint's host and port, and its path: never a name or password that stands before them."""
    parts = urlsplit(_endpoint())
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}".strip("/")


def _page(repo: str) -> str:
    return f"{urlsplit(_endpoint()).scheme or 'https'}://{_host()}/{repo}"


def _proxy() -> str:
    """The name of the variable that sets a proxy; empty without one."""
    return next((name for name in PROXIES if os.environ.get(name)), "")
