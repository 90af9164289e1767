"""A plan corrected by what earlier runs showed and by the engine's own figures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from r1tui.engine.dry_run import dry_run, fit
from r1tui.engine.find import Engine
from r1tui.errors import R1tuiError
from r1tui.gguf import Header
from r1tui.plan import Plan, PlanRequest, is_known, make_plan
from r1tui.plan.memory import EMBEDDING, MIB
from r1tui.plan.verdict import Verdict, judge
from r1tui.planning.held import HeldMemory
from r1tui.planning.history import find_history_of
from r1tui.planning.subject import Subject
from r1tui.system.paths import Paths


def ask_engine(plan: Plan, engine: Engine, file: Path, rpc: Sequence[str]) -> Plan:
    """The plan with the engine's own figures, and what they differ from the estimate. Raises R1tuiError."""
    workers = ["--rpc", ",".join(rpc)] if rpc else []
    arguments = [*workers, *plan.arguments(engine.capabilities)]
    if plan.n_gpu_layers is None:  # llama.cpp is to decide: have it do so, and ask what that takes
        chosen = fit(engine, file, arguments)
        context = next((int(value) for flag, value in pairwise(chosen) if flag == "-c"), plan.ctx_size)
        plan = replace(plan, ctx_size=context)
        arguments = [*arguments, *chosen, "--fit", "off"]
    return plan.with_engine_figures(dry_run(engine, file, arguments))


def plan_here(
    subject: Subject,
    request: PlanRequest,
    engine: Engine,
    paths: Paths,
    rpc: Sequence[str],
    *,
    held: HeldMemory | None = None,
) -> Plan:
    """The plan for this machine, corrected by what earlier runs showed and by the engine's own figures.

    The engine is asked where a device is to be filled and for models that r1tui does not know; a plan that is too
    large by its figures is made again with more left free. Raises R1tuiError for a model that cannot be read.
    """
    request = replace(request, history=find_history_of(paths, subject.file, engine.server))
    plan = make_plan(subject.header, request)
    if is_known(subject.header) and not request.devices:
        return plan
    if held is not None and held.occupies(rpc):
        return plan.because("These figures are r1tui's estimate: the RPC workers answer only the running server.")
    try:
        return fitting_by_the_engine(plan, subject, request, lambda made: ask_engine(made, engine, subject.file, rpc))
    except R1tuiError as error:
        if not is_known(subject.header):
            raise
        return plan.because(f"These figures are r1tui's estimate; the engine gave none: {error.cause}")


def fitting_by_the_engine(plan: Plan, subject: Subject, request: PlanRequest, ask: Callable[[Plan], Plan]) -> Plan:
    """The plan, or a smaller one, with the engine's figures and the verdict that follows from them."""
    missed = dict.fromkeys((device.name for device in request.devices), 0)
    for _ in range(TRIES):
        asked = ask(plan)
        asked = asked.judged(_verdict(asked, subject.header, request))
        if asked.verdict != "no" or plan.verdict == "no" or plan.as_given or plan.n_gpu_layers is None:
            return asked
        for estimate, figure in zip(plan.devices, asked.devices, strict=True):
            missed[figure.name] = max(missed[figure.name] + STEP_MIB, figure.planned_mib - estimate.planned_mib)
        wiser = replace(request, devices=tuple(device.with_margin(missed[device.name]) for device in request.devices))
        plan = make_plan(subject.header, wiser)
    return asked


def _verdict(asked: Plan, header: Header, request: PlanRequest) -> Verdict:
    pairs = zip(asked.devices, request.devices, strict=True)
    if any(planned.planned_mib > max(device.usable_mib, 0) for planned, device in pairs if planned.planned_mib):
        return "no"
    embedding_mib = next((one.size_bytes / MIB for one in header.tensors if one.name == EMBEDDING), 0.0)
    return judge(
        request,
        asked.host.anonymous_mib + request.unified_mib(device.planned_mib for device in asked.devices),
        asked.host.weights_mib,
        on_devices=any(device.planned_mib for device in asked.devices),
        all_on_devices=asked.host.weights_mib <= embedding_mib + 1,
    )


TRIES, STEP_MIB = 5, 64
