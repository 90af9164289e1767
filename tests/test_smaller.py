"""Plans for when memory ran out: each less than the one before, three at most, and the server comes up with one."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from r1tui.config import PlanSettings
from r1tui.gguf import Header, read_header
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.fallbacks import MOST, fallback_plans, format_difference
from r1tui.planning.history import records_file
from tests import sparse_dense, sparse_r1
from tests.conftest import CommandLine, SparseModel, TinyModel
from tests.engine_figures import running_worker
from tests.test_cli_chat import status


@pytest.fixture(scope="module")
def r1(sparse_model: SparseModel) -> Header:
    return read_header(sparse_model(sparse_r1.build, mla=True))


def request(*gpus_gib: int, host_gib: int = 256, **wishes: Any) -> PlanRequest:
    devices = tuple(Device(f"CUDA{n}", "cuda", gib << 10, gib << 10) for n, gib in enumerate(gpus_gib))
    return PlanRequest(host_gib << 10, host_gib << 10, 16, PlanSettings(**wishes), devices)


def on_gpus_mib(plan: Plan) -> int:
    return sum(device.planned_mib for device in plan.devices)


def test_an_h100_computes_fewer_tokens_at_once_then_keeps_fewer_experts_then_a_shorter_context(r1: Header) -> None:
    wanted = request(80, ctx_size=8192)
    plan = make_plan(r1, wanted)
    first, second, third = fallback_plans(r1, wanted, plan)
    assert (first.n_gpu_layers, first.n_cpu_moe, first.ubatch_size) == (plan.n_gpu_layers, plan.n_cpu_moe, 2048)
    assert first.devices[0].pool_mib < plan.devices[0].pool_mib
    assert on_gpus_mib(plan) - on_gpus_mib(first) >= 1024
    assert (first.n_cpu_moe or 0) < (second.n_cpu_moe or 0)
    assert (second.ubatch_size, third.ubatch_size) == (2048, 2048)
    assert (first.ctx_size, second.ctx_size, third.ctx_size) == (8192, 8192, 4096)
    assert format_difference(first, plan) == "2048 prompt tokens at once instead of 4096"
    said = format_difference(third, plan)
    assert "a context of 4,096 tokens instead of 8,192" in said
    assert "the weights mapped from the file" in said
    assert third.host.anonymous_mib < second.host.anonymous_mib


def test_a_card_that_was_left_free_takes_layers_before_the_cpu_does(sparse_model: SparseModel) -> None:
    dense = read_header(sparse_model(sparse_dense.build, name="llama-8b"))
    wanted = request(24, 8, host_gib=64, ctx_size=49152, ubatch_size=512)
    plan = make_plan(dense, wanted)
    assert plan.layout.used == {0}
    less = fallback_plans(dense, wanted, plan)
    shared = next(one for one in less if one.ubatch_size == plan.ubatch_size)
    assert (shared.verdict, shared.layout.used, shared.ctx_size) == ("gpu", frozenset({0, 1}), plan.ctx_size)
    assert shared.devices[0].planned_mib <= plan.devices[0].planned_mib - 1024
    assert format_difference(shared, plan) == "some layers on CUDA1"


def test_a_context_that_grew_is_given_back_before_a_layer(sparse_model: SparseModel) -> None:
    dense = read_header(sparse_model(sparse_dense.build, name="llama-8b"))
    wanted = request(12, host_gib=64)
    plan = make_plan(dense, wanted)
    less = fallback_plans(dense, wanted, plan)[0]
    assert plan.ctx_size > less.ctx_size >= 8192
    assert less.layout.placement == plan.layout.placement
    assert on_gpus_mib(plan) - on_gpus_mib(less) >= 1024
    named = request(12, host_gib=64, ctx_size=plan.ctx_size)
    assert {one.ctx_size for one in fallback_plans(dense, named, make_plan(dense, named))[:-1]} == {plan.ctx_size}


def test_without_a_gpu_only_the_context_can_be_less(r1: Header) -> None:
    wanted = request(ctx_size=8192)
    plan = make_plan(r1, wanted)
    assert [less.ctx_size for less in fallback_plans(r1, wanted, plan)] == [4096, 2048, 1024]


@pytest.mark.parametrize(
    "wishes", [{"n_gpu_layers": 20}, {"n_gpu_layers": 62, "n_cpu_moe": 55}, {"strategy": "layers"}]
)
def test_what_the_user_settled_is_lessened_too(r1: Header, wishes: dict[str, Any]) -> None:
    wanted = request(80, **wishes)
    plan = make_plan(r1, wanted)
    less = fallback_plans(r1, wanted, plan)
    assert on_gpus_mib(less[0]) < on_gpus_mib(plan)
    assert all(format_difference(one, plan) for one in less)


@pytest.mark.parametrize(
    ("gpus_gib", "host_gib"), [([24], 64), ([48], 512), ([80, 80], 200), ([12, 80, 12], 32), ([141, 141], 512)]
)
def test_each_is_less_than_the_one_before(r1: Header, gpus_gib: list[int], host_gib: int) -> None:
    wanted = request(*gpus_gib, host_gib=host_gib)
    plans = [make_plan(r1, wanted)]
    plans += fallback_plans(r1, wanted, plans[0])
    assert len(plans) <= 1 + MOST
    for before, after in pairwise(plans):
        assert format_difference(after, before)
        for one, other in zip(after.devices, before.devices, strict=True):
            assert one.planned_mib <= other.planned_mib
        assert after.ctx_size <= before.ctx_size


def test_a_device_that_is_fuller_than_it_says_gets_less_and_the_launch_tells_it(
    r1tui: CommandLine, tiny_r1: TinyModel, llama_server: Path
) -> None:
    with running_worker(llama_server, room_mib=8) as worker:
        r1tui.configure(f"engine: {{source: '{llama_server}'}}\nserver: {{threads: 1, rpc: ['{worker}']}}\n")
        ran = r1tui("serve", "--model", tiny_r1(), "--detach", "--json")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode, events[-1]["event"]) == (0, "stage_done"), ran.stdout + ran.stderr
    [said] = [event["text"] for event in events if event["event"] == "notice"]
    assert said.startswith("A GPU has too little free VRAM for this plan. Restarting with less: all on the CPU")
    assert status(r1tui)["restarts"] == 1
    assert '"failed":true' in records_file(r1tui.paths).read_text().replace(" ", "")
