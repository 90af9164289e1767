"""Models on this machine that no variant means: they can be used all the same, by their path."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from r1tui.config import Config
from r1tui.hub.listing.names import models, stem
from r1tui.hub.local.found import whole_model
from r1tui.hub.local.ollama import ollama_models
from r1tui.hub.local.places import Elsewhere, Owner, model_roots
from r1tui.hub.local.walk import gguf_files
from r1tui.system.paths import Paths

MOST = 200
"""More of them would be no list to choose from."""


@dataclass(frozen=True)
class Other:
    """A model that is all here."""

    name: str
    path: Path
    """The (first) file."""
    owner: Owner


def other_models(paths: Paths, config: Config, used: Iterable[Path]) -> list[Other]:
    """The models in all places that are looked into, without those that are `used` as variants."""
    seen = {path.resolve() for path in used}
    found: list[Other] = []
    for other in _everything(paths, config):
        resolved = other.path.resolve()
        if resolved not in seen and len(found) < MOST:
            seen.add(resolved)
            found.append(other)
    return found


def _everything(paths: Paths, config: Config) -> Iterator[Other]:
    elsewhere = Elsewhere()
    for root in model_roots(paths, config):
        yield from _ggufs(root, "r1tui" if root == paths.models else "model_folders")
    for cache in elsewhere.hub_caches():
        for snapshots in sorted(cache.glob("models--*/snapshots")):
            yield from _ggufs(snapshots, "huggingface")
    for cache in elsewhere.flat_caches():
        yield from _ggufs(cache, "llama.cpp", depth=0)
    for folder in elsewhere.lmstudio_folders():
        yield from _ggufs(folder, "lmstudio")
    for folder in elsewhere.ollama():
        for model in ollama_models(folder):
            name = f"{model.host}/{model.repo}".removeprefix("registry.ollama.ai/").removeprefix("library/")
            yield Other(f"{name}:{model.tag}", model.blob, "ollama")


def _ggufs(root: Path, owner: Owner, depth: int = 4) -> Iterator[Other]:
    here = {path.relative_to(root).as_posix(): path for path in gguf_files(root, depth=depth)}
    for files in models(here, "*").values():
        if (whole := whole_model(here[files[0]])) is not None:
            yield Other(Path(stem(whole.name)).name, whole, owner)
