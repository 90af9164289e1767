"""The record of the files that were fetched, kept beside them, and which of them count for which revision."""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from r1tui.catalog.variants import PACKAGE, Variant
from r1tui.hub.listing.remote import MAIN, known_commits
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.paths import Paths, stem_of

RECORD_NAME = ".r1tui.json"
_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")


class KnownFile(msgspec.Struct, frozen=True):
    """The hub's size and checksum of a file, and the revision they are from."""

    size_bytes: int
    sha256: str | None
    revision: str
    mtime_ns: int | None = None
    """The file's time of change when it was last read and found right."""
    fetched_for: str = ""
    """The revision's name that it was fetched for, `main` without one; empty: not recorded then."""

    def is_at(self, path: Path) -> bool:
        """True when the file is unchanged since it was found right; reads no content."""
        try:
            now = path.stat()
        except OSError:
            return False
        return now.st_size == self.size_bytes and now.st_mtime_ns == self.mtime_ns


class FetchRecord(msgspec.Struct):
    """Files of one repository by their path in it, so that they can be checked without the hub."""

    files: dict[str, KnownFile] = msgspec.field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "FetchRecord":
        """The record of a repository's folder; an empty one where none can be read."""
        return read_json_if_any(folder / RECORD_NAME, cls) or cls()

    def save(self, folder: Path) -> None:
        """Replace the folder's record in one step."""
        write_json(folder / RECORD_NAME, self, private=False)


def folder_name(repo: str, pinned: str | None) -> str:
    """The folder of a repository's files below a folder for models; a named revision has its own."""
    if pinned is None:
        return repo
    return f"{repo}@{pinned if _PLAIN.fullmatch(pinned) else stem_of(pinned)}"


def own_folder(variant: Variant, paths: Paths, root: Path | None = None) -> Path:
    """r1tui's folder for the variant's repository or package, below one of the folders for models."""
    root = root or paths.models
    if variant.package is not None:
        match = PACKAGE.fullmatch(variant.package)
        return root / "packages" / (f"{match['name']}-{match['version']}" if match else variant.package)
    return root / folder_name(variant.repo or "other", variant.pinned)


def select_counted(variant: Variant, folder: Path, names: Iterable[str], paths: Paths) -> list[str]:
    """Select the names in a folder of r1tui's whose files belong to the variant's revision.

    r1tui once put the files of all revisions into one folder, and noted no more than their commits.
    """
    record = FetchRecord.load(folder).files

    def may_be_of(name: str, commits: set[str]) -> bool:
        return name in record and not record[name].fetched_for and record[name].revision in commits

    if variant.pinned is None:
        others = other_commits(variant, paths)
        return [name for name in names if not may_be_of(name, others)]
    if folder.name == own_folder(variant, paths).name:
        return [name for name in names if name in record]
    mine = {variant.pinned, known_commits(variant.repo or "", paths).get(variant.pinned, "")}
    return [name for name in names if may_be_of(name, mine)]


def other_commits(variant: Variant, paths: Paths) -> set[str]:
    """The commits of named revisions of the variant's repository that are not its main branch, as far as is known."""
    commits = known_commits(variant.repo or "", paths)
    return {commit for name, commit in commits.items() if name not in (MAIN, commit) and commit != commits.get(MAIN)}


def same_file_elsewhere(folder: Path, repo: str, sha256: str | None) -> Path | None:
    """A file with this checksum, unchanged since it was found right, among other revisions beside the folder."""
    name = repo.rpartition("/")[2]
    beside = [one for one in folder.parent.glob("*") if one.name.partition("@")[0] == name and one != folder]
    for other in beside if sha256 else ():
        for name, known in FetchRecord.load(other).files.items():
            path = other / name
            if known.sha256 == sha256 and not path.is_symlink() and known.is_at(path):
                return path
    return None
