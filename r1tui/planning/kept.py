"""Settings of one model that come before the config's: kept for it by the screen, or given by flags."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.config import CacheType, Config, ContextSize, Layers, Threads
from r1tui.errors import R1tuiError, os_error
from r1tui.messages import PlanSummary
from r1tui.plan import PlanRequest
from r1tui.system.files import read_json, read_json_if_any, write_json
from r1tui.system.locks import locked
from r1tui.system.paths import Paths, expand, private_folder

VERSION = 1
"""Of the file; raised when an older r1tui could misread it."""
LABELS = {
    "ctx_size": "context",
    "n_gpu_layers": "layers on GPU",
    "n_cpu_moe": "experts in RAM",
    "cache_type_k": "K cache",
    "cache_type_v": "V cache",
    "threads": "threads",
}
"""The settings by their names in the config, and as people read them."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Settings of one model, named as in the config; None: automatic, or as the config says."""

    ctx_size: ContextSize | None = None
    n_gpu_layers: Layers | None = None
    n_cpu_moe: Layers | None = None
    cache_type_k: CacheType | None = None
    cache_type_v: CacheType | None = None
    threads: Threads | None = None

    @property
    def chosen(self) -> dict[str, Any]:
        """Those that are set."""
        return {key: value for key, value in msgspec.structs.asdict(self).items() if value is not None}

    def without(self, *names: str) -> "ModelSettings":
        """These but for those of these names."""
        return msgspec.structs.replace(self, **dict.fromkeys(names))

    def over(self, others: "ModelSettings") -> "ModelSettings":
        """These, and the others where these say nothing."""
        return msgspec.structs.replace(others, **self.chosen)

    def apply_to(self, request: PlanRequest) -> PlanRequest:
        """The request with these in place of the config's."""
        changes = self.chosen
        threads = changes.pop("threads", request.threads)
        return replace(request, threads=threads, settings=msgspec.structs.replace(request.settings, **changes))

    def words(self) -> tuple[str, ...]:
        """Those that are set, for people."""
        return tuple(f"{LABELS[key]} {shown(value)}" for key, value in self.chosen.items())


def differences(now: PlanSummary, then: PlanSummary) -> Iterator[str]:
    """What another plan changes of these settings: `context 8,192 → 16,384`."""
    for key, label in LABELS.items():
        before, after = getattr(now, key), getattr(then, key)
        if before != after:
            yield f"{label} {shown(before)} → {shown(after)}"


def shown(value: object) -> str:
    """A setting's value for people."""
    return f"{value:,}" if isinstance(value, int) else "auto" if value is None else str(value)


PLACEMENT = ("n_gpu_layers", "n_cpu_moe")
"""The settings that say what goes into VRAM."""
AUTO = ModelSettings()
"""Nothing is set."""


class _Version(msgspec.Struct, frozen=True):
    version: int = VERSION


class _File(_Version, frozen=True):
    models: dict[str, ModelSettings] = {}


def find_kept(variant: Variant, config: Config, paths: Paths) -> ModelSettings:
    """The settings that are kept for the model; none where the file cannot be used."""
    path = paths.model_settings
    if _is_newer(path) or (file := read_json_if_any(path, _File)) is None:
        return AUTO
    return file.models.get(_key(variant, config), AUTO)


def keep(variant: Variant, settings: ModelSettings, config: Config, paths: Paths) -> None:
    """Keep the settings for the model's next starts; empty ones drop what was kept. Raises R1tuiError."""
    path = paths.model_settings
    if not settings.chosen and not path.exists():
        return
    try:
        private_folder(path.parent)
        with locked(path.with_suffix(".lock"), "The models' settings", waiting=lambda _: None):
            if _is_newer(path):
                raise R1tuiError(f"{path} was written by a newer r1tui.", "Use that one, or remove the file.")
            file = read_json(path, _File) or _File()
            models = {**file.models, _key(variant, config): settings}
            if models := {key: one for key, one in models.items() if one.chosen}:
                write_json(path, _File(models=models))
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise os_error(error, path) from error


def _is_newer(path: Path) -> bool:
    """True for the file of a newer r1tui, whatever is in it."""
    file = read_json_if_any(path, _Version)
    return file is not None and file.version > VERSION


def _key(variant: Variant, config: Config) -> str:
    """The model's name in the catalog; for a file that has none there, its path."""
    named = config.variants.get(variant.name)
    has_name = variant.file is None or (named is not None and named.file and expand(named.file) == variant.file)
    return variant.name if has_name else str(variant.file)
