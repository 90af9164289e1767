"""Measures what the CPU computes in prompts: llama-bench with a made-up model of one layer, its weights a hole."""

import os
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from r1tui.messages import decode_foreign
from r1tui.system.environment import server_environment

WIDTH, INNER, HEADS, KV_HEADS, VOCAB = 4096, 8192, 32, 8, 32
PROMPT_TOKENS = 64
TIMEOUT_S = 60.0
_F32, _Q3_K = 0, 11
"""ggml's numbers. Q3_K is neither among the fastest nor the slowest, and is not copied into another layout."""
_Q3_K_BYTES = 110 / 256
_ALIGNMENT = 32
_MATRICES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH, WIDTH * KV_HEADS // HEADS),
    "attn_v": (WIDTH, WIDTH * KV_HEADS // HEADS),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (WIDTH, INNER),
    "ffn_up": (WIDTH, INNER),
    "ffn_down": (INNER, WIDTH),
}


def prompt_gflops(bench: Path, cores: int) -> float | None:
    """10⁹ operations a second of all cores on a prompt's quantised weights; None where llama-bench does not tell."""
    with tempfile.TemporaryDirectory(prefix="r1tui-cpu-") as folder:
        model = Path(folder) / "layer.gguf"
        try:
            _write(model)
            done = subprocess.run(
                [bench, "-m", model, "-p", str(PROMPT_TOKENS), "-n", "0", "-r", "3", "-t", str(cores), "-ngl", "0",
                 "-dev", "none", "-o", "json"],
                capture_output=True, timeout=TIMEOUT_S, check=True, env=server_environment(os.environ),
            )  # fmt: skip
            (found,) = decode_foreign(done.stdout, list[dict[str, Any]])
            tokens_per_s = float(found["avg_ts"])
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError, msgspec.DecodeError):
            return None
    weights = sum(columns * rows for columns, rows in _MATRICES.values())
    return 2 * weights * tokens_per_s / 1e9


def _write(path: Path) -> None:
    """The model: a header, and a hole as long as its weights."""
    settings: list[tuple[str, str | int | float]] = [
        ("general.architecture", "llama"),
        ("llama.block_count", 1),
        ("llama.context_length", 512),
        ("llama.embedding_length", WIDTH),
        ("llama.feed_forward_length", INNER),
        ("llama.attention.head_count", HEADS),
        ("llama.attention.head_count_kv", KV_HEADS),
        ("llama.attention.layer_norm_rms_epsilon", 1e-5),
        ("llama.vocab_size", VOCAB),
        ("tokenizer.ggml.model", "no_vocab"),
    ]
    tensors: list[tuple[str, tuple[int, ...], int]] = [
        *((name, (WIDTH,), _F32) for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")),
        *((name, (WIDTH, VOCAB), _Q3_K) for name in ("token_embd", "output")),
        *((f"blk.0.{name}", shape, _Q3_K) for name, shape in _MATRICES.items()),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings))
    header += b"".join(_text(key) + _value(value) for key, value in settings)
    offset = 0
    for name, shape, kind in tensors:
        header += _text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        weights = shape[0] * (shape[1] if len(shape) > 1 else 1)
        offset += _padded(int(weights * (4 if kind == _F32 else _Q3_K_BYTES)))
    path.write_bytes(header)
    os.truncate(path, _padded(len(header)) + offset)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _value(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
