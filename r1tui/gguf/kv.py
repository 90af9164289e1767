"""What a model keeps of the tokens it has read: keys and values, of a window or of all; a state; keys of an indexer.

Each rule is the constructor of a class in llama.cpp b11434: llama_kv_cache, _iswa, _dsa, _dsv4, llama_memory_recurrent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from r1tui.gguf.errors import GgufError
from r1tui.gguf.header import Header, is_expert
from r1tui.gguf.types import BY_NAME

SHOWN_CACHE_TYPES = ("f16", "q8_0", "q4_0")
CONTEXT_STEP = 256
"""llama.cpp rounds contexts and windows up to this many tokens."""
F32_BYTES = 4

PLAIN = frozenset({
    "llama", "mistral3", "mistral4", "qwen", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "deepseek", "deepseek2", "glm4",
    "glm4moe", "minimax-m2", "hunyuan-moe", "hunyuan-dense", "ernie4_5", "ernie4_5-moe", "dots1", "seed_oss", "smollm3",
    "bailingmoe", "bailingmoe2", "granite", "granitemoe", "olmo", "olmoe", "command-r", "gemma", "phi2", "phi3",
    "starcoder2", "internlm2", "arcee", "dbrx", "stablelm", "falcon", "nemotron", "exaone", "orion", "bitnet",
})  # fmt: skip
"""Architectures that keep every token in every layer (llama_model::create_memory's last branch)."""
WINDOWS = {
    "gpt-oss": (2, 0), "gemma2": (2, 4096), "gemma3": (6, 0), "llama4": (4, 8192), "cohere2": (4, 0), "olmo2": (4, 0),
    "laguna": (-4, 0), "gemma4": (0, 0), "mimo2": (0, 0), "step35": (0, 0),
}  # fmt: skip
"""Where most layers keep only the latest tokens: each so-manieth layer keeps all (the last of a group; negative: the
first; 0: only the file says), and the window where the file names none."""
BY_INTERVAL = frozenset({"qwen3next", "qwen35", "qwen35moe"})
"""Where all but each so-manieth layer have a state instead of a cache; the rest by the layers without KV heads:"""
BY_HEADS = frozenset({
    "granitehybrid", "nemotron_h", "nemotron_h_moe", "jamba", "lfm2", "lfm2moe", "kimi-linear",
})  # fmt: skip
BLOCKWISE = "minimax-m3"
"""Its layers beyond the dense ones choose blocks of tokens, by a head of their own. Its cache is known; of its buffers,
which hold all scores at once, an upper bound is: the engine is asked."""
INDEXED = frozenset({"deepseek32", "glm-dsa"})
COMPRESSED = "deepseek4"


def is_exact(header: Header) -> bool:
    """True if the size of the cache is known from the header alone; else only the engine can say it."""
    known = PLAIN | WINDOWS.keys() | BY_INTERVAL | BY_HEADS | INDEXED | {COMPRESSED}
    return header.architecture in known


@dataclass(frozen=True)
class LayerCache:
    """Cache of one layer: values of K and V per token, and the bytes that do not depend on the context."""

    keys: int = 0
    values: int = 0
    window: int = 0
    """It keeps so many tokens and a batch; 0: all."""
    state_bytes: int = 0
    compressed: tuple[tuple[int, int], ...] = ()
    """More keys: one for so many tokens, and how many values it has."""

    def size_bytes(self, ctx_size: int, ubatch_size: int, type_k: str, type_v: str) -> int:
        """Its bytes for a context."""
        cells = padded(ctx_size)
        kept = min(cells, padded(self.window + ubatch_size)) if self.window else cells
        total = self.state_bytes + kept * (row_bytes(self.keys, type_k) + row_bytes(self.values, type_v))
        for tokens, values in self.compressed:
            total += padded(-(-cells // tokens)) * row_bytes(values, type_k)
        return total

    def bytes_per_token(self, type_k: str, type_v: str) -> int:
        """Bytes of one more token when the context is longer than any window."""
        far = 1 << 20
        return (self.size_bytes(2 * far, 0, type_k, type_v) - self.size_bytes(far, 0, type_k, type_v)) // far


def padded(tokens: int) -> int:
    """The tokens that the cache really holds."""
    return -(-tokens // CONTEXT_STEP) * CONTEXT_STEP


def row_bytes(values: int, cache_type: str) -> int:
    """Bytes of so many values; raises GgufError for what is not a cache type."""
    if cache_type not in BY_NAME:
        raise GgufError(f"{cache_type!r} is not a cache type.", f"Use one of {', '.join(SHOWN_CACHE_TYPES)}.")
    _, block, block_bytes = BY_NAME[cache_type]
    return -(-values // block) * block_bytes


def layer_caches(header: Header) -> tuple[LayerCache, ...]:
    """Cache of each layer; none for layers that only predict ahead. Other architectures: the plain rule."""
    n_cached = header.n_layers - header.n_nextn_layers
    return (*(_cache_of(header, layer) for layer in range(n_cached)), *(LayerCache(),) * header.n_nextn_layers)


def _cache_of(header: Header, layer: int) -> LayerCache:
    heads, kind = header.n_kv_heads[layer], header.architecture
    if kind == COMPRESSED:
        return _compressed(header, layer)
    if kind in BY_HEADS and not heads:
        feed_forward = header.per_layer("feed_forward_length")[layer]
        return LayerCache() if kind.startswith("nemotron_h") and feed_forward else _recurrent(header)
    if kind in BY_INTERVAL and not _attends(header, layer):
        return _recurrent(header)
    window = _window(header, layer)
    if header.architecture == "gemma4" and layer >= header.n_layers - header.number("attention.shared_kv_layers"):
        return LayerCache()
    of_window = "_swa" if window else ""
    keys = heads * header.number(f"attention.key_length{of_window}", header.key_length)
    values = 0 if header.mla else heads * header.number(f"attention.value_length{of_window}", header.value_length)
    if chooses_blocks(header, layer):
        keys, values = keys + header.number("attention.indexer.key_length"), values + header.value_length
    indexed = kind in INDEXED and _has_indexer(header, layer)
    extra = ((1, header.number("attention.indexer.key_length")),) if indexed else ()
    return LayerCache(keys, values, window, compressed=extra)


def chooses_blocks(header: Header, layer: int) -> bool:
    """True if the layer chooses blocks of tokens."""
    return header.architecture == BLOCKWISE and layer >= header.number("leading_dense_block_count")


def _attends(header: Header, layer: int) -> bool:
    listed = header.listed("attention.recurrent_layers")
    if layer < len(listed):
        return not listed[layer]
    return (layer + 1) % max(header.number("full_attention_interval", 4), 1) == 0


def _recurrent(header: Header) -> LayerCache:
    """The state of a layer for one conversation: of its convolution, and its own (llama_hparams::n_embd_r and _s)."""
    kernel, head = header.number("ssm.conv_kernel"), header.number("kda.head_dim")
    if latest := header.number("shortconv.l_cache"):
        return LayerCache(state_bytes=F32_BYTES * header.n_embedding * (latest - 1))
    if head:
        return LayerCache(state_bytes=F32_BYTES * header.n_heads * head * (3 * (kernel - 1 if kernel else 3) + head))
    inner, state = header.number("ssm.inner_size"), header.number("ssm.state_size")
    channels = inner + 2 * header.number("ssm.group_count") * state
    convolution = max(kernel - 1, 0) * channels
    return LayerCache(state_bytes=F32_BYTES * (convolution + inner * state))


def _window(header: Header, layer: int) -> int:
    """The tokens that the layer's window has; 0 where it keeps all."""
    if header.architecture == "lfm2":
        return header.number("attention.sliding_window")
    if header.architecture not in WINDOWS:
        return 0
    period, size = WINDOWS[header.architecture]
    named = header.number("attention.sliding_window", size)
    size = size if header.architecture == "llama4" and named else named
    pattern = header.listed("attention.sliding_window_pattern")
    if pattern:
        return size if layer < len(pattern) and pattern[layer] else 0
    period = header.number("attention.sliding_window_pattern", period)
    whole = layer % -period == 0 if period < 0 else period and layer % period == period - 1
    return 0 if whole else size


def _has_indexer(header: Header, layer: int) -> bool:
    listed: Sequence[float] = header.listed("attention.indexer.types")
    if layer < len(listed):
        return bool(listed[layer])
    every = header.architecture != "glm-dsa" or header.n_ctx_train < 1 << 20
    return every or layer < 2 or (layer - 2) % 4 == 0  # GLM 5.2's own, where the file names none


def _compressed(header: Header, layer: int) -> LayerCache:
    """DeepSeek-V4's: a window of keys, one key for 4 or for 128 tokens, and the states that make them."""
    keys, indexer = header.key_length, header.number("attention.indexer.key_length")
    ratios = header.listed("attention.compress_ratios")
    ratio = int(ratios[layer]) if layer < len(ratios) else 0
    window = header.number("attention.sliding_window")
    if ratio == 4:
        state_bytes = 2 * F32_BYTES * (2 * keys + 2 * indexer) * 2 * ratio
        return LayerCache(keys, 0, window, state_bytes, ((ratio, keys), (ratio, indexer)))
    if ratio:
        return LayerCache(keys, 0, window, 2 * F32_BYTES * keys * ratio, ((ratio, keys),))
    return LayerCache(keys, 0, window)


def kv_bytes_per_token(header: Header, cache_type: str, cache_type_v: str | None = None) -> int:
    """Bytes that one more token of a long context takes in all layers; one type for both unless V's is given."""
    return sum(one.bytes_per_token(cache_type, cache_type_v or cache_type) for one in layer_caches(header))


def inspect(header: Header) -> dict[str, Any]:
    """The object of `r1tui inspect --json`."""
    return {
        "architecture": header.architecture,
        "mla": header.mla,
        "n_layers": header.n_layers,
        "n_experts": header.n_experts,
        "n_ctx_train": header.n_ctx_train,
        "size_bytes": header.size_bytes,
        "shards": len(header.shards),
        "vocab_size": header.vocab_size,
        "kv_bytes_per_token": {kind: kv_bytes_per_token(header, kind) for kind in SHOWN_CACHE_TYPES},
        "layers": list(_layers(header)),
    }


def _layers(header: Header) -> Iterator[dict[str, int]]:
    for index, layer in enumerate(header.layers):
        experts = (tensor.size_bytes for tensor in layer if is_expert(tensor))
        yield {"index": index, "bytes": sum(tensor.size_bytes for tensor in layer), "expert_bytes": sum(experts)}
