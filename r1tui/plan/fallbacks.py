"""Plans that take less memory than one that turned out too large.

First fewer prompt tokens at once, which shrinks pool and buffers and moves nothing; then a context that has grown less,
or fewer experts or layers on the GPUs; then a shorter context, with weights that are mapped and no anonymous memory.
"""

from dataclasses import replace
from typing import Any

import msgspec

from r1tui.config import PlanSettings
from r1tui.gguf import Header
from r1tui.messages import DevicePlan
from r1tui.plan import Plan, PlanRequest, make_plan
from r1tui.text import listed

MOST = 3
SMALLEST_CONTEXT, SMALLEST_BATCH = 1024, 128
LESS_MIB, LESS_SHARE = (1024, 3072), (0.1, 0.3)
"""Least reduction on each GPU from the first plan to the next ones: the larger of the two."""
LESS_BY_BATCH_MIB = 512
"""The same for a plan that moves nothing."""
FEWER_LAYERS = (2, 6)
"""The same for layers that the user gave by hand."""


def fallback_plans(header: Header, request: PlanRequest, plan: Plan) -> list[Plan]:
    """At most three plans, each smaller than the one before; none where nothing helps."""
    found: list[Plan] = []
    request = replace(request, answers=plan.answers)
    if request.settings.ctx_size is not None or not request.devices:
        request = _with_settings(request, ctx_size=plan.ctx_size)
    if (smaller := _with_smaller_batch(header, request, plan)) is not None:
        _add(found, plan, smaller)
    for number in range(len(LESS_MIB)) if request.devices else ():
        if len(found) < MOST - 1:  # the last is for the context, which is what the host can spare
            _add(found, plan, make_plan(header, _less_on_gpus(header, request, found[-1] if found else plan, number)))
    last = _less_on_gpus(header, request, found[-1] if found else plan, 0) if request.devices else request
    for _ in range(MOST):
        ctx_size = (found[-1] if found else plan).ctx_size // 2
        if ctx_size < SMALLEST_CONTEXT or len(found) == MOST:
            break
        shorter = make_plan(header, _with_settings(last, ctx_size=ctx_size))
        _add(found, plan, shorter.mapped())
    return found


def format_difference(smaller: Plan, plan: Plan) -> str:
    """The difference to the larger plan, for a person."""
    said = []
    if (smaller.n_cpu_moe or 0) > (plan.n_cpu_moe or 0):
        said.append(f"the experts of {smaller.n_cpu_moe} layers on the CPU instead of {plan.n_cpu_moe or 0}")
    if smaller.n_gpu_layers == 0 and plan.n_gpu_layers:
        said.append("all on the CPU")
    elif smaller.n_gpu_layers is not None and smaller.n_gpu_layers < (plan.n_gpu_layers or 0):
        said.append(f"{smaller.n_gpu_layers} layers on the GPU instead of {plan.n_gpu_layers}")
    if more := [one.name for one, other in _pairs(smaller, plan) if one.planned_mib and not other.planned_mib]:
        said.append(f"some layers on {listed(more)}")
    if smaller.ubatch_size < plan.ubatch_size:
        said.append(f"{smaller.ubatch_size} prompt tokens at once instead of {plan.ubatch_size}")
    if smaller.ctx_size < plan.ctx_size:
        said.append(f"a context of {smaller.ctx_size:,} tokens instead of {plan.ctx_size:,}")
    if plan.load_mode == "none" and not smaller.read_whole:
        said.append("the weights mapped from the file")
    return ", ".join(said)


def _add(found: list[Plan], plan: Plan, smaller: Plan) -> None:
    """Keep the plan if it can start, differs from the one before and takes less, on no device in use more."""
    before = found[-1] if found else plan
    less = all(one.planned_mib <= other.planned_mib or not other.planned_mib for one, other in _pairs(smaller, before))
    if smaller.can_start and format_difference(smaller, before) and less:
        found.append(smaller)


def _pairs(smaller: Plan, plan: Plan) -> list[tuple[DevicePlan, DevicePlan]]:
    return list(zip(smaller.devices, plan.devices, strict=True))


def _with_smaller_batch(header: Header, request: PlanRequest, plan: Plan) -> Plan | None:
    """The same placement with the largest batch that takes enough less of every GPU that has a part of the model."""
    size = plan.ubatch_size
    while plan.n_gpu_layers and (size := size // 2) >= SMALLEST_BATCH:
        placed = {"n_gpu_layers": plan.n_gpu_layers, "n_cpu_moe": plan.n_cpu_moe, "ctx_size": plan.ctx_size}
        smaller = make_plan(header, _with_settings(request, **placed, ubatch_size=size))
        if smaller.verdict == "no" or smaller.kv_on_host != plan.kv_on_host:
            return None
        spared_mib = [other.planned_mib - one.planned_mib for one, other in _pairs(smaller, plan) if other.planned_mib]
        if min(spared_mib, default=0) >= LESS_BY_BATCH_MIB:
            return replace(smaller, as_given=plan.as_given)
    return None


def _less_on_gpus(header: Header, request: PlanRequest, plan: Plan, number: int) -> PlanRequest:
    settings = request.settings
    used_mib = {one.name: one.planned_mib for one in plan.devices}
    devices = tuple(
        replace(device, margin_mib=int(device.free_mib - _less(used, number))) if used else device
        for device, used in ((device, used_mib.get(device.name, 0)) for device in request.devices)
    )
    fewer = FEWER_LAYERS[number]
    changes: dict[str, Any] = {"ubatch_size": plan.ubatch_size, "ctx_max": plan.ctx_size}
    if settings.n_cpu_moe is not None:
        changes["n_cpu_moe"] = min(settings.n_cpu_moe + fewer, header.n_layers)
    elif settings.n_gpu_layers is not None:
        changes["n_gpu_layers"] = max(0, settings.n_gpu_layers - fewer)
    return _with_settings(replace(request, devices=devices), **changes)


def _less(used_mib: int, number: int) -> float:
    return max(0.0, used_mib - max(LESS_MIB[number], LESS_SHARE[number] * used_mib))


def _with_settings(request: PlanRequest, **changes: Any) -> PlanRequest:
    settings: PlanSettings = msgspec.structs.replace(request.settings, **changes)
    return replace(request, settings=settings)
