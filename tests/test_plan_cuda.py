"""The planner's figures against the CUDA engine's own: 36 layouts of R1 that b11434 measured on an H200."""

from pathlib import Path

import msgspec
import pytest

from r1tui.gguf import Header, read_header
from r1tui.plan.layout import MIB, ModelLayout
from r1tui.plan.memory import Model
from tests import sparse_models, sparse_r1
from tests.conftest import SparseModel

MEASURED = Path(__file__).parent / "data" / "cuda_grid.jsonl"
TOLERANCE_MIB, TOLERANCE_SHARE, LEAST_MIB = 64, 0.10, -128
FAR = {("mla", 7, 4096), ("mla", 33, 4096)}
"""Model, layers on the card, ubatch: ours are larger by a sixth. The allocator happens to find a hole for each copy."""


class Measured(msgspec.Struct):
    """A layout, and the MiB of weights, cache and compute buffer of each card and last of the host."""

    model: str
    layout: ModelLayout
    shares: list[tuple[int, int, int]]


def compute_errors_mib(header: Header, one: Measured) -> list[float]:
    """How much larger our compute buffers are; asserts that weights and cache are the same."""
    usage = Model(header, ("cuda",) * len(one.layout.split)).measure(one.layout)
    for ours, (weights, cache, _) in zip(usage.parts, one.shares, strict=True):
        assert (ours.weights_bytes / MIB, ours.kv_bytes / MIB) == pytest.approx((weights, cache), abs=1.5)
    return [ours.compute_bytes / MIB - share[2] for ours, share in zip(usage.parts, one.shares, strict=True)]


def test_every_layout_measured_on_a_card_is_planned_as_it_was(sparse_model: SparseModel) -> None:
    headers = {name: read_header(sparse_model(sparse_r1.build, mla=name == "mla")) for name in ("legacy", "mla")}
    measured = [msgspec.json.decode(line, type=Measured) for line in MEASURED.read_bytes().splitlines()]
    far = set()
    for one in measured:
        errors_mib = compute_errors_mib(headers[one.model], one)
        assert min(errors_mib) >= LEAST_MIB, one  # it would run out of memory
        tolerances_mib = [max(TOLERANCE_MIB, TOLERANCE_SHARE * compute) for _, _, compute in one.shares]
        if any(abs(error) > most for error, most in zip(errors_mib, tolerances_mib, strict=True)):
            far.add((one.model, one.layout.n_gpu_layers, one.layout.ubatch_size))
    assert (len(measured), far) == (36, FAR)


@pytest.mark.parametrize(("held", "ubatch_size", "compute_mib"), [(0, 512, 356), (0, 4096, 2854), (24, 4096, 2854)])
def test_results_of_experts_are_kept_below_the_logits_where_no_shared_expert_follows(
    sparse_model: SparseModel, held: int, ubatch_size: int, compute_mib: int
) -> None:
    header = read_header(sparse_model(sparse_models.build, name="qwen3-30b"))
    layout = ModelLayout(49, held, (49,), 8192, "f16", "f16", flash_attention=True, ubatch_size=ubatch_size)
    cuda, rpc = (Model(header, (kind,)).measure(layout).devices[0] for kind in ("cuda", "rpc"))
    assert cuda.compute_bytes / MIB == pytest.approx(compute_mib, abs=2)
    assert rpc.compute_bytes < cuda.compute_bytes


def test_the_first_card_alone_takes_the_hosts_experts(sparse_model: SparseModel) -> None:
    header = read_header(sparse_model(sparse_r1.build, mla=True))
    layout = ModelLayout(62, 30, (20, 20, 22), 8192, "f16", "f16", flash_attention=True, ubatch_size=512)
    backends = [("cuda",) * 3, ("hip",) * 3, ("rpc", "cuda", "cuda"), ("rpc",) * 3]
    buffers_mib = [
        [round(share.compute_bytes / MIB) for share in Model(header, one).measure(layout).parts] for one in backends
    ]
    assert buffers_mib[0] == buffers_mib[1] == [1132, 386, 386, 64]
    assert buffers_mib[2][1:] == [1132, 386, 64]  # an RPC worker never takes them
    assert buffers_mib[3][3] > 200  # then the host computes them
