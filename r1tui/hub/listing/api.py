"""The hub's JSON, asked for with bounds in time, length and number of pages, whatever it is that answers."""

from time import sleep
from typing import Annotated, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from r1tui.hub.listing.answers import is_web_page
from r1tui.hub.listing.refusals import no_hub, web_page
from r1tui.messages import decode_foreign
from r1tui.system.lazy import httpx2, hub_utils

T = TypeVar("T")
TIMEOUT_S = 30.0
CONNECT_S = 10.0
PAUSES_S = (0.5, 2.0)
"""Before a question whose answer was cut is asked again."""
MOST_BYTES = 64 << 20
MOST_PAGES = 200
"""A page has a thousand names."""

Bytes = Annotated[int, msgspec.Meta(ge=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class LargeFile(msgspec.Struct, frozen=True):
    """What the hub says about a file that it does not keep in git."""

    size: Bytes
    sha256: Sha256 = msgspec.field(name="oid")


class RepositoryEntry(msgspec.Struct, frozen=True):
    """A name in a repository; `type` is file or directory."""

    type: str
    path: str
    size: Bytes = 0
    lfs: LargeFile | None = None


class _Info(msgspec.Struct, frozen=True):
    sha: Annotated[str, msgspec.Meta(min_length=1)]


class Api:
    """The hub's endpoint of now, asked with huggingface_hub's own session and token."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._headers: dict[str, str] = hub_utils.build_hf_headers(library_name="r1tui")

    def commit(self, repo: str, revision: str | None) -> str:
        """The commit that a revision (None: the main branch) is now.

        This and `entries` raise R1tuiError, huggingface_hub's errors and httpx2's.
        """
        hub_utils.validate_repo_id(repo)
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        return self._ask(f"{self._endpoint}/api/models/{repo}{at}", _Info)[0].sha

    def entries(self, repo: str, commit: str) -> list[RepositoryEntry]:
        """All names of a repository in a commit."""
        url: str | None = f"{self._endpoint}/api/models/{repo}/tree/{quote(commit, safe='')}?recursive=true"
        entries, asked = list[RepositoryEntry](), set[str]()
        while url is not None:
            if url in asked or len(asked) == MOST_PAGES:
                raise no_hub("its list of files has no end")
            asked.add(url)
            page, following = self._ask(url, list[RepositoryEntry])
            entries += page
            url = _next_page(url, following) if following else None
        return entries

    def _ask(self, url: str, kind: type[T]) -> tuple[T, str]:
        """The answer, and the address of the next page, empty without one; asks again when an answer was cut."""
        for pause_s in PAUSES_S:
            try:
                return self._ask_once(url, kind)
            except (httpx2.ReadError, httpx2.RemoteProtocolError):
                sleep(pause_s)
        return self._ask_once(url, kind)

    def _ask_once(self, url: str, kind: type[T]) -> tuple[T, str]:
        timeout = httpx2.Timeout(TIMEOUT_S, connect=CONNECT_S)
        with hub_utils.get_session().stream("GET", url, headers=self._headers, timeout=timeout) as response:
            hub_utils.hf_raise_for_status(response)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise no_hub("its answer has no end")
        if is_web_page(response.headers.get("Content-Type", ""), bytes(body[:64])):
            raise web_page()
        try:
            return decode_foreign(bytes(body), kind), str(response.links.get("next", {}).get("url", ""))
        except msgspec.DecodeError as error:
            raise no_hub("its answer is no list of a model's files" if body else "its answer is empty") from error


def _next_page(url: str, following: str) -> str:
    """The next page's address: a mirror may send the hub's own links on, or leave its own path out of them."""
    query = urlsplit(following).query
    if not query:
        raise no_hub("its list of files goes on elsewhere")
    return f"{url.partition('?')[0]}?{query}"
