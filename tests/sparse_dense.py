"""Sparse dense models of full dimensions: R1's distills (Llama, Qwen2, Qwen3), all weights a hole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

from tests.sparse_r1 import Tensors, write


@dataclass(frozen=True)
class Shape:
    """A distill's dimensions, from its config.json."""

    architecture: str
    layers: int
    width: int
    ffn_width: int
    heads: int
    kv_heads: int
    vocab: int
    head: int | None = None
    """Values of a head, where they are not the width shared out."""

    @property
    def head_width(self) -> int:
        """Values of a head."""
        return self.head or self.width // self.heads


DISTILLS = {
    "llama-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128256),
    "llama-70b": Shape("llama", 80, 8192, 28672, 64, 8, 128256),
    "qwen-1.5b": Shape("qwen2", 28, 1536, 8960, 12, 2, 151936),
    "qwen-7b": Shape("qwen2", 28, 3584, 18944, 28, 4, 152064),
    "qwen-32b": Shape("qwen2", 64, 5120, 27648, 40, 8, 152064),
    "qwen3-8b": Shape("qwen3", 36, 4096, 12288, 32, 8, 151936, head=128),
}


def build(path: Path, name: str) -> Path:
    """Write one of the distills as Q4_K."""
    shape = DISTILLS[name]
    writer = GGUFWriter(path, shape.architecture)
    _add_parameters(writer, name, shape)
    return write(writer, path, _tensors(shape), shape.vocab)


def _tensors(shape: Shape) -> Tensors:
    head = shape.head_width
    tensors: Tensors = {
        "token_embd.weight": ((shape.width, shape.vocab), Type.Q4_K),
        "output_norm.weight": ((shape.width,), Type.F32),
        "output.weight": ((shape.width, shape.vocab), Type.Q6_K),
    }
    for layer in range(shape.layers):
        parts: Tensors = {
            "attn_norm.weight": ((shape.width,), Type.F32),
            "attn_q.weight": ((shape.width, shape.width), Type.Q4_K),
            "attn_k.weight": ((shape.width, shape.kv_heads * head), Type.Q4_K),
            "attn_v.weight": ((shape.width, shape.kv_heads * head), Type.Q6_K),
            "attn_output.weight": ((shape.width, shape.width), Type.Q4_K),
            "ffn_norm.weight": ((shape.width,), Type.F32),
            "ffn_gate.weight": ((shape.width, shape.ffn_width), Type.Q4_K),
            "ffn_up.weight": ((shape.width, shape.ffn_width), Type.Q4_K),
            "ffn_down.weight": ((shape.ffn_width, shape.width), Type.Q6_K),
        }
        if shape.architecture == "qwen3":
            parts |= {"attn_q_norm.weight": ((head,), Type.F32), "attn_k_norm.weight": ((head,), Type.F32)}
        if shape.architecture == "qwen2":
            parts |= {
                "attn_q.bias": ((shape.width,), Type.F32),
                "attn_k.bias": ((shape.kv_heads * head,), Type.F32),
                "attn_v.bias": ((shape.kv_heads * head,), Type.F32),
            }
        tensors |= {f"blk.{layer}.{part}": tensor for part, tensor in parts.items()}
    return tensors


def _add_parameters(writer: Any, name: str, shape: Shape) -> None:
    writer.add_name(f"DeepSeek R1 Distill {name}")
    writer.add_context_length(131072)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    if shape.head is not None:
        writer.add_key_length(shape.head)
        writer.add_value_length(shape.head)
    writer.add_rope_freq_base(1000000.0)
    writer.add_layer_norm_rms_eps(1e-6)
