"""The verdict on where a model runs and whether memory suffices: of a plan, or by the model's size alone."""

from math import floor
from typing import Literal

from r1tui.plan.request import PlanRequest

Verdict = Literal["gpu", "hybrid", "cpu", "disk", "no"]
BESIDE_WEIGHTS_MIB = 2048
"""What a GPU needs beside weights: the process, buffers, a cache."""
IN_MEMORY: tuple[Verdict, ...] = ("gpu", "hybrid", "cpu")


def judge(
    request: PlanRequest, anonymous_mib: float, weights_mib: float, *, on_devices: bool, all_on_devices: bool
) -> Verdict:
    """The verdict on a plan whose devices have room.

    `anonymous_mib` is the host's cache and buffers and what devices with unified memory take, `weights_mib` its mapped
    weights.
    """
    if anonymous_mib > request.host_usable_mib:
        return "no"
    if anonymous_mib + weights_mib > request.host_usable_mib:
        return "disk"
    if not on_devices:
        return "cpu"
    return "gpu" if all_on_devices else "hybrid"


def rule_of_thumb(vram_gib: float, file_size_gib: float, n_layers: int) -> int:
    """Layers to put on the GPU: VRAM by file size by layers, less four; from none to all.

    It ignores the K/V cache, so it is a start and no promise; source: Unsloth's article on the 1.58-bit R1.
    """
    return min(max(floor(vram_gib / file_size_gib * n_layers - 4), 0), n_layers)


def verdict_by_size(size_gib: float, request: PlanRequest) -> Verdict:
    """A first guess: where a model of this size would run; a plan from its header may say otherwise."""
    size_mib = size_gib * 1024
    devices_mib = sum(max(device.usable_mib - BESIDE_WEIGHTS_MIB, 0) for device in request.devices)
    apart_mib = sum(max(device.usable_mib, 0) for device in request.devices if not device.unified)
    if size_mib <= devices_mib:
        return "gpu"
    if size_mib > apart_mib + request.host_usable_mib:
        return "disk"
    return "hybrid" if devices_mib else "cpu"
