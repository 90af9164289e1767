"""Writes a DeepSeek-R1 671B of full dimensions that takes 4 MB of disk: the real header, then a hole for the weights.

llama.cpp reads it like any model: it is planned in seconds and loads by mmap, all weights zero. The types follow
the mix of UD-IQ1_S (131 GiB). Needs a file system with holes (ext4, xfs, btrfs, tmpfs).

    python -m tests.sparse_r1 OUT.gguf [mla]
"""

import os
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, ExpertGatingFuncType, GGUFWriter, RopeScalingType
from gguf import GGMLQuantizationType as Type
from gguf.quants import quant_shape_to_byte_shape

LAYERS, VOCAB, WIDTH, HEADS, DENSE_LAYERS, DENSE_WIDTH = 61, 129280, 7168, 128, 3, 18432
EXPERTS, EXPERT_WIDTH = 256, 2048
Q_RANK, KV_RANK, ROPE, NOPE, VALUE = 1536, 512, 64, 128, 128
ALIGNMENT_BYTES = 32

Shape = tuple[int, ...]
Tensors = dict[str, tuple[Shape, Any]]


def build(path: Path, *, mla: bool, layers: int = LAYERS, n_nextn_layers: int = 0) -> Path:
    """Write the file; `mla` chooses the later conversion, whose K/V cache is 71 times smaller."""
    writer = GGUFWriter(path, "deepseek2")
    _add_parameters(writer, mla=mla, layers=layers)
    if n_nextn_layers:
        writer.add_nextn_predict_layers(n_nextn_layers)
    return write(writer, path, _tensors(layers, mla=mla), VOCAB)


def write(writer: Any, path: Path, tensors: Tensors, vocab: int, *, merges: int = 127741) -> Path:
    """Add a made-up vocabulary of this size and the tensors, write the header, leave a hole for the weights."""
    _add_vocabulary(writer, vocab, merges)
    weights_bytes = sum(_add_tensor(writer, name, *tensor) for name, tensor in tensors.items())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, _padded(path.stat().st_size) + weights_bytes)
    return path


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _add_tensor(writer: Any, name: str, shape: Shape, kind: Any) -> int:
    """Announce a tensor whose shape is given fastest dimension first; the bytes it takes in the file."""
    block, block_bytes = GGML_QUANT_SIZES[kind]
    size_bytes = prod(shape) // block * block_bytes
    rows = shape[::-1]
    if kind == Type.F32:
        writer.add_tensor_info(name, rows, np.dtype(np.float32), size_bytes, raw_dtype=kind)
    else:
        stored = quant_shape_to_byte_shape(rows, kind)
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), size_bytes, raw_dtype=kind)
    return _padded(size_bytes)


def _tensors(layers: int, *, mla: bool) -> Tensors:
    tensors: Tensors = {
        "token_embd.weight": ((WIDTH, VOCAB), Type.Q4_K),
        "output_norm.weight": ((WIDTH,), Type.F32),
        "output.weight": ((WIDTH, VOCAB), Type.Q6_K),
    }
    for layer in range(layers):
        parts = _attention(mla=mla) | (_dense() if layer < DENSE_LAYERS else _experts(layer))
        tensors |= {f"blk.{layer}.{name}": tensor for name, tensor in parts.items()}
    return tensors


def _attention(*, mla: bool) -> Tensors:
    common: Tensors = {
        "attn_norm.weight": ((WIDTH,), Type.F32),
        "attn_q_a_norm.weight": ((Q_RANK,), Type.F32),
        "attn_kv_a_norm.weight": ((KV_RANK,), Type.F32),
        "attn_q_a.weight": ((WIDTH, Q_RANK), Type.Q4_K),
        "attn_q_b.weight": ((Q_RANK, HEADS * (NOPE + ROPE)), Type.Q4_K),
        "attn_kv_a_mqa.weight": ((WIDTH, KV_RANK + ROPE), Type.Q6_K),
        "attn_output.weight": ((HEADS * VALUE, WIDTH), Type.Q4_K),
        "ffn_norm.weight": ((WIDTH,), Type.F32),
    }
    if not mla:
        return common | {"attn_kv_b.weight": ((KV_RANK, HEADS * (NOPE + VALUE)), Type.Q6_K)}
    return common | {
        "attn_k_b.weight": ((NOPE, KV_RANK, HEADS), Type.Q8_0),
        "attn_v_b.weight": ((KV_RANK, VALUE, HEADS), Type.Q8_0),
    }


def _dense() -> Tensors:
    return {
        "ffn_gate.weight": ((WIDTH, DENSE_WIDTH), Type.Q4_K),
        "ffn_up.weight": ((WIDTH, DENSE_WIDTH), Type.Q4_K),
        "ffn_down.weight": ((DENSE_WIDTH, WIDTH), Type.Q6_K),
    }


def _experts(layer: int) -> Tensors:
    """The first six layers with experts keep their `down` at more bits, as the dynamic quantisation does."""
    down = Type.IQ2_XXS if layer < DENSE_LAYERS + 6 else Type.IQ1_S
    return {
        "ffn_gate_inp.weight": ((WIDTH, EXPERTS), Type.F32),
        "exp_probs_b.bias": ((EXPERTS,), Type.F32),
        "ffn_gate_exps.weight": ((WIDTH, EXPERT_WIDTH, EXPERTS), Type.IQ1_S),
        "ffn_up_exps.weight": ((WIDTH, EXPERT_WIDTH, EXPERTS), Type.IQ1_S),
        "ffn_down_exps.weight": ((EXPERT_WIDTH, WIDTH, EXPERTS), down),
        "ffn_gate_shexp.weight": ((WIDTH, EXPERT_WIDTH), Type.Q4_K),
        "ffn_up_shexp.weight": ((WIDTH, EXPERT_WIDTH), Type.Q4_K),
        "ffn_down_shexp.weight": ((EXPERT_WIDTH, WIDTH), Type.Q6_K),
    }


def _add_parameters(writer: Any, *, mla: bool, layers: int) -> None:
    writer.add_name("DeepSeek R1")
    writer.add_context_length(163840)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(DENSE_WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1 if mla else HEADS)
    writer.add_key_length(KV_RANK + ROPE if mla else NOPE + ROPE)
    writer.add_value_length(KV_RANK if mla else VALUE)
    if mla:
        writer.add_key_length_mla(NOPE + ROPE)
        writer.add_value_length_mla(VALUE)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(ROPE)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(40.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_rope_scaling_yarn_log_mul(0.1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_q_lora_rank(Q_RANK)
    writer.add_kv_lora_rank(KV_RANK)
    writer.add_leading_dense_block_count(DENSE_LAYERS)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(8)
    writer.add_expert_shared_count(1)
    writer.add_expert_feed_forward_length(EXPERT_WIDTH)
    writer.add_expert_weights_scale(2.5)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)


def _add_vocabulary(writer: Any, vocab: int, merges: int) -> None:
    special = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"]
    plain = vocab - len(special)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-v3")
    writer.add_token_list([*special, *(f"t{number}" for number in range(plain))])
    writer.add_token_types([3] * len(special) + [1] * plain)
    writer.add_array("tokenizer.ggml.merges", [f"t {number}" for number in range(merges)])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), mla="mla" in sys.argv[2:]))
