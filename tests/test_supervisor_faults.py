"""What is true, and what can still be done, after supervisor, server or both were killed, hung or left things."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from r1tui.errors import R1tuiError
from r1tui.messages import FallbackPlan, PlanSummary, ProcessId, ServerRecord, Status
from r1tui.server.record import LOST_EVENT, record_file
from r1tui.supervisor import client, status, stopping, watches
from r1tui.supervisor.protocol import REPLY_S
from r1tui.supervisor.status import write_record
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import alive, identify, spawn_detached, wait
from tests.conftest import TinyModel
from tests.provoked import memory_cgroup
from tests.supervisor_rig import (
    SocketConnection,
    Toy,
    call,
    change_record,
    idle_spec,
    kill,
    open_stream,
    record_of,
    spec_for,
    start_ready,
    until,
    watch,
)


@pytest.fixture(autouse=True)
def nothing_is_left(paths: Paths) -> Iterator[None]:
    """After every test, whatever happened in it, `stop` leaves no process, socket, lock, key or state."""
    yield
    client.stop(paths)
    assert not paths.run.exists() or list(paths.run.iterdir()) == []
    assert not paths.state_file.exists()


@pytest.fixture
def orphan(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> ProcessId:
    """A ready server whose supervisor was killed."""
    start_ready(spec_for(llama_server, tiny_r1(), paths), paths)
    record = record_of(paths)
    kill(record.supervisor)
    assert record.server is not None
    return record.server


def test_a_killed_server_is_a_failure(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> None:
    ready = start_ready(spec_for(llama_server, tiny_r1(), paths), paths)
    watching = watch(paths)
    assert next(watching).state == "ready"
    assert ready.pid is not None
    os.kill(ready.pid, signal.SIGKILL)
    failed = next(watching)
    assert (failed.state, failed.exit_status) == ("failed", -signal.SIGKILL)
    assert "was killed, most likely by" in (failed.cause or "")
    until(lambda: client.status(paths).state == "failed")  # told at once, written soon


def test_a_killed_supervisor_costs_nothing(paths: Paths, orphan: ProcessId) -> None:
    status = client.status(paths)
    assert (status.state, status.pid, status.supervisor_pid) == ("ready", orphan.pid, None)
    assert "supervisor was killed" in (status.cause or "")
    assert call(SocketConnection(paths.server_socket), "GET", "/health")[0] == 200
    with pytest.raises(R1tuiError, match="tiny is already running"):
        client.start(idle_spec(paths), paths)


def test_a_server_without_supervisor_is_stopped(paths: Paths, orphan: ProcessId) -> None:
    assert client.stop(paths) == Status()
    assert not alive(orphan)
    assert list(paths.run.iterdir()) == []


def test_a_server_without_supervisor_that_streams_is_stopped_in_bounded_time(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    start_ready(spec_for(llama_server, tiny_r1(loop=True), paths), paths)
    stream = open_stream(paths.server_socket, "c1")
    client.answer_started(paths, "c1")
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(stream.read)
        kill(record_of(paths).supervisor)
        assert client.stop(paths) == Status()
        reading.result()  # raises where the stream was torn


def test_a_server_without_supervisor_is_taken_over(paths: Paths, orphan: ProcessId) -> None:
    client_status = client.adopt(paths)
    assert client_status.pid == orphan.pid
    assert client_status.supervisor_pid is not None
    watching = watch(paths)
    assert next(status for status in watching if status.settled).state == "ready"
    assert client.adopt(paths).supervisor_pid == client_status.supervisor_pid  # once is enough
    kill(orphan)
    failed = list(watching)[-1]
    assert (failed.state, failed.exit_status) == ("failed", None)
    assert "unknown reason" in (failed.cause or "")


def test_a_taken_over_server_is_stopped_in_order(paths: Paths, orphan: ProcessId) -> None:
    client.adopt(paths)
    assert client.stop(paths) == Status()
    assert not alive(orphan)


def test_a_server_taken_over_while_it_loads_becomes_ready(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> None:
    client.start(spec_for(llama_server, tiny_r1(), paths), paths)
    until(lambda: record_of(paths).server)
    kill(record_of(paths).supervisor)
    change_record(paths, state="loading")
    client.adopt(paths)
    assert next(status for status in watch(paths) if status.settled).state == "ready"


def test_what_a_killed_supervisor_did_not_finish_stopping_is_finished(paths: Paths, orphan: ProcessId) -> None:
    change_record(paths, state="stopping")
    assert client.status(paths).state == "stopping"
    client.adopt(paths)
    assert wait(orphan, 60)
    until(lambda: client.status(paths) == Status())


def test_nothing_to_take_over_is_no_error(paths: Paths) -> None:
    assert client.adopt(paths) == Status()


def test_a_supervisor_killed_while_it_spawned_does_not_hide_its_server(paths: Paths, orphan: ProcessId) -> None:
    change_record(paths, state="starting", server=None)
    status = client.status(paths)
    assert (status.state, status.pid) == ("loading", orphan.pid)
    client.stop(paths)
    assert not alive(orphan)


def test_a_server_that_no_file_names_since_the_disk_was_full_is_known_by_its_command(
    paths: Paths, orphan: ProcessId
) -> None:
    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    change_record(paths, server=ProcessId(ended.pid, "one that it replaced"))
    assert client.status(paths).pid == orphan.pid
    client.adopt(paths)
    assert next(status for status in watch(paths) if status.settled).state == "ready"
    until(lambda: record_of(paths).server == orphan)
    client.stop(paths)
    assert not alive(orphan)


def test_a_smaller_server_that_no_file_names_is_taken_over_as_what_it_is(paths: Paths, tmp_path: Path) -> None:
    toy = Toy(paths, tmp_path)
    start_ready(toy.spec(), paths)
    record = record_of(paths)
    kill(record.supervisor)
    less = FallbackPlan(argv=toy.argv(), plan=PlanSummary(n_cpu_moe=3))
    larger = msgspec.structs.replace(record.spec, argv=toy.argv("larger"), smaller=[less])
    change_record(paths, spec=larger, server=ProcessId(record.server.pid if record.server else 0, "the larger one"))
    client.adopt(paths)
    now = next(status for status in watch(paths) if status.settled)
    assert (now.state, now.plan, now.argv) == ("ready", PlanSummary(n_cpu_moe=3), toy.argv())
    until(lambda: record_of(paths).server == record.server)


def test_a_restart_that_a_killed_supervisor_did_not_finish_is_finished(paths: Paths, orphan: ProcessId) -> None:
    change_record(paths, state="restarting")
    assert client.status(paths).state == "restarting"
    client.adopt(paths)
    again = next(status for status in watch(paths) if status.state == "ready" and status.pid != orphan.pid)
    assert again.restarts == 1
    assert not alive(orphan)


def test_a_supervisor_that_could_not_write_its_name_is_stopped(paths: Paths, orphan: ProcessId) -> None:
    before = record_of(paths).supervisor
    client.adopt(paths)
    until(lambda: client.status(paths).state == "ready")
    change_record(paths, supervisor=before)
    assert client.stop(paths) == Status()
    assert not alive(orphan)


def test_both_killed_is_a_failure_that_the_next_start_clears(paths: Paths, orphan: ProcessId) -> None:
    kill(orphan)
    status = client.status(paths)
    assert (status.state, status.pid, status.endpoint) == ("failed", None, None)
    assert "both killed" in (status.cause or "")
    assert paths.server_socket.exists()  # left over, and refused by llama-server
    restarted = start_ready(record_of(paths).spec, paths)
    assert restarted.cause is None


def test_after_a_reboot_nothing_runs(paths: Paths, orphan: ProcessId) -> None:
    kill(orphan)
    change_record(paths, boot="an earlier boot")
    assert client.status(paths).state == "stopped"


def test_a_supervisor_that_hangs_is_killed_and_its_server_stopped(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "REPLY_S", 0.5)
    monkeypatch.setattr(stopping, "HANGING_S", 0.5)
    start_ready(spec_for(llama_server, tiny_r1(), paths), paths)
    record = record_of(paths)
    assert record.supervisor is not None
    os.kill(record.supervisor.pid, signal.SIGSTOP)
    assert client.stop(paths) == Status()
    assert not alive(record.supervisor)
    assert not alive(record.server)


def test_a_reused_pid_is_not_our_server(paths: Paths) -> None:
    private_folder(paths.run)
    innocent = spawn_detached(["/bin/sleep", "1000"], os.environ, paths.state / "log")
    ours = ServerRecord(spec=idle_spec(paths, "2000"), state="ready")
    for pretended in (ProcessId(innocent.pid, "another boot/1"), innocent):  # another start, another command
        write_record(paths, msgspec.structs.replace(ours, server=pretended))
        assert client.status(paths).pid is None
        client.stop(paths)
        assert alive(innocent)
    kill(innocent)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[]", b'{"state": "dreaming"}', b'{"server": {"pid": "x"}}'])
def test_a_garbled_state_file_is_told_and_cleared(paths: Paths, content: bytes) -> None:
    private_folder(paths.state)
    paths.state_file.write_bytes(content)
    status = client.status(paths)
    assert (status.state, status.pid) == ("failed", None)
    assert "cannot be read" in (status.cause or "")
    assert client.stop(paths) == Status()


def test_a_garbled_state_file_does_not_hide_a_running_supervisor(paths: Paths) -> None:
    client.start(idle_spec(paths), paths)
    record = record_of(paths)
    paths.state_file.write_bytes(b"{")
    assert client.status(paths).running
    client.stop(paths)
    assert not alive(record.server)


def test_the_state_file_of_another_version_is_read_as_far_as_it_can_be(paths: Paths) -> None:
    client.start(idle_spec(paths), paths)
    until(lambda: record_of(paths).server)
    raw = json.loads(paths.state_file.read_bytes())
    paths.state_file.write_text(json.dumps({**raw, "version": 99, "new key": [1]}))
    status = client.status(paths)
    assert status.pid is not None
    assert "another r1tui version (state version 99)" in (status.cause or "")
    assert "r1tui stop" in (status.remedy or "")


def test_a_removed_folder_of_sockets_hides_neither_supervisor_nor_server(paths: Paths, tmp_path: Path) -> None:
    ready = start_ready(Toy(paths, tmp_path).spec(restart_delays_s=[0.0] * 9), paths)
    record = record_of(paths)
    shutil.rmtree(paths.run)
    now = client.adopt(paths)  # not a second one
    assert (now.pid, now.supervisor_pid, now.state) == (ready.pid, ready.supervisor_pid, "ready")
    assert client.stop(paths) == Status()
    assert not alive(record.supervisor)
    assert not alive(record.server)


def test_a_lost_control_socket_does_not_prevent_a_stop(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "REPLY_S", 0.3)
    client.start(idle_spec(paths), paths)
    until(lambda: record_of(paths).server)
    record = record_of(paths)
    paths.supervisor_socket.unlink()
    assert client.stop(paths) == Status()  # by SIGTERM, which a supervisor obeys in the same order
    assert not alive(record.server)
    assert not alive(record.supervisor)


def test_a_supervisor_that_cannot_start_says_why(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(R1tuiError, match=r"keeper\.log"):
        client.start(idle_spec(paths), paths)
    assert identify(os.getpid())


HOLD_LOCK = [
    sys.executable,
    "-c",
    "import sys; from r1tui.system.locks import locked; from r1tui.system.paths import Paths\n"
    "with locked(Paths.from_environment().supervisor_lock, 'x'): print('held', flush=True); sys.stdin.read()",
]
"""Holds the supervisor's lock as another r1tui does, until its input ends."""


def test_a_second_stop_leaves_the_one_alone_that_is_at_it(paths: Paths, tmp_path: Path) -> None:
    start_ready(Toy(paths, tmp_path).spec(), paths)
    kill(record_of(paths).supervisor)
    with subprocess.Popen(HOLD_LOCK, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        first.stdout.readline()
        second = threading.Thread(target=client.stop, args=(paths,))
        second.start()
        second.join(REPLY_S + 2)  # by then it would have sent a signal
        assert first.poll() is None
        first.stdin.close()
        second.join(90)
        assert first.wait(60) == 0
    assert client.status(paths) == Status()


def test_a_holder_of_the_lock_that_is_not_recognised_for_a_moment_late_in_the_wait_is_waited_for(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that exits loses its command line before its locks."""

    def is_supervisor(pid: int, of: Paths) -> bool:
        if pid == first.pid:
            looks.append(pid)
            if len(looks) == 100:
                first.terminate()
                return False
        return recognised(pid, of)

    looks: list[int] = []
    recognised = status.is_supervisor
    monkeypatch.setattr(stopping, "is_supervisor", is_supervisor)
    monkeypatch.setattr(stopping, "NOT_OURS_S", 1.0)
    start_ready(Toy(paths, tmp_path).spec(), paths)
    kill(record_of(paths).supervisor)
    with subprocess.Popen(HOLD_LOCK, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        client.stop(paths)
    assert len(looks) >= 100
    assert client.status(paths) == Status()


def test_an_answer_that_was_forgotten_before_the_next_supervisor_is_not_called_stopped(
    paths: Paths, tmp_path: Path
) -> None:
    start_ready(Toy(paths, tmp_path).spec(), paths)
    kill(record_of(paths).supervisor)
    change_record(paths, answers=["1-a"])
    record = record_file(paths.answers, "1-a")
    record.parent.mkdir(parents=True)
    record.write_bytes(b'data: {"choices":[{"delta":{"content":"half of it"}}]}\n\n')
    client.adopt(paths)
    until(lambda: client.status(paths).answers == [])
    assert LOST_EVENT in record.read_bytes()
    client.stop(paths)


def test_what_a_killed_starter_left_for_its_supervisor_is_cleaned_and_a_living_ones_is_not(paths: Paths) -> None:
    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    private_folder(paths.run)
    stale, fresh = (paths.run / f"spec-{pid}-x.json" for pid in (ended.pid, os.getpid()))
    for one in (stale, fresh):
        one.write_bytes(b"{}")
    client.stop(paths)
    assert not stale.exists()
    assert fresh.exists()
    fresh.unlink()


def test_a_kill_by_the_kernel_for_memory_is_known(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> None:
    spec = spec_for(llama_server, tiny_r1(), paths, "--ctx-size", "131072", restart_delays_s=[0.0])
    with memory_cgroup(40 << 20) as limited:
        if limited is None:
            pytest.skip("no right to make a memory cgroup")
        client.start(msgspec.structs.replace(spec, argv=limited(spec.argv)), paths)
        failed = next(status for status in watch(paths) if status.settled)
        client.stop(paths)
    assert (failed.state, failed.exit_status, failed.kind) == ("failed", -signal.SIGKILL, "memory")
    assert failed.cause == "The system killed llama-server because memory ran out."


def test_a_kill_for_memory_long_ago_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = 3
    monkeypatch.setattr(watches, "oom_kills", lambda: kills)
    watch = watches.OomWatch()
    assert not watch.killed()
    kills += 1
    for _ in range(watches.RECENT_LOOKS - 1):
        watch.look()
        assert watch.killed()
    watch.look()
    assert not watch.killed()
