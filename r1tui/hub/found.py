"""Models that are on this machine already: in our folder, the user's folders, the Hugging Face cache."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from r1tui.catalog import PACKAGE, Variant
from r1tui.config import Config
from r1tui.gguf.header import SHARD_NAME
from r1tui.hub.names import choose, is_complete, is_exactly, stem
from r1tui.paths import Paths, expand

SEARCH_DEPTH = 4
"""Folders below one of the user's that are looked into."""


def find_model(variant: Variant, paths: Paths, config: Config) -> Path | None:
    """The model's (first) file if all of its files are here; looks at names only."""
    if variant.file is not None:
        return _whole(variant.file)
    if variant.package is not None:
        return _packaged(variant, paths, config)
    for folder in (own_folder(variant, paths), *_snapshots(variant)):
        if found := _in_repository(folder, variant):
            return found
    return _in_user_folders(variant, config)


def own_folder(variant: Variant, paths: Paths) -> Path:
    """Where r1tui keeps the files of the variant's repository or package."""
    if variant.package is not None:
        match = PACKAGE.fullmatch(variant.package)
        return paths.models / "packages" / (f"{match['name']}-{match['version']}" if match else variant.package)
    return paths.models / (variant.repo or "other")


def packaged_name(variant: Variant) -> str | None:
    """The name of a package's GGUF once it is out; None while the package has not been seen."""
    return PurePosixPath(variant.member).name if variant.member else None


def _packaged(variant: Variant, paths: Paths, config: Config) -> Path | None:
    folder, name = own_folder(variant, paths), packaged_name(variant)
    if name is None:
        return next(iter(sorted(folder.glob("*.gguf"))), None)
    if (folder / name).is_file():
        return folder / name
    return next((path for path in _user_files(config) if path.name == name), None)


def _in_repository(folder: Path, variant: Variant) -> Path | None:
    """The model in a folder that is laid out as its repository."""
    if not folder.is_dir() or variant.repo is None or variant.pattern is None:
        return None
    here = [path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf") if path.is_file()]
    chosen = choose(here, variant.repo, variant.pattern)
    return folder / chosen[0] if chosen and is_complete(chosen) else None


def _snapshots(variant: Variant) -> list[Path]:
    """The repository's revisions in the Hugging Face cache, the wanted one first."""
    repository = _hub_cache() / f"models--{(variant.repo or '').replace('/', '--')}"
    wanted = variant.revision or "main"
    reference = repository / "refs" / wanted
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else wanted
    first = repository / "snapshots" / commit
    if variant.revision is not None:
        return [first]
    return [first, *(other for other in sorted(repository.glob("snapshots/*")) if other != first)]


def _hub_cache() -> Path:
    """The cache's folder by huggingface_hub's own rules (its constants.py), without importing it."""
    env = os.environ
    if folder := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expandvars(folder)).expanduser()
    home = env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def _in_user_folders(variant: Variant, config: Config) -> Path | None:
    """A model that is named after its repository, wherever below the user's folders it lies."""
    repo, pattern = variant.repo or "", variant.pattern or ""
    for path in _user_files(config):
        if is_exactly(stem(path.name), repo, pattern) and (whole := _whole(path)):
            return whole
    return None


def _user_files(config: Config) -> Iterator[Path]:
    for given in config.model_folders:
        root = expand(given)
        for folder, subfolders, names in os.walk(root, followlinks=True):
            here = Path(folder)
            if len(here.relative_to(root).parts) >= SEARCH_DEPTH:
                subfolders.clear()
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            yield from (here / name for name in sorted(names) if name.endswith(".gguf"))


def _whole(path: Path) -> Path | None:
    """The first shard of the model that the file belongs to, if all are there."""
    match = SHARD_NAME.match(path.name)
    if not match:
        return path if path.is_file() else None
    shards = [
        path.with_name(f"{match['stem']}-{number:05}-of-{match['count']}.gguf")
        for number in range(1, int(match["count"]) + 1)
    ]
    return shards[0] if shards and all(shard.is_file() for shard in shards) else None
