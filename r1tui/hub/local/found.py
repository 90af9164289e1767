"""Models that are on this machine already, in r1tui's folders or another program's; looks at names and sizes only."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.gguf.header import followed, shards_of
from r1tui.hub.listing.names import asked_word, choose, choose_by_name, group_by_model, is_complete, is_exactly, stem
from r1tui.hub.listing.remote import Known, known_files
from r1tui.hub.local.places import (
    MAX_DEPTH,
    WHOLE,
    Elsewhere,
    Ignored,
    OllamaModel,
    Owner,
    Place,
    gguf_files,
    model_roots,
)
from r1tui.hub.local.records import FetchRecord, own_folder, select_counted
from r1tui.system.paths import Paths

MOST_OTHERS = 200
"""More of them would be no list to choose from."""
_HUB_HOSTS = ("hf.co/", "huggingface.co/")

Sizes = dict[str, int]
"""The size in bytes that each file must have, by its name; empty where its owner sees to that."""


@dataclass(frozen=True)
class FoundModel:
    """A model whose files are all here."""

    path: Path
    """The (first) file."""
    owner: Owner
    name: str = ""
    """Its name in lists, where it belongs to no variant."""


def find_model(variant: Variant, paths: Paths, config: Config) -> Path | None:
    """The model's (first) file if all of its files are here."""
    found = ModelSearch(paths, config).find(variant)
    return found.path if found else None


def own_folders(variant: Variant, paths: Paths, config: Config) -> list[Path]:
    """The folders of the variant's repository or package whose files are r1tui's to change, whether there or not."""
    roots = model_roots(paths, config) if variant.package is None else (paths.models,)
    places = [place for root in roots for place in _own_places(root, variant, paths)]
    return [folder for folder, owner in places if owner == "r1tui"]


def download_lock(variant: Variant, paths: Paths) -> Path:
    """Held by whoever fetches or deletes the variant's files, wherever they go."""
    return paths.models / f".{own_folder(variant, paths).relative_to(paths.models).as_posix().replace('/', '--')}.lock"


class ModelSearch:
    """Looks for models. What is the same for all of them is looked at once, so use one for a whole list."""

    def __init__(self, paths: Paths, config: Config) -> None:
        self.ignored: Ignored = {}
        self.rejected: dict[str, str] = {}
        """By the variant's name: what would have been its model, but for this."""
        self.paths = paths
        self.config = config
        self._roots = model_roots(paths, config)
        self._elsewhere = Elsewhere()

    def find(self, variant: Variant) -> FoundModel | None:
        """The model, in the first place that has all of it."""
        if variant.file is not None:
            whole = whole_model(variant.file)
            return FoundModel(whole, "file") if whole else None
        known = known_files(variant, self.paths)
        for files, owner, sizes in self._candidates(variant, known):
            if files and is_complete(path.name for path in files) and self._is_right(variant, files, sizes):
                return FoundModel(files[0], owner)
        return None

    def _candidates(self, variant: Variant, known: Known | None) -> Iterator[tuple[list[Path], Owner, Sizes]]:
        if variant.package is not None:
            yield from self._packaged(variant)
        if variant.repo is None or variant.pattern is None:
            return
        sizes = {PurePosixPath(file.path).name: file.size_bytes for file in known.listing.files} if known else {}
        ours = [place for root in self._roots for place in _own_places(root, variant, self.paths)]
        for folder, owner in (*ours, *self._elsewhere.repository_places(variant.repo, variant.pinned)):
            here = {path.relative_to(folder).as_posix(): path for path in gguf_files(folder, self.ignored)}
            names = select_counted(variant, folder, here, self.paths) if (folder, owner) in ours else list(here)
            chosen = [here[name] for name in _chosen(names, variant, known, owner)]
            yield chosen, owner, {} if owner in WHOLE else sizes
        if variant.pinned is None:  # else only a checksum tells one revision's files from another's
            for files, flat_sizes in self._in_flat_caches(variant.repo, variant.pattern, known):
                yield files, "llama.cpp", flat_sizes
        yield [model.blob for model in islice(self._in_ollama(variant, known), 1)], "ollama", {}
        if variant.pinned is None:
            for path in self._user_files:
                if is_exactly(stem(path.name), variant.repo, variant.pattern) and not _is_of_other(path, variant.repo):
                    whole = whole_model(path)
                    yield shards_of(whole) if whole else [], "model_folders", sizes

    def _packaged(self, variant: Variant) -> Iterator[tuple[list[Path], Owner, Sizes]]:
        name = PurePosixPath(variant.member or "").name
        here = gguf_files(own_folder(variant, self.paths), self.ignored, 0)
        yield [path for path in here if name in ("", path.name)][:1], "r1tui", {}
        if name:
            yield [path for path in self._user_files if path.name == name][:1], "model_folders", {}

    def _in_flat_caches(self, repo: str, pattern: str, known: Known | None) -> Iterator[tuple[list[Path], Sizes]]:
        prefix = f"{repo.replace('/', '_')}_"
        sizes = {prefix + file.path.replace("/", "_"): file.size_bytes for file in known.listing.files} if known else {}
        for cache in self._elsewhere.flat_caches():
            here = {path.name: path for path in gguf_files(cache, self.ignored, 0) if path.name.startswith(prefix)}
            named = _named_alone([name.removeprefix(prefix) for name in here], repo, pattern)
            names = list(sizes) if known else [prefix + name for name in named]
            yield [here[name] for name in names if name in here], sizes

    def _in_ollama(self, variant: Variant, known: Known | None) -> Iterator[OllamaModel]:
        """A blob of the hub's checksum; while that is not known, the one that is called like the repository's."""
        files = known.listing.files if known else ()
        if len(files) == 1 and files[0].sha256 is not None:
            yield from (model for model in self._ollama if model.sha256 == files[0].sha256)
        name = f"{variant.repo}:{asked_word(variant.pattern or '')}".casefold()
        for model in self._ollama if variant.pinned is None else ():
            if model.name.casefold() in [host + name for host in _HUB_HOSTS]:
                if known is None:
                    yield model
                else:
                    self._reject(variant, model.blob, "not the hub's current file")

    def _is_right(self, variant: Variant, files: Iterable[Path], sizes: Sizes) -> bool:
        for file in files if sizes else ():
            if sizes.get(file.name) != file.stat().st_size:
                self._reject(variant, file, "the hub's file has a different size or name")
                return False
        return True

    def _reject(self, variant: Variant, path: Path, why: str) -> None:
        self.ignored[path] = f"not used as {variant.name}: {why}"
        self.rejected[variant.name] = f"{path} is not used: {why}."

    @cached_property
    def _user_files(self) -> list[Path]:
        return [path for root in self._roots[1:] for path in gguf_files(root, self.ignored)]

    @cached_property
    def _ollama(self) -> list[OllamaModel]:
        return self._elsewhere.ollama_models(self.ignored)


def other_models(paths: Paths, config: Config, used: Iterable[Path]) -> list[FoundModel]:
    """The models in all places that are looked into, without those that are `used` as variants; by their names."""
    seen = {path.resolve() for path in used}
    found: list[FoundModel] = []
    for other in _everything(paths, config):
        resolved = other.path.resolve()
        if resolved not in seen and len(found) < MOST_OTHERS:
            seen.add(resolved)
            found.append(other)
    return found


def _everything(paths: Paths, config: Config) -> Iterator[FoundModel]:
    elsewhere = Elsewhere()
    own: list[tuple[Path, Owner, int]] = [(paths.models, "r1tui", MAX_DEPTH)]
    own += [(root, "model_folders", MAX_DEPTH) for root in model_roots(paths, config)[1:]]
    for root, owner, depth in (*own, *elsewhere.folders()):
        here = {path.relative_to(root).as_posix(): path for path in gguf_files(root, depth=depth)}
        for files in group_by_model(here, "*").values():
            if (whole := whole_model(here[files[0]])) is not None:
                yield FoundModel(whole, owner, Path(stem(whole.name)).name)
    for model in elsewhere.ollama_models({}):
        yield FoundModel(model.blob, "ollama", model.name.removeprefix("registry.ollama.ai/").removeprefix("library/"))


def whole_model(path: Path) -> Path | None:
    """The first file of the model that the file belongs to, if all are there."""
    shards = shards_of(followed(path))
    return shards[0] if shards and all(shard.is_file() for shard in shards) else None


def _own_places(root: Path, variant: Variant, paths: Paths) -> list[Place]:
    """The repository's folder below a root; in one of the user's only what r1tui has made a record of is its own.

    For a revision that is named the repository's usual folder too, where r1tui once put the files of all.
    """
    folders = [own_folder(variant, paths, root)]
    if variant.pinned is not None:
        folders.append(own_folder(replace(variant, revision=None), paths, root))
    ours = [root == paths.models or bool(FetchRecord.load(folder).files) for folder in folders]
    return [(folder, "r1tui" if own else "model_folders") for folder, own in zip(folders, ours, strict=True)]


def _chosen(here: list[str], variant: Variant, known: Known | None, owner: Owner) -> list[str]:
    """The names that are the variant's, among those in a place that is laid out as its repository."""
    repo, pattern = variant.repo or "", variant.pattern or ""
    if known is not None:
        expected = [file.path for file in known.listing.files]
        if set(expected) <= set(here):
            return expected
        flattened = {PurePosixPath(name).name: name for name in here}  # LM Studio drops the repository's folders
        if owner not in WHOLE and {PurePosixPath(name).name for name in expected} <= set(flattened):
            return [flattened[PurePosixPath(name).name] for name in expected]
    named = choose_by_name(here, repo, pattern)
    return named if named or known is not None or owner != "r1tui" else choose(here, repo, pattern)


def _named_alone(here: Iterable[str], repo: str, pattern: str) -> list[str]:
    """The files of the model meant among names whose folders' slashes became underscores."""

    def is_meant(model: str) -> bool:
        words = model.split("_")
        return any(is_exactly("_".join(words[start:]), repo, pattern) for start in range(len(words)))

    exact = [files for model, files in group_by_model(here, pattern).items() if is_meant(model)]
    return exact[0] if len(exact) == 1 else []


def _is_of_other(path: Path, repo: str) -> bool:
    """True for a file in a folder of the repository's name below another owner's."""
    owner, _, name = repo.casefold().partition("/")
    folders = [part.casefold() for part in path.parent.parts]
    owners = [above for above, below in pairwise(folders) if below == name]
    return bool(owners) and owner not in owners
