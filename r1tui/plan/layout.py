"""What goes where, and the memory that it takes."""

from dataclasses import dataclass

from r1tui.config import CacheType
from r1tui.gguf.kv import padded
from r1tui.plan.pins import Rules

MIB = 1 << 20
ROUNDING_BYTES = 2 * MIB
"""The engine's figures are whole MiB, and rounded for each buffer."""


@dataclass(frozen=True)
class ModelLayout:
    """A choice of what goes where; `split` counts the layers (the output layer among them) of each device."""

    n_gpu_layers: int
    n_cpu_moe: int
    split: tuple[int, ...]
    ctx_size: int
    type_k: CacheType
    type_v: CacheType
    flash_attention: bool
    ubatch_size: int
    kv_on_host: bool = False
    """llama.cpp's --no-kv-offload: the whole cache stays in the host's memory."""
    overrides: Rules = ()

    @property
    def batch_size(self) -> int:
        """Prompt tokens that are really computed at once: never more than the context has."""
        return min(self.ubatch_size, padded(self.ctx_size))

    @property
    def used(self) -> frozenset[int]:
        """Numbers of the devices with layers."""
        return frozenset(index for index, layers in enumerate(self.split) if layers)

    @property
    def placement(self) -> tuple[int, int, bool]:
        """The part that a longer context or a larger batch must not change."""
        return self.n_gpu_layers, self.n_cpu_moe, self.kv_on_host


@dataclass(frozen=True)
class Share:
    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    pool_bytes: int = 0
    """Memory outside all buffers, see `plan.pool`."""

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.pool_bytes

    @property
    def anonymous_bytes(self) -> int:
        """Of the host's share what cannot be read from the file again."""
        return self.kv_bytes + self.compute_bytes


@dataclass(frozen=True)
class MemoryUsage:
    """The memory that a layout takes."""

    devices: tuple[Share, ...]
    host: Share
    repack_bytes: int
    """The part of the host's weights that a CPU without a GPU copies into anonymous memory."""

    @property
    def parts(self) -> tuple[Share, ...]:
        """The devices and, last, the host."""
        return (*self.devices, self.host)
