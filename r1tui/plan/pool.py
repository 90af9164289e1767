"""The memory of a GPU that no buffer shows: the process's context, cuBLAS, kernels, and the pool for intermediate data.

From ggml-cuda of b11434, which the HIP backend shares: `ggml_cuda_mul_mat_cublas_impl`, `ggml_cuda_mul_mat_q`,
`ggml_cuda_mul_mat_id`. The pool grows to what its widest operation takes, and never shrinks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from r1tui.gguf import Header
from r1tui.gguf.header import is_expert
from r1tui.gguf.kv import padded
from r1tui.gguf.parse import Tensor
from r1tui.plan.history import PlanRun

MIB = 1 << 20
PROCESS_MIB = {"cuda": 704, "hip": 704, "vulkan": 256}
"""A process's context and its kernels, with cuBLAS's 32 MiB on Hopper (an H200: 604 when loaded, 696 to 702 after the
first prompt); none on a worker, whose process lists its own memory without it, and none where the host's memory is the
GPU's."""
GRANULE = 2 * MIB
"""The pool maps pages of this size."""
LOOK_AHEAD = {"hip": 1.05}
"""The pool of a backend without virtual memory takes so much more at a time (ggml_cuda_pool_leg)."""
POOLED = ("cuda", "hip")
HALF_TYPES = ("f16", "bf16")
WITHOUT_MMQ = frozenset({"iq1_m", "tq1_0", "tq2_0"})
"""Quantised types that no matrix kernel reads (ggml_cuda_should_use_mmq)."""
Q8_BYTES = 144 / 128
"""What a value of the activations takes for those kernels (block_q8_1_mmq)."""
PADDED_ROW = 512


@dataclass(frozen=True)
class _Need:
    """Bytes that an operation takes of the pool: for each prompt token computed at once, and in all cases."""

    per_token: float
    fixed: int = 0


@dataclass(frozen=True)
class Pools:
    """Memory of a model beyond its buffers; `loaded` counts the layers that are not skipped."""

    header: Header
    loaded: int

    def device_bytes(self, backend: str, ctx_size: int, ubatch_size: int, type_k: str, *, flash_attention: bool) -> int:
        """The bytes on a device with layers: what the process takes, and the pool once the context is full."""
        process = PROCESS_MIB.get(backend, 0) * MIB
        if backend not in POOLED:
            return process
        needs = [need.per_token * ubatch_size + need.fixed for need in self._needs]
        if not flash_attention:
            needs += self._attention(ctx_size, ubatch_size, type_k)
        most = max(needs, default=0.0) * LOOK_AHEAD.get(backend, 1.0)
        return process + -(-int(most) // GRANULE) * GRANULE

    def correction_bytes(self, backend: str, seen: Iterable[tuple[PlanRun, int, bool]]) -> int:
        """Bytes that earlier runs took beside their buffers, beyond the computed ones.

        Less counts only where the context had been full, and where no run took more.
        """
        errors: dict[bool, list[int]] = {True: [], False: []}
        for run, beyond_mib, full in seen:
            layout = run.layout
            flash = layout.flash_attn != "off"
            expected = self.device_bytes(
                backend, layout.ctx_size, layout.ubatch_size, layout.cache_type_k, flash_attention=flash
            )
            errors[full].append(beyond_mib * MIB - expected)
        more = [error for error in errors[False] if error > 0]
        return max((*errors[True], *more), default=0)

    @cached_property
    def _needs(self) -> frozenset[_Need]:
        layers = self.header.layers[: self.loaded]
        return frozenset(self._need(tensor) for layer in layers for tensor in layer if len(tensor.shape) > 1)

    def _need(self, tensor: Tensor) -> _Need:
        """Bytes to multiply by this tensor: copies of its inputs, of its results, of itself."""
        width, rows = tensor.shape[:2]
        copies = self.header.n_experts_used if is_expert(tensor) else tensor.shape[2] if len(tensor.shape) > 2 else 1
        if tensor.type == "f32":
            return _Need(0.0)
        if tensor.type in HALF_TYPES and not is_expert(tensor):
            return _Need(copies * 2 * (width + (rows if tensor.type == "f16" else 0)))
        if tensor.type in HALF_TYPES:
            return _Need(copies * (2 * width + 4 * rows))
        if tensor.type not in WITHOUT_MMQ:
            return _Need(copies * (-(-width // PADDED_ROW) * PADDED_ROW) * Q8_BYTES)
        if is_expert(tensor):  # inputs and results are sorted by expert; one expert at a time is unpacked
            return _Need(copies * 4 * (width + rows), 2 * width * rows)
        return _Need(copies * 2 * (width + rows), 2 * width * rows * copies)

    def _attention(self, ctx_size: int, ubatch_size: int, type_k: str) -> list[float]:
        """Without flash attention: the scores as halves beside the result, and half keys in single precision."""
        header, tokens = self.header, padded(ctx_size)
        scores = ubatch_size * header.n_heads * 2 * (tokens + header.value_length)
        keys = tokens * header.key_length * max(header.n_kv_heads) * 4 if type_k in HALF_TYPES else 0
        return [scores, keys]
