"""The hub's lists of files: read with bounds, whatever answers, and remembered; r1tui works without them."""

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from time import time
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.gguf.kinds import PACKED, PIECE, join_command, unpack_command
from r1tui.hub.listing import answers
from r1tui.hub.listing.answers import ask, is_web_page, no_hub, web_page
from r1tui.hub.listing.names import asked_word, choose, find_candidates, is_complete, is_gguf, is_meant, names_of, stem
from r1tui.hub.listing.ready import check_online, ready_endpoint
from r1tui.messages import decode_foreign
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.lazy import httpx2, hub_utils
from r1tui.system.paths import Paths, component, relative

T = TypeVar("T")
MAIN = "main"
CONNECT_S = 10.0
MOST_BYTES = 64 << 20
_ODD_PART = re.compile(r"[-._](?:part|split)?[-._]?(?:\d+[-._]?of[-._]?\d+|split[-._][a-z])$", re.IGNORECASE)
"""The end of the name of a part, with no number that llama.cpp writes."""
_AS_NAMED = "NAME-00001-of-00002.gguf and so on"
MOST_PAGES = 200
"""A page has a thousand names."""
CHOOSE_ANOTHER = "Choose another quantisation or repository: hf:OWNER/REPO:QUANT."

_Bytes = Annotated[int, msgspec.Meta(ge=0)]
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository; `sha256` is None for small files that the hub keeps in git."""

    path: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Tree:
    """All GGUF files of a repository in one pinned revision."""

    repo: str
    revision: str
    files: tuple[RemoteFile, ...]
    pieces: tuple[str, ...] = ()
    """Paths of files that are no GGUFs until they are joined or unpacked."""


@dataclass(frozen=True)
class RemoteFiles(Tree):
    """The files of one model among them, in order."""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class Known:
    """A model's files as the hub gave them `age_s` ago."""

    listing: RemoteFiles
    age_s: float


class _Noted(msgspec.Struct, frozen=True):
    """A repository's GGUF files in one revision, and when the hub said so (seconds since 1970)."""

    tree: Tree
    asked_s: float


class _LargeFile(msgspec.Struct, frozen=True):
    """A file that the hub does not keep in git."""

    size: _Bytes
    sha256: _Sha256 = msgspec.field(name="oid")


class _Entry(msgspec.Struct, frozen=True):
    """A name in a repository; `type` is file or directory."""

    type: str
    path: str
    size: _Bytes = 0
    lfs: _LargeFile | None = None


class _Info(msgspec.Struct, frozen=True):
    sha: Annotated[str, msgspec.Meta(min_length=1)]


def ask_hub(variant: Variant, paths: Paths) -> RemoteFiles:
    """The variant's files as the hub has them now, which is remembered. Raises R1tuiError."""
    tree = fetch_tree(variant)
    save_note(_note(tree.repo, paths), _notes(tree.repo, paths) | {variant.revision or MAIN: _Noted(tree, time())})
    return select(tree, variant)


def latest_files(variant: Variant, paths: Paths) -> RemoteFiles:
    """The variant's files as the hub has them now, or as it said last where it cannot be asked. Raises R1tuiError."""
    try:
        return ask_hub(variant, paths)
    except R1tuiError:
        if (known := known_files(variant, paths)) is not None:
            return known.listing
        raise


def known_files(variant: Variant, paths: Paths) -> Known | None:
    """The hub's last list of the variant's files, without asking it; None where there is none of any use."""
    noted = _notes(variant.repo, paths).get(variant.revision or MAIN) if variant.repo is not None else None
    with suppress(R1tuiError):
        if noted is not None:
            return Known(select(noted.tree, variant), max(0.0, time() - noted.asked_s))
    return None


def known_commits(repo: str, paths: Paths) -> dict[str, str]:
    """The commit that each revision of a repository was when the hub was asked last, by the revision's name."""
    return {name: noted.tree.revision for name, noted in _notes(repo, paths).items()}


def save_note(path: Path, value: object) -> None:
    """Remember a value, whole or not at all; where that is impossible it is not remembered."""
    with suppress(OSError, UnicodeEncodeError):  # what is no text cannot be kept as JSON
        write_json(path, value)


def _notes(repo: str, paths: Paths) -> dict[str, _Noted]:
    return read_json_if_any(_note(repo, paths), dict[str, _Noted]) or {}


def _note(repo: str, paths: Paths) -> Path:
    return paths.cache / "hub" / f"{repo.replace('/', '--')}.json"


def fetch_tree(variant: Variant) -> Tree:
    """The GGUF files of the variant's repository as the hub has them now; raises R1tuiError."""
    repo = variant.repo or ""
    check_online(variant)
    endpoint = ready_endpoint()
    return ask(partial(_fetch_tree, f"{endpoint}/api/models/{repo}", repo, variant.revision), repo, variant.revision)


def _fetch_tree(url: str, repo: str, revision: str | None) -> Tree:
    hub_utils.validate_repo_id(repo)
    info, _ = _ask(f"{url}/revision/{quote(revision, safe='')}" if revision else url, _Info)
    commit = component(info.sha)
    page: str | None = f"{url}/tree/{quote(commit, safe='')}?recursive=true"
    entries, asked = list[_Entry](), set[str]()
    while page is not None:
        if page in asked or len(asked) == MOST_PAGES:
            raise no_hub("its list of files does not end")
        asked.add(page)
        some, following = _ask(page, list[_Entry])
        entries += some
        page = _next_page(page, following) if following else None
    files = [entry for entry in entries if entry.type == "file"]
    pieces = tuple(entry.path for entry in files if PIECE.fullmatch(entry.path) or PACKED.fullmatch(entry.path))
    return Tree(repo, commit, tuple(_remote_file(entry) for entry in files if is_gguf(entry.path)), pieces)


def _ask(url: str, kind: type[T]) -> tuple[T, str]:
    headers: dict[str, str] = hub_utils.build_hf_headers(library_name="r1tui")
    timeout: Any = httpx2.Timeout(answers.TIMEOUT_S, connect=CONNECT_S)
    with hub_utils.get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
        hub_utils.hf_raise_for_status(response)
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                raise no_hub("its answer is too long")
    if is_web_page(response.headers.get("Content-Type", ""), bytes(body[:64])):
        raise web_page()
    try:
        return decode_foreign(bytes(body), kind), str(response.links.get("next", {}).get("url", ""))
    except msgspec.DecodeError as error:
        raise no_hub("its answer is not a list of a model's files" if body else "its answer is empty") from error


def _next_page(url: str, following: str) -> str:
    """The next page's address: a mirror may send the hub's own links on, or leave its own path out of them."""
    query = urlsplit(following).query
    if not query:
        raise no_hub("its list of files continues on another site")
    return f"{url.partition('?')[0]}?{query}"


def _remote_file(entry: _Entry) -> RemoteFile:
    if entry.lfs is None:
        return RemoteFile(entry.path, entry.size, None)
    return RemoteFile(entry.path, entry.lfs.size, entry.lfs.sha256)


def select(tree: Tree, variant: Variant) -> RemoteFiles:
    """The variant's files in its repository; raises R1tuiError, with the near names, when it is not clear which."""
    pattern = variant.pattern or ""
    chosen = set(choose([file.path for file in tree.files], tree.repo, pattern))
    if not chosen:
        raise _no_such_file(tree, pattern)
    files = sorted((file for file in tree.files if file.path in chosen), key=lambda file: file.path)
    for file in files:
        relative(file.path)
    listing = RemoteFiles(tree.repo, component(tree.revision), tuple(files))
    if not is_complete(chosen):
        asked = pattern.strip("*") or pattern
        cause = f"The files of {asked} in {tree.repo} are not one whole model: {_some(sorted(chosen))}."
        raise R1tuiError(cause, CHOOSE_ANOTHER)
    check_sizes(listing)
    return listing


def check_sizes(listing: RemoteFiles) -> None:
    """Raise R1tuiError for a file without a byte: no model is in it."""
    for file in listing.files:
        if file.size_bytes == 0:
            raise R1tuiError(
                f"{file.path} of {listing.repo} is empty on the hub (0 bytes).",
                CHOOSE_ANOTHER,
            )


def _no_such_file(tree: Tree, pattern: str) -> R1tuiError:
    repo, asked = tree.repo, pattern.strip("*") or pattern
    paths = [file.path for file in tree.files]
    several = sorted(find_candidates(paths, repo, pattern))
    if several and all(_ODD_PART.search(one) for one in several):
        files, is_cut = [f"{one}.gguf" for one in several], re.search("part|split", several[0], re.IGNORECASE)
        step = f"join them ({join_command(files)})" if is_cut else f"rename them: {_AS_NAMED}"
        return R1tuiError(
            f"{repo} has {asked} only in parts with names that llama.cpp does not know: {_some(several, 3)}.",
            f"Download them (hf download {repo}), {step}, and use the file: --model FILE.",
        )
    if several:
        return R1tuiError(
            f"{repo} has several models for {asked}: {_some(several)}.",
            f"Choose one by its full name, for example {shlex.quote(f'hf:{repo}:{several[0]}')}.",
        )
    pieces = [path for path in tree.pieces if is_meant(_before_pieces(path), pattern)]
    names = sorted(set(names_of(paths).values()), key=str.casefold)
    if packed := [path for path in pieces if PACKED.fullmatch(path)]:
        return R1tuiError(
            f"{repo} has {asked} only compressed: {_some(packed, 3)}.",
            f"Download it (hf download {repo}), unpack it ({unpack_command(packed[0])}), and use it: --model FILE.",
        )
    if pieces:
        return R1tuiError(
            f"{repo} has {asked} only in parts that must be joined: {_some(pieces, 3)}.",
            f"Download them (hf download {repo}), join them ({join_command(pieces)}), and use the file: --model FILE.",
        )
    if not names and paths:
        return R1tuiError(f"{repo} has no model, only {_some(sorted(paths))}.", "Choose another repository.")
    if not names:
        return R1tuiError(f"{repo} has no GGUF files.", "Look for a repository with a name ending in -GGUF.")
    by_name = {name.casefold(): name for name in names}
    near = [by_name[one] for one in get_close_matches(asked_word(pattern), by_name, n=4, cutoff=0.5)]
    nearest = f"The closest {'is' if len(near) == 1 else 'are'} {', '.join(near)}. " if near and len(names) > 6 else ""
    return R1tuiError(f"{repo} has no file for {asked}.", f"{nearest}It has {_some(names, 24)}.")


def _some(names: list[str], most: int = 6) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _before_pieces(path: str) -> str:
    """The stem of the model that a piece belongs to, or that is compressed."""
    match = PIECE.fullmatch(path)
    return stem(match["whole"] if match else path.rpartition(".")[0])
