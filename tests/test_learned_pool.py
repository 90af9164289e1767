"""What a server really held on a card corrects the next plan: by the driver's figure for our process, or by what is
used since, where a container hides processes."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from r1tui.config import PlanSettings
from r1tui.events import Finished
from r1tui.gguf import Header, read_header
from r1tui.messages import Status
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.answers import EngineAnswer
from r1tui.plan.pool import PROCESS_MIB
from r1tui.planning.corrected import by_the_engine
from r1tui.planning.history import find_history_of, measure_held, remember_answer, remember_load
from r1tui.planning.subject import Subject
from r1tui.server.buffers import read_buffers
from r1tui.system.paths import Paths
from tests import sparse_r1
from tests.fake_nvml import fake_nvml

MIB = 1 << 20
CARD_MIB, PID = 24 << 10, 4242


class Card:
    """A card of 24 GiB, on which our server holds so much, and others too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own_mib, self.others_mib, self.hides = 0, 0, False
        monkeypatch.setitem(
            sys.modules,
            "pynvml",
            fake_nvml(nvmlDeviceGetMemoryInfo=self._memory, nvmlDeviceGetComputeRunningProcesses=self._processes),
        )

    def _memory(self, _: Any) -> SimpleNamespace:
        used = self.own_mib + self.others_mib
        return SimpleNamespace(total=CARD_MIB * MIB, used=used * MIB, free=(CARD_MIB - used) * MIB)

    def _processes(self, _: Any) -> list[SimpleNamespace]:
        return [] if self.hides else [SimpleNamespace(pid=PID, usedGpuMemory=self.own_mib * MIB)]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


@pytest.fixture(scope="module")
def r1(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return read_header(sparse_r1.build(tmp_path_factory.mktemp("learned") / "r1.gguf", mla=False))


class Server:
    def __init__(self, paths: Paths, header: Header, program: Path) -> None:
        self._paths, self._header, self._program = paths, header, program

    def plan(self, **wishes: Any) -> Plan:
        return make_plan(self._header, self.request(**wishes))

    def request(self, **wishes: Any) -> PlanRequest:
        device = Device("CUDA0", "cuda", CARD_MIB, CARD_MIB, pci_bus_id="0000:65:00.0")
        known = find_history_of(self._paths, self._header.path, self._program)
        settings = PlanSettings(ubatch_size=512, **wishes)
        return PlanRequest(256 << 10, 256 << 10, 32, settings, (device,), history=known)

    def status(self, plan: Plan) -> Status:
        model, argv = str(self._header.path), [str(self._program)]
        return Status(state="ready", pid=PID, model=model, argv=argv, plan=plan.summary())

    def loaded(self, plan: Plan, more_mib: int = 0) -> Status:
        """The status of a server whose buffers are as planned, or take so much more."""
        device, status = plan.devices[0], self.status(plan)
        sizes = {
            "CPU_Mapped model": 999,
            "CUDA0 model": device.weights_mib,
            "CPU KV": plan.host.kv_mib,
            "CUDA0 KV": device.kv_mib,
            "CUDA0 compute": device.compute_mib + more_mib,
            "CUDA_Host compute": plan.host.compute_mib + 9,
        }
        log = [f"0.11.573.980 I x: {kind} buffer size =  {mib}.00 MiB" for kind, mib in sizes.items()]
        remember_load(self._paths, status, log)
        return status

    def answered(self, status: Status, tokens: int) -> None:
        remember_answer(self._paths, status, Finished("stop", tokens - 5, 0, 5, 0.0, 0.0, 1.0))


@pytest.fixture
def server(paths: Paths, r1: Header, tmp_path: Path) -> Server:
    return Server(paths, r1, tmp_path / "llama-server")


def buffers_mib(plan: Plan) -> int:
    return plan.devices[0].planned_mib - plan.devices[0].pool_mib


def test_a_process_that_takes_more_beside_its_buffers_is_planned_with_more(card: Card, server: Server) -> None:
    first = server.plan()
    card.own_mib = first.devices[0].planned_mib + 700
    server.loaded(first)
    again = server.plan()
    assert any("700 MiB more beside its buffers" in reason for reason in again.reasons)
    assert again.devices[0].planned_mib <= CARD_MIB - 1024
    assert again.devices[0].pool_mib == pytest.approx(first.devices[0].pool_mib + 700, abs=2)
    shorter = server.plan(ctx_size=4096)  # by as much, in whatever layout
    assert shorter.devices[0].pool_mib == pytest.approx(PROCESS_MIB["cuda"] + 528 + 700, abs=2)


def test_less_is_believed_when_the_context_has_been_full(card: Card, server: Server) -> None:
    first = server.plan()
    card.own_mib = first.devices[0].planned_mib - 200
    status = server.loaded(first)
    server.answered(status, 4000)
    assert server.plan().devices == first.devices  # the pool grows with the conversation
    server.answered(status, 8000)
    assert server.plan().devices[0].pool_mib == pytest.approx(first.devices[0].pool_mib - 200, abs=2)


def test_a_pool_that_grew_is_kept_in_mind_when_the_next_run_begins_small(card: Card, server: Server) -> None:
    first = server.plan()
    card.own_mib = first.devices[0].planned_mib + 300
    server.answered(server.loaded(first), 8000)
    card.own_mib = buffers_mib(first) + 500
    server.loaded(first)
    assert server.plan().devices[0].pool_mib == pytest.approx(first.devices[0].pool_mib + 300, abs=2)


def test_a_container_that_hides_processes_shows_what_is_used_since(card: Card, server: Server) -> None:
    plan = server.plan()
    card.hides, card.own_mib = True, buffers_mib(plan) + 900
    assert measure_held(server.status(plan)) == {"CUDA0": buffers_mib(plan) + 900}
    card.others_mib = -buffers_mib(plan)  # somebody else's was freed meanwhile: that is no figure of ours
    assert measure_held(server.status(plan)) == {}


def test_where_the_driver_shows_others_and_not_us_nothing_is_guessed(card: Card, server: Server) -> None:
    plan = server.plan()
    card.own_mib = 20000
    other = server.status(plan)
    assert measure_held(type(other)(state="ready", pid=77, plan=plan.summary())) == {}


def test_without_a_driver_nothing_is_learned(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    plan = server.plan()
    server.answered(server.loaded(plan), 8000)
    assert server.plan().devices == plan.devices


def test_a_placement_that_ran_here_takes_what_it_took(card: Card, server: Server) -> None:
    first = server.plan()
    server.loaded(first, more_mib=64)
    again = server.plan()
    took, planned = again.devices[0], first.devices[0]
    assert (again.layout, again.source) == (first.layout, "measured")
    assert (took.weights_mib, took.kv_mib, took.compute_mib) == (
        planned.weights_mib,
        planned.kv_mib,
        planned.compute_mib + 64,
    )
    assert again.host.compute_mib == first.host.compute_mib + 9
    assert again.host.weights_mib == first.host.weights_mib  # a log counts the whole range of a mapped file
    assert any("measured when this placement ran" in reason for reason in again.reasons)
    server.loaded(again, more_mib=0)
    assert server.plan().devices == again.devices


def test_what_ran_here_corrects_other_placements_and_is_not_asked_of_the_engine(
    card: Card, server: Server, r1: Header
) -> None:
    other = server.plan(ctx_size=4096)
    server.loaded(server.plan(), more_mib=64)
    corrected = server.plan(ctx_size=4096)
    assert (corrected.source, corrected.layout.n_cpu_moe) == ("estimate", other.layout.n_cpu_moe)
    assert corrected.devices[0].compute_mib > other.devices[0].compute_mib + 20

    def ask(plan: Plan) -> EngineAnswer:
        raise AssertionError(f"asked about {plan.layout}")

    subject = Subject(r1, r1.path, r1.path, on_disk=True)
    assert by_the_engine(subject, server.request(), ask).source == "measured"


def test_a_placement_of_other_devices_is_no_measure(card: Card, server: Server, r1: Header) -> None:
    server.loaded(server.plan(), more_mib=64)
    request = server.request()
    (device,) = request.devices
    assert make_plan(r1, replace(request, devices=(replace(device, name="CUDA1"),))).source == "estimate"


def test_states_count_as_cache() -> None:
    log = [
        "I llama_memory_recurrent:      CUDA0 RS buffer size =    75.38 MiB",
        "I llama_kv_cache:      CUDA0 KV buffer size =   192.00 MiB",
        "I dsv4:      CUDA0 DSV4 attn state buffer size =    10.00 MiB",
        "I sched_reserve:      CUDA0 compute buffer size =   301.00 MiB",
        "I load_tensors:   MTL0_Mapped model buffer size =   512.00 MiB",
    ]
    assert {one.name: one.kv_mib for one in read_buffers(log[:4])} == {"CUDA0": 277}
    assert [(one.name, one.weights_mib) for one in read_buffers(log[4:])] == [("MTL0", 512)]
