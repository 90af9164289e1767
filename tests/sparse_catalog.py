"""The sparse models by name, with the dimensions that their makers publish."""

from collections.abc import Callable

from gguf import GGMLQuantizationType as Type

from tests.sparse_models import MIXED, Draft, deepseek, dense, glm4, qwen3_mixture, qwen_hybrid


def gpt_oss(layers: int, experts: int) -> Draft:
    """Each second layer keeps a window of 128 tokens."""
    width, queries, keys = 2880, 4096, 512
    draft = Draft(
        "gpt-oss", 201088, width, layers, 131072, feed_forward_length=width, attention__head_count=64,
        attention__head_count_kv=8, attention__key_length=64, attention__value_length=64, rope__freq_base=150000.0,
        rope__scaling__type="yarn", rope__scaling__factor=32.0, rope__scaling__original_context_length=4096,
        attention__sliding_window=128, expert_count=experts, expert_used_count=4, expert_feed_forward_length=width,
    )  # fmt: skip
    draft.attention_type = Type.Q8_0
    draft.ends(embedding=Type.Q8_0, output=Type.Q8_0)
    for layer in range(layers):
        draft.norms(layer, "attn_norm", "post_attention_norm")
        for name, size in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
            draft.matrix(layer, name, width, size)
        draft.biases(layer, attn_q=queries, attn_k=keys, attn_v=keys, attn_output=width, ffn_gate_inp=experts)
        draft.matrix(layer, "attn_output", queries, width)
        draft.norms(layer, "attn_sinks", size=64)
        draft.matrix(layer, "ffn_gate_inp", width, experts, kind=Type.F32)
        for name in ("gate", "up", "down"):
            draft.matrix(layer, f"ffn_{name}_exps", width, width, experts, kind=Type.MXFP4)
            draft.add(f"blk.{layer}.ffn_{name}_exps.bias", width, experts)
    return draft


def llama4_scout() -> Draft:
    """Three layers of four keep chunks of 8,192 tokens, though no key says so."""
    width, keys, experts, expert_width = 5120, 1024, 16, 8192
    draft = Draft(
        "llama4", 202048, width, 48, 10485760, feed_forward_length=16384, attention__head_count=40,
        attention__head_count_kv=8, attention__key_length=128, attention__value_length=128, rope__dimension_count=128,
        rope__freq_base=500000.0, expert_count=experts, expert_used_count=1, expert_feed_forward_length=expert_width,
        interleave_moe_layer_step=1,
    )  # fmt: skip
    draft.experts_type = Type.Q4_K
    draft.ends()
    for layer in range(48):
        draft.norms(layer, "attn_norm", "ffn_norm")
        draft.attention(layer, width, keys, width)
        draft.mixture(layer, experts, expert_width, expert_width, probs=False)
    return draft


def nemotron3_nano() -> Draft:
    """M: a state, *: attention, E: experts alone."""
    pattern = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
    width, inner, state, groups, heads, queries, keys = 2688, 4096, 128, 8, 64, 4096, 256
    channels = inner + 2 * groups * state
    draft = Draft(
        "nemotron_h_moe", 131072, width, len(pattern), 1048576,
        feed_forward_length=[1856 if kind == "E" else 0 for kind in pattern], attention__head_count=32,
        attention__head_count_kv=[2 if kind == "*" else 0 for kind in pattern], attention__key_length=128,
        attention__value_length=128, attention__layer_norm_epsilon=1e-5, rope__dimension_count=84, ssm__conv_kernel=4,
        ssm__inner_size=inner, ssm__state_size=state, ssm__time_step_rank=heads, ssm__group_count=groups,
        expert_count=128, expert_used_count=6, expert_feed_forward_length=1856, expert_shared_feed_forward_length=3712,
        expert_shared_count=1, **MIXED,
    )  # fmt: skip
    draft.experts_type = Type.Q4_K
    draft.ends()
    for layer, kind in enumerate(pattern):
        draft.norms(layer, "attn_norm")
        if kind == "M":
            draft.matrix(layer, "ssm_in", width, 2 * inner + 2 * groups * state + heads)
            draft.matrix(layer, "ssm_conv1d", 4, channels, kind=Type.F32)
            draft.biases(layer, ssm_conv1d=channels, ssm_dt=heads)
            draft.add(f"blk.{layer}.ssm_a", 1, heads)
            draft.add(f"blk.{layer}.ssm_d", 1, heads)
            draft.matrix(layer, "ssm_norm", inner // groups, groups, kind=Type.F32)
            draft.matrix(layer, "ssm_out", inner, width)
        elif kind == "*":
            draft.attention(layer, queries, keys, queries)
        else:
            draft.mixture(layer, 128, 1856, 3712, gate=False)
    return draft


def v4_flash() -> Draft:
    """DeepSeek V4 Flash: a window of keys, and one key for each 4 or 128 tokens."""
    width, layers, vocab, head, rank, indexer_heads, indexer = 4096, 43, 129280, 512, 1024, 64, 128
    ratios = [0, 0] + [4 if layer % 2 == 0 else 128 for layer in range(layers - 2)]
    draft = Draft(
        "deepseek4", vocab, width, layers, 1048576, feed_forward_length=2048, attention__head_count=64,
        attention__head_count_kv=1, attention__key_length=head, attention__value_length=head, rope__dimension_count=64,
        rope__freq_base=10000.0, attention__q_lora_rank=rank, attention__sliding_window=128, expert_count=256,
        expert_used_count=6, expert_shared_count=1, expert_feed_forward_length=2048,
        swiglu_clamp_exp=[10.0] * layers, attention__indexer__head_count=indexer_heads,
        attention__indexer__key_length=indexer, attention__indexer__top_k=512, attention__output_group_count=8,
        attention__output_lora_rank=rank, attention__compress_rope_freq_base=160000.0, hyper_connection__count=4,
        hyper_connection__sinkhorn_iterations=20, hyper_connection__epsilon=1e-6, hash_layer_count=3,
        attention__compress_ratios=ratios, **(MIXED | {"expert_weights_scale": 1.5, "expert_gating_func": 4}),
    )  # fmt: skip
    draft.ends()
    for name, shape in (("fn", (4 * width, 4)), ("base", (4,)), ("scale", (1,))):
        draft.add(f"output_hc_{name}.weight", *shape)
    for layer, ratio in enumerate(ratios):
        draft.norms(layer, "attn_norm", "ffn_norm")
        draft.norms(layer, "attn_sinks", size=64)
        draft.norms(layer, "attn_q_a_norm", size=rank)
        draft.norms(layer, "attn_kv_a_norm", size=head)
        draft.matrix(layer, "attn_q_a", width, rank)
        draft.matrix(layer, "attn_q_b", rank, 64 * head)
        draft.matrix(layer, "attn_kv", width, head, kind=Type.Q8_0)
        draft.matrix(layer, "attn_output_a", 64 * head // 8, rank * 8)
        draft.matrix(layer, "attn_output_b", 8 * rank, width)
        for part in ("attn", "ffn"):
            draft.matrix(layer, f"hc_{part}_fn", 4 * width, 24, kind=Type.F32)
            draft.norms(layer, f"hc_{part}_base", size=24)
            draft.norms(layer, f"hc_{part}_scale", size=3)
        if ratio:
            keys = head * (2 if ratio == 4 else 1)
            for name in ("kv", "gate"):
                draft.matrix(layer, f"attn_compressor_{name}", width, keys, kind=Type.Q8_0)
            draft.matrix(layer, "attn_compressor_ape", keys, ratio, kind=Type.F32)
            draft.norms(layer, "attn_compressor_norm", size=head)
        if ratio == 4:
            draft.matrix(layer, "indexer.proj", width, indexer_heads, kind=Type.Q8_0)
            draft.matrix(layer, "indexer.attn_q_b", rank, indexer_heads * indexer, kind=Type.Q8_0)
            for name in ("kv", "gate"):
                draft.matrix(layer, f"indexer_compressor_{name}", width, 2 * indexer, kind=Type.Q8_0)
            draft.matrix(layer, "indexer_compressor_ape", 2 * indexer, 4, kind=Type.F32)
            draft.norms(layer, "indexer_compressor_norm", size=indexer)
        draft.mixture(layer, 256, 2048, 2048, probs=layer >= 3)
        if layer < 3:
            draft.tensors[f"blk.{layer}.ffn_gate_tid2eid.weight"] = ((6, vocab), Type.I32)
    return draft


def r1_like(*, nextn: int = 0, indexer_heads: int = 0) -> Draft:
    """DeepSeek V3 and R1, converted for MLA."""
    return deepseek(
        129280, 7168, 61, 163840, 128, 18432, 1536, 256, 8, 1, 2048, 3, nextn=nextn, indexer_heads=indexer_heads,
        architecture="deepseek32" if indexer_heads else "deepseek2",
    )  # fmt: skip


def v2_lite(*, mla: bool) -> Draft:
    return deepseek(102400, 2048, 27, 163840, 16, 10944, 0, 64, 6, 2, 1408, 1, experts_type=Type.Q4_K, mla=mla)


def kimi_linear() -> Draft:
    """Kimi Linear 48B: three layers with a state, then one with compressed keys."""
    width, layers, heads, head, rank, rope, experts, expert_width = 2304, 27, 32, 128, 512, 64, 256, 1024
    inner, attends = heads * head, [layer % 4 == 3 or layer == 26 for layer in range(layers)]
    draft = Draft(
        "kimi-linear", 163840, width, layers, 1048576, feed_forward_length=9216, attention__head_count=heads,
        attention__head_count_kv=[int(one) for one in attends], attention__kv_lora_rank=rank,
        attention__key_length=rank + rope, attention__value_length=rank, attention__key_length_mla=head + rope,
        attention__value_length_mla=head, rope__dimension_count=rope, ssm__conv_kernel=4, kda__head_dim=head,
        expert_count=experts, expert_used_count=8, expert_shared_count=1, expert_feed_forward_length=expert_width,
        leading_dense_block_count=1, **MIXED,
    )  # fmt: skip
    draft.ends()
    for layer, one in enumerate(attends):
        draft.norms(layer, "attn_norm", "ffn_norm")
        if one:
            draft.norms(layer, "attn_kv_a_norm", size=rank)
            draft.matrix(layer, "attn_q", width, heads * (head + rope))
            draft.matrix(layer, "attn_kv_a_mqa", width, rank + rope, kind=Type.Q6_K)
            draft.matrix(layer, "attn_k_b", head, rank, heads, kind=Type.Q8_0)
            draft.matrix(layer, "attn_v_b", rank, head, heads, kind=Type.Q8_0)
        else:
            for name in ("q", "k", "v"):
                draft.matrix(layer, f"ssm_conv1d_{name}", 4, 1, inner, kind=Type.F32)
                draft.matrix(layer, f"attn_{name}", width, inner)
            for name in ("f", "g"):
                draft.matrix(layer, f"ssm_{name}_a", width, head)
                draft.matrix(layer, f"ssm_{name}_b", head, inner)
            draft.matrix(layer, "ssm_beta", width, heads)
            draft.add(f"blk.{layer}.ssm_a", 1, heads)
            draft.biases(layer, ssm_dt=inner)
            draft.norms(layer, "ssm_norm", size=head)
        draft.matrix(layer, "attn_output", inner, width)
        if layer:
            draft.mixture(layer, experts, expert_width, expert_width)
        else:
            draft.dense(layer, 9216)
    return draft


def minimax_m3() -> Draft:
    """MiniMax M3: all but the first layers choose blocks of tokens."""
    width, layers, heads, key_heads, head, experts, expert_width, dense_layers = 6144, 60, 64, 4, 128, 128, 3072, 3
    indexer, indexer_heads = 128, 4
    draft = Draft(
        "minimax-m3", 200064, width, layers, 1048576, feed_forward_length=12288, attention__head_count=heads,
        attention__head_count_kv=key_heads, attention__key_length=head, attention__value_length=head,
        rope__dimension_count=64, rope__freq_base=5e6, expert_count=experts, expert_used_count=4, expert_shared_count=1,
        expert_feed_forward_length=expert_width, leading_dense_block_count=dense_layers, **MIXED,
        **{f"attention__indexer__{key}": one for key, one in
           (("head_count", indexer_heads), ("key_length", indexer), ("top_k", 16), ("block_size", 128),
            ("local_blocks", 1))},
    )  # fmt: skip
    draft.ends()
    for layer in range(layers):
        draft.norms(layer, "attn_norm", "ffn_norm")
        draft.attention(layer, heads * head, key_heads * head, heads * head)
        draft.norms(layer, "attn_q_norm", "attn_k_norm", size=head)
        if layer < dense_layers:
            draft.dense(layer, 12288)
            continue
        draft.mixture(layer, experts, expert_width, expert_width)
        draft.matrix(layer, "indexer.q_proj", width, indexer_heads * indexer)
        draft.matrix(layer, "indexer.k_proj", width, indexer)
        draft.norms(layer, "indexer.q_norm", "indexer.k_norm", size=indexer)
    return draft


def jamba_mini() -> Draft:
    """Jamba Mini: seven layers with a state, then one with a cache; experts in each second."""
    width, layers, inner, state, rank, keys = 4096, 32, 8192, 16, 256, 1024
    attends = [layer % 8 == 4 for layer in range(layers)]
    draft = Draft(
        "jamba", 65536, width, layers, 262144, feed_forward_length=14336, attention__head_count=32,
        attention__head_count_kv=[8 if one else 0 for one in attends], ssm__conv_kernel=4, ssm__inner_size=inner,
        ssm__state_size=state, ssm__time_step_rank=rank, expert_count=16, expert_used_count=2,
    )  # fmt: skip
    draft.ends()
    for layer, one in enumerate(attends):
        draft.norms(layer, "attn_norm", "ffn_norm")
        if one:
            draft.attention(layer, width, keys, width)
        else:
            draft.matrix(layer, "ssm_in", width, 2 * inner)
            draft.matrix(layer, "ssm_conv1d", 4, inner, kind=Type.F32)
            draft.matrix(layer, "ssm_x", inner, rank + 2 * state)
            draft.matrix(layer, "ssm_dt", rank, inner)
            draft.biases(layer, ssm_conv1d=inner, ssm_dt=inner)
            draft.norms(layer, "ssm_dt_norm", size=rank)
            draft.norms(layer, "ssm_b_norm", "ssm_c_norm", size=state)
            draft.add(f"blk.{layer}.ssm_a", state, inner)
            draft.add(f"blk.{layer}.ssm_d", inner)
            draft.matrix(layer, "ssm_out", inner, width)
        if layer % 2:
            draft.mixture(layer, 16, 14336, probs=False)
        else:
            draft.dense(layer, 14336)
    return draft


def lfm2(architecture: str, layers: int, dense_width: int, attends: tuple[int, ...], dense_layers: int) -> Draft:
    """Liquid's: short convolutions, and a few layers with a cache."""
    width, heads, key_heads, head, experts, expert_width = 2048, 32, 8, 64, 32, 1792
    draft = Draft(
        architecture, 65536, width, layers, 128000, feed_forward_length=dense_width, attention__head_count=heads,
        attention__head_count_kv=[key_heads if layer in attends else 0 for layer in range(layers)],
        rope__freq_base=1e6, shortconv__l_cache=3,
    )  # fmt: skip
    if dense_layers < layers:
        draft.parameters |= {"expert_count": experts, "expert_used_count": 4, "expert_gating_func": 2,
                             "expert_feed_forward_length": expert_width,
                             "leading_dense_block_count": dense_layers}  # fmt: skip
    draft.ends(tied=True)
    draft.tensors["token_embd_norm.weight"] = draft.tensors.pop("output_norm.weight")
    for layer in range(layers):
        draft.norms(layer, "attn_norm", "ffn_norm")
        if layer in attends:
            draft.attention(layer, heads * head, key_heads * head, heads * head)
            draft.norms(layer, "attn_q_norm", "attn_k_norm", size=head)
        else:
            draft.matrix(layer, "shortconv.conv", 3, width, kind=Type.F32)
            draft.matrix(layer, "shortconv.in_proj", width, 3 * width)
            draft.matrix(layer, "shortconv.out_proj", width, width)
        if layer < dense_layers:
            draft.dense(layer, dense_width)
        else:
            draft.mixture(layer, experts, expert_width)
    return draft


MODELS: dict[str, Callable[[], Draft]] = {
    "r1-mla": r1_like,
    "v31-mtp": lambda: r1_like(nextn=1),
    "kimi-k2": lambda: deepseek(163840, 7168, 61, 262144, 64, 18432, 1536, 384, 8, 1, 2048, 1),
    "glm47-flash": lambda: deepseek(
        154880, 2048, 47, 202752, 20, 10240, 768, 64, 4, 1, 1536, 1, nope=192, value=256, nextn=1,
        experts_type=Type.Q4_K,
    ),
    "v2-lite": lambda: v2_lite(mla=True),
    "v2-lite-legacy": lambda: v2_lite(mla=False),
    "v25-legacy": lambda: deepseek(102400, 5120, 60, 163840, 128, 12288, 1536, 160, 6, 2, 1536, 1, mla=False),
    "mistral-large3": lambda: deepseek(131072, 7168, 61, 294912, 128, 16384, 1536, 128, 4, 1, 4096, 3),
    "v32": lambda: r1_like(indexer_heads=64),
    "glm5": lambda: deepseek(
        154880, 6144, 78, 202752, 64, 12288, 2048, 256, 8, 1, 2048, 3, nope=192, value=256, architecture="glm-dsa",
        nextn=1, indexer_heads=32,
    ),
    "glm46": lambda: glm4(5120, 92, 202752, 12288, 160, 1536, 3),
    "glm45-air": lambda: glm4(4096, 46, 131072, 10944, 128, 1408, 1),
    "qwen3-235b": lambda: qwen3_mixture(4096, 94, 64, 1536, Type.Q2_K),
    "qwen3-30b": lambda: qwen3_mixture(2048, 48, 32, 768, Type.Q4_K),
    "qwen3-next": lambda: qwen_hybrid("qwen3next", 151936, 2048, 48, 16, 512, 32, Type.Q4_K),
    "qwen35-397b": lambda: qwen_hybrid("qwen35moe", 248320, 4096, 60, 32, 1024, 64, Type.Q2_K, nextn=1),
    "gpt-oss-120b": lambda: gpt_oss(36, 128),
    "gpt-oss-20b": lambda: gpt_oss(24, 32),
    "llama4-scout": llama4_scout,
    "gemma3-27b": lambda: dense(
        "gemma3", 262208, 5376, 62, 131072, 32, 16, 128, 21504, tied=True, query_norms=True,
        more_norms=("post_attention_norm", "ffn_norm", "post_ffw_norm"), attention__sliding_window=1024,
    ),
    "mistral-large-2411": lambda: dense("llama", 32768, 12288, 88, 131072, 96, 8, 128, 28672),
    "mistral-small-24b": lambda: dense("llama", 131072, 5120, 40, 32768, 32, 8, 128, 32768),
    "llama-405b": lambda: dense("llama", 128256, 16384, 126, 131072, 128, 8, 128, 53248),
    "llama-1b": lambda: dense("llama", 128256, 2048, 16, 131072, 32, 8, 64, 8192, tied=True),
    "qwen3-32b": lambda: dense("qwen3", 151936, 5120, 64, 40960, 64, 8, 128, 25600, query_norms=True),
    "qwen3-4b": lambda: dense("qwen3", 151936, 2560, 36, 262144, 32, 8, 128, 9728, tied=True, query_norms=True),
    "qwen25-72b": lambda: dense("qwen2", 152064, 8192, 80, 131072, 64, 8, 128, 29568, bias=True),
    "llama2-13b": lambda: dense("llama", 32000, 5120, 40, 4096, 40, 40, 128, 13824),
    "nemotron3-nano": nemotron3_nano,
    "v4-flash": v4_flash,
    "kimi-linear": kimi_linear,
    "minimax-m3": minimax_m3,
    "jamba-mini": jamba_mini,
    "lfm2-1b": lambda: lfm2("lfm2", 16, 8192, (2, 5, 8, 10, 12, 14), 16),
    "lfm2-8b": lambda: lfm2("lfm2moe", 24, 7168, (2, 6, 10, 14, 18, 21), 2),
}  # fmt: skip
