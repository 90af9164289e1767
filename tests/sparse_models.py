"""Sparse models of many architectures at full size: the real header, then a hole for the weights.

Hyper-parameters are those of the published configurations, the vocabulary is made up. A model takes 1 to 5 MB of disk,
`llama-fit-params` plans it in a second and llama-server loads it by mmap.

    python -m tests.sparse_models FOLDER [NAME…]
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGUFWriter
from gguf import GGMLQuantizationType as Type

from tests.sparse_r1 import Tensors, write

Parameters = dict[str, Any]
MIXED = {"expert_weights_scale": 2.5, "expert_weights_norm": True, "expert_gating_func": 2}


class Draft:
    """A model that is being described, layer by layer."""

    def __init__(self, architecture: str, vocab: int, width: int, layers: int, context: int, **own: Any) -> None:
        self.architecture = architecture
        self.vocab = vocab
        self.width = width
        self.layers = layers
        self.parameters: Parameters = {
            "context_length": context, "embedding_length": width, "block_count": layers,
            "attention.layer_norm_rms_epsilon": 1e-6, **{key.replace("__", "."): value for key, value in own.items()},
        }  # fmt: skip
        self.tensors: Tensors = {}
        self.experts_type, self.attention_type = Type.Q2_K, Type.Q4_K

    def add(self, name: str, *shape: int, kind: Any = Type.F32) -> None:
        """Add a tensor, its fastest dimension first; of a type that its rows can have."""
        block = GGML_QUANT_SIZES[kind][0]
        if shape[0] % block:
            kind = Type.Q8_0 if shape[0] % 32 == 0 else Type.F16
        self.tensors[name] = (shape, kind)

    def ends(self, *, tied: bool = False, embedding: Any = Type.Q4_K, output: Any = Type.Q6_K) -> None:
        """Add the embeddings and the output."""
        self.add("token_embd.weight", self.width, self.vocab, kind=embedding)
        self.add("output_norm.weight", self.width)
        if not tied:
            self.add("output.weight", self.width, self.vocab, kind=output)

    def norms(self, layer: int, *names: str, size: int = 0) -> None:
        """Add norms of a layer."""
        for name in names:
            self.add(f"blk.{layer}.{name}.weight", size or self.width)

    def matrix(self, layer: int, name: str, *shape: int, kind: Any = None) -> None:
        """Add a matrix of a layer."""
        self.add(f"blk.{layer}.{name}.weight", *shape, kind=self.attention_type if kind is None else kind)

    def biases(self, layer: int, **sizes: int) -> None:
        """Add biases of a layer."""
        for name, size in sizes.items():
            self.add(f"blk.{layer}.{name}.bias", size)

    def attention(self, layer: int, query: int, key: int, out: int, *, bias: bool = False) -> None:
        """Add queries, keys, values and their output; `out` values of all heads."""
        self.matrix(layer, "attn_q", self.width, query)
        self.matrix(layer, "attn_k", self.width, key)
        self.matrix(layer, "attn_v", self.width, key, kind=Type.Q6_K)
        self.matrix(layer, "attn_output", out, self.width, kind=Type.Q4_K)
        if bias:
            self.biases(layer, attn_q=query, attn_k=key, attn_v=key)

    def dense(self, layer: int, width: int) -> None:
        """Add a dense feed-forward part."""
        self.matrix(layer, "ffn_gate", self.width, width)
        self.matrix(layer, "ffn_up", self.width, width)
        self.matrix(layer, "ffn_down", width, self.width, kind=Type.Q6_K)

    def mixture(
        self, layer: int, experts: int, width: int, shared: int = 0, *, gate: bool = True, probs: bool = True
    ) -> None:
        """Add a mixture of experts with or without a shared one."""
        self.matrix(layer, "ffn_gate_inp", self.width, experts, kind=Type.F32)
        if probs:
            self.biases(layer, exp_probs_b=experts)
        down = Type.Q3_K if self.experts_type == Type.Q2_K else self.experts_type
        for name in ("gate", "up") if gate else ("up",):
            self.matrix(layer, f"ffn_{name}_exps", self.width, width, experts, kind=self.experts_type)
            if shared:
                self.matrix(layer, f"ffn_{name}_shexp", self.width, shared)
        self.matrix(layer, "ffn_down_exps", width, self.width, experts, kind=down)
        if shared:
            self.matrix(layer, "ffn_down_shexp", shared, self.width, kind=Type.Q6_K)

    def predicts(self, layer: int) -> None:
        """Add what makes it a layer that only predicts ahead."""
        self.matrix(layer, "nextn.eh_proj", 2 * self.width, self.width, kind=Type.Q8_0)
        self.norms(layer, "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm")

    def write(self, path: Path) -> Path:
        """Write the file."""
        writer = GGUFWriter(path, self.architecture)
        writer.add_name(path.stem)
        for key, value in self.parameters.items():
            _add(writer, f"{self.architecture}.{key}", value)
        return write(writer, path, self.tensors, self.vocab, merges=1)


def _add(writer: Any, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def deepseek(
    vocab: int, width: int, layers: int, context: int, heads: int, dense_width: int, q_rank: int,
    experts: int, used: int, shared: int, expert_width: int, dense_layers: int,
    *, nope: int = 128, value: int = 128, architecture: str = "deepseek2", nextn: int = 0,
    indexer_heads: int = 0, experts_type: Any = Type.Q2_K, mla: bool = True,
) -> Draft:  # fmt: skip
    """DeepSeek V2 to V3.2 and what is built like them."""
    rank, rope, indexer = 512, 64, 128
    draft = Draft(
        architecture, vocab, width, layers + nextn, context, feed_forward_length=dense_width,
        attention__head_count=heads, attention__head_count_kv=1 if mla else heads, attention__kv_lora_rank=rank,
        attention__key_length=rank + rope if mla else nope + rope, attention__value_length=rank if mla else value,
        expert_count=experts, expert_used_count=used, expert_shared_count=shared,
        expert_feed_forward_length=expert_width, leading_dense_block_count=dense_layers, rope__dimension_count=rope,
        rope__freq_base=10000.0, **MIXED,
    )  # fmt: skip
    own = draft.parameters
    own |= {"attention.key_length_mla": nope + rope, "attention.value_length_mla": value} if mla else {}
    own |= {"attention.q_lora_rank": q_rank} if q_rank else {}
    own |= {"nextn_predict_layers": nextn} if nextn else {}
    if indexer_heads:
        own |= {f"attention.indexer.{key}": one for key, one in
                (("head_count", indexer_heads), ("key_length", indexer), ("top_k", 2048))}  # fmt: skip
    if architecture != "glm-dsa":
        own |= {"rope.scaling.type": "yarn", "rope.scaling.factor": 40.0,
                "rope.scaling.original_context_length": 4096, "rope.scaling.yarn_log_multiplier": 0.1}  # fmt: skip
    draft.experts_type = experts_type
    draft.ends()
    for layer in range(layers + nextn):
        draft.norms(layer, "attn_norm", "ffn_norm")
        draft.norms(layer, "attn_kv_a_norm", size=rank)
        if q_rank:
            draft.norms(layer, "attn_q_a_norm", size=q_rank)
            draft.matrix(layer, "attn_q_a", width, q_rank)
            draft.matrix(layer, "attn_q_b", q_rank, heads * (nope + rope))
        else:
            draft.matrix(layer, "attn_q", width, heads * (nope + rope))
        draft.matrix(layer, "attn_kv_a_mqa", width, rank + rope, kind=Type.Q6_K)
        if mla:
            draft.matrix(layer, "attn_k_b", nope, rank, heads, kind=Type.Q8_0)
            draft.matrix(layer, "attn_v_b", rank, value, heads, kind=Type.Q8_0)
        else:
            draft.matrix(layer, "attn_kv_b", rank, heads * (nope + value), kind=Type.Q6_K)
        draft.matrix(layer, "attn_output", heads * value, width)
        if indexer_heads:
            draft.norms(layer, "indexer.k_norm", size=indexer)
            draft.biases(layer, **{"indexer.k_norm": indexer})
            draft.matrix(layer, "indexer.proj", width, indexer_heads, kind=Type.Q8_0)
            draft.matrix(layer, "indexer.attn_k", width, indexer, kind=Type.Q8_0)
            draft.matrix(layer, "indexer.attn_q_b", q_rank, indexer_heads * indexer, kind=Type.Q8_0)
        if layer < dense_layers:
            draft.dense(layer, dense_width)
        else:
            draft.mixture(layer, experts, expert_width, shared * expert_width)
        if layer >= layers:
            draft.predicts(layer)
    return draft


def glm4(
    width: int, layers: int, context: int, dense_width: int, experts: int, expert_width: int, dense_layers: int
) -> Draft:
    """GLM 4.5 and 4.6, with the layer that predicts ahead."""
    heads, key_heads, head = 96, 8, 128
    draft = Draft(
        "glm4moe", 151552, width, layers + 1, context, feed_forward_length=dense_width, attention__head_count=heads,
        attention__head_count_kv=key_heads, attention__key_length=head, attention__value_length=head,
        rope__dimension_count=64, rope__freq_base=1e6, expert_count=experts, expert_used_count=8, expert_shared_count=1,
        expert_feed_forward_length=expert_width, leading_dense_block_count=dense_layers, nextn_predict_layers=1,
        **MIXED,
    )  # fmt: skip
    draft.ends()
    for layer in range(layers + 1):
        draft.norms(layer, "attn_norm", "post_attention_norm")
        draft.attention(layer, heads * head, key_heads * head, heads * head, bias=True)
        if dense_layers > 1:
            draft.norms(layer, "attn_q_norm", "attn_k_norm", size=head)
        if layer < dense_layers:
            draft.dense(layer, dense_width)
        else:
            draft.mixture(layer, experts, expert_width, expert_width)
        if layer == layers:
            draft.predicts(layer)
    return draft


def qwen3_mixture(width: int, layers: int, heads: int, expert_width: int, experts_type: Any) -> Draft:
    """Qwen 3 with experts."""
    key_heads, head, experts = 4, 128, 128
    draft = Draft(
        "qwen3moe", 151936, width, layers, 262144, feed_forward_length=8 * expert_width, attention__head_count=heads,
        attention__head_count_kv=key_heads, attention__key_length=head, attention__value_length=head,
        rope__freq_base=1e6, expert_count=experts, expert_used_count=8, expert_feed_forward_length=expert_width,
    )  # fmt: skip
    draft.experts_type = experts_type
    draft.ends()
    for layer in range(layers):
        draft.norms(layer, "attn_norm", "ffn_norm")
        draft.attention(layer, heads * head, key_heads * head, heads * head)
        draft.norms(layer, "attn_q_norm", "attn_k_norm", size=head)
        draft.mixture(layer, experts, expert_width, probs=False)
    return draft


def qwen_hybrid(
    architecture: str, vocab: int, width: int, layers: int, heads: int, expert_width: int, value_heads: int,
    experts_type: Any, *, nextn: int = 0,
) -> Draft:  # fmt: skip
    """Qwen 3 Next and 3.5: three layers with a state, then one with a cache."""
    key_heads, head, experts, state, groups = 2, 256, 512, 128, 16
    keys, values = state * groups, state * value_heads
    draft = Draft(
        architecture, vocab, width, layers + nextn, 262144, feed_forward_length=5120, attention__head_count=heads,
        attention__head_count_kv=key_heads, attention__key_length=head, attention__value_length=head,
        rope__dimension_count=64, rope__freq_base=1e7, expert_count=experts, expert_used_count=10,
        expert_feed_forward_length=expert_width, expert_shared_feed_forward_length=expert_width, ssm__conv_kernel=4,
        ssm__inner_size=values, ssm__state_size=state, ssm__time_step_rank=value_heads, ssm__group_count=groups,
        full_attention_interval=4,
    )  # fmt: skip
    if architecture != "qwen3next":
        draft.parameters["rope.dimension_sections"] = [11, 11, 10, 0]
    if nextn:
        draft.parameters["nextn_predict_layers"] = nextn
    draft.experts_type = experts_type
    draft.ends()
    for layer in range(layers + nextn):
        draft.norms(layer, "attn_norm", "post_attention_norm")
        if (layer + 1) % 4 == 0 or layer >= layers:
            draft.attention(layer, 2 * heads * head, key_heads * head, heads * head)
            draft.norms(layer, "attn_q_norm", "attn_k_norm", size=head)
        else:
            draft.matrix(layer, "attn_qkv", width, 2 * keys + values)
            draft.matrix(layer, "attn_gate", width, values)
            draft.matrix(layer, "ssm_conv1d", 4, 2 * keys + values, kind=Type.F32)
            draft.biases(layer, ssm_dt=value_heads)
            draft.add(f"blk.{layer}.ssm_a", value_heads)
            if architecture == "qwen3next":
                draft.matrix(layer, "ssm_ba", width, 2 * value_heads, kind=Type.Q8_0)
            else:
                draft.matrix(layer, "ssm_beta", width, value_heads, kind=Type.Q8_0)
                draft.matrix(layer, "ssm_alpha", width, value_heads, kind=Type.Q8_0)
            draft.norms(layer, "ssm_norm", size=state)
            draft.matrix(layer, "ssm_out", values, width)
        draft.mixture(layer, experts, expert_width, expert_width, probs=False)
        draft.norms(layer, "ffn_gate_inp_shexp")
        if layer >= layers:
            draft.predicts(layer)
    return draft


def dense(
    architecture: str, vocab: int, width: int, layers: int, context: int, heads: int, key_heads: int, head: int,
    dense_width: int, *, tied: bool = False, query_norms: bool = False, bias: bool = False,
    more_norms: Sequence[str] = ("ffn_norm",), **own: Any,
) -> Draft:  # fmt: skip
    """A dense model: Llama, Mistral, Qwen, Gemma."""
    draft = Draft(
        architecture, vocab, width, layers, context, feed_forward_length=dense_width, attention__head_count=heads,
        attention__head_count_kv=key_heads, attention__key_length=head, attention__value_length=head,
        rope__freq_base=1e6, rope__dimension_count=head, **own,
    )  # fmt: skip
    draft.ends(tied=tied, embedding=Type.Q6_K if tied else Type.Q4_K)
    for layer in range(layers):
        draft.norms(layer, "attn_norm", *more_norms)
        draft.attention(layer, heads * head, key_heads * head, heads * head, bias=bias)
        if query_norms:
            draft.norms(layer, "attn_q_norm", "attn_k_norm", size=head)
        draft.dense(layer, dense_width)
    return draft


def build(path: Path, name: str) -> Path:
    """Write the model of this name."""
    from tests.sparse_catalog import MODELS  # noqa: PLC0415 - it is made of what stands here

    made: Callable[[], Draft] = MODELS[name]
    return made().write(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    from tests.sparse_catalog import MODELS

    for one in sys.argv[2:] or MODELS:
        print(build(folder / f"{one}.gguf", one))
