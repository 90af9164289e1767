"""Which files of a repository count for which of its revisions: those that were fetched or checked for it."""

import re
from collections.abc import Iterable
from pathlib import Path

from r1tui.catalog.variants import Variant
from r1tui.hub.listing.remembered import MAIN, known_commits
from r1tui.hub.local.fetched import FetchRecord, KnownFile
from r1tui.system.outside import stem_of
from r1tui.system.paths import Paths

_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")


def folder_name(repo: str, pinned: str | None) -> str:
    """Where the files of a repository lie below a folder for models; those of a revision that is named lie apart."""
    if pinned is None:
        return repo
    return f"{repo}@{pinned if _PLAIN.fullmatch(pinned) else stem_of(pinned)}"


def counted(variant: Variant, folder: Path, names: Iterable[str], paths: Paths) -> list[str]:
    """Those of the names in a folder of r1tui's whose files count for the variant's revision.

    r1tui once put the files of all revisions into one folder, and noted no more than their commits.
    """
    record = FetchRecord.load(folder).files
    if variant.pinned is None:
        others = other_commits(variant, paths)
        return [name for name in names if name not in record or not _is_of(record[name], others)]
    if is_apart(variant, folder):
        return [name for name in names if name in record]
    mine = {variant.pinned, known_commits(variant.repo or "", paths).get(variant.pinned, "")}
    return [name for name in names if name in record and _is_of(record[name], mine)]


def _is_of(known: KnownFile, commits: set[str]) -> bool:
    """Whether a file in the folder of all revisions may be one of these commits' alone."""
    return not known.fetched_for and known.revision in commits


def other_commits(variant: Variant, paths: Paths) -> set[str]:
    """The commits of named revisions of the variant's repository that are not its main branch, as far as is known."""
    commits = known_commits(variant.repo or "", paths)
    return {commit for name, commit in commits.items() if name not in (MAIN, commit) and commit != commits.get(MAIN)}


def is_apart(variant: Variant, folder: Path) -> bool:
    """Whether nothing but the files of the variant's named revision is in this folder."""
    return variant.pinned is not None and folder.name == folder_name(variant.repo or "", variant.pinned).split("/")[-1]


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
