"""The plan for this machine: by what the engine itself says that it takes, and by what earlier runs showed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from r1tui.engine.dry_run import NoFiguresError, dry_run, fit
from r1tui.engine.find import Engine
from r1tui.errors import R1tuiError
from r1tui.gguf.kv import is_exact
from r1tui.plan import Plan, PlanRequest, make_plan
from r1tui.plan.answers import EngineAnswer
from r1tui.plan.layout import Share
from r1tui.planning.held import HeldMemory
from r1tui.planning.history import find_history_of
from r1tui.planning.subject import Subject
from r1tui.remedies import StopServer
from r1tui.system.paths import Paths

ASKED_AT_MOST = 8
Ask = Callable[[Plan], EngineAnswer]


def plan_here(
    subject: Subject,
    request: PlanRequest,
    engine: Engine,
    paths: Paths,
    rpc: Sequence[str],
    *,
    held: HeldMemory | None = None,
    exact: bool = False,
) -> Plan:
    """The plan for this machine.

    The engine is asked where a device is to be filled, for models whose cache only it can size, and for an `exact` one,
    but not about what ran here already; where it cannot answer, the plan says so. Raises R1tuiError for a model that
    cannot be read, and where an `exact` plan cannot be had.
    """
    request = replace(request, history=find_history_of(paths, subject.file, engine.server))
    if is_exact(subject.header) and not request.devices and not exact:
        return make_plan(subject.header, request)
    if held is not None and held.occupies(rpc):
        plan = make_plan(subject.header, request)
        if plan.source == "measured":
            return plan
        if exact:
            raise R1tuiError("The RPC workers answer only the running server.", StopServer())
        return plan.because("The numbers are r1tui's estimate: the RPC workers answer only the running server.")
    try:
        return by_the_engine(subject, request, lambda plan: ask_engine(plan, engine, subject, rpc))
    except R1tuiError as error:
        if exact or not (is_exact(subject.header) or isinstance(error, NoFiguresError)):
            raise
        return _by_estimate(make_plan(subject.header, request), error)


def plan_elsewhere(subject: Subject, request: PlanRequest, engine: Engine | None) -> Plan:
    """The plan for a machine that is not this one: by formulas, or by what the engine says of the model's cache."""
    plan = make_plan(subject.header, request)
    if engine is None or is_exact(subject.header):
        return plan
    try:
        answer = ask_on_cpu(plan, engine, subject)
    except NoFiguresError as error:
        return _by_estimate(plan, error)
    return make_plan(subject.header, replace(request, answers=(answer,)))


def _by_estimate(plan: Plan, error: R1tuiError) -> Plan:
    return plan.because(f"The numbers are r1tui's estimate; the engine gave none: {error.cause}")


def by_the_engine(subject: Subject, request: PlanRequest, ask: Ask) -> Plan:
    """The best plan whose figures are the engine's own: made, asked for, and made again while that may gain."""
    best: Plan | None = None
    plan = make_plan(subject.header, request)
    for _ in range(ASKED_AT_MOST):
        ran = plan.source == "measured" and plan.n_gpu_layers is not None
        if not ran:
            request = replace(request, answers=(*request.answers, ask(plan)))
        asked = make_plan(subject.header, replace(request, settled=(plan.layout, plan.why)))
        if asked.n_gpu_layers is None:  # llama.cpp's own choice, which is one
            return asked
        best = asked if best is None or asked.beats(best) or not best.can_start else best
        if ran:
            break
        plan = make_plan(subject.header, request)
        if plan.source == "engine" or (best.verdict != "no" and not plan.beats(best)):
            break
    return replace(best or plan, answers=request.answers)


def ask_engine(plan: Plan, engine: Engine, subject: Subject, rpc: Sequence[str]) -> EngineAnswer:
    """Ask the engine for the plan's memory on this machine's devices. Raises R1tuiError."""
    arguments = [*(["--rpc", ",".join(rpc)] if rpc else []), *plan.arguments(engine.capabilities)]
    if plan.n_gpu_layers is None:  # llama.cpp is to decide: have it do so, and ask what that takes
        arguments += [*fit(engine, subject.file, arguments), "--fit", "off"]
    return EngineAnswer(plan.layout, _shares(engine, subject, arguments))


def ask_on_cpu(plan: Plan, engine: Engine, subject: Subject) -> EngineAnswer:
    """Ask the engine for the memory of the plan's context with everything on the host. Raises R1tuiError."""
    layout = replace(plan.layout, n_gpu_layers=0, n_cpu_moe=0, split=(), kv_on_host=False, overrides=())
    bare = replace(plan, layout=layout, n_gpu_layers=0, n_cpu_moe=0, tensor_split=(), kv_on_host=False, overrides=())
    return EngineAnswer(layout, _shares(engine, subject, [*bare.arguments(engine.capabilities), "--device", "none"]))


def _shares(engine: Engine, subject: Subject, arguments: Sequence[str]) -> Mapping[str, Share]:
    figures = dry_run(engine, subject.file, arguments)
    return {one.name: Share(one.weights_mib << 20, one.kv_mib << 20, one.compute_mib << 20) for one in figures}
