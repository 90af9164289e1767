"""Tokens per second: estimates that hold what people report, and what measurements make of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.config import PlanSettings
from r1tui.events import Finished
from r1tui.gguf import Header, read_header
from r1tui.gguf.sketch import ModelShape, sketch_header
from r1tui.machine.hardware import CpuLoad
from r1tui.machine.known_speeds import find_card
from r1tui.messages import NO_SPEED, Range, Speed, Status
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.history import FORGOTTEN_AFTER_S, HistoryKey, PlanHistory, PlanRun, RunLayout
from r1tui.plan.rates import DeviceRates, HostRates, rates_of, typical_device
from r1tui.plan.speed import KNOWN_WIDTH, NEVER_OFFLOAD, OFFLOAD_BATCH, WHAT_IF_WIDTH, Expectation
from r1tui.planning.history import (
    KEPT_SPEEDS,
    find_history_of,
    read_histories,
    records_file,
    remember_answer,
    remember_load,
    remember_out_of_memory,
)
from r1tui.system.paths import Paths
from r1tui.text import rough
from tests import sparse_r1
from tests.conftest import SparseModel
from tests.speed_reports import compare_reports

GIB = 1024
CARD = Device("CUDA0", "cuda", 24 * GIB, 24 * GIB, rates=DeviceRates(936, 70))


@pytest.fixture(scope="module")
def mla(sparse_model: SparseModel) -> Header:
    return read_header(sparse_model(sparse_r1.build, mla=True))


def card(name: str) -> DeviceRates:
    found = find_card(name)
    assert found is not None
    return rates_of(found)


def host(memory_gbps: float, disk_gbps: float | None = 5.0) -> HostRates:
    return HostRates(memory_gbps, 32, disk_gbps, bus_gbps=20.0, measured=True)


def test_at_least_five_of_six_published_speeds_lie_in_bands_narrow_enough_to_decide_by() -> None:
    rows = compare_reports()
    for row in rows:
        width = row.band.high / row.band.low
        assert width == pytest.approx(WHAT_IF_WIDTH if row.report.expected().guessed else KNOWN_WIDTH), row.report.of
        assert row.report.why or row.report.use != "outlier"
        assert row.inside or row.report.use != "fit", row.report.of
    assert len(rows) >= 30
    assert sum(row.inside for row in rows) / len(rows) >= 5 / 6  # the outliers counted
    held = [row for row in rows if row.report.use == "held"]
    assert len(held) >= 15
    assert sum(row.inside for row in held) / len(held) >= 5 / 6


def plan(header: Header, host_gbps: float = 200, *, ram_gib: int = 256, **wishes: object) -> Plan:
    devices = (Device("CUDA0", "cuda", 24 * GIB, 24 * GIB, rates=card("RTX 3090")),)
    settings = PlanSettings(**wishes)  # type: ignore[arg-type]
    return make_plan(header, PlanRequest(ram_gib * GIB, ram_gib * GIB, 32, settings, devices, rates=host(host_gbps)))


def test_experts_on_the_host_are_faster_than_whole_layers_on_it(mla: Header) -> None:
    experts, layers = plan(mla, strategy="experts"), plan(mla, strategy="layers")
    assert experts.speed.answer.low > layers.speed.answer.low
    assert experts.speed.answer.high > layers.speed.answer.high


def test_faster_memory_makes_faster_answers_and_a_disk_slows_them_down(mla: Header) -> None:
    large = sketch_header("q4", ModelShape(48, 125, 10, 256, 8, width=3072, kv_heads=2), int(75e9))
    assert plan(large, 160).speed.answer.high > 1.5 * plan(large, 40).speed.answer.high
    assert plan(mla, 160).speed.answer.high < 1.2 * plan(mla, 40).speed.answer.high  # the cores cannot unpack more
    assert plan(mla, 200, ram_gib=64).speed.answer.high < plan(mla, 200).speed.answer.high / 2


def test_larger_batches_make_faster_prompts(mla: Header) -> None:
    small, large = plan(mla, ubatch_size=512), plan(mla, ubatch_size=4096)
    assert large.speed.prompt.low > 2 * small.speed.prompt.low


def test_a_gpu_of_unknown_make_is_one_of_its_size() -> None:
    for mib, backend, unified, low, high in (
        (80 * GIB, "cuda", False, 2039, 3350), (24200, "cuda", False, 936, 1008), (119 * GIB, "cuda", True, 273, 273),
        (144 * GIB, "metal", True, 800, 800), (192 * GIB, "hip", False, 5300, 5300),
        (119 * GIB, "cuda", False, 1700, 4800),
        (64 * GIB, "cuda", True, 205, 205), (96 * GIB, "cuda", True, 273, 273), (96 * GIB, "hip", True, 256, 256),
        (110 * GIB, "vulkan", True, 256, 273), (96 * GIB, "vulkan", False, 1700, 1800),
        (512 * GIB, "metal", True, 819, 819),
    ):  # fmt: skip
        rates = typical_device(mib, backend, unified=unified)
        assert low <= rates.memory_gbps <= high
        assert not rates.known


def test_the_first_token_comes_after_the_prompt_was_read() -> None:
    header = sketch_header("8b", ModelShape(32, 8.03), int(4.66e9))
    made = make_plan(header, PlanRequest(64 * GIB, 64 * GIB, 16, PlanSettings(ctx_size=16384), (CARD,), rates=host(60)))
    short, long = made.ttft_s["512"], made.ttft_s["8192"]
    assert long.low > 10 * short.low
    assert short.high == pytest.approx(KNOWN_WIDTH * short.low, rel=0.1)
    assert 8192 / long.high < made.speed.prompt.high
    assert made.summary().ttft_s["8192"] == pytest.approx((long.low, long.high), rel=0.1)
    assert any("first token" in reason for reason in made.reasons)
    small = make_plan(header, PlanRequest(64 * GIB, 64 * GIB, 16, PlanSettings(ctx_size=4096), (CARD,)))
    assert small.summary().ttft_s["8192"] is None  # it has no room there


def test_where_gpu_and_cpu_share_their_memory_both_read_at_its_rate(mla: Header) -> None:
    settings = PlanSettings(n_gpu_layers=62, n_cpu_moe=30, ctx_size=4096)
    device = Device("MTL0", "metal", 192 * GIB, 192 * GIB, rates=DeviceRates(800, 100))
    one, two = (
        make_plan(mla, PlanRequest(192 * GIB, 192 * GIB, 16, settings, (replace(device, unified=unified),)))
        for unified in (True, False)
    )
    assert (one.n_cpu_moe, one.verdict) == (two.n_cpu_moe, two.verdict) == (30, "hybrid")
    assert one.ttft_s["512"].high < two.ttft_s["512"].high / 1.5  # nothing crosses a bus


def test_a_busy_machine_is_named_where_the_cpu_has_work(mla: Header) -> None:
    for load, cards, is_said in (
        (CpuLoad(8.4, 2), (), True), (CpuLoad(1.0, 2), (), True), (CpuLoad(0.9, 2), (), False),
        (CpuLoad(8.4, 64), (), False), (CpuLoad(8.4, 2), (CARD,), True),
        (CpuLoad(8.4, 2), (replace(CARD, total_mib=400 * GIB, free_mib=400 * GIB),), False),
    ):  # fmt: skip
        made = make_plan(mla, PlanRequest(300 * GIB, 300 * GIB, 8, devices=cards, rates=host(60), load=load))
        assert any("This machine is busy (load " in reason for reason in made.reasons) == is_said, (load, made.verdict)


def test_rounding_makes_no_band_wider(mla: Header) -> None:
    for gbps in range(30, 400, 7):
        made = make_plan(mla, PlanRequest(256 * GIB, 256 * GIB, 16, devices=(CARD,), rates=host(gbps)))
        summary = made.summary()
        for low, high in (summary.tps.answer, summary.tps.prompt, summary.ttft_s["512"] or (1, 1)):
            assert low <= high <= KNOWN_WIDTH * low
        said = next(reason for reason in made.reasons if "tokens/s" in reason)
        assert f"Expect {rough(*summary.tps.answer)} tokens/s for answers and {rough(*summary.tps.prompt)} for" in said
    assert Expectation(Speed(Range(61.23, 61.23), Range(5, 5))).rounded().speed.prompt == Range(61, 61)


def test_measured_prompts_move_the_time_to_the_first_token(paths: Paths, server: "Server") -> None:
    first = server.plan(ctx_size=16384)
    slow = first.speed.prompt.low / 4
    remember_answer(paths, server.status(first), end(5.0, slow, prompt_tokens=1000))
    again = server.plan(ctx_size=16384)
    assert again.ttft_s["8192"].low > 3 * first.ttft_s["8192"].low
    assert again.ttft_s["8192"].low == pytest.approx(again.ttft_s["8192"].high)


def test_the_batch_from_which_experts_cross_the_bus_follows_from_what_was_measured(mla: Header) -> None:
    slow_bus, fast_bus = offloading(mla, bus_gbps=3.0), offloading(mla, bus_gbps=50.0)
    assert fast_bus.offload_batch is not None
    assert slow_bus.offload_batch is not None
    assert slow_bus.offload_batch > fast_bus.offload_batch >= OFFLOAD_BATCH
    assert slow_bus.summary().env == {"GGML_OP_OFFLOAD_MIN_BATCH": str(slow_bus.offload_batch)}
    assert any(f"batches of {slow_bus.offload_batch:,} tokens" in reason for reason in slow_bus.reasons)
    slow_cpu = offloading(mla, bus_gbps=3.0, gflops=100.0)
    assert (slow_cpu.offload_batch or 0) < slow_bus.offload_batch
    never = offloading(mla, bus_gbps=0.1, cores=128)
    assert never.offload_batch == NEVER_OFFLOAD
    assert any("the bus was measured slower" in reason for reason in never.reasons)


def test_without_a_measurement_llama_cpps_own_number_stays(mla: Header) -> None:
    guessed = offloading(mla, bus_gbps=3.0, measured=False)
    assert guessed.offload_batch is None
    assert guessed.summary().env == {}


def offloading(
    header: Header, bus_gbps: float, cores: int = 32, *, gflops: float | None = None, measured: bool = True
) -> Plan:
    rates = HostRates(200.0, cores, 5.0, bus_gbps, gflops=gflops, measured=measured)
    return make_plan(header, PlanRequest(256 * GIB, 256 * GIB, 32, devices=(CARD,), rates=rates))


def test_what_nobody_knows_is_called_unknown(mla: Header) -> None:
    slow_disk = make_plan(mla, PlanRequest(64 * GIB, 64 * GIB, 16, rates=host(60, disk_gbps=None)))
    assert slow_disk.verdict == "disk"
    worker = Device("RPC0", "rpc", 24 * GIB, 24 * GIB)
    remote = make_plan(mla, PlanRequest(256 * GIB, 256 * GIB, 16, devices=(worker,), rates=host(60)))
    for made in (slow_disk, remote):
        assert made.summary().tps == NO_SPEED
        assert set(made.summary().ttft_s.values()) == {None}
        assert any("speed is unknown" in reason for reason in made.reasons)
    assert "doctor --measure" in " ".join(slow_disk.reasons)
    assert "doctor --measure" not in " ".join(remote.reasons)  # it measures this machine


def test_of_an_rpc_worker_is_said_what_answers_have_shown(paths: Paths, mla: Header, tmp_path: Path) -> None:
    request = PlanRequest(
        256 * GIB, 256 * GIB, 16, devices=(Device("RPC0", "rpc", 24 * GIB, 24 * GIB),), rates=host(60)
    )
    first, program = make_plan(mla, request), tmp_path / "llama-server"
    status = Status(model=str(mla.path), argv=[str(program)], plan=first.summary())
    for finished, said in (
        (end(0.0, 60.0, prompt_tokens=1000, completion_tokens=3), "The speed is unknown: RPC0 is an RPC worker"),
        (end(5.0), "Expect 5 tokens/s for answers and 60 for prompts (measured on this machine)."),
    ):
        remember_answer(paths, status, finished)
        again = make_plan(mla, replace(request, history=find_history_of(paths, mla.path, program)))
        assert any(reason.startswith(said) for reason in again.reasons)


def test_an_answer_to_a_short_prompt_says_nothing_of_prompts(paths: Paths, mla: Header, tmp_path: Path) -> None:
    request = PlanRequest(
        256 * GIB, 256 * GIB, 16, devices=(Device("RPC0", "rpc", 24 * GIB, 24 * GIB),), rates=host(60)
    )
    program = tmp_path / "llama-server"
    plan = make_plan(mla, request).summary()
    remember_answer(paths, Status(model=str(mla.path), argv=[str(program)], plan=plan), end(5.0))
    again = make_plan(mla, replace(request, history=find_history_of(paths, mla.path, program)))
    assert "Expect 5 tokens/s for answers (measured on this machine)." in again.reasons


def test_a_machine_of_which_only_sizes_are_known_gets_the_wider_band_and_says_so(mla: Header) -> None:
    made = make_plan(mla, PlanRequest(128 * GIB, 128 * GIB, 2, devices=(Device("CUDA0", "cuda", 24 * GIB, 24 * GIB),)))
    low, high = made.speed.answer
    assert high == pytest.approx(WHAT_IF_WIDTH * low, rel=0.1)
    assert any("a guess: the speed of CUDA0 and RAM" in reason for reason in made.reasons)


@pytest.mark.parametrize("used", [0, 10**6])
def test_a_file_with_an_impossible_number_of_experts_in_use_has_a_plan_all_the_same(mla: Header, used: int) -> None:
    assert make_plan(replace(mla, n_experts_used=used), PlanRequest(512 * GIB, 512 * GIB, 8, devices=(CARD,))).fits


def test_what_cannot_run_has_no_speed(mla: Header) -> None:
    assert plan(mla, ram_gib=0).summary().tps == NO_SPEED


class Server:
    """A model on a machine whose plans come true in another way than expected."""

    def __init__(self, paths: Paths, header: Header, folder: Path) -> None:
        self._header = header
        self._program = folder / "llama-server"
        self._paths = paths

    def plan(self, **wishes: object) -> Plan:
        """The plan with what was learned."""
        devices = (Device("CUDA0", "cuda", 24 * GIB, 24 * GIB, rates=card("RTX 3090")),)
        settings = PlanSettings(**{"ubatch_size": 512, **wishes})  # type: ignore[arg-type]
        request = PlanRequest(256 * GIB, 256 * GIB, 32, settings, devices, rates=host(200))
        known = find_history_of(self._paths, self._header.path, self._program)
        return make_plan(self._header, replace(request, history=known))

    def status(self, plan: Plan) -> Status:
        return Status(model=str(self._header.path), argv=[str(self._program)], plan=plan.summary())


@pytest.fixture
def server(paths: Paths, mla: Header, tmp_path: Path) -> Server:
    return Server(paths, mla, tmp_path)


def end(tps: float, prompt_tps: float = 0.0, *, prompt_tokens: int = 20, completion_tokens: int = 500) -> Finished:
    return Finished("stop", prompt_tokens, 0, completion_tokens, prompt_tps, tps, 100.0)


def test_measured_answers_replace_the_guess_for_their_layout_and_shift_it_for_others(
    paths: Paths, server: Server
) -> None:
    first = server.plan()
    for tps in (5.0, 5.2):
        remember_answer(paths, server.status(first), end(tps))
    again = server.plan()
    assert again.speed.answer == pytest.approx((5.0, 5.2))
    assert again.speed.prompt == first.speed.prompt
    assert any("measured on this machine" in reason for reason in again.reasons)
    middle = (first.speed.answer.low * first.speed.answer.high) ** 0.5
    other, expected = server.plan(n_gpu_layers=8, n_cpu_moe=0), plan(server._header, n_gpu_layers=8, ubatch_size=512)
    factor = (other.speed.answer.low * other.speed.answer.high) ** 0.5 / (
        expected.speed.answer.low * expected.speed.answer.high
    ) ** 0.5
    assert factor == pytest.approx(5.1 / middle, rel=0.05)


def test_short_prompts_and_answers_say_nothing(paths: Paths, server: Server) -> None:
    remember_answer(paths, server.status(server.plan()), end(900.0, 900.0, prompt_tokens=10, completion_tokens=3))
    assert read_histories(records_file(paths)) == []
    remember_answer(paths, server.status(server.plan()), end(5.0, 60.0, prompt_tokens=1000))
    (record,) = read_histories(records_file(paths))
    assert (record.runs[0].prompt_tps, record.runs[0].answer_tps) == ((60.0,), (5.0,))


def test_a_plan_that_failed_for_memory_is_not_made_again_until_as_much_was_loaded(paths: Paths, server: Server) -> None:
    failed = server.plan()
    remember_out_of_memory(paths, server.status(failed))
    smaller = server.plan()
    assert smaller.devices[0].planned_mib < failed.devices[0].planned_mib * 0.98
    assert any("earlier run" in reason for reason in smaller.reasons)
    remember_load(paths, server.status(failed), log(failed))
    assert server.plan().devices == failed.devices


def test_a_failure_counts_where_memory_ran_out_for_a_while_and_as_much_as_is_free(paths: Paths, server: Server) -> None:
    status = server.status(server.plan())
    remember_out_of_memory(paths, status)
    (record,) = read_histories(records_file(paths))
    now_s, full_mib = record.runs[0].at_unix_s, 24.0 * GIB
    assert record.extra_margin_mib("CUDA0", 24 * GIB, full_mib, now_s) > 0
    assert record.extra_margin_mib("CUDA1", 24 * GIB, full_mib, now_s) == 0
    assert record.extra_margin_mib("CUDA0", 24 * GIB, full_mib, now_s + FORGOTTEN_AFTER_S) == 0
    assert record.extra_margin_mib("CUDA0", 40 * GIB, 40.0 * GIB, now_s) == record.extra_margin_mib(
        "CUDA0", 24 * GIB, full_mib, now_s
    )


def test_a_failure_without_a_device_says_nothing_of_one_that_comes_later() -> None:
    record = PlanHistory(HistoryKey("f", "e", "m"), (PlanRun(layout=RunLayout(), planned_mib={}, failed=True),))
    assert record.extra_margin_mib("CUDA0", 24 * GIB, 23.0 * GIB, 0.0) == 0


def test_a_load_that_took_more_than_planned_leaves_more_free(paths: Paths, server: Server) -> None:
    planned = server.plan()
    remember_load(paths, server.status(planned), log(planned, more_mib=2000))
    assert planned.devices[0].planned_mib + 2000 > 23 * GIB
    again = server.plan()
    assert again.devices[0].planned_mib <= 23 * GIB
    assert again.devices[0].pool_mib == planned.devices[0].pool_mib + 2000
    assert any("2,000 MiB more free: an earlier run" in reason for reason in again.reasons)


def log(plan: Plan, more_mib: int = 0) -> list[str]:
    """The log of a load that took so much more than planned."""
    device = plan.devices[0]
    sizes = {"model": device.weights_mib, "KV": device.kv_mib, "compute": device.compute_mib + more_mib}
    return [f"0.11.573.980 I x: CUDA0 {kind} buffer size =  {mib}.00 MiB" for kind, mib in sizes.items()]


def test_records_are_bounded_and_a_broken_file_is_begun_anew(paths: Paths, server: Server) -> None:
    paths.state.mkdir(parents=True)
    records_file(paths).write_text("not JSON")
    for number in range(KEPT_SPEEDS + 3):
        remember_answer(paths, server.status(server.plan(ctx_size=4096)), end(1.0 + number))
    (record,) = read_histories(records_file(paths))
    assert record.runs[0].answer_tps == tuple(4.0 + number for number in range(KEPT_SPEEDS))


def test_another_engine_or_file_has_a_record_of_its_own(
    paths: Paths, server: Server, tiny_r1: Callable[..., Path]
) -> None:
    plan = server.plan()
    remember_answer(paths, server.status(plan), end(5.0))
    other = Status(model=str(tiny_r1()), argv=["/elsewhere/llama-server"], plan=plan.summary())
    remember_answer(paths, other, end(50.0))
    assert len(read_histories(records_file(paths))) == 2
    assert server.plan().speed.answer.high < 10
