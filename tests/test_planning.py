"""Planning on this machine: the engine's figures, headers of models that are not here, rules by hand, comparisons."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.catalog.variants import Variant, variant_of_file
from r1tui.config import Config, EngineSettings, PlanSettings, ServerSettings
from r1tui.engine.find import Engine
from r1tui.engine.make import build_engine
from r1tui.errors import R1tuiError, UsageError
from r1tui.events import Finished, StageEvent
from r1tui.gguf import Header, read_header
from r1tui.gguf.source import FileSource
from r1tui.gguf.stub import write_stub
from r1tui.launch.stages import Launch
from r1tui.machine.bandwidth import Bandwidth
from r1tui.machine.hardware import Machine
from r1tui.machine.nvml import Gpu, Nvidia
from r1tui.messages import DevicePlan, PlanSummary, Range, State, Status
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.answers import EngineAnswer
from r1tui.plan.capabilities import EngineDevice
from r1tui.plan.fallbacks import fallback_plans
from r1tui.plan.memory import Model
from r1tui.planning.command import server_argv
from r1tui.planning.corrected import ask_engine, by_the_engine, plan_here
from r1tui.planning.devices import plan_devices
from r1tui.planning.held import HeldMemory
from r1tui.planning.history import find_history_of, remember_answer
from r1tui.planning.kept import AUTO
from r1tui.planning.overrides import for_variant, override_rules
from r1tui.planning.request import request_here
from r1tui.planning.subject import Subject
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from tests import sparse_r1
from tests.conftest import CommandLine, SparseModel, TinyModel
from tests.hub_server import Hub, Repository
from tests.roomy import roomy_machine

__all__ = ["roomy_machine"]
pytestmark = pytest.mark.usefixtures("roomy_machine")

GIB = 1024


@pytest.fixture
def engine(llama_server: Path, paths: Paths) -> Engine:
    return build_engine(EngineSettings(source=str(llama_server)), paths, lambda event: None)


@pytest.fixture(scope="module")
def mla(sparse_model: SparseModel) -> Path:
    return sparse_model(sparse_r1.build, mla=True)


def request_for(size_mib: int, **wishes: object) -> PlanRequest:
    settings = PlanSettings(**wishes)  # type: ignore[arg-type]
    return PlanRequest(256 * GIB, 256 * GIB, 2, settings, (Device("RPC0", "rpc", size_mib, size_mib, margin_mib=0),))


@pytest.mark.parametrize("size_mib", [12 * GIB, 24 * GIB - 300, 80 * GIB])
def test_a_plan_for_this_machine_fits_by_the_engines_own_figures(
    *, engine: Engine, paths: Paths, workers: list[str], mla: Path, size_mib: int
) -> None:
    subject = Subject(read_header(mla), mla, mla, on_disk=True)
    plan = plan_here(subject, request_for(size_mib), engine, paths, workers[:1])
    assert plan.source == "engine"
    assert plan.devices[0].planned_mib <= size_mib
    assert plan.devices[0].planned_mib > size_mib - 3 * GIB


def engine_of(header: Header, kv: float = 1.0, compute: float = 1.0) -> Callable[[Plan], EngineAnswer]:
    """An engine that finds so many times more than the formulas do for the cache and the buffers."""

    def ask(plan: Plan) -> EngineAnswer:
        usage = Model(header, ("cuda",), ("CUDA0",)).measure(plan.layout)
        return EngineAnswer(plan.layout, {
            name: replace(one, kv_bytes=round(one.kv_bytes * kv), compute_bytes=round(one.compute_bytes * compute))
            for name, one in zip(("CUDA0", "Host"), usage.parts, strict=True)
        })  # fmt: skip

    return ask


@pytest.mark.parametrize(("more", "held"), [(1.0, 56), (1.3, 56), (4.0, 58)])
def test_a_plan_that_is_too_large_by_the_engine_s_figures_is_made_again_just_small_enough(
    mla: Path, more: float, held: int
) -> None:
    subject = Subject(read_header(mla), mla, mla, on_disk=True)
    device = Device("CUDA0", "cuda", 24 * GIB, 24 * GIB)
    request = PlanRequest(256 * GIB, 256 * GIB, 8, PlanSettings(ubatch_size=512, ctx_size=8192), (device,))
    estimate = make_plan(subject.header, request).devices[0].compute_mib
    asked: list[Plan] = []

    def engine_says(plan: Plan) -> EngineAnswer:
        asked.append(plan)
        figures = engine_of(subject.header)(plan)
        return replace(figures, shares={
            name: replace(share, compute_bytes=round(estimate * more) << 20) for name, share in figures.shares.items()
        })  # fmt: skip

    made = by_the_engine(subject, request, engine_says)
    assert (made.verdict, made.source, made.n_cpu_moe) == ("hybrid", "engine", held)
    assert made.devices[0].planned_mib <= device.usable_mib
    assert len(asked) <= 3


def test_a_plan_that_no_layer_saves_has_the_verdict_no(mla: Path) -> None:
    subject = Subject(read_header(mla), mla, mla, on_disk=True)
    settings = PlanSettings(n_gpu_layers=62, n_cpu_moe=61)
    request = PlanRequest(256 * GIB, 256 * GIB, 8, settings, (Device("CUDA0", "cuda", 24 * GIB, 24 * GIB),))
    made = by_the_engine(subject, request, engine_of(subject.header, compute=90))
    assert (made.verdict, made.fits) == ("no", False)


def test_llama_cpp_is_asked_once_for_its_own_choice(mla: Path) -> None:
    subject = Subject(read_header(mla), mla, mla, on_disk=True)
    device = Device("CUDA0", "cuda", 24 * GIB, 24 * GIB)
    request = PlanRequest(256 * GIB, 256 * GIB, 8, PlanSettings(strategy="engine"), (device,))
    asked: list[Plan] = []

    def engine_says(plan: Plan) -> EngineAnswer:
        asked.append(plan)
        return engine_of(subject.header, kv=3, compute=2)(plan)

    made = by_the_engine(subject, request, engine_says)
    assert (len(asked), made.n_gpu_layers, made.source) == (1, None, "engine")


def test_the_engine_s_answer_takes_the_place_of_the_estimate_in_context_and_speed(mla: Path) -> None:
    subject = Subject(read_header(mla), mla, mla, on_disk=True)
    device = Device("CUDA0", "cuda", 142 * GIB, 142 * GIB)
    request = PlanRequest(256 * GIB, 256 * GIB, 8, PlanSettings(ctx_max=163_840), (device,))
    plain = by_the_engine(subject, request, engine_of(subject.header))
    frugal = by_the_engine(subject, request, engine_of(subject.header, kv=0.25))
    assert plain.ctx_size < frugal.ctx_size
    assert frugal.source == "engine"
    less = fallback_plans(subject.header, request, frugal)
    assert less
    assert all(one.devices[0].planned_mib < frugal.devices[0].planned_mib for one in less)
    per_token = [one.devices[0].kv_mib / one.ctx_size for one in (frugal, *less) if one.n_gpu_layers == 62]
    assert max(per_token) == pytest.approx(min(per_token), rel=0.1)


def test_llama_cpp_s_own_choice_is_asked_for_and_shown(
    engine: Engine, paths: Paths, workers: list[str], mla: Path
) -> None:
    subject = Subject(read_header(mla), mla, mla, on_disk=True)
    request = request_for(20 * GIB, strategy="engine")
    made = plan_here(subject, request, engine, paths, workers[:1])
    assert (made.n_gpu_layers, made.source) == (None, "engine")
    assert 0 < made.devices[0].planned_mib < 64 * GIB  # what it fits, not all 131 GiB
    assert made.reasons[0].startswith("llama.cpp's --fit places")


@pytest.mark.parametrize(("state", "pid"), [("failed", None), ("sleeping", 5), ("stopping", 5)])
def test_a_server_that_holds_nothing_frees_nothing(state: State, pid: int | None) -> None:
    plan = PlanSummary(devices=(DevicePlan("CUDA0", weights_mib=5),))
    assert HeldMemory.by(Status(state=state, pid=pid, plan=plan, argv=["llama-server"])) is None


def test_only_the_running_server_s_own_workers_are_taken() -> None:
    held = HeldMemory({}, 0, frozenset({"a:1", "b:2"}))
    assert held.occupies(["a:1"])
    assert not held.occupies(["c:3"])
    with pytest.raises(R1tuiError):
        held.occupies(["a:1", "c:3"])


def test_the_engine_s_figures_of_a_header_alone_are_those_of_the_whole_file(
    engine: Engine, paths: Paths, workers: list[str], tiny_r1: TinyModel, tmp_path: Path
) -> None:
    model = tiny_r1()
    with FileSource(model) as source:
        stub = write_stub(source, tmp_path / "stub.gguf")
    assert stub.stat().st_size == model.stat().st_size
    assert stub.stat().st_blocks < model.stat().st_blocks
    subject = Subject(read_header(model), model, model, on_disk=True)
    plan = plan_here(subject, request_for(4 * GIB, ctx_size=1024), engine, paths, workers[:1])
    alone = replace(subject, file=stub)
    assert ask_engine(plan, engine, alone, workers[:1]) == ask_engine(plan, engine, subject, workers[:1])


async def launched(variant_file: Path, config: Config, paths: Paths) -> list[StageEvent]:
    launch = Launch(variant_of_file(variant_file), config, paths)
    return [event async for event in launch.run()]


def test_a_server_on_an_offload_device_takes_what_was_planned_and_the_next_plan_knows(
    llama_server: Path, paths: Paths, workers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VOCAB", "DENSE_WIDTH"):  # the worker takes all of it for real
        monkeypatch.setattr(sparse_r1, name, 2048)
    model = sparse_r1.build(tmp_path / "r1.gguf", mla=True, layers=2)
    config = Config(
        engine=EngineSettings(source=str(llama_server)),
        server=ServerSettings(rpc=workers[:1], threads=1),
        plan=PlanSettings(n_gpu_layers=2, n_cpu_moe=0, ctx_size=512, ubatch_size=64),
    )
    build_engine(config.engine, paths, lambda event: None)
    asyncio.run(launched(model, config, paths))
    status = supervisor.status(paths)
    try:
        assert status.state == "ready", status.cause
        assert status.plan is not None
        assert status.argv is not None
        planned = status.plan.devices[0]
        record = find_history_of(paths, model, llama_server)
        assert record is not None
        used = record.runs[0].used_mib["RPC0"]
        assert used == pytest.approx(planned.planned_mib, abs=3)
        remember_answer(paths, status, Finished("stop", 500, 0, 100, 8.0, 2.5, 10.0))
        running = HeldMemory.by(status)
        assert running is not None
        assert running.devices_mib == {"RPC0": planned.planned_mib}
        engine = build_engine(config.engine, paths, lambda event: None)
        again = plan_here(
            Subject(read_header(model), model, model, on_disk=True),
            request_here(config, paths, engine, running),
            engine,
            paths,
            config.server.rpc,
            held=running,
        )
        assert again.devices[0].free_mib == planned.free_mib
        assert again.source == "measured"
        took = again.devices[0]
        assert took.planned_mib == pytest.approx(used, abs=2)
        assert took.compute_mib == record.runs[0].buffers_mib["RPC0"][2]
        assert again.speed.answer == Range(2.5, 2.5)
    finally:
        supervisor.stop(paths)


def test_devices_have_the_rates_that_the_driver_tells_by_name_not_by_number() -> None:
    gpus = (
        Gpu(0, "NVIDIA RTX A6000", "a", 48 << 30, 48 << 30, 0, (8, 6), 768.0, 38.7, 31.5),
        Gpu(1, "NVIDIA H100 80GB HBM3", "b", 80 << 30, 80 << 30, 0, (9, 0), 3352.0, 66.9, 63.0),
    )
    machine = Machine("CPU", 8, 16, 64 << 30, 60 << 30, Nvidia(gpus), ())
    there = [EngineDevice("CUDA0", "NVIDIA H100 80GB HBM3", 81559, 80000), EngineDevice("CUDA1", "Other", 100, 90)]
    first, second = plan_devices(there, None, machine)
    assert first.rates is not None
    assert (first.rates.memory_gbps, first.rates.known) == (3352.0, True)
    assert second.rates is None


def test_what_our_own_server_holds_is_free_for_the_next() -> None:
    machine = Machine("CPU", 8, 16, 64 << 30, 60 << 30, Nvidia(), ())
    there = [EngineDevice("CUDA0", "GPU", 24000, 3000)]
    (device,) = plan_devices(there, None, machine, HeldMemory({"CUDA0": 20000}, 0))
    assert device.free_mib == 23000
    (device,) = plan_devices(there, None, machine, HeldMemory({"CUDA0": 50000}, 0))
    assert device.free_mib == 24000


@pytest.mark.parametrize("rule", ["exps", "=CPU", "exps=", "(=CPU"])
def test_a_rule_that_is_none_is_named(rule: str) -> None:
    with pytest.raises(UsageError) as caught:
        override_rules([f"-ot={rule}"], "server.extra_args")
    assert rule in caught.value.cause
    assert "server.extra_args" in caught.value.cause


def test_rules_by_hand_come_from_the_plan_s_settings_or_the_server_s_arguments(paths: Paths) -> None:
    config = Config(
        plan=PlanSettings(override_tensors=[r"blk\.3\.=CPU"]),
        server=ServerSettings(extra_args=["-ot", "exps=CPU,attn=CUDA0", "--top-k", "5"]),
    )
    variant = Variant("mine", file=Path("m.gguf"), extra_args=("--override-tensor=shexp=CUDA0",))
    devices = (Device("CUDA0", "cuda", 1000, 1000),)
    request = for_variant(request_here(config, paths, None, devices=devices), config, variant, AUTO)
    assert request.overrides == (("shexp", "CUDA0"), ("exps", "CPU"), ("attn", "CUDA0"), (r"blk\.3\.", "CPU"))


def test_rules_by_hand_reach_the_server_before_the_plan_s_own(engine: Engine, paths: Paths, tiny_r1: TinyModel) -> None:
    config = Config(server=ServerSettings(extra_args=["-ot", "exps=CPU", "--top-k", "5"]))
    model = tiny_r1()
    devices = (Device("RPC0", "rpc", 4096, 4096),)
    variant = variant_of_file(model)
    request = for_variant(request_here(config, paths, engine, devices=devices), config, variant, AUTO)
    made = make_plan(read_header(model), replace(request, settings=PlanSettings(n_gpu_layers=99, n_cpu_moe=1)))
    argv = server_argv(engine, variant, model, made, config, paths=paths)
    assert argv.count("--override-tensor") == 1
    assert "-ot" not in argv
    assert argv.index("--override-tensor") < argv.index("--n-cpu-moe")
    assert argv[argv.index("--top-k") + 1] == "5"


def test_arguments_by_hand_that_change_the_plan_are_named(paths: Paths, tiny_r1: TinyModel) -> None:
    config = Config(server=ServerSettings(extra_args=["-c 999", "--top-k", "5", "--no-kv-offload", "-ot", "exps=CPU"]))
    model = tiny_r1()
    request = for_variant(request_here(config, paths, None, devices=()), config, variant_of_file(model), AUTO)
    assert request.changed_by == ("-c 999", "--no-kv-offload")
    assert any(
        "change: -c 999, --no-kv-offload." in reason for reason in make_plan(read_header(model), request).reasons
    )


def test_a_rule_for_a_device_that_is_not_there_is_refused(paths: Paths) -> None:
    config = Config(plan=PlanSettings(override_tensors=["exps=CUDA7"]))
    with pytest.raises(UsageError) as caught:
        for_variant(request_here(config, paths, None, devices=()), config, Variant("mine", file=Path("m.gguf")), AUTO)
    assert "CUDA7" in caught.value.cause


def test_a_margin_for_a_device_that_is_not_there_is_refused(paths: Paths) -> None:
    config = Config(plan=PlanSettings(margins_mib={"CUDA9": 100}))
    with pytest.raises(UsageError):
        request_here(config, paths, None, devices=(Device("CUDA0", "cuda", 1000, 1000),))


def test_measured_rates_are_the_plan_s(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Bandwidth("this machine", 180.0, {0: 24.0, 1: 12.0}, 3.5, 900.0)
    monkeypatch.setattr("r1tui.planning.request.load_bandwidth", lambda paths, machine: measured)
    rates = request_here(Config(), paths, None, devices=()).rates
    assert rates is not None
    assert (rates.memory_gbps, rates.disk_gbps, rates.bus_gbps, rates.gflops) == (180, 3.5, 12, 900)
    assert rates.known
    assert rates.measured


def test_a_model_on_the_hub_is_planned_exactly_from_its_header_alone(
    r1tui: CommandLine, empty_hub: Hub, tiny_r1: TinyModel
) -> None:
    weights = tiny_r1()
    empty_hub.repositories["some/R1-GGUF"] = Repository({"R1-Q8_0.gguf": weights.read_bytes()})
    assert r1tui("build").returncode == 0
    ran = r1tui("plan", "hf:some/R1-GGUF:Q8_0", "--exact", "--json")
    assert ran.returncode == 0, ran.stderr
    remote, local = json.loads(ran.stdout), json.loads(r1tui("plan", "--model", weights, "--exact", "--json").stdout)
    assert remote["source"] == "engine"
    assert {**remote["host"], "total_mib": 0} == {**local["host"], "total_mib": 0}
    assert not list(r1tui.paths.models.rglob("*.gguf"))
    asked = len(empty_hub.requests)
    ran = r1tui("plan", "hf:some/R1-GGUF:Q8_0", "--vram", "24", "--ram", "64", "--json")
    assert json.loads(ran.stdout)["verdict"] == "gpu"
    assert len(empty_hub.requests) == asked  # what was fetched before is used again
