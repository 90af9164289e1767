"""The planner's weights and caches against llama.cpp's own breakdown, an RPC worker standing in for a GPU."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.config import CacheType, PlanSettings
from r1tui.gguf import read_header
from r1tui.plan import Device, PlanRequest, make_plan
from r1tui.plan.layout import MIB, ModelLayout, Share
from r1tui.plan.memory import Model
from tests import sparse_dense, sparse_r1
from tests.bare_server import serving
from tests.conftest import SparseModel
from tests.engine_figures import breakdown


@pytest.fixture(scope="module")
def models(sparse_model: SparseModel) -> dict[str, Path]:
    return {name: sparse_model(sparse_r1.build, mla=name == "mla") for name in ("legacy", "mla")}


@pytest.mark.parametrize("name", ["legacy", "mla"])
@pytest.mark.parametrize(
    ("layers", "held", "context", "cache", "flash"),
    [
        (0, 0, 8192, "f16", True),
        (1, 0, 32768, "f16", False),
        (7, 58, 8192, "f16", True),
        (33, 10, 2048, "q8_0", True),
        (61, 10, 2048, "f16", False),
        (62, 58, 32768, "q4_0", True),
        (62, 0, 8000, "f16", False),
    ],
)
def test_weights_and_cache_agree_to_one_mib(
    *,
    llama_server: Path,
    workers: list[str],
    models: dict[str, Path],
    name: str,
    layers: int,
    held: int,
    context: int,
    cache: CacheType,
    flash: bool,
) -> None:
    layout = ModelLayout(layers, held, (layers,), context, cache, cache, flash_attention=flash, ubatch_size=512)
    agrees(llama_server, models[name], workers[:1], layout)


@pytest.mark.parametrize("name", ["legacy", "mla"])
@pytest.mark.parametrize(
    ("kv_on_host", "overrides"),
    [
        (True, ()),
        (False, ((r"\.ffn_(up|down|gate)_exps", "CPU"),)),
        (False, ((r"blk\.(3|4|5)\..*exps", "CPU"), (r"output\.weight", "CPU"))),
    ],
)
def test_a_cache_on_the_host_and_rules_by_hand_agree(
    *,
    llama_server: Path,
    workers: list[str],
    models: dict[str, Path],
    name: str,
    kv_on_host: bool,
    overrides: tuple[tuple[str, str], ...],
) -> None:
    whole = ModelLayout(62, 0, (62,), 8192, "f16", "f16", flash_attention=name == "mla", ubatch_size=512)
    agrees(llama_server, models[name], workers[:1], replace(whole, kv_on_host=kv_on_host, overrides=overrides))


def test_layers_that_only_predict_ahead_are_not_loaded(llama_server: Path, workers: list[str], tmp_path: Path) -> None:
    model = sparse_r1.build(tmp_path / "r1.gguf", mla=True, layers=8, n_nextn_layers=1)
    layout = ModelLayout(9, 2, (9,), 2048, "f16", "f16", flash_attention=True, ubatch_size=512)
    agrees(llama_server, model, workers[:1], layout)


@pytest.mark.parametrize("name", ["llama-8b", "qwen-7b", "qwen3-8b"])
@pytest.mark.parametrize(("layers", "flash"), [(0, True), (10, False), (99, True)])
def test_distills_agree_too(
    *, llama_server: Path, workers: list[str], sparse_model: SparseModel, name: str, layers: int, flash: bool
) -> None:
    model = sparse_model(sparse_dense.build, name=name)
    placed = min(layers, sparse_dense.DISTILLS[name].layers + 1)
    layout = ModelLayout(placed, 0, (placed,), 8192, "f16", "f16", flash_attention=flash, ubatch_size=1024)
    agrees(llama_server, model, workers[:1], layout)


@pytest.mark.parametrize("name", ["legacy", "mla"])
@pytest.mark.parametrize(("layers", "held", "split"), [(62, 0, (3, 7)), (30, 3, (1, 2)), (62, 61, (20, 42))])
def test_two_devices_share_as_llama_cpp_shares(
    *,
    llama_server: Path,
    workers: list[str],
    models: dict[str, Path],
    name: str,
    layers: int,
    held: int,
    split: tuple[int, int],
) -> None:
    layout = ModelLayout(layers, held, split, 8192, "f16", "f16", flash_attention=True, ubatch_size=512)
    agrees(llama_server, models[name], workers, layout)


def agrees(server: Path, model: Path, workers: list[str], layout: ModelLayout) -> None:
    """Assert that weights and cache agree to 1 MiB, and compute buffers to 64 MiB or a tenth."""
    usage = Model(read_header(model), ("rpc",) * len(workers)).measure(layout)
    theirs = breakdown(server, model, workers, layout)
    for ours, (weights, kv, compute) in zip((*usage.devices, usage.host), theirs, strict=True):
        assert _mib(ours)[:2] == pytest.approx((weights, kv), abs=1)
        assert _mib(ours)[2] == pytest.approx(compute, abs=64, rel=0.1)


@pytest.mark.parametrize("n_devices", [0, 1, 2])
@pytest.mark.parametrize("mla", [True, False])
def test_llama_server_starts_with_the_planned_arguments(
    *,
    llama_server: Path,
    workers: list[str],
    tiny_r1: Callable[..., Path],
    tmp_path: Path,
    n_devices: int,
    mla: bool,
) -> None:
    model = tiny_r1(mla=mla)
    devices = tuple(Device(f"RPC{index}", "rpc", 4096, 4096) for index in range(n_devices))
    plan = make_plan(read_header(model), PlanRequest(8192, 8192, 1, PlanSettings(ctx_size=1024), devices))
    assert plan.verdict == ("gpu" if devices else "cpu")
    workers_wanted = ["--rpc", ",".join(workers[:n_devices])] if devices else []
    with serving(llama_server, model, tmp_path, [*plan.arguments(None), *workers_wanted]) as client:
        assert client.get("/props").json()["default_generation_settings"]["n_ctx"] == plan.ctx_size


def _mib(share: Share) -> tuple[float, float, float]:
    return share.weights_bytes / MIB, share.kv_bytes / MIB, share.compute_bytes / MIB
