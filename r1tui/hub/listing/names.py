"""Which of many GGUF files make up the model that a repository and a pattern mean.

A quantisation is a whole word of a file's or a folder's name, `UD-` and its kin included: Q2_K is neither UD-Q2_K nor
Q2_K_L, F16 is not BF16.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from r1tui.gguf.header import SHARD_NAME

_SUFFIX = ".gguf"
_NO_MODEL = re.compile(r"(^|[-_.])mmproj|^imatrix|[-_.]imatrix(?!.*[-_.]i?q\d)", re.IGNORECASE)
"""Files beside models that are none; a model may be called after the imatrix that it was quantised with."""
_BESIDE = re.compile(r"^(mtp|draft|eagle3?|dflash)[-_.]|(^|[-_.])(lora|draft|eagle3|dflash)([-_.]|$)", re.IGNORECASE)
"""Drafts and adapters, which may lie beside a model; its own name may have such a word too."""
_QUANT = re.compile(
    r"(?<![0-9a-z])(?:(?P<modifier>ud|i1|smol)[-_.])?"
    r"(?P<type>bf16|f16|f32|f64|fp16|fp32|fp8|fp4|(?:mxfp|nvfp)\d(?:_moe)?(?:[-_.](?:bf16|f16|q\d_\d))?"
    r"|(?:iq|tq|q)\d(?:_(?:[0-9a-z]{1,3}|hifi))*)(?![0-9a-z])"
)
_SHARD_NUMBER = re.compile(r"-\d{5}-of-\d{5}$")
_DECIMAL = re.compile(r"\d+\.\d+")
"""As in 0.6B, which is not 6B."""
_WILD = re.compile(r"[*?\[]")


def is_gguf(name: str) -> bool:
    """True for a file called a GGUF, in capitals or not."""
    return name.casefold().endswith(_SUFFIX)


def stem(path: str) -> str:
    """The model's path without its shard number and suffix: what its files have in common."""
    name = PurePosixPath(path)
    match = SHARD_NAME.match(name.name)
    plain = name.name[: -len(_SUFFIX)] if is_gguf(name.name) else name.name
    return str(name.with_name(match["stem"] if match else plain or name.name))


def is_complete(paths: Iterable[str]) -> bool:
    """True when all files of one model, which have the same stem, are there, and no others."""
    names = {PurePosixPath(path).name for path in paths}
    shards = [match for name in names if (match := SHARD_NAME.match(name))]
    if not shards:
        return len(names) == 1
    numbers = {int(match["number"]) for match in shards}
    return {int(match["count"]) for match in shards} == {len(names)} and numbers == set(range(1, len(names) + 1))


def quant_of(model: str) -> str:
    """The quantisation of a model by its stem, in lower case: `ud-q2_k_xl`; empty where no name says one.

    That of the file's name, or else of the nearest folder; a folder's `UD-` holds for the files in it.
    """
    *folders, name = [_last_quant(part) for part in model.casefold().split("/")]
    folder = next((quant for quant in reversed(folders) if quant), "")
    return folder if not name or folder.endswith(f"-{name}") else name


def group_by_model(paths: Iterable[str], pattern: str) -> dict[str, list[str]]:
    """The files that match the shell pattern (upper and lower case alike), by model."""
    found: dict[str, list[str]] = defaultdict(list)
    shape = pattern.casefold()
    for path in sorted(paths):
        whole, name = path.casefold(), PurePosixPath(path).name.casefold()
        if not is_gguf(name) or _NO_MODEL.search(name):
            continue
        if fnmatch(whole, shape) or fnmatch(name, shape):
            found[stem(path)].append(path)
    return {model: _one_set(files) for model, files in found.items()}


def _one_set(files: list[str]) -> list[str]:
    """The files of a model that is whole, where it is there twice: in one file and in shards."""
    sets: dict[bool, list[str]] = defaultdict(list)
    for path in files:
        sets[SHARD_NAME.match(PurePosixPath(path).name) is not None].append(path)
    return min(sets.values(), key=lambda some: (not is_complete(some), len(some)))


def is_exactly(model: str, repo: str, pattern: str) -> bool:
    """True when a model's stem is the repository's name followed by the pattern's word, with nothing between."""
    base = repo.rpartition("/")[2].casefold().removesuffix("-gguf")
    name = PurePosixPath(model).name.casefold()
    after = name.removeprefix(base).strip("-._")
    return name.startswith(base) and _quant_or_text(after) == _quant_or_text(asked_word(pattern))


def is_meant(model: str, pattern: str) -> bool:
    """True when a model's stem has the pattern's word as a whole word."""
    word = asked_word(pattern)
    if not word:
        return True
    path = model.casefold()
    *folders, name = path.split("/")
    if _QUANT.fullmatch(word):
        return quant_of(model) == _last_quant(word) or (word in folders and not _last_quant(name))
    return any(_is_whole(path, match.start(), match.end()) for match in re.finditer(re.escape(word), path))


def asked_word(pattern: str) -> str:
    """The one word that a pattern asks for, in lower case: `q4_k_m` for `*-Q4_K_M*`.

    Empty for one that is more than a word between wildcards, which means all that matches it.
    """
    text = pattern.casefold().strip("*/").removesuffix(_SUFFIX)
    text = _SHARD_NUMBER.sub("", text).strip("*/").strip("-._")
    return "" if _WILD.search(text) else text


def choose(paths: Iterable[str], repo: str, pattern: str) -> list[str]:
    """The files of the one model of a repository that is meant, by all of its files; [] when that is not clear.

    The exactly named model goes before one whose name only ends so, and that before the only other one.
    """
    found = find_candidates(paths, repo, pattern)
    return next(iter(found.values())) if len(found) == 1 else []


def choose_by_name(paths: Iterable[str], repo: str, pattern: str) -> list[str]:
    """Choose as `choose` does, but from a part of a repository's files: the only one there may be another."""
    chosen, word = choose(paths, repo, pattern), asked_word(pattern)
    if not chosen or not word:
        return []
    model = stem(chosen[0])
    return chosen if _QUANT.fullmatch(word) or is_exactly(model, repo, pattern) or _ends_so(model, word) else []


def find_candidates(paths: Iterable[str], repo: str, pattern: str) -> dict[str, list[str]]:
    """The models that may be meant, which nothing tells apart: one, when it is clear."""
    found = {
        model: files for model, files in group_by_model(paths, _loose(pattern)).items() if is_meant(model, pattern)
    }
    word = asked_word(pattern)
    tests: tuple[Callable[[str], bool], ...] = (
        lambda model: pattern.strip("*") == model,
        lambda model: word == model.casefold(),
        lambda model: word == PurePosixPath(model).name.casefold(),
        lambda model: is_exactly(model, repo, pattern),
        lambda model: _ends_so(model, word) and not _is_beside(model),
        lambda model: quant_of(model) == _quant_or_text(word) and not _is_beside(model),
        lambda model: not _is_beside(model),
    )
    for test in tests:
        if best := {model: files for model, files in found.items() if test(model)}:
            return best
    return found


def names_of(paths: Sequence[str]) -> dict[str, str]:
    """The name to ask for each model of a repository by, by its stem: its quantisation, or its path if ambiguous."""
    found = list(group_by_model(paths, "*"))
    quants = [quant_of(model) for model in found]
    names = {}
    for model, quant in zip(found, quants, strict=True):
        as_written = re.search(re.escape(quant).replace(r"\-", "[-_.]"), model, re.IGNORECASE)
        names[model] = as_written[0] if as_written and quant and quants.count(quant) == 1 else model
    return names


def _loose(pattern: str) -> str:
    """The shell pattern; for a file's whole name one that its other shards match too, for a quantisation any.

    Whether a quantisation is meant is asked afterwards: names may spell it with other separators.
    """
    word = asked_word(pattern)
    text = pattern.strip("*")
    if _QUANT.fullmatch(word) and "/" not in pattern:
        return "*"
    return f"*{word}*" if word and (is_gguf(text) or _SHARD_NUMBER.search(text)) else pattern


def _last_quant(text: str) -> str:
    """The last quantisation that a lower-case text names, spelled with `-`; empty without one."""
    named = [match.group("modifier", "type") for match in _QUANT.finditer(text)]
    return "-".join(filter(None, named[-1])) if named else ""


def _quant_or_text(word: str) -> str:
    return _last_quant(word) if _QUANT.fullmatch(word) else word


def _is_whole(text: str, start: int, stop: int) -> bool:
    """True when a part of a path is whole words and cuts no quantisation."""
    if text[start - 1 : start].isalnum() or text[stop : stop + 1].isalnum():
        return False
    if any(match.start() < edge < match.end() for match in _DECIMAL.finditer(text) for edge in (start, stop)):
        return False
    return all(
        (start <= quant.start() and quant.end() <= stop) or quant.end() <= start or stop <= quant.start()
        for quant in _QUANT.finditer(text)
    )


def _ends_so(model: str, word: str) -> bool:
    name = PurePosixPath(model).name.casefold()
    before = len(name) - len(word)
    return bool(word) and name.endswith(word) and _is_whole(name, before, len(name))


def _is_beside(model: str) -> bool:
    return _BESIDE.search(PurePosixPath(model).name) is not None
