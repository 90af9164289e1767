"""The models by name: those of catalog.yaml, the user's own, a repository on the hub, or a file."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from r1tui.config import Config, SamplingSettings, VariantSettings
from r1tui.errors import ConfigError, UsageError
from r1tui.gguf.sketch import ModelShape
from r1tui.messages import Status
from r1tui.remedies import ListModels
from r1tui.system.lazy import yaml
from r1tui.system.paths import expand

HUB_NAME = re.compile(
    r"hf:(?P<repo>[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95})"
    r":(?P<quant>[\w.+()@,=~& -]{1,200}(?:/[\w.+()@,=~& -]{1,200}){0,4})"
)
"""Letters of any language, and spaces, as files have them; none of a pattern's own characters."""
PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]{0,99})==(?P<version>[\w.!+-]{1,99})", re.ASCII)
REPO = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class Variant:
    """A model and where it comes from: exactly one of `repo` with `pattern`, `package`, `file`."""

    name: str
    title: str = ""
    repo: str | None = None
    """OWNER/NAME on the hub."""
    pattern: str | None = None
    """Shell pattern for the paths of the repository's files."""
    revision: str | None = None
    """The repository's revision; None: its main branch."""
    file: Path | None = None
    """The (first) GGUF file on this machine."""
    package: str | None = None
    """NAME==VERSION on PyPI."""
    member: str | None = None
    """The GGUF's path inside the package; None: the only one."""
    sha256: str = ""
    """Of the GGUF in the package, where it is known."""
    package_sha256: str = ""
    """Of the package's own file, where it is known; else the index's own counts."""
    size_gib: float | None = None
    """For lists, until the hub has answered."""
    bits: float | None = None
    quality: str = ""
    shards: int | None = None
    extra_args: tuple[str, ...] = ()
    sampling: SamplingSettings | None = None
    """Sampling that its makers advise."""
    shape: ModelShape | None = None
    """Its published dimensions, for plans before its header was fetched."""

    @property
    def pinned(self) -> str | None:
        """The revision where it is named and not the main branch, whose files lie apart from those of others."""
        return None if self.revision in (None, "main") else self.revision

    def may_have(self, file: Path) -> bool:
        """True if this can be its GGUF file; the disk is not asked. A file that is in no catalog has its own name."""
        if file.stem != self.name or file == self.file:
            return True
        folders = (self.repo, f"models--{self.repo.replace('/', '--')}") if self.repo else ()
        return any(folder in file.as_posix() for folder in folders)

    def is_same(self, other: "Variant") -> bool:
        """True if both mean one model."""
        if self.file is None or other.file is None:
            return (self.name, self.file) == (other.name, other.file)
        return self.name == other.name and self.may_have(other.file)

    @property
    def fetched_as(self) -> str:
        """Its name for `r1tui download`; empty for a file of the user's own."""
        return "" if self.file is not None else self.name


class Catalog:
    """All variants in the order of the lists."""

    def __init__(self, variants: dict[str, Variant]) -> None:
        self._variants = variants

    def __iter__(self) -> Iterator[Variant]:
        return iter(self._variants.values())

    def __len__(self) -> int:
        return len(self._variants)

    def running(self, status: Status) -> Variant | None:
        """The model that the server was started with; the disk is not asked, it may hang."""
        name, file = status.variant or "", Path(status.model) if status.model else None
        with suppress(UsageError):
            if name.startswith("hf:") or not ("/" in name or ".gguf" in name.casefold()):
                known = self.find(name)
                if file is None or known.may_have(file):
                    return known
        return Variant(name=name or file.stem, title=str(file), file=file) if file is not None else None

    def listed_name(self, status: Status) -> str | None:
        """The name that lists have for the server's model; None for a file that has the name of another model there."""
        running = self.running(status)
        named = self._variants.get(status.variant or "")
        return status.variant if named is None or running is named else None

    def find(self, name: str) -> Variant:
        """The variant of that name (upper or lower case), of `hf:OWNER/REPO:QUANT`, or of a GGUF file's path.

        Raises UsageError, with the nearest names, for anything else.
        """
        by_name = {known.casefold(): variant for known, variant in self._variants.items()}
        if found := by_name.get(name.casefold()):
            return found
        if name.startswith("hf:"):
            return _from_hub(name)
        if ".gguf" in name.casefold() or "/" in name:
            return variant_of_file(Path(name))
        near = get_close_matches(name.casefold(), by_name, n=3, cutoff=0.4)
        hint = f"Did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"Unknown variant {name!r}.", hint, ListModels())


def variant_of_file(path: Path) -> Variant:
    """A model that is nothing but a file; raises UsageError when it is not there."""
    path = expand(str(path))
    if not path.is_file():
        raise UsageError(f"{path}: no such file.", "Give a GGUF file, a variant, or hf:OWNER/REPO:QUANT.")
    return Variant(name=path.stem, title=str(path), file=path)


def _from_hub(name: str) -> Variant:
    match = HUB_NAME.fullmatch(name)
    if not match:
        raise UsageError(
            f"{name!r} is not a model on the hub.",
            "Write hf:OWNER/REPO:QUANT, for example hf:unsloth/DeepSeek-R1-GGUF:UD-IQ1_S.",
        )
    return Variant(
        name=name, title=f"{match['repo']}, {match['quant']}", repo=match["repo"], pattern=f"*{match['quant']}*"
    )


def load_catalog(config: Config) -> Catalog:
    """The built-in variants with the config's over them; raises ConfigError for one without a source."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = files("r1tui.catalog").joinpath("catalog.yaml").read_text(encoding="utf-8")
    variants: dict[str, Variant] = {}
    for name, fields in yaml.load(text, Loader=loader).items():  # both are safe loaders
        for key, kind in (("sampling", SamplingSettings), ("shape", ModelShape)):
            if key in fields:
                fields[key] = kind(**fields[key])
        variants[name] = Variant(name, **fields)
    for name, settings in config.variants.items():
        variants[name] = _merged(name, variants.get(name), settings)
    return Catalog(variants)


def _merged(name: str, known: Variant | None, settings: VariantSettings) -> Variant:
    """The variant with the user's fields; another source replaces the old one with all that belonged to it."""
    key = f"variants.{name}"
    sources = [field for field in ("repo", "file", "package") if getattr(settings, field) is not None]
    if len(sources) > 1:
        raise ConfigError(f"{key}: {' and '.join(sources)} cannot both be the source.", "Remove one of them.")
    variant = known or Variant(name=name, title=name)
    if sources and known is not None and getattr(settings, sources[0]) != getattr(known, sources[0]):
        pattern = known.pattern if sources == ["repo"] else None
        variant = Variant(name, known.title, pattern=pattern, extra_args=known.extra_args)
    given: dict[str, Any] = {
        field: value
        for field in ("title", "repo", "pattern", "revision", "package", "bits", "quality", "sampling")
        if (value := getattr(settings, field)) is not None
    }
    if settings.file is not None:
        given["file"] = expand(settings.file)
    if settings.extra_args:
        given["extra_args"] = tuple(settings.extra_args)
    variant = replace(variant, **given)
    if variant.repo is not None and not REPO.fullmatch(variant.repo):
        raise ConfigError(f"{key}.repo: {variant.repo!r} is not a repository.", "Write OWNER/NAME.")
    if variant.repo is not None and variant.pattern is None:
        raise ConfigError(f"{key}.pattern is missing.", 'Add a pattern for the files, for example pattern: "*Q4_K_M*".')
    if variant.repo is None and variant.package is not None and not PACKAGE.fullmatch(variant.package):
        raise ConfigError(f"{key}.package: {variant.package!r} is not a pinned package.", "Write NAME==VERSION.")
    if not (variant.repo or variant.package or variant.file):
        raise ConfigError(f"{key} has no source.", "Add repo and pattern, or file, or package.")
    return variant
