"""Other users of the machine: what they put in our place is told no question and no key, and nothing of theirs ends."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.supervisor import client, protocol, status, stopping
from r1tui.supervisor.http import request
from r1tui.supervisor.key import address_of, key_of, make_key
from r1tui.supervisor.protocol import connect
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import identify
from tests.conftest import CommandLine
from tests.supervisor_rig import Toy, settled, start_ready, watch

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")

LISTEN = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(sys.argv[1])
if sys.argv[3] == "theirs":
    os.chown(sys.argv[1], int(sys.argv[2]), -1)
    os.chown(os.path.dirname(sys.argv[1]), int(sys.argv[2]), -1)
os.setuid(int(sys.argv[2]))
listener.listen()
print("listens", flush=True)
while True:
    connection, _ = listener.accept()
    print("heard", connection.recv(1 << 16), flush=True)
    connection.close()
"""


@pytest.fixture
def in_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, paths: Paths) -> Iterator[Paths]:
    """A home whose path is too long for a socket, so that its folder is in /tmp."""
    monkeypatch.setenv("R1TUI_HOME", str(tmp_path / ("long" * 25)))
    home = Paths.from_environment()
    assert home.run.parent == Path("/tmp")  # noqa: S108
    yield home
    shutil.rmtree(home.run, ignore_errors=True)


class Listener:
    """A process of another user that listens; `heard` is what it was told."""

    def __init__(self, path: Path, *, whose: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", LISTEN, str(path), str(NOBODY), whose], stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "listens\n"
        self.pid = self._child.pid

    def heard(self) -> str:
        self._child.kill()
        return self._child.communicate()[0]


@as_root
def test_a_folder_that_another_user_made_first_is_told_nothing(in_tmp: Paths, tmp_path: Path) -> None:
    in_tmp.run.mkdir(mode=0o755)
    listener = Listener(in_tmp.supervisor_socket, whose="theirs")
    now = client.status(in_tmp)
    assert (now.state, now.running) == ("failed", False)
    assert "belongs to another user" in (now.cause or "")
    for speak in (
        lambda: client.restart(in_tmp),
        lambda: client.answer_started(in_tmp, "1-a"),
        lambda: next(watch(in_tmp)),
        lambda: asyncio.run(settled(in_tmp)),
        lambda: client.start(Toy(in_tmp, tmp_path).spec(), in_tmp),
        lambda: client.stop(in_tmp),
    ):
        with pytest.raises(R1tuiError, match="belongs to another user"):
            speak()
    assert identify(listener.pid) is not None
    assert listener.heard() == ""


def test_what_stands_in_the_place_of_the_folder_is_not_called_another_users(in_tmp: Paths, tmp_path: Path) -> None:
    for is_link in (False, True):
        if is_link:
            in_tmp.run.symlink_to(tmp_path)
        else:
            in_tmp.run.touch()
        assert client.status(in_tmp).cause == f"{in_tmp.run} is no folder."
        with pytest.raises(R1tuiError, match="is no folder"):
            client.stop(in_tmp)
        in_tmp.run.unlink()


@as_root
def test_no_command_says_anything_there(
    r1tui: CommandLine, in_tmp: Paths, monkeypatch: pytest.MonkeyPatch, paths: Paths
) -> None:
    in_tmp.run.mkdir(mode=0o755)
    listener = Listener(in_tmp.supervisor_socket, whose="theirs")
    for command in (("status",), ("stop",), ("chat", "a secret")):
        ran = r1tui(*command)
        assert "Traceback" not in ran.stderr
        assert command[0] == "chat" or "another user" in ran.stdout + ran.stderr
    assert listener.heard() == ""
    shutil.rmtree(in_tmp.run)


@as_root
@pytest.mark.parametrize("name", ["supervisor_socket", "server_socket"])
def test_another_user_s_process_behind_a_socket_of_ours_is_told_nothing(paths: Paths, name: str) -> None:
    private_folder(paths.run)
    path: Path = getattr(paths, name)
    listener = Listener(path, whose="ours")
    with pytest.raises(protocol.ForeignError, match=f"uid {NOBODY}"):
        connect(path)
    assert asyncio.run(request(path, "GET", "/health", "a key")) is None
    ready = Status(state="ready", endpoint=f"unix:{path}")
    with pytest.raises(protocol.ForeignError):
        address_of(ready, paths)
    assert listener.heard().replace("heard b''\n", "") == ""  # connections were closed without a word
    path.unlink()


@as_root
def test_a_socket_that_is_another_user_s_is_not_connected_to(paths: Paths) -> None:
    private_folder(paths.run)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(paths.supervisor_socket))
        os.chown(paths.supervisor_socket, NOBODY, -1)
        listener.listen()
        with pytest.raises(protocol.ForeignError, match="not your socket"):
            connect(paths.supervisor_socket)
    paths.supervisor_socket.unlink()


def test_a_file_or_a_link_in_a_socket_s_place_is_not_connected_to(paths: Paths, tmp_path: Path) -> None:
    private_folder(paths.run)
    paths.supervisor_socket.write_text("")
    with pytest.raises(protocol.ForeignError):
        connect(paths.supervisor_socket)
    paths.supervisor_socket.unlink()
    paths.supervisor_socket.symlink_to(tmp_path / "elsewhere.sock")
    with pytest.raises(protocol.ForeignError):
        connect(paths.supervisor_socket)
    paths.supervisor_socket.unlink()


def test_a_folder_that_others_can_enter_is_closed_before_anything_is_said(paths: Paths) -> None:
    private_folder(paths.run)
    paths.run.chmod(0o777)
    with pytest.raises(FileNotFoundError):
        connect(paths.supervisor_socket)
    assert paths.run.stat().st_mode & 0o777 == 0o700


def test_a_key_is_private_and_new_each_time(tmp_path: Path) -> None:
    first = make_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").read_text().strip() == first
    second = make_key(tmp_path / "key")
    assert first != second
    assert len(first) >= 40
    assert "," not in first + second  # separates keys in LLAMA_API_KEY


def test_only_a_key_of_ours_is_sent(paths: Paths, tmp_path: Path) -> None:
    private_folder(paths.run)
    private = tmp_path / "id_rsa"
    private.write_text("a secret line\n")
    for key_file in (private, paths.run / "../id_rsa"):
        with pytest.raises(protocol.ForeignError):
            key_of(Status(key_file=str(key_file)), paths)
    paths.api_key.symlink_to(private)
    with pytest.raises(protocol.ForeignError):
        key_of(Status(key_file=str(paths.api_key)), paths)
    paths.api_key.unlink()
    assert key_of(Status(key_file=str(paths.api_key)), paths) is None
    paths.api_key.write_bytes(b"the key\n")
    assert key_of(Status(key_file=str(paths.api_key)), paths) == "the key"
    if os.getuid() == 0:
        os.chown(paths.api_key, NOBODY, -1)
        with pytest.raises(protocol.ForeignError):
            key_of(Status(key_file=str(paths.api_key)), paths)
    paths.api_key.unlink()


@pytest.mark.parametrize("endpoint", ["unix:/tmp/evil/server.sock", "http://127.0.0.1:1"])
def test_only_a_server_of_ours_is_asked(paths: Paths, endpoint: str) -> None:
    with pytest.raises(protocol.ForeignError):
        address_of(Status(state="ready", endpoint=endpoint), paths)


HOLD = "import fcntl, sys; fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


def test_a_process_that_holds_the_lock_and_is_not_ours_is_left_alone(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "NOT_OURS_S", 0.2)
    private_folder(paths.run)
    fd = os.open(paths.supervisor_lock, os.O_RDWR | os.O_CREAT, 0o600)
    with subprocess.Popen(
        ["python3", "-c", HOLD, str(fd)], pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as innocent:
        assert innocent.stdout is not None
        innocent.stdout.readline()
        os.pwrite(fd, str(innocent.pid).encode(), 0)
        os.close(fd)
        with pytest.raises(R1tuiError, match="is not r1tui"):
            client.stop(paths)
        assert innocent.poll() is None
        innocent.communicate("")
    client.stop(paths)


@as_root
def test_another_user_s_process_that_pretends_to_be_our_server_is_no_server_of_ours(paths: Paths) -> None:
    code = "import os, time; os.setuid(int(os.environ['THEY'])); print('there', flush=True); time.sleep(1000)"
    env = {**os.environ, status.SERVER_OF: str(paths.run), status.KEEPER_OF: str(paths.run), "THEY": str(NOBODY)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, start_new_session=True
    ) as pretender:
        assert pretender.stdout is not None
        pretender.stdout.readline()
        assert status.find_processes(paths) == status.HomeProcesses()
        client.stop(paths)
        assert pretender.poll() is None
        pretender.kill()


def test_what_a_state_file_names_elsewhere_is_not_removed(paths: Paths, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    ready = start_ready(Toy(paths, tmp_path).spec(), paths)
    raw = paths.state_file.read_bytes()
    assert ready.supervisor_pid is not None
    os.kill(ready.supervisor_pid, 9)
    paths.state_file.write_bytes(raw.replace(b'"key_file":null', f'"key_file":"{precious}"'.encode()))
    client.stop(paths)
    assert precious.read_text() == "years of work"
