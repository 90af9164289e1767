"""Whatever somebody removes or damages of a home, no server of it runs that no command finds, and never two of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.supervisor import client, status, watches
from r1tui.supervisor.status import is_being_stopped, recent_status
from r1tui.system.locks import holder, locked
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import alive, identify, wait
from tests.conftest import CommandLine, TinyModel
from tests.supervisor_rig import (
    SocketConnection,
    Toy,
    call,
    kill,
    open_stream,
    record_of,
    spec_for,
    start_ready,
    until,
    watch,
)


@pytest.fixture(autouse=True)
def nothing_runs_afterwards(paths: Paths) -> Iterator[None]:
    """After every test one `stop` is enough, whatever was removed."""
    yield
    client.stop(paths)
    assert status.find_processes(paths) == status.HomeProcesses()
    assert not paths.run.exists() or [one for one in paths.run.iterdir() if one.suffix != ".damaged"] == []


@pytest.fixture
def toy(paths: Paths, tmp_path: Path) -> Toy:
    return Toy(paths, tmp_path)


def answers_and_is_known(paths: Paths, ready: Status) -> bool:
    """Whether the control socket, the lock and the state file tell of this supervisor again."""
    with suppress(OSError, R1tuiError):
        now = client.status(paths)
        told = next(watch(paths))
        there = (now.pid, now.supervisor_pid) == (told.pid, told.supervisor_pid) == (ready.pid, ready.supervisor_pid)
        return there and told.state == "ready" and holder(paths.supervisor_lock) == ready.supervisor_pid
    return False


def remove(*files: str) -> Callable[[Paths], None]:
    def damage(paths: Paths) -> None:
        for name in files:
            getattr(paths, name).unlink()

    return damage


def garble(content: bytes) -> Callable[[Paths], None]:
    def damage(paths: Paths) -> None:
        paths.state_file.write_bytes(content)

    return damage


def remove_home(paths: Paths) -> None:
    shutil.rmtree(paths.run)
    shutil.rmtree(paths.state)


def replace_by(name: str, make: Callable[[Path], object]) -> Callable[[Paths], None]:
    def damage(paths: Paths) -> None:
        getattr(paths, name).unlink()
        make(getattr(paths, name))

    return damage


def link_to_null(path: Path) -> None:
    path.symlink_to("/dev/null")


DAMAGES = {
    "lock": remove("supervisor_lock"),
    "control socket": remove("supervisor_socket"),
    "state file": remove("state_file"),
    "all three": remove("supervisor_lock", "supervisor_socket", "state_file"),
    "empty": garble(b""),
    "garbled": garble(b'{"spec": '),
    "one bad byte": lambda paths: garble(paths.state_file.read_bytes().replace(b"toy", b"t\xffy"))(paths),
    "a folder": replace_by("state_file", Path.mkdir),
    "a pipe": replace_by("state_file", os.mkfifo),
    "lock a folder": replace_by("supervisor_lock", Path.mkdir),
    "lock a pipe": replace_by("supervisor_lock", os.mkfifo),
    "lock a link": replace_by("supervisor_lock", link_to_null),
    "control socket a folder": replace_by("supervisor_socket", Path.mkdir),
    "control socket a file": replace_by("supervisor_socket", Path.touch),
}


@pytest.mark.parametrize("damage", [pytest.param(damage, id=name) for name, damage in DAMAGES.items()])
def test_a_supervisor_that_lives_puts_everything_back(paths: Paths, toy: Toy, damage: Callable[[Paths], None]) -> None:
    ready = start_ready(toy.spec(restart_delays_s=[0.0] * 9), paths)
    damage(paths)
    with pytest.raises(R1tuiError):
        client.start(toy.spec(), paths)  # at once, before anything is mended
    until(lambda: answers_and_is_known(paths, ready))
    assert len(toy.starts) == 1


def test_who_wants_no_logs_links_them_to_the_null_device(paths: Paths, toy: Toy) -> None:
    private_folder(paths.logs)
    for log in (paths.server_log, paths.supervisor_log):
        link_to_null(log)
    start_ready(toy.spec(), paths)
    client.restart(paths)
    until(lambda: len(toy.starts) == 2)
    client.stop(paths)
    assert {log.readlink() for log in (paths.server_log, paths.supervisor_log)} == {Path("/dev/null")}


@pytest.mark.parametrize("damage", [pytest.param(damage, id=name) for name, damage in DAMAGES.items()])
def test_a_server_whose_supervisor_was_killed_too_is_known_and_stopped(
    paths: Paths, toy: Toy, damage: Callable[[Paths], None]
) -> None:
    start_ready(toy.spec(), paths)
    record = record_of(paths)
    kill(record.supervisor)
    damage(paths)
    now = client.status(paths)
    assert record.server is not None
    assert now.running
    assert now.pid == record.server.pid
    assert recent_status(paths).pid == record.server.pid
    with pytest.raises(R1tuiError, match=f"PID {record.server.pid}"):
        client.start(toy.spec(), paths)
    if now.stray:
        assert "r1tui stop" in (now.remedy or "")
        assert client.adopt(paths).supervisor_pid is None  # nobody knows what it is
    assert client.stop(paths) == Status()
    assert not alive(record.server)
    assert not paths.state_file.exists()


@pytest.mark.parametrize("put", [lambda path: None, Path.touch, Path.mkdir], ids=["removed", "a file", "a folder"])
def test_a_server_s_socket_that_was_removed_comes_back_with_another_start(
    paths: Paths, toy: Toy, put: Callable[[Path], object]
) -> None:
    ready = start_ready(toy.spec(), paths)
    paths.server_socket.unlink()
    put(paths.server_socket)
    again = next(status for status in watch(paths) if status.state == "ready" and status.pid != ready.pid)
    assert again.supervisor_pid == ready.supervisor_pid
    assert again.endings[-1].cause == watches.SOCKET_GONE
    assert call(SocketConnection(paths.server_socket), "GET", "/health")[0] == 200


def test_an_answer_that_comes_is_not_ended_by_a_socket_that_was_removed(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    ready = start_ready(spec_for(llama_server, tiny_r1(loop=True), paths), paths)
    stream = open_stream(paths.server_socket, "c1", max_tokens=1500)
    client.answer_started(paths, "c1")
    until(lambda: paths.answers.exists() and any(file.stat().st_size for file in paths.answers.iterdir()))
    shutil.rmtree(paths.run)
    lines = [line for line in stream if line.strip()]
    assert lines[-1] == b"data: [DONE]\n"
    again = next(status for status in watch(paths) if status.state == "ready" and status.pid != ready.pid)
    assert again.supervisor_pid == ready.supervisor_pid


def test_a_home_that_is_gone_for_long_ends_its_server(
    paths: Paths, toy: Toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = toy.spec()
    private_folder(paths.run)
    code = (
        "import sys, threading; from r1tui.supervisor import watches, __main__ as supervisor\n"
        "watches.GONE_S = 1e9\n"
        "def hurry(): sys.stdin.read(); watches.GONE_S = 2.0\n"
        "threading.Thread(target=hurry, daemon=True).start(); sys.exit(supervisor.main([sys.argv[1]]))"
    )
    spec_file = tmp_path / "spec.json"
    spec_file.write_bytes(msgspec.json.encode(spec))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(spec_file)],
        stdin=subprocess.PIPE,
        env=status.supervisor_environment(os.environ, paths),
    ) as supervisor:
        until(lambda: client.status(paths).state == "ready")
        server = record_of(paths).server
        remove_home(paths)
        assert client.status(paths).pid == (server.pid if server else 0)  # found, and not touched yet
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        assert supervisor.wait(60) == 0
    assert not alive(server)
    assert not paths.state.exists()


def test_a_supervisor_is_asked_where_no_file_tells_of_its_server(paths: Paths, toy: Toy) -> None:
    ready = start_ready(toy.spec(), paths)
    paths.state.rename(paths.state.with_name("elsewhere"))
    told = client.verified_status(paths, client.status(paths))
    assert (told.state, told.pid, told.argv) == ("ready", ready.pid, ready.argv)


def test_a_home_that_comes_back_soon_goes_on(paths: Paths, toy: Toy) -> None:
    ready = start_ready(toy.spec(), paths)
    paths.state.rename(paths.state.with_name("elsewhere"))
    assert client.status(paths).supervisor_pid == ready.supervisor_pid
    paths.state.with_name("elsewhere").rename(paths.state)
    until(lambda: answers_and_is_known(paths, ready))
    assert len(toy.starts) == 1


def test_a_supervisor_whose_home_was_moved_away_is_known_and_stopped(paths: Paths, toy: Toy, tmp_path: Path) -> None:
    ready = start_ready(toy.spec(restart_delays_s=[0.0] * 9), paths)
    record = record_of(paths)
    away = tmp_path / "away"
    away.mkdir()
    for folder in (paths.run, paths.state):
        folder.rename(away / folder.name)
    assert client.status(paths).supervisor_pid == ready.supervisor_pid
    assert client.stop(paths) == Status()
    assert (alive(record.server), alive(record.supervisor)) == (False, False)


def test_a_supervisor_whose_lock_is_another_s_starts_nothing_and_touches_nothing(paths: Paths, toy: Toy) -> None:
    toy.acts({}, {})
    start_ready(toy.spec(restart_delays_s=[3.0] * 9), paths)
    until(lambda: record_of(paths).state == "ready")  # written, and not only told, on a slow disk too
    record = record_of(paths)
    paths.supervisor_lock.unlink()
    with locked(paths.supervisor_lock, "the test"):
        kill(record.server)  # it waits now, to start it again
        paths.state_file.write_bytes(b"another supervisor's")
        assert record.supervisor is not None
        assert wait(record.supervisor, 60)
        assert len(toy.starts) == 1
        assert paths.state_file.read_bytes() == b"another supervisor's"
        assert holder(paths.supervisor_lock) == os.getpid()


def test_a_supervisor_in_a_terminal_is_found_by_its_server(paths: Paths, toy: Toy) -> None:
    code = (
        "from r1tui.supervisor.client import run_supervisor; from r1tui.messages import ServerSpec\n"
        "from r1tui.system.paths import Paths; import msgspec, sys\n"
        "run_supervisor(msgspec.json.decode(sys.argv[1], type=ServerSpec), Paths.from_environment())"
    )
    argv = [sys.executable, "-c", code, msgspec.json.encode(toy.spec()).decode()]
    with subprocess.Popen(argv) as supervisor:
        until(lambda: client.status(paths).state == "ready")
        remove_home(paths)
        now = client.status(paths)
        assert now.supervisor_pid == supervisor.pid
        assert client.stop(paths) == Status()
        assert supervisor.wait(60) == 0


def test_a_look_takes_no_time_on_an_event_loop(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def no_pids() -> Iterator[int]:
        looks.append(1)
        return iter(())

    monkeypatch.setattr(status, "own_pids", no_pids)
    for _ in range(10):
        assert recent_status(paths) == Status()
    assert looks == []
    client.status(paths, 60.0)
    client.status(paths, 60.0)
    assert looks == [1]
    client.status(paths)
    assert looks == [1, 1]


def test_no_byte_of_the_state_file_ends_in_a_traceback_or_hides_the_server(paths: Paths, toy: Toy) -> None:
    ready = start_ready(toy.spec(tcp="127.0.0.1:1", key_file=str(paths.api_key)), paths)
    kill(record_of(paths).supervisor)
    raw = paths.state_file.read_bytes()
    assert ready.pid in [one.pid for one in status.find_processes(paths).servers]
    for position in range(0, len(raw), 7):
        for byte in (b"\xff", b"\0", b"9"):
            paths.state_file.write_bytes(raw[:position] + byte + raw[position + 1 :])
            now = client.status(paths, 600.0)
            assert now.pid == ready.pid, (position, byte, now)
            is_being_stopped(paths)


def test_the_commands_find_it(r1tui: CommandLine, paths: Paths, tiny_r1: TinyModel) -> None:
    model = tiny_r1()
    assert r1tui("serve", "--model", model, "--detach").returncode == 0
    record = record_of(paths)
    kill(record.supervisor)
    remove_home(paths)
    shown = r1tui("status")
    assert record.server is not None
    assert f"PID {record.server.pid}" in shown.stdout
    assert "r1tui stop" in shown.stdout
    for command in (("serve", "--model", model, "--detach"), ("chat", "hi")):
        ran = r1tui(*command)
        assert (ran.returncode, str(record.server.pid) in ran.stderr) == (1, True), ran
    assert alive(record.server)
    assert r1tui("stop").stderr == "Stopped.\n"
    assert identify(record.server.pid) is None
    assert r1tui("stop").stderr == "No server was running.\n"
