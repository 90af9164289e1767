"""Models that are on this machine already, in r1tui's folders or another program's; looks at names and sizes only."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath

from r1tui.catalog.variants import PACKAGE, Variant
from r1tui.config import Config
from r1tui.gguf.header import followed, shards_of
from r1tui.hub.listing.names import choose, choose_by_name, is_complete, is_exactly, models, stem, wanted
from r1tui.hub.listing.remembered import Known, known_files
from r1tui.hub.local.fetched import FetchRecord
from r1tui.hub.local.ollama import OllamaModel, ollama_models
from r1tui.hub.local.places import Elsewhere, Owner, Place, model_roots
from r1tui.hub.local.revisions import counted, folder_name
from r1tui.hub.local.walk import gguf_files
from r1tui.system.paths import Paths


@dataclass(frozen=True)
class FoundModel:
    """A model whose files are all here."""

    path: Path
    """The (first) file."""
    owner: Owner


def find_model(variant: Variant, paths: Paths, config: Config) -> Path | None:
    """The model's (first) file if all of its files are here."""
    found = ModelSearch(paths, config).find(variant)
    return found.path if found else None


def own_folder(variant: Variant, paths: Paths, root: Path | None = None) -> Path:
    """Where r1tui keeps the files of the variant's repository or package, below one of the folders for models."""
    root = root or paths.models
    if variant.package is not None:
        match = PACKAGE.fullmatch(variant.package)
        return root / "packages" / (f"{match['name']}-{match['version']}" if match else variant.package)
    return root / folder_name(variant.repo or "other", variant.pinned)


def own_folders(variant: Variant, paths: Paths, config: Config) -> list[Path]:
    """The folders of the variant's repository or package whose files are r1tui's to change, whether there or not."""
    roots = model_roots(paths, config) if variant.package is None else (paths.models,)
    places = [place for root in roots for place in _own_places(root, variant, paths)]
    return [place.folder for place in places if place.owner == "r1tui"]


def download_lock(variant: Variant, paths: Paths) -> Path:
    """Held by whoever fetches or deletes the variant's files, wherever they go."""
    return paths.models / f".{own_folder(variant, paths).relative_to(paths.models).as_posix().replace('/', '--')}.lock"


class ModelSearch:
    """Looks for models. What is the same for all of them is looked at once, so use one for a whole list."""

    def __init__(self, paths: Paths, config: Config) -> None:
        self.ignored: dict[Path, str] = {}
        """What could not be looked at or used, and why."""
        self.rejected: dict[str, str] = {}
        """By the variant's name: what would have been its model, but for this."""
        self.paths = paths
        self.config = config
        self._roots = model_roots(paths, config)
        self._elsewhere = Elsewhere()

    def find(self, variant: Variant) -> FoundModel | None:
        """The model, in the first place that has all of it."""
        if variant.file is not None:
            return _found(whole_model(variant.file), "file")
        if variant.package is not None:
            return self._packaged(variant)
        if variant.repo is None or variant.pattern is None:
            return None
        known = known_files(variant, self.paths)
        return self._in_repository_places(variant, known) or self._outside(variant, known)

    def _packaged(self, variant: Variant) -> FoundModel | None:
        folder = own_folder(variant, self.paths)
        name = PurePosixPath(variant.member).name if variant.member else None
        if name is None:
            return _found(next(iter(gguf_files(folder, self._ignore, 0)), None), "r1tui")
        if (folder / name).is_file():
            return FoundModel(folder / name, "r1tui")
        return _found(next((path for path in self._user_files if path.name == name), None), "model_folders")

    def _in_repository_places(self, variant: Variant, known: Known | None) -> FoundModel | None:
        repo = variant.repo or ""
        ours = [place for root in self._roots for place in _own_places(root, variant, self.paths)]
        for place in (*ours, *self._elsewhere.repository_places(repo, variant.pinned)):
            here = {path.relative_to(place.folder).as_posix(): path for path in gguf_files(place.folder, self._ignore)}
            names = counted(variant, place.folder, here, self.paths) if place in ours else list(here)
            chosen = [here[name] for name in _chosen(names, variant, known, place)]
            complete = chosen and is_complete(path.name for path in chosen)
            if complete and (place.whole or self._right(variant, chosen, known)):
                return FoundModel(chosen[0], place.owner)
        return None

    def _outside(self, variant: Variant, known: Known | None) -> FoundModel | None:
        """In places that do not keep to the repository's layout."""
        if variant.pinned is not None:  # only a checksum tells one revision's files from another's
            return self._in_ollama(variant, known)
        return (
            self._in_flat_caches(variant, known)
            or self._in_ollama(variant, known)
            or self._in_user_folders(variant, known)
        )

    def _in_flat_caches(self, variant: Variant, known: Known | None) -> FoundModel | None:
        prefix = f"{(variant.repo or '').replace('/', '_')}_"
        for cache in self._elsewhere.flat_caches():
            here = {path.name.removeprefix(prefix): path for path in gguf_files(cache, self._ignore, 0)}
            here = {name: path for name, path in here.items() if path.name != name}
            if known is not None:
                names = [file.path.replace("/", "_") for file in known.listing.files]
                chosen = [here[name] for name in names if name in here]
            else:
                chosen = [here[name] for name in _named_alone(here, variant)]
            if chosen and is_complete(path.name for path in chosen) and self._right(variant, chosen, known, prefix):
                return FoundModel(chosen[0], "llama.cpp")
        return None

    def _in_ollama(self, variant: Variant, known: Known | None) -> FoundModel | None:
        files = known.listing.files if known else ()
        sha256 = files[0].sha256 if len(files) == 1 else None
        for model in self._ollama:
            if sha256 is not None and model.sha256 == sha256:
                return FoundModel(model.blob, "ollama")
        for model in self._ollama if variant.pinned is None else ():
            same = model.from_hub and model.repo.casefold() == (variant.repo or "").casefold()
            if same and model.tag.casefold() == wanted(variant.pattern or ""):
                if known is None:
                    return FoundModel(model.blob, "ollama")
                self._reject(variant, model.blob, "another file than the hub has now")
        return None

    def _in_user_folders(self, variant: Variant, known: Known | None) -> FoundModel | None:
        """A model that is named after its repository, wherever below the user's folders it lies."""
        repo, pattern = variant.repo or "", variant.pattern or ""
        for path in self._user_files:
            if not is_exactly(stem(path.name), repo, pattern) or _publisher_differs(path, repo):
                continue
            whole = whole_model(path)
            if whole is not None and self._right(variant, shards_of(whole), known):
                return FoundModel(whole, "model_folders")
        return None

    def _right(self, variant: Variant, files: Iterable[Path], known: Known | None, prefix: str = "") -> bool:
        """Whether the files have the names and sizes that the hub gave, as far as it was asked."""
        if known is None:
            return True
        sizes = {PurePosixPath(file.path).name: file.size_bytes for file in known.listing.files}
        if prefix:
            sizes = {prefix + file.path.replace("/", "_"): file.size_bytes for file in known.listing.files}
        for file in files:
            if sizes.get(file.name) != file.stat().st_size:
                self._reject(variant, file, "the hub's file has another size or name")
                return False
        return True

    def _reject(self, variant: Variant, path: Path, why: str) -> None:
        self._ignore(path, f"not used as {variant.name}: {why}")
        self.rejected[variant.name] = f"{path} is not used: {why}."

    def _ignore(self, path: Path, why: str) -> None:
        self.ignored[path] = why

    @cached_property
    def _user_files(self) -> list[Path]:
        return [path for root in self._roots[1:] for path in gguf_files(root, self._ignore)]

    @cached_property
    def _ollama(self) -> list[OllamaModel]:
        return [model for root in self._elsewhere.ollama() for model in ollama_models(root, self._ignore)]


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
    return [
        Place(folder, "r1tui" if own else "model_folders", whole=own) for folder, own in zip(folders, ours, strict=True)
    ]


def _found(path: Path | None, owner: Owner) -> FoundModel | None:
    return FoundModel(path, owner) if path else None


def _chosen(here: Iterable[str], variant: Variant, known: Known | None, place: Place) -> list[str]:
    """The names that are the variant's, among those in a place that is laid out as its repository."""
    here = list(here)
    repo, pattern = variant.repo or "", variant.pattern or ""
    if known is not None:
        expected = [file.path for file in known.listing.files]
        if set(expected) <= set(here):
            return expected
        flattened = {PurePosixPath(name).name: name for name in here}  # LM Studio drops the repository's folders
        if not place.whole and {PurePosixPath(name).name for name in expected} <= set(flattened):
            return [flattened[PurePosixPath(name).name] for name in expected]
    named = choose_by_name(here, repo, pattern)
    return named if named or known is not None or place.owner != "r1tui" else choose(here, repo, pattern)


def _named_alone(here: Iterable[str], variant: Variant) -> list[str]:
    """The variant's among names whose folders' slashes became underscores."""
    repo, pattern = variant.repo or "", variant.pattern or ""

    def is_meant(model: str) -> bool:
        words = model.split("_")
        return any(is_exactly("_".join(words[start:]), repo, pattern) for start in range(len(words)))

    exact = [files for model, files in models(here, pattern).items() if is_meant(model)]
    return exact[0] if len(exact) == 1 else []


def _publisher_differs(path: Path, repo: str) -> bool:
    """Whether the file lies in a folder of the repository's name under another owner's."""
    owner, _, name = repo.casefold().partition("/")
    folders = [part.casefold() for part in path.parent.parts]
    owners = [above for above, below in pairwise(folders) if below == name]
    return bool(owners) and owner not in owners
