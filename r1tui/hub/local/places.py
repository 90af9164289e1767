"""Folders that may have models: r1tui's own, and those of the programs that download the same files."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from r1tui.config import Config
from r1tui.messages import decode, decode_foreign
from r1tui.system.paths import OutsideError, Paths, expand, expand_if_known, inside

Owner = Literal["r1tui", "model_folders", "huggingface", "llama.cpp", "lmstudio", "ollama", "file"]
OWNERS: dict[Owner, str] = {
    "r1tui": "r1tui",
    "model_folders": "your model_folders",
    "huggingface": "the Hugging Face cache",
    "llama.cpp": "llama.cpp's cache",
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
    "file": "a file of your own",
}
"""Owner of a model, in words."""
OLLAMA_SERVICE_FOLDER = Path("/usr/share/ollama/.ollama/models")
"""The folder of Ollama's own service on Linux."""
MODEL_LAYER = "application/vnd.ollama.image.model"
MAX_DEPTH = 4
MAX_ENTRIES = 20_000
"""Names looked at below one folder; a folder of models has hundreds."""
_READ_BYTES = 1 << 20
"""Of another program's small files."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NO_UTF8 = re.compile("[\ud800-\udfff]")
"""Stands for bytes in a name that could be neither shown nor put into JSON."""

Ignored = dict[Path, str]
"""Files and folders that could not be read or used, and why."""


Place = tuple[Path, Owner]
"""A folder laid out as the repository that is looked for."""
WHOLE: frozenset[Owner] = frozenset({"r1tui", "huggingface"})
"""Owners who give a file its final name only once it is whole and right."""


def model_roots(paths: Paths, config: Config) -> tuple[Path, ...]:
    """The folders that models are fetched into: r1tui's own, then the user's `model_folders`."""
    return (paths.models, *(expand(given) for given in config.model_folders))


def gguf_files(root: Path, ignored: Ignored | None = None, depth: int = MAX_DEPTH) -> list[Path]:
    """The files below `root` whose name ends in .gguf or .GGUF, links followed, in order; none for a missing folder.

    Folders that cannot be read, and a walk that was given up, are added to `ignored`.
    """
    return list(files_below(root, {} if ignored is None else ignored, depth, ".gguf"))


def files_below(root: Path, ignored: Ignored, depth: int = MAX_DEPTH, suffix: str = "") -> Iterator[Path]:
    """The files below `root`, hidden ones and those in hidden folders left out; otherwise as `gguf_files`."""
    seen: set[str] = set()
    left = MAX_ENTRIES

    def report(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            ignored[Path(error.filename)] = error.strerror or str(error)

    for top, folders, files in os.walk(root, onerror=report, followlinks=True):
        folder, names, real = Path(top), (*folders, *files), os.path.realpath(top)
        subfolders = sorted(folders) if len(folder.parts) - len(root.parts) < depth and real not in seen else []
        folders[:] = [name for name in subfolders if _is_usable(name)]
        if real in seen:
            continue
        seen.add(real)
        left -= len(names)
        if left < 0:
            ignored[root] = f"more than {MAX_ENTRIES:,} names in it; the others were skipped"
            return
        if any(_NO_UTF8.search(name) for name in names):
            ignored[folder] = "a name in it is not UTF-8; skipped"
        for name in sorted(files):
            if _is_usable(name) and name.casefold().endswith(suffix) and os.path.isfile(folder / name):  # noqa: PTH113  raises nothing
                yield folder / name


def _is_usable(name: str) -> bool:
    return not name.startswith(".") and not _NO_UTF8.search(name)


class Elsewhere:
    """Other programs' folders, by the rules of those programs, without asking or importing them."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self._home = expand_if_known(self._env.get("HOME") or "~")

    def repository_places(self, repo: str, revision: str | None) -> Iterator[Place]:
        """Folders that would have the repository's files under their own names."""
        for cache in self.hub_caches():
            for snapshot in _snapshots(cache / f"models--{repo.replace('/', '--')}", revision):
                yield snapshot, "huggingface"
        if revision is None:  # the others do not say which revision they have
            for folder in self._lmstudio_folders():
                yield folder / repo, "lmstudio"

    def folders(self) -> Iterator[tuple[Path, Owner, int]]:
        """All folders with GGUF files, their owners, and how deep to look into them."""
        for cache in self.hub_caches():
            for snapshots in sorted(cache.glob("models--*/snapshots")):
                yield snapshots, "huggingface", MAX_DEPTH
        for cache in self.flat_caches():
            yield cache, "llama.cpp", 0
        for folder in self._lmstudio_folders():
            yield folder, "lmstudio", MAX_DEPTH

    def hub_caches(self) -> list[Path]:
        """By huggingface_hub's constants.py and llama.cpp's hf-cache.cpp, whose LLAMA_CACHE goes first."""
        llama = self._given("LLAMA_CACHE")
        if folder := self._given("HF_HUB_CACHE") or self._given("HUGGINGFACE_HUB_CACHE"):
            return [*folder, *llama]
        (home,) = self._given("HF_HOME") or [self._user_cache() / "huggingface"]
        return [home / "hub", *llama]

    def flat_caches(self) -> list[Path]:
        """llama.cpp's caches before it took to Hugging Face's: all files in one folder, as OWNER_REPO_PATH."""
        cache = self._home / "Library/Caches" if sys.platform == "darwin" else self._user_cache()
        return self._given("LLAMA_CACHE") or [cache / "llama.cpp"]

    def ollama_models(self, ignored: Ignored) -> list["OllamaModel"]:
        """The models that Ollama keeps for this user and for its service."""
        given = [expand_if_known(self._env["OLLAMA_MODELS"])] if self._env.get("OLLAMA_MODELS") else []
        roots = (*given, self._home / ".ollama/models", OLLAMA_SERVICE_FOLDER)
        return [model for root in roots for model in ollama_models(root, ignored)]

    def _lmstudio_folders(self) -> list[Path]:
        """LM Studio's home, wherever it was put, and the folder for models that its user may have chosen."""
        homes = [self._home / ".lmstudio", self._home / ".cache/lm-studio"]
        pointer = _read(self._home / ".lmstudio-home-pointer").partition("\n")[0].strip()
        if pointer.startswith("/"):
            homes.insert(0, Path(pointer))
        folders = []
        for home in dict.fromkeys(homes):
            moved = _downloads_folder(_read(home / "settings.json"))
            folders += [Path(moved)] if moved.startswith("/") else []
            folders.append(home / "models")
        return folders

    def _user_cache(self) -> Path:
        return (self._given("XDG_CACHE_HOME") or [self._home / ".cache"])[0]

    def _given(self, name: str) -> list[Path]:
        return [expand_if_known(os.path.expandvars(text))] if (text := self._env.get(name)) else []


class _LmStudioSettings(msgspec.Struct, frozen=True):
    folder: str | None = msgspec.field(name="downloadsFolder", default=None)


def _downloads_folder(settings: str) -> str:
    try:
        return decode(settings, _LmStudioSettings).folder or ""
    except msgspec.DecodeError:
        return ""


def _snapshots(repository: Path, revision: str | None) -> list[Path]:
    """The repository's revisions in a Hugging Face cache, the wanted one first; only that one if it was named."""
    wanted = revision or "main"
    try:
        commit = _read(inside(repository / "refs", wanted)).strip() or wanted
        first = inside(repository / "snapshots", commit)
    except OutsideError:
        return []
    if revision is not None:
        return [first]
    try:
        others = sorted((repository / "snapshots").iterdir())
        refs = [path for path in (repository / "refs").rglob("*") if path.is_file()]
    except OSError:
        others, refs = [], []
    named = {_read(path).strip() for path in refs if path != repository / "refs/main"}  # branches and tags of their own
    return [first, *(other for other in others if other != first and other.name not in named)]


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_READ_BYTES)
    except OSError:
        return ""


class _Layer(msgspec.Struct, frozen=True):
    digest: str
    size: int
    media_type: str = msgspec.field(name="mediaType", default="")


class _Manifest(msgspec.Struct, frozen=True):
    layers: list[_Layer]


@dataclass(frozen=True)
class OllamaModel:
    """One tag, with its weights as one GGUF file."""

    name: str
    """HOST/OWNER/NAME:TAG; on Hugging Face the tag is the quantisation."""
    blob: Path
    sha256: str
    """From the manifest and the blob's name; Ollama has checked it."""


def ollama_models(root: Path, ignored: Ignored) -> list[OllamaModel]:
    """The models in one of Ollama's folders whose weights are whole: named by manifests, kept as blobs."""
    found = []
    for manifest in files_below(root, ignored):
        kind, *parts = manifest.relative_to(root).parts
        if not kind.startswith("manifest") or len(parts) != 4:  # newer ones have two versions of manifests
            continue
        layer = _weights(manifest, ignored)
        if layer is None:
            continue
        sha256 = layer.digest.removeprefix("sha256:")
        blob = root / "blobs" / f"sha256-{sha256}"
        try:
            whole = blob.is_file() and blob.stat().st_size == layer.size
        except OSError:
            whole = False
        if whole:
            found.append(OllamaModel(f"{'/'.join(parts[:3])}:{parts[3]}", blob, sha256))
    return found


def _weights(manifest: Path, ignored: Ignored) -> _Layer | None:
    """The one layer with the weights; None for a manifest that is none, or whose model is in several pieces."""
    try:
        with manifest.open("rb") as file:
            layers = decode_foreign(file.read(_READ_BYTES), _Manifest).layers
    except OSError as error:
        ignored[manifest] = error.strerror or str(error)
        return None
    except msgspec.DecodeError:
        ignored[manifest] = "not an Ollama manifest"
        return None
    weights = [layer for layer in layers if layer.media_type == MODEL_LAYER]
    if any(not _DIGEST.fullmatch(layer.digest) for layer in weights):
        ignored[manifest] = "its digest is not a sha256"
        return None
    return weights[0] if len(weights) == 1 else None
