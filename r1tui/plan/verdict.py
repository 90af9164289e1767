"""The verdict on a plan whose devices have room: where the model runs, and whether the host's memory suffices."""

from typing import Literal

from r1tui.plan.request import PlanRequest

Verdict = Literal["gpu", "hybrid", "cpu", "disk", "no"]
IN_MEMORY: tuple[Verdict, ...] = ("gpu", "hybrid", "cpu")


def judge(
    request: PlanRequest, anonymous_mib: float, weights_mib: float, *, on_devices: bool, all_on_devices: bool
) -> Verdict:
    """`anonymous_mib` is the host's cache and buffers, `weights_mib` its mapped weights."""
    if anonymous_mib > request.host_free_mib:
        return "no"
    if anonymous_mib + weights_mib > request.host_free_mib:
        return "disk"
    if not on_devices:
        return "cpu"
    return "gpu" if all_on_devices else "hybrid"
