"""What the hub says: the files of a model in one revision."""

from dataclasses import dataclass
from difflib import get_close_matches

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.gguf.kinds import PIECE, join_command
from r1tui.hub.listing.api import Api, RepositoryEntry
from r1tui.hub.listing.names import candidates, choose, is_gguf, is_meant, names_of, stem, wanted
from r1tui.hub.listing.ready import ready_endpoint
from r1tui.hub.listing.refusals import UnreachableError, explain_refusals, is_offline
from r1tui.system.outside import component, relative

__all__ = ["RemoteFile", "RemoteFiles", "Tree", "explain_refusals", "fetch_tree", "is_offline", "select"]


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
    """Paths of files that are no GGUFs until they are joined."""


@dataclass(frozen=True)
class RemoteFiles(Tree):
    """The files of one model among them, in order."""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


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
    endpoint = ready_endpoint()
    with explain_refusals(repo, variant.revision):
        api = Api(endpoint)
        commit = component(api.commit(repo, variant.revision))
        files = [entry for entry in api.entries(repo, commit) if entry.type == "file"]
        pieces = tuple(entry.path for entry in files if PIECE.fullmatch(entry.path))
        return Tree(repo, commit, tuple(_remote(entry) for entry in files if is_gguf(entry.path)), pieces)


def _remote(entry: RepositoryEntry) -> RemoteFile:
    if entry.lfs is None:
        return RemoteFile(entry.path, entry.size, None)
    return RemoteFile(entry.path, entry.lfs.size, entry.lfs.sha256)


def select(tree: Tree, variant: Variant) -> RemoteFiles:
    """The variant's files in its repository; raises R1tuiError, with the near names, when it is not clear which."""
    pattern = variant.pattern or ""
    paths = [file.path for file in tree.files]
    chosen = set(choose(paths, tree.repo, pattern))
    if not chosen:
        raise _no_such_file(tree, pattern, paths)
    files = sorted((file for file in tree.files if file.path in chosen), key=lambda file: file.path)
    for file in files:
        relative(file.path)
    component(tree.revision)
    listing = RemoteFiles(tree.repo, tree.revision, tuple(files))
    check_sizes(listing)
    return listing


def check_sizes(listing: RemoteFiles) -> None:
    """Raise R1tuiError for a file without a byte: no model is in it."""
    for file in listing.files:
        if file.size_bytes == 0:
            raise R1tuiError(
                f"{file.path} of {listing.repo} is empty on the hub (0 bytes).",
                "Choose another quantisation or repository: hf:OWNER/REPO:QUANT.",
            )


def _no_such_file(tree: Tree, pattern: str, paths: list[str]) -> R1tuiError:
    repo, asked = tree.repo, pattern.strip("*") or pattern
    if several := candidates(paths, repo, pattern):
        first, *others = sorted(several)
        return R1tuiError(
            f"{repo} has several models for {asked}: {_some([first, *others])}.",
            f"Name one of them whole, for example hf:{repo}:{first}.",
        )
    pieces = [path for path in tree.pieces if is_meant(_before_pieces(path), pattern)]
    names = sorted(set(names_of(paths).values()), key=str.casefold)
    if pieces:
        return R1tuiError(
            f"{repo} has {asked} only in pieces that must be joined: {_some(pieces, 3)}.",
            f"Fetch them (hf download {repo}), join them ({join_command(pieces)}), and name the file: --model FILE.",
        )
    if not names:
        if paths:
            return R1tuiError(f"{repo} has no model, only {_some(sorted(paths))}.", "Choose another repository.")
        return R1tuiError(f"{repo} has no GGUF files.", "Look for the repository whose name ends in -GGUF.")
    by_name = {name.casefold(): name for name in names}
    near = [by_name[one] for one in get_close_matches(wanted(pattern), by_name, n=4, cutoff=0.5)]
    nearest = f"The nearest {'is' if len(near) == 1 else 'are'} {', '.join(near)}. " if near and len(names) > 6 else ""
    return R1tuiError(f"{repo} has no file for {asked}.", f"{nearest}It has {_some(names, 24)}.")


def _some(names: list[str], most: int = 6) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _before_pieces(path: str) -> str:
    """The stem of the model that a piece belongs to."""
    match = PIECE.fullmatch(path)
    return stem(match["whole"]) if match else path
