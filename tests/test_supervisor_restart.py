"""A server that ends by itself is started again, with less where memory ran out, until that is pointless."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from r1tui.messages import DevicePlan, FallbackPlan, PlanSummary, ServerRecord, ServerSpec, Status
from r1tui.planning.history import read_histories, records_file
from r1tui.remedies import RestartServer
from r1tui.server.diagnosis import Diagnosis, Kind
from r1tui.supervisor import client
from r1tui.supervisor.lifecycle import decide_restart, format_gave_up, with_fallback
from r1tui.system.log_reader import older_log
from r1tui.system.paths import Paths
from r1tui.system.processes import alive, identify, wait
from tests.conftest import TinyModel
from tests.engine_figures import running_worker
from tests.supervisor_rig import (
    SocketConnection,
    Toy,
    call,
    open_stream,
    record_of,
    spec_for,
    start_ready,
    until,
    watch,
)

GPU_OUT = "0.01.000.001 E ggml_backend_cuda: allocating 2438.00 MiB on device 0: cudaMalloc failed: out of memory"
CUBLAS_OUT = "4.01.000.001 E CUDA error: the resource allocation failed"
HOST_OUT = "0.01.000.001 E llama: unable to allocate CPU buffer"


@pytest.fixture
def toy(paths: Paths, tmp_path: Path) -> Iterator[Toy]:
    yield Toy(paths, tmp_path)
    client.stop(paths)
    assert list(paths.run.iterdir()) == []


def last_settled(paths: Paths) -> Status:
    return next(status for status in watch(paths) if status.settled)


def kill(pid: int | None, number: signal.Signals = signal.SIGKILL) -> None:
    assert pid is not None
    os.kill(pid, number)


def test_a_killed_server_is_started_again_by_itself(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> None:
    first = start_ready(spec_for(llama_server, tiny_r1(), paths, restart_delays_s=[0.05]), paths)
    watching = watch(paths)
    assert next(watching).state == "ready"
    kill(first.pid)
    seen = []
    for status in watching:
        seen.append(status)
        if status.settled:
            break
    assert [status.state for status in seen] == ["restarting", "starting", "loading", "ready"]
    assert seen[0].pid is None
    assert "was killed" in (seen[0].cause or "")
    assert "Restarting in 0 s (attempt 1 of 1)" in (seen[0].remedy or "")
    assert (seen[-1].restarts, seen[-1].cause, seen[-1].supervisor_pid) == (1, None, first.supervisor_pid)
    assert seen[-1].pid not in (None, first.pid)
    client.stop(paths)


def test_it_gives_up_after_the_last_wait_with_the_reason(paths: Paths, toy: Toy) -> None:
    toy.acts({"say": ["0.00.000.001 E it cannot be"], "exit": 134})
    record = ServerRecord(spec=toy.spec(restart_delays_s=[0.0, 0.0]), ready_s=1.0)
    diagnosis = Diagnosis("It ended.", (), kind="passing")
    steps = []
    while (again := decide_restart(record, diagnosis, 1, 10.0)) is not None:
        steps.append(again.failures)
        record = msgspec.structs.replace(record, failures=again.failures)
    assert steps == [1, 2]
    assert format_gave_up(record) == " Gave up after 2 restarts."


def test_a_crash_after_it_was_ready_is_tried_again_and_a_failed_load_is_not(paths: Paths, toy: Toy) -> None:
    toy.acts({}, {"say": ["0.00.000.001 E it cannot be"], "exit": 1})
    kill(start_ready(toy.spec(restart_delays_s=[0.0, 0.0, 0.0]), paths).pid)
    failed = last_settled_after(paths, "failed")
    assert len(toy.starts) == 2
    assert (failed.state, failed.exit_status, failed.restarts) == ("failed", 1, 1)
    assert "it cannot be" in (failed.cause or "")
    assert "Gave up after 1 restart." in (failed.cause or "")


def last_settled_after(paths: Paths, state: str) -> Status:
    return next(status for status in watch(paths) if status.state == state)


@pytest.mark.parametrize("delays_s", [[], [0.0]])
def test_without_a_policy_or_with_a_lasting_cause_it_is_a_failure_at_once(
    paths: Paths, toy: Toy, delays_s: list[float]
) -> None:
    toy.acts({"say": ["0.00.000.001 E error: invalid argument: --no-such"], "exit": 1})
    client.start(toy.spec(restart_delays_s=delays_s), paths)
    assert last_settled(paths).state == "failed"
    assert len(toy.starts) == 1


def smaller(toy: Toy) -> list[FallbackPlan]:
    return [
        FallbackPlan(
            argv=toy.argv("cpu-moe"), plan=PlanSummary(n_cpu_moe=3), words="the experts of 3 more layers on the CPU"
        ),
        FallbackPlan(
            argv=toy.argv("short"), plan=PlanSummary(ctx_size=4096), words="a context of 4096", spares_host=True
        ),
    ]


def test_a_gpu_that_is_too_small_gets_less_step_by_step(paths: Paths, toy: Toy) -> None:
    toy.acts({"say": [GPU_OUT], "exit": 1}, {"say": [GPU_OUT], "exit": 1}, {})
    client.start(toy.spec(smaller=smaller(toy), plan=PlanSummary(n_cpu_moe=0)), paths)
    ready = last_settled(paths)
    assert (ready.state, ready.restarts, ready.plan) == ("ready", 2, PlanSummary(ctx_size=4096))
    assert toy.starts == ["", "cpu-moe", "short"]
    assert ready.argv == toy.argv("short")
    until(lambda: record_of(paths).spec.smaller == [])


def test_cublas_without_memory_gets_less_and_not_the_same_again(paths: Paths, toy: Toy) -> None:
    toy.acts({"say": [CUBLAS_OUT]}, {})
    ready = start_ready(toy.spec(smaller=smaller(toy), plan=PlanSummary(n_cpu_moe=0)), paths)
    assert ready.pid is not None
    os.kill(ready.pid, signal.SIGABRT)
    until(lambda: client.status(paths).restarts == 1 and client.status(paths).state == "ready")
    assert toy.starts == ["", "cpu-moe"]
    assert client.status(paths).endings[0].kind == "gpu_memory"


def test_what_does_not_fit_a_gpu_is_learned_though_nobody_follows(paths: Paths, toy: Toy, tiny_r1: TinyModel) -> None:
    plan = PlanSummary(n_gpu_layers=4, devices=(DevicePlan("CUDA1", 30, 30, 9, 2, 1), DevicePlan("CUDA0", 99, 99, 12)))
    toy.acts({"say": [GPU_OUT], "exit": 1})
    client.start(toy.spec(model=str(tiny_r1()), plan=plan), paths)
    until(lambda: not client.status(paths).running)
    [record] = until(lambda: read_histories(records_file(paths)))
    assert [(run.failed, run.fullest, run.planned_mib) for run in record.runs] == [
        (True, "CUDA0", {"CUDA1": 12, "CUDA0": 12})
    ]


def test_a_machine_that_is_too_small_is_not_given_more_to_hold(paths: Paths, toy: Toy) -> None:
    toy.acts({"say": [HOST_OUT], "exit": 1}, {})
    client.start(toy.spec(smaller=smaller(toy)), paths)
    assert last_settled(paths).state == "ready"
    assert toy.starts == ["", "short"]


def test_when_nothing_smaller_is_left_the_want_of_memory_is_the_reason(paths: Paths, toy: Toy) -> None:
    toy.acts({"say": [GPU_OUT], "exit": 1})
    client.start(toy.spec(smaller=smaller(toy), restart_delays_s=[0.0]), paths)
    failed = last_settled(paths)
    assert failed.state == "failed"
    assert "A GPU has too little free VRAM" in (failed.cause or "")
    assert toy.starts == ["", "cpu-moe", "short"]


@pytest.mark.parametrize(
    ("kind", "exit_status", "ready_s", "failures", "delay_s"),
    [
        ("passing", -9, None, 0, 1.0),
        ("passing", -11, 5.0, 1, 2.0),
        ("passing", None, 5.0, 2, None),
        ("passing", 1, 5.0, 0, 1.0),
        ("passing", 1, None, 0, None),
        ("lasting", -4, 5.0, 0, None),
        ("memory", -9, 5.0, 0, None),
        ("passing", -9, -1000.0, 2, 1.0),
    ],
)
def test_what_follows_an_end(
    kind: Kind, exit_status: int | None, ready_s: float | None, failures: int, delay_s: float | None
) -> None:
    spec = ServerSpec(restart_delays_s=[1.0, 2.0], steady_s=100.0)
    record = ServerRecord(spec=spec, ready_s=ready_s, failures=failures)
    again = decide_restart(record, Diagnosis("", (), kind=kind), exit_status, 10.0)
    assert (again.delay_s if again else None) == delay_s


def test_a_smaller_plan_uses_up_those_before_it() -> None:
    plans = [FallbackPlan(argv=[name], words=name) for name in "abc"]
    spec = with_fallback(ServerSpec(smaller=plans), plans[1])
    assert (spec.argv, spec.smaller) == (["b"], plans[2:])


def test_a_stop_while_it_waits_to_start_again_is_obeyed_at_once(paths: Paths, toy: Toy) -> None:
    kill(start_ready(toy.spec(restart_delays_s=[3600.0]), paths).pid)
    waiting = last_settled_after(paths, "restarting")
    assert (waiting.pid, waiting.running) == (None, True)
    assert client.stop(paths) == Status()
    assert len(toy.starts) == 1


def test_a_wish_to_start_again_ends_the_wait(paths: Paths, toy: Toy) -> None:
    kill(start_ready(toy.spec(restart_delays_s=[3600.0]), paths).pid)
    last_settled_after(paths, "restarting")
    client.restart(paths)
    assert last_settled(paths).state == "ready"
    assert len(toy.starts) == 2


def test_a_supervisor_killed_while_it_waits_leaves_a_failure_that_the_next_start_clears(paths: Paths, toy: Toy) -> None:
    first = start_ready(toy.spec(restart_delays_s=[3600.0]), paths)
    kill(first.pid)
    waiting = last_settled_after(paths, "restarting")
    assert waiting.supervisor_pid is not None
    supervisor = identify(waiting.supervisor_pid)
    until(lambda: record_of(paths).state == "restarting")  # it is told a moment before it is written
    kill(waiting.supervisor_pid)
    assert supervisor is not None
    assert wait(supervisor, 60)
    assert client.status(paths).state == "failed"
    assert "while it waited" in (client.status(paths).cause or "")
    assert client.adopt(paths).state == "failed"
    assert start_ready(toy.spec(), paths).restarts == 0


def test_a_ready_server_is_ended_in_order_and_started_again(paths: Paths, toy: Toy) -> None:
    first = start_ready(toy.spec(), paths)
    client.restart(paths)
    again = next(status for status in watch(paths) if status.state == "ready" and status.pid != first.pid)
    assert again.restarts == 1
    assert len(toy.starts) == 2


def test_a_loading_server_is_restarted_and_stopped_as_one_expects(paths: Paths, toy: Toy) -> None:
    toy.acts({"loads": True})
    client.start(toy.spec(), paths)
    first = until(lambda: client.status(paths).pid)
    client.restart(paths)
    until(lambda: (pid := client.status(paths).pid) is not None and pid != first)
    until(lambda: client.status(paths).state == "loading")
    assert client.stop(paths) == Status()


def test_a_worker_that_is_killed_in_the_middle_of_an_answer_is_the_cause(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    with running_worker(llama_server) as worker:
        extra = ("--rpc", worker, "--n-gpu-layers", "99")
        start_ready(spec_for(llama_server, tiny_r1(loop=True), paths, *extra), paths)
        stream = open_stream(paths.server_socket, "c1")
    failed = last_settled_after(paths, "failed")
    stream.close()
    assert failed.exit_status == -signal.SIGABRT
    assert "RPC worker" in (failed.cause or "")
    assert "server.rpc" in (failed.remedy or "")
    client.stop(paths)


def test_each_start_has_its_own_log_and_the_last_one_is_kept(paths: Paths, toy: Toy) -> None:
    toy.acts({"say": ["first life"]}, {"say": ["second life"]})
    kill(start_ready(toy.spec(restart_delays_s=[0.0]), paths).pid)
    until(lambda: client.status(paths).restarts == 1)
    last_settled(paths)
    assert "second life" in paths.server_log.read_text()
    assert "first life" in older_log(paths.server_log).read_text()


def test_a_server_that_sleeps_and_wakes_says_so(paths: Paths, toy: Toy) -> None:
    toy.acts({"sleeps": True})
    client.start(toy.spec(sleeps=True), paths)
    asleep = last_settled(paths)
    assert (asleep.state, asleep.running, asleep.settled) == ("sleeping", True, True)


def test_the_real_server_falls_asleep_and_wakes_for_a_question(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    spec = spec_for(llama_server, tiny_r1(), paths, "--sleep-idle-seconds", "1", sleeps=True)
    client.start(spec, paths)
    until(lambda: client.status(paths).state == "sleeping")
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}

    def asked_it_is_seen_awake() -> bool:  # again and again: it would fall asleep between two looks of the supervisor
        assert call(SocketConnection(paths.server_socket), "POST", "/v1/chat/completions", body)[0] == 200
        return client.status(paths).state == "ready"

    until(asked_it_is_seen_awake)
    client.stop(paths)


def test_a_server_that_stops_answering_is_told_and_told_well_again(paths: Paths, toy: Toy) -> None:
    ready = start_ready(toy.spec(silence_s=0.3), paths)
    kill(ready.pid, signal.SIGSTOP)
    hanging = next(status for status in watch(paths) if status.hangs)
    assert (hanging.state, hanging.pid) == ("ready", ready.pid)
    assert "stopped answering" in (hanging.cause or "")
    assert hanging.remedies == (RestartServer(hangs=True),)
    kill(ready.pid, signal.SIGCONT)
    assert next(status for status in watch(paths) if not status.hangs).cause is None


def test_a_server_that_hangs_is_started_again_when_that_is_wished(
    paths: Paths, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = start_ready(toy.spec(silence_s=0.3), paths)
    kill(ready.pid, signal.SIGSTOP)
    next(status for status in watch(paths) if status.hangs)
    assert ready.pid is not None
    hung = identify(ready.pid)
    client.restart(paths)
    again = next(status for status in watch(paths) if status.state == "ready" and status.pid != ready.pid)
    assert not alive(hung)
    assert not again.hangs
