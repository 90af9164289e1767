"""Where models may lie already: r1tui's own folders, and those of the programs that fetch the same files."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from r1tui.config import Config
from r1tui.hub.local.ollama import ollama_folders
from r1tui.messages import decode
from r1tui.system.outside import OutsideError, inside
from r1tui.system.paths import Paths, expand, expand_if_known

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
"""Whose a model is, in words."""


@dataclass(frozen=True)
class Place:
    """A folder laid out as the repository that is looked for."""

    folder: Path
    owner: Owner
    whole: bool
    """Whether its owner gives a file its name only when all of it is there and right."""


def model_roots(paths: Paths, config: Config) -> tuple[Path, ...]:
    """The folders that models are fetched into: r1tui's own, then the user's `model_folders`."""
    return (paths.models, *(expand(given) for given in config.model_folders))


class Elsewhere:
    """Other programs' folders, by the rules of those programs, without asking or importing them."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self._home = expand_if_known(self._env.get("HOME") or "~")

    def repository_places(self, repo: str, revision: str | None) -> Iterator[Place]:
        """Where the repository's files would lie under their own names."""
        for cache in self.hub_caches():
            for snapshot in _snapshots(cache / f"models--{repo.replace('/', '--')}", revision):
                yield Place(snapshot, "huggingface", whole=True)
        if revision is None:  # the others do not say which revision they have
            for folder in self.lmstudio_folders():
                yield Place(folder / repo, "lmstudio", whole=False)

    def flat_caches(self) -> list[Path]:
        """llama.cpp's caches before it took to Hugging Face's: all files in one folder, as OWNER_REPO_PATH."""
        if given := self._env.get("LLAMA_CACHE"):
            return [self._expand(given)]
        if sys.platform == "darwin":
            return [self._home / "Library/Caches/llama.cpp"]
        return [self._user_cache() / "llama.cpp"]

    def ollama(self) -> list[Path]:
        """Ollama's folders."""
        return ollama_folders(self._env, self._home)

    def hub_caches(self) -> list[Path]:
        """By huggingface_hub's constants.py and llama.cpp's hf-cache.cpp, whose LLAMA_CACHE goes first."""
        env = self._env
        llama = [self._expand(env["LLAMA_CACHE"])] if env.get("LLAMA_CACHE") else []
        if folder := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
            return [self._expand(folder), *llama]
        home = self._expand(env["HF_HOME"]) if env.get("HF_HOME") else self._user_cache() / "huggingface"
        return [home / "hub", *llama]

    def lmstudio_folders(self) -> list[Path]:
        """LM Studio's home, wherever it was put, and the folder for models that its user may have chosen."""
        homes = [self._home / ".lmstudio", self._home / ".cache/lm-studio"]
        pointer = _read(self._home / ".lmstudio-home-pointer").partition("\n")[0].strip()
        if pointer.startswith("/"):
            homes.insert(0, Path(pointer))
        folders = []
        for home in dict.fromkeys(homes):
            moved = _downloads_folder(_read(home / "settings.json"))
            folders += [Path(moved)] if moved else []
            folders.append(home / "models")
        return folders

    def _user_cache(self) -> Path:
        given = self._env.get("XDG_CACHE_HOME")
        return self._expand(given) if given else self._home / ".cache"

    def _expand(self, text: str) -> Path:
        return expand_if_known(os.path.expandvars(text))


class _LmStudioSettings(msgspec.Struct, frozen=True):
    folder: str | None = msgspec.field(name="downloadsFolder", default=None)


def _downloads_folder(settings: str) -> str | None:
    try:
        folder = decode(settings, _LmStudioSettings).folder
    except msgspec.DecodeError:
        return None
    return folder if folder and folder.startswith("/") else None


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
            return file.read(1 << 20)
    except OSError:
        return ""
