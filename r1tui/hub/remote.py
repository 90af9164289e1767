"""What the hub says: the files of a model in one revision."""

import logging
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any

from r1tui.catalog import Variant
from r1tui.errors import R1tuiError
from r1tui.hub.api import Api, Entry
from r1tui.hub.names import choose, models, wanted
from r1tui.hub.refusals import UnreachableError, explained, is_offline
from r1tui.outside import component, relative

__all__ = ["Listing", "RemoteFile", "Tree", "explained", "fetch_tree", "hub_api", "is_offline", "list_files", "select"]


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


@dataclass(frozen=True)
class Listing(Tree):
    """The files of one model among them, in order."""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def hub_api() -> Any:
    """huggingface_hub's client for the endpoint of now; the token is its own affair."""
    from huggingface_hub import HfApi  # noqa: PLC0415  half a second

    # its warnings name signed URLs, and what failed is told by our errors
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def list_files(variant: Variant) -> Listing:
    """The variant's files as the hub has them now; raises R1tuiError for all that can go wrong with that."""
    return select(fetch_tree(variant), variant)


def check_online(variant: Variant) -> None:
    """Raise UnreachableError when the user forbade the hub."""
    if is_offline():
        raise UnreachableError(
            f"{variant.name} is not on this machine, and HF_HUB_OFFLINE forbids to ask the hub for it.",
            "Unset HF_HUB_OFFLINE, or name a GGUF file that is here: --model FILE.",
        )


def fetch_tree(variant: Variant) -> Tree:
    """The GGUF files of the variant's repository as the hub has them now; raises R1tuiError."""
    repo = variant.repo or ""
    check_online(variant)
    with explained(repo, variant.revision):
        api = Api(hub_api().endpoint)
        commit = component(api.commit(repo, variant.revision))
        return Tree(repo, commit, tuple(_remote(entry) for entry in api.entries(repo, commit) if _is_model(entry)))


def _is_model(entry: Entry) -> bool:
    return entry.type == "file" and entry.path.endswith(".gguf")


def _remote(entry: Entry) -> RemoteFile:
    if entry.lfs is None:
        return RemoteFile(entry.path, entry.size, None)
    return RemoteFile(entry.path, entry.lfs.size, entry.lfs.sha256)


def select(tree: Tree, variant: Variant) -> Listing:
    """The variant's files in its repository; raises R1tuiError, with the near names, when it is not clear which."""
    pattern = variant.pattern or ""
    paths = [file.path for file in tree.files]
    chosen = set(choose(paths, tree.repo, pattern))
    if not chosen:
        raise _no_such_file(tree.repo, pattern, paths)
    files = sorted((file for file in tree.files if file.path in chosen), key=lambda file: file.path)
    for file in files:
        relative(file.path)
    component(tree.revision)
    listing = Listing(tree.repo, tree.revision, tuple(files))
    check_sizes(listing)
    return listing


def check_sizes(listing: Listing) -> None:
    """Raise R1tuiError for a file without a byte: no model is in it."""
    for file in listing.files:
        if file.size_bytes == 0:
            raise R1tuiError(
                f"{file.path} of {listing.repo} is empty on the hub (0 bytes).",
                "Choose another quantisation or repository: hf:OWNER/REPO:QUANT.",
            )


def _no_such_file(repo: str, pattern: str, paths: list[str]) -> R1tuiError:
    matching = models(paths, pattern)
    if len(matching) > 1:
        return R1tuiError(
            f"{repo} has several models for {pattern}: {', '.join(sorted(matching)[:6])}.", "Name one of them whole."
        )
    present = models(paths, "*")
    if not present:
        return R1tuiError(f"{repo} has no GGUF files.", "Look for the repository whose name ends in -GGUF.")
    base = repo.rpartition("/")[2].removesuffix("-GGUF")
    names = [PurePosixPath(one).name for one in present]
    by_quant = {name.removeprefix(base).strip("-._").casefold(): name for name in names}
    near = [by_quant[one] for one in get_close_matches(wanted(pattern), by_quant, n=4, cutoff=0.5)]
    others = f"It has {', '.join(sorted(names)[:8])}{' and others' if len(names) > 8 else ''}."
    return R1tuiError(
        f"{repo} has no file for {pattern}: it was renamed, or never was there.",
        f"The nearest are {', '.join(near)}." if near else others,
    )
