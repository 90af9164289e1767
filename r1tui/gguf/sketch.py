"""A header drawn from a model's published dimensions and its size, for plans before the real one was fetched."""

from dataclasses import dataclass
from pathlib import Path

from r1tui.gguf.header import Header
from r1tui.gguf.parse import Tensor, Value

DENSE_BITS = 5.0
"""Bits of the weights that every token reads, in quantisations whose experts have fewer."""
VOCAB, CONTEXT = 129280, 131072
DEEPSEEK = "deepseek2"


@dataclass(frozen=True)
class ModelShape:
    """A model's dimensions as its makers publish them; parameters in 10⁹."""

    layers: int
    parameters: float
    active: float = 0.0
    """Weights that a token reads; 0: all."""
    experts: int = 0
    experts_used: int = 0
    architecture: str = "llama"
    width: int = 4096
    heads: int = 32
    kv_heads: int = 8
    key_length: int = 128
    value_length: int = 128
    mla: bool = False
    leading_dense: int = 0
    """Layers at the beginning without experts."""
    vocab: int = VOCAB
    context: int = CONTEXT

    @property
    def dense(self) -> float:
        """Parameters that every token reads: what is active and no chosen expert."""
        share = self.experts_used / self.experts if self.experts else 0.0
        return (self.active - self.parameters * share) / (1 - share) if share and self.active else self.parameters


def sketch_header(name: str, shape: ModelShape, size_bytes: int) -> Header:
    """A header whose layers, experts and cache have the sizes of the real one, nearly."""
    embedding = min(shape.vocab * shape.width / 1e9, shape.dense / 4)
    dense, routed = shape.dense - 2 * embedding, shape.parameters - shape.dense
    mean_bits = size_bytes * 8 / (shape.parameters * 1e9)
    dense_bits = max(mean_bits, DENSE_BITS) if routed > 0 else mean_bits
    left = size_bytes - (dense + 2 * embedding) * 1e9 * dense_bits / 8
    if routed > 0 and left <= 0:  # smaller than any mix: all alike
        dense_bits, left = mean_bits, routed * 1e9 * mean_bits / 8
    sparse_layers = max(shape.layers - shape.leading_dense, 1)

    def tensor(of: str, parameters: float, bits: float, expert: bool = False) -> Tensor:
        count = int(parameters * 1e9)
        layers = shape.experts if expert else 1
        shaped = (shape.width, max(count // (shape.width * layers), 1), *((layers,) if expert else ()))
        return Tensor(of, shaped, "q4_K", int(count * bits / 8), 0)

    tensors = [tensor("token_embd.weight", embedding, dense_bits), tensor("output.weight", embedding, dense_bits)]
    for layer in range(shape.layers):
        tensors.append(tensor(f"blk.{layer}.attn_output.weight", dense / shape.layers, dense_bits))
        if routed > 0 and layer >= shape.leading_dense:
            bits = left * 8 / (routed * 1e9)
            names = [f"blk.{layer}.ffn_{kind}_exps.weight" for kind in ("gate", "up", "down")]
            tensors += [tensor(one, routed / sparse_layers / len(names), bits, expert=True) for one in names]
    metadata: dict[str, Value] = {"general.architecture": shape.architecture}
    if shape.architecture == DEEPSEEK:
        metadata[f"{DEEPSEEK}.rope.dimension_count"] = 64
    return Header(
        architecture=shape.architecture,
        name=name,
        file_type="",
        n_layers=shape.layers,
        n_nextn_layers=0,
        n_experts=shape.experts,
        n_experts_used=shape.experts_used,
        n_ctx_train=shape.context,
        n_embedding=shape.width,
        n_heads=shape.heads,
        n_kv_heads=(shape.kv_heads,) * shape.layers,
        key_length=shape.key_length,
        value_length=shape.value_length,
        mla=shape.mla,
        kv_lora_rank=512 if shape.architecture == DEEPSEEK else 0,
        vocab_size=shape.vocab,
        chat_template=None,
        shards=(Path(f"{name}.gguf"),),
        size_bytes=size_bytes,
        tensors=tuple(tensors),
        metadata=metadata,
    )
