"""What can be said of a model by its size alone, before its header is here."""

from math import floor

from r1tui.plan.request import PlanRequest
from r1tui.plan.verdict import Verdict


def rule_of_thumb(vram_gib: float, file_size_gib: float, n_layers: int) -> int:
    """Layers to put on the GPU: VRAM by file size by layers, less four; from none to all.

    It ignores the K/V cache, so it is a start and no promise; source: Unsloth's article on the 1.58-bit R1.
    """
    return min(max(floor(vram_gib / file_size_gib * n_layers - 4), 0), n_layers)


def verdict_by_size(size_gib: float, request: PlanRequest) -> Verdict:
    """A first guess: where a model of this size would run; a plan from its header may say otherwise."""
    size_mib = size_gib * 1024
    devices_mib = sum(max(device.usable_mib, 0) for device in request.devices)
    if size_mib <= devices_mib:
        return "gpu"
    if size_mib > devices_mib + request.host_free_mib:
        return "disk"
    return "hybrid" if devices_mib else "cpu"
