"""No process is shown or ended as a home's that only a file of the home names."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import sleep

import msgspec
import pytest

from r1tui.messages import ServerRecord, ServerSpec, Status
from r1tui.supervisor import client
from r1tui.supervisor.status import read_record, write_record
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import alive, boot_id, identify, wait
from tests.supervisor_rig import Toy, start_ready


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user's whose command has our name in it, as an editor's may."""
    with subprocess.Popen(["r1tui", "600"], executable=shutil.which("sleep"), start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
def toy(paths: Paths, tmp_path: Path) -> Iterator[Toy]:
    yield Toy(paths, tmp_path)
    client.stop(paths)


def home_at(root: Path, paths: Paths) -> Paths:
    """The same home below another folder."""
    assert paths.run.is_relative_to(paths.state.parent)
    return Paths.from_environment({**os.environ, "R1TUI_HOME": str(root)})


def kill_supervisor(ready: Status) -> None:
    assert ready.supervisor_pid is not None
    supervisor = identify(ready.supervisor_pid)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert wait(supervisor, 60)


def test_a_process_that_the_state_file_names_is_not_ended_for_that(
    paths: Paths, bystander: subprocess.Popen[bytes]
) -> None:
    paths.state.mkdir(parents=True)
    process = identify(bystander.pid)
    spec = ServerSpec(argv=["r1tui", "600"], socket=str(paths.server_socket))
    record = ServerRecord(spec=spec, state="ready", supervisor=process, server=process, boot=boot_id())
    write_record(paths, record)
    now = client.status(paths)
    assert (now.pid, now.supervisor_pid) == (None, None)
    client.stop(paths)
    write_record(paths, msgspec.structs.replace(record, supervisor=None))
    client.stop(paths)
    assert alive(process)


def test_a_copy_of_a_home_leaves_the_other_s_server_alone(paths: Paths, toy: Toy, tmp_path: Path) -> None:
    ready = start_ready(toy.spec(), paths)
    copy = home_at(tmp_path / "copy", paths)
    copy.state.mkdir(parents=True)
    copy.run.mkdir()
    shutil.copy(paths.state_file, copy.state_file)
    shutil.copy(paths.supervisor_lock, copy.supervisor_lock)
    now = client.status(copy)
    assert (now.pid, now.supervisor_pid) == (None, None)
    assert client.stop(copy) == Status()
    assert client.status(paths).pid == ready.pid


def test_a_home_behind_a_link_is_the_same_home(paths: Paths, toy: Toy, tmp_path: Path) -> None:
    ready = start_ready(toy.spec(), paths)
    link = tmp_path / "link"
    link.symlink_to(paths.state.parent)
    linked = home_at(link, paths)
    assert (client.status(linked).pid, client.status(linked).supervisor_pid) == (ready.pid, ready.supervisor_pid)
    kill_supervisor(ready)
    paths.state_file.unlink()
    assert client.status(linked).pid == ready.pid
    assert client.stop(linked) == Status()
    assert client.status(paths).pid is None


@pytest.mark.parametrize("supervisor_lives", [True, False])
def test_a_home_that_was_moved_has_its_server_ended(
    paths: Paths, toy: Toy, tmp_path: Path, supervisor_lives: bool
) -> None:
    ready = start_ready(toy.spec(), paths)
    record = read_record(paths)
    assert record is not None
    if not supervisor_lives:
        kill_supervisor(ready)
    root = paths.state.parent
    moved = home_at(root.rename(tmp_path / "moved"), paths)
    assert client.status(moved).pid == ready.pid
    client.stop(moved)
    assert not alive(record.server)
    assert not alive(record.supervisor)


def test_a_listener_that_never_ends_its_line_hangs(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REPLY_S", 0.5)
    private_folder(paths.run)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.supervisor_socket))
        listener.listen()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                for _ in range(100):
                    connection.sendall(b" ")
                    sleep(0.1)

        dripping = Thread(target=drip)
        dripping.start()
        with pytest.raises(client.SupervisorHangsError):
            client.restart(paths)
        dripping.join()


def test_a_huge_state_file_is_not_read_to_its_end(paths: Paths) -> None:
    paths.state.mkdir(parents=True)
    with paths.state_file.open("wb") as file:
        file.truncate(1 << 40)
    assert client.status(paths).state == "failed"
    client.stop(paths)
    assert client.status(paths) == Status()


def test_a_file_in_the_state_folder_s_place_is_no_server(paths: Paths) -> None:
    paths.state.parent.mkdir(parents=True)
    paths.state.write_text("")
    assert client.status(paths) == Status()
