"""GGUF files that are no model of their own, by their name or metadata: each is called what it is, with what to do."""

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from r1tui.gguf.errors import GgufError
from r1tui.gguf.parse import Value
from r1tui.remedies import AnyRemedy, ListModels

PIECE = re.compile(
    r"(?P<whole>.+\.gguf)(?:[-._]?(?:part(?!ial)|split)[-._]?\w+|\.\d{1,3}|\.[abc][a-y])", re.IGNORECASE | re.DOTALL
)
"""A piece of a file that was cut by other means than llama.cpp's: `.gguf.part1of2`, `.gguf-split-a`, `.gguf.001`,
`.gguf.aa`."""
PACKED = re.compile(r".+\.gguf\.(?P<by>zst|gz|xz|bz2|lz4|zip|7z)", re.IGNORECASE | re.DOTALL)
_UNPACK = {
    "zst": "zstd -d", "gz": "gunzip", "xz": "unxz", "bz2": "bunzip2", "lz4": "lz4 -d", "zip": "unzip", "7z": "7z x",
}  # fmt: skip
"""The command for each ending of a compressed file."""
_DRAFTS = frozenset({"eagle3", "dflash", "gemma4-assistant"})
_EMBEDDINGS = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "llama-embed", "t5encoder",
})  # fmt: skip
_VOICES = frozenset({"wavtokenizer-dec", "qwen3tts", "pockettts"})


def join_command(pieces: Iterable[str]) -> str:
    """The shell command that makes one file of its pieces."""
    ordered = sorted(pieces, key=_in_order)
    match = PIECE.fullmatch(ordered[0])
    return f"cat {shlex.join(ordered)} > {shlex.quote(match['whole'] if match else 'model.gguf')}"


def unpack_command(name: str) -> str:
    """The shell command that unpacks a compressed GGUF file."""
    match = PACKED.fullmatch(name)
    return f"{_UNPACK[match['by'].lower()] if match else 'unpack'} {shlex.quote(name)}"


def check_name(path: Path) -> None:
    """Raise GgufError for a piece of a file, or a compressed one, by its name."""
    if PACKED.fullmatch(path.name):
        raise GgufError(f"{path}: it is compressed.", f"In {path.parent}: {unpack_command(path.name)}")
    match = PIECE.fullmatch(path.name)
    if match is None:
        return
    start = match["whole"].casefold()
    pieces = [
        one.name
        for one in path.parent.glob("*")
        if (other := PIECE.fullmatch(one.name)) and other["whole"].casefold() == start
    ]
    raise GgufError(
        f"{path}: it is one part of a model; join all parts first.",
        f"In {path.parent}: {join_command(pieces or [path.name])}",
    )


def check_shard_names(paths: list[Path]) -> None:
    """Raise GgufError for shards that llama.cpp does not find by their names."""
    suffix = paths[0].suffix
    if len(paths) > 1 and suffix != ".gguf":
        raise GgufError(
            f"{paths[0]}: llama.cpp finds the parts of a split model only when their names end in .gguf.",
            f'In {paths[0].parent}: for f in *{suffix}; do mv "$f" "${{f%.*}}.gguf"; done',
        )


def check_alone(name: str, metadata: Mapping[str, Value], shards: int) -> None:
    """Raise GgufError for one shard of several whose name does not say so: the others cannot be found."""
    number, count = metadata.get("split.no", 0), metadata.get("split.count", 0)
    if shards == 1 and isinstance(number, int) and isinstance(count, int) and count > 1:
        raise GgufError(
            f"{name}: it is part {number + 1} of {count} of a split model, under another name.",
            f"Rename it to NAME-{number + 1:05}-of-{count:05}.gguf, in the folder of the other parts.",
        )


def check_kind(name: str, metadata: Mapping[str, Value], n_tensors: int) -> None:
    """Raise GgufError for what is no model that answers, by its own metadata."""
    said: tuple[str | AnyRemedy, ...]
    kind, architecture = metadata.get("general.type"), metadata.get("general.architecture")
    if kind == "imatrix" or any(key.startswith("imatrix.") for key in metadata):
        said = ("an importance matrix (imatrix), used only for quantising", "Use the model itself.")
    elif kind == "adapter" or "adapter.type" in metadata:
        said = "a LoRA adapter", f"Use its model, with `extra_args: [--lora, {name}]` in the config."
    elif kind == "mmproj" or architecture == "clip":
        said = "the image part of a model (mmproj)", "Use the model itself, in the same folder."
    elif architecture in _DRAFTS:
        remedy = f"Use that model, with `extra_args: [--model-draft, {name}]` in the config."
        said = "a draft model, which only speeds up another one", remedy
    elif architecture in _EMBEDDINGS:
        said = "an embedding model, which writes no text", "Use a model that writes text.", ListModels()
    elif architecture in _VOICES:
        said = "a model that makes sound, not text", "Use a model that writes text.", ListModels()
    elif n_tensors == 0 and "tokenizer.ggml.model" in metadata:
        said = "a vocabulary without a model (vocab-only)", "Use the model itself.", ListModels()
    else:
        return
    raise GgufError(f"{name}: it is {said[0]}.", *said[1:])


def _in_order(name: str) -> list[tuple[int, str]]:
    """So that part 10 comes after part 9."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]{1,9})", name)]
