"""How a model's tokens are chosen, and who says so: the user, the catalog, the file itself, or R1's makers."""

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.config import Config, SamplingSettings
from r1tui.gguf.header import Header

Source = Literal["config", "extra_args", "catalog", "file", "R1's makers", "llama.cpp"]

R1_VALUES = SamplingSettings(temperature=0.6, top_p=0.95, min_p=0.05, seed=3407)
"""DeepSeek's advice for R1 and its distills, and Unsloth's for their quantisations of it."""
FILE_KEYS = {
    "temperature": "temp", "top_p": "top_p", "min_p": "min_p", "top_k": "top_k", "repeat_penalty": "penalty_repeat",
}  # fmt: skip
"""Setting -> its key behind `general.sampling.` in a GGUF file, which llama-server applies (llama-arch.cpp)."""
LLAMA_CPP_VALUES: dict[str, float] = {
    "temperature": 0.8, "top_p": 0.95, "min_p": 0.05, "top_k": 40,
    "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip
"""llama-server's default values (common.h of b11434)."""
_IS_R1 = re.compile(r"deepseek[-_ ]?r1(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Sampling:
    """A model's values: `passed` go on llama-server's command line, `sources` say where each setting has its value."""

    passed: SamplingSettings = field(default_factory=SamplingSettings)
    sources: dict[str, tuple[float | None, Source]] = field(default_factory=dict)

    @property
    def temperature(self) -> float | None:
        """The temperature that counts, whoever says so."""
        return self.sources.get("temperature", (None, "llama.cpp"))[0]


def sampling_for(config: SamplingSettings, variant: Variant | None, header: Header | None) -> Sampling:
    """The values for a model: the config's, else its catalog row's, else its file's own, else R1's for R1 alone.

    Where the file has values of its own nothing takes their place but what the user or the catalog says.
    """
    row = variant.sampling if variant is not None else None
    own = file_values(header)
    makers = R1_VALUES if not own and is_r1(variant, header) else None
    passed: dict[str, object] = {}
    sources: dict[str, tuple[float | None, Source]] = {}
    for key in config.__struct_fields__:
        said: tuple[tuple[Source, SamplingSettings | None], ...] = (
            ("config", config), ("catalog", row), ("R1's makers", makers),
        )  # fmt: skip
        found = next(((where, value) for where, one in said if (value := getattr(one, key, None)) is not None), None)
        if found is not None and not (found[0] == "R1's makers" and key in own):
            passed[key], sources[key] = found[1], (found[1], found[0])
        elif key in own:
            sources[key] = (own[key], "file")
        else:
            sources[key] = (LLAMA_CPP_VALUES.get(key), "llama.cpp")
    return Sampling(msgspec.structs.replace(SamplingSettings(), **passed), sources)


def for_question(chosen: SamplingSettings, config: Config, variant: str | None) -> SamplingSettings:
    """Sampling of a question: the user's choice, with the limits and the thinking of the variant's own settings."""
    row = config.variants[variant].sampling if variant in config.variants else None
    said = {key: getattr(row, key, None) for key in ("max_tokens", "thinking_budget", "thinking")}
    wanted = {key: value for key, value in said.items() if value is not None and getattr(chosen, key) is None}
    return msgspec.structs.replace(chosen, **wanted)


def file_values(header: Header | None) -> dict[str, float]:
    """Sampling values from the model file, by our settings' names."""
    if header is None:
        return {}
    said = {key: header.metadata.get(f"general.sampling.{name}") for key, name in FILE_KEYS.items()}
    return {
        key: value
        for key, value in said.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    }


def is_r1(variant: Variant | None, header: Header | None) -> bool:
    """True if this is DeepSeek-R1 or one of its distills, by the names that the file and its source have."""
    names: list[object] = []
    if variant is not None:
        names += [variant.repo, variant.file and variant.file.name]
    if header is not None:
        names += [header.name, header.metadata.get("general.basename")]
    return any(_IS_R1.search(str(name)) for name in names if name)


def repeats_old_example(config: SamplingSettings) -> bool:
    """True if the config says what config.example.yaml once said for every model."""
    said = {key for key in ("temperature", "top_p", "min_p", "seed") if getattr(config, key) is not None}
    return len(said) > 1 and all(getattr(config, key) == getattr(R1_VALUES, key) for key in said)
