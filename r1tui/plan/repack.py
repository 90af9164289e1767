"""CPU_REPACK: weights that llama.cpp's CPU back end copies into a layout of its own, where no GPU is beside it.

The copies are anonymous memory, unlike the mapped file. Source: ggml_repack_get_optimal_repack_type of b11434.
"""

from r1tui.gguf.header import is_expert
from r1tui.gguf.parse import Tensor

AVX2 = frozenset({"q4_0", "q4_K", "iq4_nl", "mxfp4"})
AVX512 = AVX2 | {"q2_K"}
ARM_DOT_PRODUCT = AVX2 | {"q5_K", "q6_K", "q8_0", "q1_0"}
ROWS = 8
"""Rows are interleaved by so many (by four on some processors)."""


def repacked_types(features: str) -> frozenset[str]:
    """The tensor types that a CPU with these features, as the kernel lists them, has such a layout for."""
    has = set(features.split())
    if "asimddp" in has:
        return ARM_DOT_PRODUCT
    if "avx2" not in has:
        return frozenset()
    return AVX512 if "avx512f" in has else AVX2


def is_repacked(tensor: Tensor, types: frozenset[str]) -> bool:
    """True if the tensor is one: a matrix, or experts, whose rows can be interleaved."""
    return tensor.type in types and tensor.shape[1:2] != () and tensor.shape[1] % ROWS == 0 and (
        len(tensor.shape) == 2 or is_expert(tensor)
    )  # fmt: skip
