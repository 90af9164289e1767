"""Plans for the models of today: what they take against the engine's own figures, and verdicts that hold."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1tui.config import EngineSettings, PlanSettings
from r1tui.engine.find import Engine
from r1tui.engine.make import build_engine
from r1tui.errors import R1tuiError
from r1tui.gguf import Header, read_header
from r1tui.gguf.kv import is_exact, kv_bytes_per_token
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.layout import MIB, ModelLayout
from r1tui.plan.memory import Model
from r1tui.plan.repack import repacked_types
from r1tui.planning.corrected import plan_elsewhere, plan_here
from r1tui.planning.subject import Subject
from r1tui.system.paths import Paths
from tests import sparse_models
from tests.bench.plan_grid import MACHINES, plan_for
from tests.engine_figures import breakdown

GIB = 1024
Built = Callable[[str], Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("architectures")

    def build(name: str) -> Path:
        path = folder / f"{name}.gguf"
        return path if path.exists() else sparse_models.build(path, name)

    return build


@pytest.fixture
def engine(llama_server: Path, paths: Paths) -> Engine:
    return build_engine(EngineSettings(source=str(llama_server)), paths, lambda event: None)


def subject_of(path: Path) -> Subject:
    return Subject(read_header(path), path, path, on_disk=True)


def plan(header: Header, *gpus_gib: int, ram_gib: int = 64, backend: Any = "cuda", **wishes: Any) -> Plan:
    devices = tuple(Device(f"{backend.upper()}{n}", backend, gib * GIB, gib * GIB) for n, gib in enumerate(gpus_gib))
    types = repacked_types("avx2")
    request = PlanRequest(ram_gib * GIB, ram_gib * GIB, 16, PlanSettings(**wishes), devices, repacked_types=types)
    return make_plan(header, request)


@pytest.mark.parametrize(
    "name",
    [
        "qwen3-30b", "glm45-air", "gpt-oss-20b", "gemma3-27b", "llama4-scout", "qwen3-next", "qwen35-397b",
        "nemotron3-nano", "v32", "glm5", "v4-flash", "glm47-flash", "v2-lite-legacy", "llama-1b", "kimi-linear",
        "jamba-mini", "lfm2-1b", "lfm2-8b",
    ],
)  # fmt: skip
def test_weights_and_cache_agree_to_one_mib_for_every_architecture(
    llama_server: Path, workers: list[str], built: Built, name: str
) -> None:
    path = built(name)
    header = read_header(path)
    half = (header.n_layers + 1) // 2
    layout = ModelLayout(
        half, half + 5 if header.n_experts else 0, (half,), 32768, "f16", "f16", flash_attention=True, ubatch_size=512
    )
    assert is_exact(header)
    usage = Model(header, ("rpc",)).measure(layout)
    for ours, (weights, kv, compute) in zip(
        usage.parts, breakdown(llama_server, path, workers[:1], layout), strict=True
    ):
        assert (ours.weights_bytes / MIB, ours.kv_bytes / MIB) == pytest.approx((weights, kv), abs=1)
        assert ours.compute_bytes / MIB == pytest.approx(compute, abs=64, rel=0.1)


@pytest.mark.parametrize(
    "name", ["qwen3-235b", "gpt-oss-20b", "llama4-scout", "nemotron3-nano", "v4-flash", "llama-1b"]
)
@pytest.mark.parametrize(("on_gpu", "ctx_size", "ubatch_size"), [(0.5, 8192, 2048), (1.0, 131072, 512)])
def test_buffers_agree_for_large_batches_on_the_host_and_for_experts_there_beside_a_long_context(
    *, llama_server: Path, workers: list[str], built: Built, name: str, on_gpu: float, ctx_size: int, ubatch_size: int
) -> None:
    path = built(name)
    header = read_header(path)
    layers, held = (
        round((header.n_layers + 1) * on_gpu),
        header.n_layers // 2 if header.n_experts and on_gpu == 1 else 0,
    )
    layout = ModelLayout(layers, held, (layers,), ctx_size, "f16", "f16", flash_attention=True, ubatch_size=ubatch_size)
    usage = Model(header, ("rpc",)).measure(layout)
    theirs = breakdown(llama_server, path, workers[:1], layout)
    for ours, (_, _, compute) in zip(usage.parts, theirs, strict=True):
        assert ours.compute_bytes / MIB == pytest.approx(compute, abs=64, rel=0.1)


@pytest.mark.parametrize(
    ("name", "layers", "held", "ctx_size", "ubatch_size"),
    [
        ("glm46", 94, 92, 8192, 2048),  # the last layer only predicts, and the one before it has its experts in RAM
        ("glm46", 28, 92, 8192, 2048),
        ("qwen35-397b", 29, 60, 8192, 2048),
        ("v4-flash", 38, 43, 8192, 2048),
        ("v4-flash", 44, 37, 8192, 2048),
        ("r1-mla", 62, 53, 32768, 4096),
    ],
)
def test_the_last_experts_in_ram_come_back_beside_the_logits(
    *,
    llama_server: Path,
    workers: list[str],
    built: Built,
    name: str,
    layers: int,
    held: int,
    ctx_size: int,
    ubatch_size: int,
) -> None:
    path = built(name)
    layout = ModelLayout(layers, held, (layers,), ctx_size, "f16", "f16", flash_attention=True, ubatch_size=ubatch_size)
    usage = Model(read_header(path), ("rpc",)).measure(layout)
    for ours, (_, _, compute) in zip(usage.parts, breakdown(llama_server, path, workers[:1], layout), strict=True):
        assert ours.compute_bytes / MIB == pytest.approx(compute, abs=64, rel=0.1)


@pytest.mark.parametrize(
    ("layers", "held", "devices"), [(61, 0, 1), (61, 0, 2), (30, 0, 1), (30, 0, 2), (61, 30, 1), (22, 60, 1)]
)
def test_the_buffers_of_a_model_that_chooses_blocks_are_not_taken_for_smaller(
    *, llama_server: Path, workers: list[str], built: Built, layers: int, held: int, devices: int
) -> None:
    path = built("minimax-m3")
    split = (layers,) if devices == 1 else (layers // 2, layers - layers // 2)
    layout = ModelLayout(layers, held, split, 32768, "f16", "f16", flash_attention=True, ubatch_size=512)
    usage = Model(read_header(path), ("rpc",) * devices).measure(layout)
    theirs = breakdown(llama_server, path, workers[:devices], layout)
    for ours, (_, _, compute) in zip(usage.parts, theirs, strict=True):
        assert compute - 4 <= ours.compute_bytes / MIB <= 1.5 * compute + 64


def test_blocks_are_chosen_by_a_cache_of_their_own_and_the_engine_is_asked_for_the_buffers(
    llama_server: Path, workers: list[str], built: Built
) -> None:
    path = built("minimax-m3")
    header = read_header(path)
    layout = ModelLayout(40, 0, (40,), 32768, "q8_0", "q8_0", flash_attention=True, ubatch_size=512)
    assert not is_exact(header)
    usage = Model(header, ("rpc",)).measure(layout)
    theirs = breakdown(llama_server, path, workers[:1], layout)
    for ours, (weights, kv, _) in zip(usage.parts, theirs, strict=True):
        assert (ours.weights_bytes / MIB, ours.kv_bytes / MIB) == pytest.approx((weights, kv), abs=1)


def test_a_token_takes_no_cache_where_only_a_window_or_a_state_is_kept(built: Built) -> None:
    all_layers = kv_bytes_per_token(read_header(built("qwen3-30b")), "f16")
    assert all_layers == 48 * 2 * 4 * 128 * 2
    assert kv_bytes_per_token(read_header(built("gemma3-27b")), "f16") == 10 * 2 * 16 * 128 * 2  # 10 layers of 62
    assert kv_bytes_per_token(read_header(built("qwen3-next")), "f16") == 12 * 2 * 2 * 256 * 2  # 12 layers of 48


@pytest.mark.parametrize(
    ("name", "gib", "verdict"),
    [
        ("qwen3-235b", 80, "hybrid"),
        ("v4-flash", 80, "hybrid"),
        ("v4-flash", 101, "gpu"),
        ("gpt-oss-120b", 45, "hybrid"),
        ("gpt-oss-120b", 62, "gpu"),
    ],
)
def test_what_llama_cpp_would_load_is_not_refused(
    *, engine: Engine, paths: Paths, workers: list[str], built: Built, name: str, gib: int, verdict: str
) -> None:
    device = Device("RPC0", "rpc", gib * GIB, gib * GIB)
    request = PlanRequest(256 * GIB, 256 * GIB, 16, PlanSettings(), (device,))
    made = plan_here(subject_of(built(name)), request, engine, paths, workers[:1])
    assert (made.verdict, made.source) == (verdict, "engine")
    assert made.devices[0].planned_mib <= device.usable_mib


def test_the_margin_is_one_and_the_user_s(built: Built) -> None:
    header = read_header(built("qwen3-235b"))
    devices = (Device("CUDA0", "cuda", 80 * GIB, 80 * GIB, margin_mib=6000),)
    request = PlanRequest(256 * GIB, 256 * GIB, 16, PlanSettings(), devices)
    made = make_plan(header, request)
    assert made.verdict == "hybrid"
    assert made.devices[0].planned_mib <= 80 * GIB - 6000
    by_llama_cpp = plan(header, 80, ram_gib=256, strategy="engine")
    beside_mib = 1024 + by_llama_cpp.devices[0].pool_mib  # which --fit knows nothing of
    assert f"--fit on --fit-target {beside_mib}" in " ".join(by_llama_cpp.arguments())


@pytest.mark.parametrize("name", ["qwen3-30b", "gpt-oss-20b"])
def test_weights_that_the_cpu_copies_exist_once(built: Built, name: str) -> None:
    made = plan(read_header(built(name)), ram_gib=24)
    assert made.verdict == "cpu"
    assert made.repack
    assert made.host.planned_mib <= 22 * GIB
    assert made.host.anonymous_mib > made.host.kv_mib + made.host.compute_mib


def test_all_on_a_worker_stays_what_it_is_when_the_engine_is_asked(
    engine: Engine, paths: Paths, workers: list[str], built: Built
) -> None:
    subject = subject_of(built("r1-mla"))
    device = Device("RPC0", "rpc", 300 * GIB, 300 * GIB)
    types = repacked_types("avx2")
    request = PlanRequest(64 * GIB, 64 * GIB, 16, PlanSettings(), (device,), repacked_types=types)
    assert make_plan(subject.header, request).verdict == "gpu"
    assert plan_here(subject, request, engine, paths, workers[:1]).verdict == "gpu"


def test_a_context_that_a_window_makes_cheap_is_not_cut(
    engine: Engine, paths: Paths, workers: list[str], built: Built
) -> None:
    subject = subject_of(built("gemma3-27b"))
    device = Device("RPC0", "rpc", 32 * GIB, 32 * GIB)
    request = PlanRequest(64 * GIB, 64 * GIB, 16, PlanSettings(ctx_size=131072), (device,))
    made = plan_here(subject, request, engine, paths, workers[:1])
    assert (made.ctx_size, made.verdict) == (131072, "gpu")
    assert made.devices[0].kv_mib < 12 * GIB


def test_what_is_left_over_makes_the_context_longer_and_costs_no_layer(built: Built) -> None:
    header = read_header(built("qwen3-30b"))
    named, grown = plan(header, 24, ctx_size=8192), plan(header, 24)
    assert (named.ctx_size, named.verdict) == (8192, "gpu")
    assert grown.ctx_size > 3 * named.ctx_size
    assert grown.layout.placement == named.layout.placement
    assert any(f"The context is {grown.ctx_size:,} tokens" in reason for reason in grown.reasons)
    assert plan(header, 80).ctx_size == 65536
    assert plan(header, 80, ctx_max=20480).ctx_size == 20480
    assert plan(header, 80, ctx_max=4096).ctx_size == 4096
    assert any("the limit of `plan.ctx_max`" in reason for reason in plan(header, 80).reasons)
    assert any("the model's training length" in reason for reason in plan(header, 80, ctx_max=10**9).reasons)
    assert any("as many as fit into memory" in reason for reason in plan(header, 24, ctx_max=10**9).reasons)
    shortened = plan(header, ram_gib=24, ctx_size=10**9)
    (said,) = [reason for reason in shortened.reasons if "The context is" in reason]
    assert f"{shortened.ctx_size:,} tokens" in said  # and no other number is called the context
    small, base = plan(header, 12), plan(header, 12, ctx_size=8192)
    assert (small.n_gpu_layers, small.n_cpu_moe) == (base.n_gpu_layers, base.n_cpu_moe)
    assert plan(read_header(built("llama2-13b")), 80).ctx_size == 4096  # trained for no more


def test_half_of_what_is_left_of_the_host_s_memory_stays_for_others(built: Built) -> None:
    header = read_header(built("qwen3-30b"))
    base, grown = plan(header, ram_gib=28, ctx_size=8192), plan(header, ram_gib=28)
    assert (base.verdict, grown.verdict) == ("cpu", "cpu")
    assert grown.ctx_size > base.ctx_size
    left_mib = 28 * GIB - 2 * GIB - base.host.planned_mib
    assert grown.host.planned_mib - base.host.planned_mib <= left_mib / 2


def test_batches_grow_where_everything_is_on_the_gpu(built: Built) -> None:
    header = read_header(built("qwen3-30b"))
    assert plan(header, 80).ubatch_size == 2048
    assert plan(header, 80, ubatch_size=256).ubatch_size == 256


def test_a_batch_is_never_more_than_the_context(llama_server: Path, workers: list[str], built: Built) -> None:
    path = built("v2-lite-legacy")
    layout = ModelLayout(28, 0, (28,), 1024, "f16", "f16", flash_attention=True, ubatch_size=4096)
    (ours,) = Model(read_header(path), ("rpc",)).measure(layout).devices
    theirs = breakdown(llama_server, path, workers[:1], layout)[0]
    assert ours.compute_bytes / MIB == pytest.approx(theirs[2], abs=64, rel=0.1)
    made = plan(read_header(built("r1-mla")), 24, ram_gib=256, ctx_size=2048)
    assert made.ubatch_size <= 2048
    assert not any("4,096 tokens at once" in reason for reason in made.reasons)


def test_a_cache_in_f32_is_halved_for_flash_attention(llama_server: Path, workers: list[str], built: Built) -> None:
    path = built("v25-legacy")
    layout = ModelLayout(61, 0, (61,), 32768, "f32", "f16", flash_attention=True, ubatch_size=512)
    (ours,) = Model(read_header(path), ("rpc",)).measure(layout).devices
    theirs = breakdown(llama_server, path, workers[:1], layout)[0]
    assert ours.compute_bytes / MIB == pytest.approx(theirs[2], abs=64, rel=0.1)


def test_a_what_if_of_an_architecture_without_a_formula_is_planned_by_the_engine_s_cache(
    engine: Engine, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(built("qwen3-next"))
    devices = (Device("CUDA0", "cuda", 24 * GIB, 24 * GIB),)
    request = PlanRequest(128 * GIB, 128 * GIB, 16, PlanSettings(ctx_size=32768), devices)
    exact = plan_elsewhere(subject, request, engine)
    monkeypatch.setattr("r1tui.gguf.kv.BY_INTERVAL", frozenset())
    unknown = subject_of(built("qwen3-next"))
    assert not is_exact(unknown.header)
    assert any("estimate" in reason for reason in plan_elsewhere(unknown, request, None).reasons)
    asked = plan_elsewhere(unknown, request, engine)
    assert asked.devices[0].kv_mib == pytest.approx(exact.devices[0].kv_mib, rel=0.1)
    assert (asked.verdict, asked.n_gpu_layers) == (exact.verdict, exact.n_gpu_layers)


@pytest.mark.parametrize("name", ["qwen3-235b", "gpt-oss-120b", "glm5", "v4-flash", "llama-405b", "nemotron3-nano"])
def test_no_machine_is_told_that_a_model_does_not_fit_which_llama_cpp_loads(built: Built, name: str) -> None:
    header = read_header(built(name))
    verdicts = {machine: plan_for(header, machine).verdict for machine in MACHINES}
    assert "no" not in verdicts.values(), verdicts
    by_size = ["no", "disk", "cpu", "hybrid", "gpu"]
    ranks = [by_size.index(verdicts[one]) for one in ("12+64", "24+128", "48+256", "80+256", "2x80+512")]
    assert ranks == sorted(ranks)


def renamed(path: Path, folder: Path, architecture: str) -> Path:
    """The model under the name of another architecture, as long as its own."""
    own = read_header(path).architecture
    assert len(own) == len(architecture)
    made = folder / f"{architecture}.gguf"
    with path.open("rb") as file:
        head = file.read(8 << 20)
    for before in (b"%b.", len(own).to_bytes(8, "little") + b"%b"):
        head = head.replace(before % own.encode(), before % architecture.encode())
    made.write_bytes(head)
    os.truncate(made, path.stat().st_size)
    return made


def test_a_model_that_only_the_engine_can_size_is_planned_without_its_tool_too(
    engine: Engine, paths: Paths, built: Built, tmp_path: Path
) -> None:
    subject = subject_of(renamed(built("llama-1b"), tmp_path, "llada"))
    assert not is_exact(subject.header)
    bare = tmp_path / "llama-server"
    bare.symlink_to(engine.server)
    request = PlanRequest(16 * GIB, 16 * GIB, 4)
    for one, estimated in ((engine, False), (replace(engine, server=bare), True)):
        for made in (plan_here(subject, request, one, paths, ()), plan_elsewhere(subject, request, one)):
            assert made.verdict == "cpu"
            assert (made.host.kv_mib > 0) == estimated  # a diffusion model keeps nothing
            for said in ("The cache is an estimate", "the engine gave none: llama-fit-params is missing"):
                assert any(said in reason for reason in made.reasons) == estimated
    with pytest.raises(R1tuiError, match="llama-fit-params is missing"):
        plan_here(subject, request, replace(engine, server=bare), paths, (), exact=True)


def test_a_model_that_the_engine_cannot_load_is_said_to_be_so(
    engine: Engine, paths: Paths, built: Built, tmp_path: Path
) -> None:
    subject = subject_of(renamed(built("llama-1b"), tmp_path, "plamo"))
    with pytest.raises(R1tuiError, match=r"^llama\.cpp cannot load this model") as failure:
        plan_here(subject, PlanRequest(16 * GIB, 16 * GIB, 4), engine, paths, ())
    assert "--exact" not in failure.value.remedy
