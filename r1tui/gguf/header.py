"""What the planner needs to know of a model: the headers of all its shards as one."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from r1tui.gguf.errors import GgufError, LackingSettingError
from r1tui.gguf.kinds import check_alone, check_kind, check_name, check_shard_names
from r1tui.gguf.parse import Shard, Tensor, Value, parse_shard
from r1tui.gguf.source import ByteSource, FileSource
from r1tui.gguf.types import FILE_TYPES

SHARD_NAME = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?i:gguf)$", re.DOTALL)
"""File names of a split model in llama.cpp (llama_split_path)."""

MAX_LAYERS = 1024
MAX_SIZE = 1 << 31
MAX_SHARDS = 512


@dataclass(frozen=True)
class Header:
    """A model's hyper-parameters and tensors; per-layer values are tuples of `n_layers` items."""

    architecture: str
    name: str
    file_type: str
    n_layers: int
    n_nextn_layers: int
    """Layers at the end that only predict ahead; they hold no K/V cache."""
    n_experts: int
    n_experts_used: int
    n_ctx_train: int
    n_embedding: int
    n_heads: int
    n_kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    mla: bool
    kv_lora_rank: int
    vocab_size: int
    chat_template: str | None
    shards: tuple[Path, ...]
    size_bytes: int
    """All files together."""
    tensors: tuple[Tensor, ...] = field(repr=False)
    metadata: Mapping[str, Value] = field(repr=False)

    @property
    def path(self) -> Path:
        """The file that llama-server is given: the first shard."""
        return self.shards[0]

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of the architecture's own settings; the largest of a list."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        value = max(value, default=0) if isinstance(value, tuple) else value
        return int(value) if isinstance(value, int | float) else default

    def listed(self, key: str) -> tuple[int | float | bool, ...]:
        """A list among the architecture's own settings; empty where it is none."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, tuple) else ()

    def per_layer(self, key: str) -> tuple[float, ...]:
        """A setting that is one number for all layers or a list of them."""
        return (*self.listed(key), *(self.number(key),) * self.n_layers)[: self.n_layers]

    @cached_property
    def layers(self) -> tuple[tuple[Tensor, ...], ...]:
        """The tensors of each repeating layer."""
        layers: list[list[Tensor]] = [[] for _ in range(self.n_layers)]
        for tensor in self.tensors:
            number = layer_of(tensor)
            if number is not None and number < self.n_layers:
                layers[number].append(tensor)
        return tuple(tuple(layer) for layer in layers)


_LAYER = re.compile(r"blk\.(\d{1,4})\.")
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")  # LLM_FFN_EXPS_REGEX, common.h


def layer_of(tensor: Tensor) -> int | None:
    """The repeating layer that the tensor belongs to, or None."""
    match = _LAYER.match(tensor.name)
    return int(match[1]) if match else None


def is_expert(tensor: Tensor) -> bool:
    """True if `--n-cpu-moe` moves it."""
    return _EXPERTS.search(tensor.name) is not None


def read_header(path: Path) -> Header:
    """The header of a GGUF file, or of all shards of the split model that the file belongs to.

    Raises GgufError when a shard is missing or belongs to another model, and for whatever is wrong in a file.
    """
    check_name(path)
    with ExitStack() as stack:
        paths = shard_paths(path)
        check_shard_names(paths)
        return _combine([stack.enter_context(FileSource(one)) for one in paths], paths)


def read_header_from(sources: Sequence[ByteSource]) -> Header:
    """The header of a model that is somewhere else; the sources are its shards in order."""
    return _combine(sources, [Path(source.name) for source in sources])


def shard_paths(path: Path) -> list[Path]:
    """All files of the model that the file belongs to, by its name or the name of what it is a link to.

    Raises GgufError when some are missing.
    """
    path = followed(path)
    match = SHARD_NAME.match(path.name)
    if not match:
        return [path]
    count = int(match["count"])
    if not 1 <= count <= MAX_SHARDS or not 1 <= int(match["number"]) <= count:
        raise GgufError(
            f"{path}: the shard number is not valid.", "Shards are named NAME-00001-of-00003.gguf and so on."
        )
    paths = shards_of(path)
    if missing := [one.name for one in paths if not one.exists()]:
        raise GgufError(
            f"{path}: {len(missing)} of {count} shards are missing: {', '.join(missing[:5])}.", GgufError.FETCH_AGAIN
        )
    return paths


def followed(path: Path) -> Path:
    """The file, or the shard that it is a link to under another name or away from the others."""
    match = SHARD_NAME.match(path.name)
    if not path.is_symlink() or (match and all(one.exists() for one in shards_of(path))):
        return path
    real = Path(os.path.realpath(path))
    return real if SHARD_NAME.match(real.name) else path


def shards_of(path: Path) -> list[Path]:
    """The names of all shards of the file's model beside each other; its own where it is no shard."""
    match = SHARD_NAME.match(path.name)
    if not match:
        return [path]
    count = min(int(match["count"]), MAX_SHARDS)
    return [path.with_name(f"{match['stem']}-{one:05}-of-{count:05}{path.suffix}") for one in range(1, count + 1)]


def _combine(sources: Sequence[ByteSource], paths: Sequence[Path]) -> Header:
    shards = [parse_shard(source, index) for index, source in enumerate(sources)]
    first, names = shards[0], [source.name for source in sources]
    check_kind(names[0], first.metadata, sum(len(shard.tensors) for shard in shards))
    check_alone(names[0], first.metadata, len(shards))
    for index, shard in enumerate(shards):
        number, count = shard.metadata.get("split.no", 0), shard.metadata.get("split.count", 0) or 1
        if (number, count) != (index, len(shards)):
            said = number + 1 if isinstance(number, int) else number
            raise GgufError.broken(
                names[index], f"it says it is shard {said} of {count}, not {index + 1} of {len(shards)}"
            )
        architecture = shard.metadata.get("general.architecture", first.metadata.get("general.architecture"))
        if architecture != first.metadata.get("general.architecture"):
            raise GgufError.broken(names[index], f"it belongs to another model ({architecture})")
    tensors = tuple(tensor for shard in shards for tensor in shard.tensors)
    expected = first.metadata.get("split.tensors.count", len(tensors))
    if expected != len(tensors) or len({tensor.name for tensor in tensors}) != len(tensors):
        raise GgufError.broken(names[0], f"its shards have {len(tensors)} tensors together, not {expected} as stated")
    return _Reader(names[0], first).header(tensors, tuple(paths), sum(shard.size_bytes for shard in shards))


class _Reader:
    """Takes the hyper-parameters out of the first shard's metadata."""

    def __init__(self, name: str, shard: Shard) -> None:
        self._name = name
        self._metadata = shard.metadata
        self._lists = shard.lists
        architecture = shard.metadata.get("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise GgufError.broken(name, "its architecture is missing")
        self._architecture = architecture

    def header(self, tensors: tuple[Tensor, ...], paths: tuple[Path, ...], size_bytes: int) -> Header:
        n_layers = self._int("block_count", low=1, high=MAX_LAYERS)
        n_embedding = self._int("embedding_length", low=1)
        n_heads = max(self._per_layer("attention.head_count", n_layers, None))
        head_width = n_embedding // n_heads if n_heads else 0
        file_type = self._metadata.get("general.file_type")
        template = self._metadata.get("tokenizer.chat_template")
        n_tokens = self._lists.get("tokenizer.ggml.tokens")
        return Header(
            architecture=self._architecture,
            name=str(self._metadata.get("general.name", "")),
            file_type=FILE_TYPES.get(file_type, "") if isinstance(file_type, int) else "",
            n_layers=n_layers,
            n_nextn_layers=self._int("nextn_predict_layers", 0, high=n_layers),
            n_experts=self._int("expert_count", 0),
            n_experts_used=max(self._per_layer("expert_used_count", n_layers, 0)),
            n_ctx_train=self._int("context_length"),
            n_embedding=n_embedding,
            n_heads=n_heads,
            n_kv_heads=self._per_layer("attention.head_count_kv", n_layers, n_heads),
            key_length=self._int("attention.key_length", head_width),
            value_length=self._int("attention.value_length", head_width),
            mla=self._int("attention.key_length_mla", 0) > 0,
            kv_lora_rank=self._int("attention.kv_lora_rank", 0),
            vocab_size=self._int("vocab_size", 0) if n_tokens is None else n_tokens,
            chat_template=template if isinstance(template, str) else None,
            shards=paths,
            size_bytes=size_bytes,
            tensors=tensors,
            metadata=self._metadata,
        )

    def _int(self, key: str, default: int | None = None, *, low: int = 0, high: int = MAX_SIZE) -> int:
        value = self._metadata.get(f"{self._architecture}.{key}", default)
        return self._checked(key, value, low, high)

    def _per_layer(self, key: str, n_layers: int, default: int | None) -> tuple[int, ...]:
        value = self._metadata.get(f"{self._architecture}.{key}", default)
        if not isinstance(value, tuple):
            return (self._checked(key, value, 0, MAX_SIZE),) * n_layers
        if len(value) < n_layers:
            raise GgufError.broken(self._name, f"{self._architecture}.{key} lists {len(value)} layers of {n_layers}")
        return tuple(self._checked(key, item, 0, MAX_SIZE) for item in value[:n_layers])

    def _checked(self, key: str, value: Value | None, low: int, high: int) -> int:
        if value is None:
            said = f"it is not a language model: {self._architecture}.{key} is missing"
            raise LackingSettingError.broken(self._name, said)
        if not isinstance(value, int) or not low <= value <= high:
            raise GgufError.broken(self._name, f"{self._architecture}.{key} is {str(value)[:50]}, which is not valid")
        return int(value)
