"""Which of many GGUF files make up the model that a repository and a pattern mean."""

import re
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import PurePosixPath

from r1tui.gguf.header import SHARD_NAME

_SUFFIX = ".gguf"
_PROJECTOR = re.compile(r"(^|[-_.])mmproj", re.IGNORECASE)
_DYNAMIC = re.compile(r"(^|[-._])(ud|i1)[-._]$")
"""Before a quantisation's name it means another one: Unsloth's dynamic, and weighted ones."""


def stem(path: str) -> str:
    """The model's path without its shard number and suffix: what its files have in common."""
    name = PurePosixPath(path)
    match = SHARD_NAME.match(name.name)
    return str(name.with_name(match["stem"] if match else name.name.removesuffix(_SUFFIX)))


def is_complete(paths: Iterable[str]) -> bool:
    """Whether the files of one model, which have the same stem, are all there."""
    names = {PurePosixPath(path).name for path in paths}
    shards = [match for name in names if (match := SHARD_NAME.match(name))]
    return len(names) == (int(shards[0]["count"]) if shards else 1)


def models(paths: Iterable[str], pattern: str) -> dict[str, list[str]]:
    """The files that match the shell pattern (upper and lower case alike), by model."""
    found: dict[str, list[str]] = defaultdict(list)
    wanted = pattern.casefold()
    for path in sorted(paths):
        whole, name = path.casefold(), PurePosixPath(path).name.casefold()
        if not name.endswith(_SUFFIX) or _PROJECTOR.search(name):
            continue
        if fnmatch(whole, wanted) or fnmatch(name, wanted):
            found[stem(path)].append(path)
    return dict(found)


def is_exactly(model: str, repo: str, pattern: str) -> bool:
    """Whether a model's stem is the repository's own name with what the pattern asks for, and nothing between."""
    base = repo.rpartition("/")[2].casefold().removesuffix("-gguf")
    name = PurePosixPath(model).name.casefold()
    return name.startswith(base) and name.removeprefix(base).strip("-._") == wanted(pattern)


def ends_as_wanted(model: str, pattern: str) -> bool:
    """Whether a model's stem ends in what the pattern asks for, whole: for Q4_K neither Q4_K_M nor UD-Q4_K."""
    name, word = PurePosixPath(model).name.casefold(), wanted(pattern)
    before = name.removesuffix(word)
    return bool(word) and before != name and (not before or before[-1] in "-._") and not _DYNAMIC.search(before)


def wanted(pattern: str) -> str:
    """What a pattern asks for, without its wildcards, in lower case: `q4_k_m` for `*-Q4_K_M*`."""
    return PurePosixPath(pattern.casefold()).name.strip("*").removesuffix(_SUFFIX).strip("-._")


def choose(paths: Iterable[str], repo: str, pattern: str) -> list[str]:
    """The files of the one model of a repository that is meant, by all of its files; [] when that is not clear.

    The exactly named model goes before one whose name only ends so, and that before the only one that matches.
    """
    found = models(paths, pattern)
    exact = [model for model in found if is_exactly(model, repo, pattern)]
    ending = [model for model in found if ends_as_wanted(model, pattern)]
    candidates = exact or ending or list(found)
    return found[candidates[0]] if len(candidates) == 1 else []


def choose_by_name(paths: Iterable[str], repo: str, pattern: str) -> list[str]:
    """As `choose`, by some of a repository's files: the only one of these need not be the one that is meant."""
    chosen = choose(paths, repo, pattern)
    clear = chosen and (is_exactly(stem(chosen[0]), repo, pattern) or ends_as_wanted(stem(chosen[0]), pattern))
    return chosen if clear else []
