"""The memory of a GPU that no buffer shows: the pool by the operations that take it, and the plan that counts it."""

import pytest

from r1tui.config import CacheType, PlanSettings
from r1tui.gguf import Header, read_header
from r1tui.messages import DevicePlan, PlanSummary, Status
from r1tui.plan import Device, PlanRequest, make_plan
from r1tui.plan.pool import PROCESS_MIB, Pools
from r1tui.planning.held import HeldMemory
from tests import sparse_dense, sparse_r1
from tests.conftest import SparseModel

MIB = 1 << 20


@pytest.fixture(scope="module")
def r1(sparse_model: SparseModel) -> dict[str, Header]:
    return {name: read_header(sparse_model(sparse_r1.build, mla=name == "mla")) for name in ("legacy", "mla")}


def pool_mib(
    header: Header,
    ctx_size: int,
    ubatch_size: int,
    backend: str = "cuda",
    type_k: CacheType = "f16",
    *,
    flash: bool = True,
) -> float:
    """The pool alone, without what the process takes."""
    total = Pools(header, header.n_layers).device_bytes(backend, ctx_size, ubatch_size, type_k, flash_attention=flash)
    return total / MIB - PROCESS_MIB.get(backend, 0)


@pytest.mark.parametrize(
    ("ctx_size", "ubatch_size", "mib"),
    [(8192, 512, 1040), (8192, 1024, 2080), (32768, 512, 4112), (32768, 64, 3072)],
)
def test_an_older_file_copies_its_scores_without_flash_attention(
    r1: dict[str, Header], ctx_size: int, ubatch_size: int, mib: int
) -> None:
    assert pool_mib(r1["legacy"], ctx_size, ubatch_size, flash=False) == mib
    assert pool_mib(r1["legacy"], ctx_size, ubatch_size, type_k="q4_0", flash=False) <= mib


def test_an_mla_file_needs_copies_of_its_activations(r1: dict[str, Header]) -> None:
    assert pool_mib(r1["mla"], 8192, 4096) == pytest.approx(300, rel=0.1)
    assert pool_mib(r1["mla"], 65536, 512) == pool_mib(r1["mla"], 8192, 512) < 50


def test_the_pool_of_hip_takes_more_and_a_worker_shows_none(r1: dict[str, Header]) -> None:
    cuda, hip = (pool_mib(r1["legacy"], 8192, 512, kind, flash=False) for kind in ("cuda", "hip"))
    assert hip == pytest.approx(1.05 * cuda, rel=0.01)
    pools = Pools(r1["legacy"], 61)
    assert pools.device_bytes("rpc", 8192, 512, "f16", flash_attention=False) == 0
    assert pools.device_bytes("metal", 8192, 512, "f16", flash_attention=False) == 0


@pytest.mark.parametrize(("gpus", "gib", "ctx_size"), [(1, 48, 8192), (2, 24, 8192), (1, 80, 32768)])
def test_an_older_r1_has_room_for_its_pool_when_the_context_is_full(
    r1: dict[str, Header], gpus: int, gib: int, ctx_size: int
) -> None:
    devices = tuple(Device(f"CUDA{n}", "cuda", gib << 10, gib << 10) for n in range(gpus))
    made = make_plan(r1["legacy"], PlanRequest(512 << 10, 512 << 10, 32, PlanSettings(ctx_size=ctx_size), devices))
    assert made.verdict == "hybrid"
    for device in made.devices:
        scores_mib = made.ctx_size * made.ubatch_size * 128 * 2 / MIB
        buffers_mib = device.weights_mib + device.kv_mib + device.compute_mib
        assert device.pool_mib >= scores_mib + 500
        assert buffers_mib + scores_mib + 600 <= device.total_mib
        assert device.planned_mib <= device.total_mib - 1024
    (said,) = [reason for reason in made.reasons if "what no buffer shows" in reason]
    keep = f"keeps {device.pool_mib:,} MiB" if gpus == 1 else f"and CUDA1 keep {device.pool_mib:,} MiB each"
    assert said.startswith(f"CUDA0 {keep} for")


def test_a_pool_that_has_not_grown_yet_is_not_free_for_the_next_server() -> None:
    plan = PlanSummary(devices=(DevicePlan("CUDA0", 24 << 10, 23 << 10, 10000, 2000, 500, 2624),))
    held = HeldMemory.by(Status(state="ready", pid=5, plan=plan, argv=["llama-server"]))
    assert held is not None
    assert held.devices_mib == {"CUDA0": 12500 + PROCESS_MIB["cuda"]}


def test_llama_cpp_s_own_choice_leaves_room_for_the_pool(r1: dict[str, Header]) -> None:
    devices = (Device("CUDA0", "cuda", 48 << 10, 48 << 10), Device("CUDA1", "cuda", 24 << 10, 24 << 10, 3000))
    settings = PlanSettings(strategy="engine")
    made = make_plan(r1["legacy"], PlanRequest(512 << 10, 512 << 10, 32, settings, devices))
    arguments = made.arguments()
    targets = arguments[arguments.index("--fit-target") + 1].split(",")
    assert [int(target) for target in targets] == [
        margin_mib + device.pool_mib for margin_mib, device in zip((1024, 3000), made.devices, strict=True)
    ]
    assert all(device.pool_mib > 1000 for device in made.devices)


def test_a_dense_model_needs_little(sparse_model: SparseModel) -> None:
    header = read_header(sparse_model(sparse_dense.build, name="llama-70b"))
    assert 0 < pool_mib(header, 8192, 512) < 64
