"""Tokens per second: estimates that hold what people report, and what measurements make of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.config import PlanSettings
from r1tui.events import Finished
from r1tui.gguf import Header, read_header
from r1tui.messages import NO_SPEED, Range, Status
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.history import FORGOTTEN_AFTER_S, HistoryKey, PlanHistory, PlanRun, RunLayout
from r1tui.plan.rates import CARDS, DeviceRates, HostRates, typical_device
from r1tui.planning.history import (
    KEPT_SPEEDS,
    find_history_of,
    read_histories,
    records_file,
    remember_load,
    remember_out_of_memory,
    remember_speed,
)
from r1tui.system.paths import Paths
from tests import sparse_r1

GIB = 1024


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Header:
    """What the reports are about: UD-IQ1_S of January 2025."""
    return read_header(sparse_r1.build(tmp_path_factory.mktemp("speed") / "r1.gguf", mla=False))


@pytest.fixture(scope="module")
def mla(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return read_header(sparse_r1.build(tmp_path_factory.mktemp("speed") / "r1.gguf", mla=True))


def card(name: str) -> DeviceRates:
    found = next(card for card in CARDS if card.name == name)
    return DeviceRates(Range(found.memory_gbps, found.memory_gbps), Range(found.tflops, found.tflops))


def host(memory_gbps: float, disk_gbps: float = 5.0) -> HostRates:
    return HostRates(Range(memory_gbps, memory_gbps), Range(disk_gbps, disk_gbps), Range(20.0, 25.0))


@pytest.mark.parametrize(
    ("cards", "size_gib", "layers", "host_gbps", "ram_gib", "reported"),
    [
        (["RTX 3090"], 24, 8, 150, 256, 3.3),  # beside an EPYC with eight channels
        (["H100 80 GB"], 80, 29, 200, 256, 4.4),
        (["A100 80 GB"] * 2, 80, 62, 200, 256, 9.2),
        (["H100 80 GB"] * 2, 80, 62, 200, 256, 14.0),
        ([], 0, 0, 75, 96, 2.1),  # memory of a desktop PC and NVMe alone
    ],
)
def test_what_people_report_lies_in_the_range(
    *, legacy: Header, cards: list[str], size_gib: int, layers: int, host_gbps: float, ram_gib: int, reported: float
) -> None:
    devices = tuple(
        Device(f"CUDA{index}", "cuda", size_gib * GIB, size_gib * GIB, rates=card(name))
        for index, name in enumerate(cards)
    )
    settings = PlanSettings(n_gpu_layers=layers, ctx_size=2048, ubatch_size=512)
    request = PlanRequest(ram_gib * GIB, ram_gib * GIB, 32, settings, devices, rates=host(host_gbps))
    low, high = make_plan(legacy, request).speed.answer
    assert low <= reported <= high


def plan(header: Header, host_gbps: float = 200, *, ram_gib: int = 256, **wishes: object) -> Plan:
    devices = (Device("CUDA0", "cuda", 24 * GIB, 24 * GIB, rates=card("RTX 3090")),)
    settings = PlanSettings(**wishes)  # type: ignore[arg-type]
    return make_plan(header, PlanRequest(ram_gib * GIB, ram_gib * GIB, 32, settings, devices, rates=host(host_gbps)))


def test_experts_on_the_host_are_faster_than_whole_layers_on_it(mla: Header) -> None:
    experts, layers = plan(mla, strategy="experts"), plan(mla, strategy="layers")
    assert experts.speed.answer.low > layers.speed.answer.low
    assert experts.speed.answer.high > 1.5 * layers.speed.answer.high


def test_faster_memory_makes_faster_answers_and_a_disk_slows_them_down(mla: Header) -> None:
    assert plan(mla, 400).speed.answer.high > 1.5 * plan(mla, 100).speed.answer.high
    assert plan(mla, 200, ram_gib=64).speed.answer.high < plan(mla, 200).speed.answer.high / 2


def test_larger_batches_make_faster_prompts(mla: Header) -> None:
    small, large = plan(mla, ubatch_size=512), plan(mla, ubatch_size=4096)
    assert large.speed.prompt.low > 2 * small.speed.prompt.low


def test_a_gpu_of_unknown_make_is_one_of_its_size() -> None:
    assert typical_device(80 * GIB).memory_gbps == Range(2039, 3350)
    assert typical_device(24200).memory_gbps == Range(936, 1008)


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
        remember_speed(paths, server.status(first), end(tps))
    again = server.plan()
    assert again.speed.answer == pytest.approx((5.0, 5.2))
    assert again.speed.prompt == first.speed.prompt
    assert any("measured here" in reason for reason in again.reasons)
    middle = (first.speed.answer.low * first.speed.answer.high) ** 0.5
    other, expected = server.plan(n_gpu_layers=8, n_cpu_moe=0), plan(server._header, n_gpu_layers=8, ubatch_size=512)
    factor = (other.speed.answer.low * other.speed.answer.high) ** 0.5 / (
        expected.speed.answer.low * expected.speed.answer.high
    ) ** 0.5
    assert factor == pytest.approx(5.1 / middle, rel=0.05)


def test_short_prompts_and_answers_say_nothing(paths: Paths, server: Server) -> None:
    remember_speed(paths, server.status(server.plan()), end(900.0, 900.0, prompt_tokens=10, completion_tokens=3))
    assert read_histories(records_file(paths)) == []
    remember_speed(paths, server.status(server.plan()), end(5.0, 60.0, prompt_tokens=1000))
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
    assert server.plan().devices[0].planned_mib + 2000 <= 23 * GIB


def log(plan: Plan, more_mib: int = 0) -> list[str]:
    """The log of a load that took so much more than planned."""
    device = plan.devices[0]
    sizes = {"model": device.weights_mib, "KV": device.kv_mib, "compute": device.compute_mib + more_mib}
    return [f"0.11.573.980 I x: CUDA0 {kind} buffer size =  {mib}.00 MiB" for kind, mib in sizes.items()]


def test_records_are_bounded_and_a_broken_file_is_begun_anew(paths: Paths, server: Server) -> None:
    paths.state.mkdir(parents=True)
    records_file(paths).write_text("not JSON")
    for number in range(KEPT_SPEEDS + 3):
        remember_speed(paths, server.status(server.plan(ctx_size=4096)), end(1.0 + number))
    (record,) = read_histories(records_file(paths))
    assert record.runs[0].answer_tps == tuple(4.0 + number for number in range(KEPT_SPEEDS))


def test_another_engine_or_file_has_a_record_of_its_own(
    paths: Paths, server: Server, tiny_r1: Callable[..., Path]
) -> None:
    plan = server.plan()
    remember_speed(paths, server.status(plan), end(5.0))
    other = Status(model=str(tiny_r1()), argv=["/elsewhere/llama-server"], plan=plan.summary())
    remember_speed(paths, other, end(50.0))
    assert len(read_histories(records_file(paths))) == 2
    assert server.plan().speed.answer.high < 10
