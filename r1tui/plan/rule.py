"""The rule of thumb that the published tables of dynamic R1 quantisations follow."""

from math import floor


def rule_of_thumb(vram_gib: float, file_size_gib: float, n_layers: int) -> int:
    """Layers to put on the GPU: VRAM by file size by layers, less four; from none to all.

    It ignores the K/V cache, so it is a start and no promise; source: Unsloth's article on the 1.58-bit R1.
    """
    return min(max(floor(vram_gib / file_size_gib * n_layers - 4), 0), n_layers)
