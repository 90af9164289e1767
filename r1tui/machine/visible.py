"""The cards that a CUDA program sees, in the order in which it numbers them.

`CUDA_VISIBLE_DEVICES` chooses cards by index, or by the beginning of their UUID; a name that is no card's ends the
list, and an empty value hides all (CUDA's programming guide, environment variables).
"""

from collections.abc import Mapping, Sequence

from r1tui.machine.nvml import Gpu
from r1tui.system.environment import CARD_ORDER

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


def visible_gpus(gpus: Sequence[Gpu], env: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that llama.cpp's CUDA backend would list when started with this environment: CUDA0 is the first."""
    ordered = sorted(gpus, key=lambda gpu: (gpu.pci_bus_id, gpu.index))
    if env.get(ORDER, CARD_ORDER[ORDER]) != CARD_ORDER[ORDER]:
        ordered.sort(key=lambda gpu: -(gpu.tflops or 0.0))  # stable: equal cards stay in the bus's order
    if VISIBLE not in env:
        return tuple(ordered)
    chosen: list[Gpu] = []
    for name in env[VISIBLE].split(","):
        gpu = _named(name.strip(), ordered)
        if gpu is None or gpu in chosen:
            break
        chosen.append(gpu)
    return tuple(chosen)


def _named(name: str, ordered: Sequence[Gpu]) -> Gpu | None:
    if name.isdecimal():
        return ordered[int(name)] if int(name) < len(ordered) else None
    found = [gpu for gpu in ordered if name.startswith("GPU-") and gpu.uuid.startswith(name)]
    return found[0] if len(found) == 1 else None
