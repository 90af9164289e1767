"""What a token costs in the K/V cache, and the summary of a header that `r1tui inspect` prints."""

from typing import Any

from r1tui.gguf.errors import GgufError
from r1tui.gguf.header import Header, is_expert
from r1tui.gguf.types import BY_NAME

SHOWN_CACHE_TYPES = ("f16", "q8_0", "q4_0")


def kv_bytes_per_token(header: Header, cache_type: str, cache_type_v: str | None = None) -> int:
    """Bytes of K/V cache that one token of context takes in all layers; one type for both unless V's is given."""
    n_cached = header.n_layers - header.n_nextn_layers
    return sum(layer_kv_bytes(header, layer, cache_type, cache_type_v or cache_type) for layer in range(n_cached))


def layer_kv_bytes(header: Header, layer: int, cache_type_k: str, cache_type_v: str) -> int:
    """Bytes that one token takes in one layer's cache; an MLA file keeps no V (llama_kv_cache's constructor)."""
    heads = header.n_kv_heads[layer]
    keys = _row_bytes(heads * header.key_length, cache_type_k)
    return keys if header.mla else keys + _row_bytes(heads * header.value_length, cache_type_v)


def _row_bytes(values: int, cache_type: str) -> int:
    if cache_type not in BY_NAME:
        raise GgufError(f"{cache_type!r} is no cache type.", f"Cache types are {', '.join(SHOWN_CACHE_TYPES)} and kin.")
    _, block, block_bytes = BY_NAME[cache_type]
    return -(-values // block) * block_bytes


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
        "layers": [
            {
                "index": index,
                "bytes": sum(tensor.size_bytes for tensor in layer),
                "expert_bytes": sum(tensor.size_bytes for tensor in layer if is_expert(tensor)),
            }
            for index, layer in enumerate(header.layers)
        ],
    }
