"""A supervisor that runs and does not answer: nobody waits for it for ever, and everybody is told what mends it."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path

import pytest

from r1tui.launch.loading import follow_server
from r1tui.messages import Status
from r1tui.supervisor import client, stopping
from r1tui.supervisor.protocol import CONNECT_S
from r1tui.supervisor.status import read_record
from r1tui.system.paths import Paths
from r1tui.system.processes import alive
from tests.conftest import CommandLine, TinyModel
from tests.supervisor_rig import Toy, settled, start_ready, watch


@pytest.fixture
def hanging(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Status]:
    """The status of a ready server whose supervisor was stopped by SIGSTOP afterwards."""
    ready = start_ready(Toy(paths, tmp_path).spec(), paths)
    monkeypatch.setattr(client, "REPLY_S", 0.5)
    monkeypatch.setattr(client, "SILENCE_S", 0.5)
    monkeypatch.setattr(stopping, "REPLY_S", 0.5)
    monkeypatch.setattr(stopping, "HANGING_S", 0.5)
    stop_supervisor(ready)
    yield ready
    client.stop(paths)


def stop_supervisor(ready: Status) -> None:
    assert ready.supervisor_pid is not None
    os.kill(ready.supervisor_pid, signal.SIGSTOP)


@contextmanager
def going_on(hanging: Status) -> Iterator[None]:
    """For the block the supervisor goes on, however long its answers take; then it hangs again."""
    assert hanging.supervisor_pid is not None
    os.kill(hanging.supervisor_pid, signal.SIGCONT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "REPLY_S", 60.0)
        yield
    stop_supervisor(hanging)


@pytest.mark.parametrize("ask", [client.restart, lambda paths: client.answer_started(paths, "1-a")])
def test_a_request_says_that_the_supervisor_does_not_answer(paths: Paths, hanging: Status, ask: object) -> None:
    assert callable(ask)
    with pytest.raises(client.SupervisorHangsError, match="does not answer") as caught:
        ask(paths)
    assert "r1tui stop" in caught.value.remedy


def test_a_watcher_is_told_whether_it_came_before_or_after(paths: Paths, hanging: Status) -> None:
    with pytest.raises(client.SupervisorHangsError):
        next(watch(paths))
    watching = watch(paths)
    with going_on(hanging):
        assert next(watching).state == "ready"
    with pytest.raises(client.SupervisorHangsError):
        next(watching)


async def test_so_is_one_in_an_event_loop(paths: Paths, hanging: Status) -> None:
    with pytest.raises(client.SupervisorHangsError):
        await settled(paths)
    async with aclosing(client.watch_async(paths)) as changes:
        with going_on(hanging):
            assert (await anext(changes)).state == "ready"
        with pytest.raises(client.SupervisorHangsError):
            await anext(changes)


async def test_a_launch_that_follows_it_fails(paths: Paths, hanging: Status) -> None:
    with pytest.raises(client.SupervisorHangsError):
        async for _ in follow_server(paths, 60):
            pass


def test_one_that_so_many_wait_for_that_no_more_can_is_seen_to_hang(
    paths: Paths, hanging: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("r1tui.supervisor.protocol.CONNECT_S", 0.2)
    with ExitStack() as waiting:
        while True:
            connection = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.setblocking(False)
            try:
                connection.connect(str(paths.supervisor_socket))
            except BlockingIOError:
                break
        with pytest.raises(client.SupervisorHangsError):
            client.restart(paths)
        with pytest.raises(client.SupervisorHangsError):
            asyncio.run(settled(paths))
    assert CONNECT_S > 0.2


def test_a_status_that_was_tested_says_so(paths: Paths, hanging: Status) -> None:
    now = client.verified_status(paths, client.status(paths))
    assert (now.state, now.hangs, now.comes_up) == ("ready", True, False)
    assert "does not answer" in (now.cause or "")


def test_stop_ends_it_and_its_server(paths: Paths, hanging: Status) -> None:
    record = read_record(paths)
    assert record is not None
    assert client.stop(paths) == Status()
    assert not any(map(alive, (record.supervisor, record.server)))


def test_every_command_ends_with_a_sentence(r1tui: CommandLine, paths: Paths, tiny_r1: TinyModel) -> None:
    model = tiny_r1()
    assert r1tui("serve", "--model", model, "--detach").returncode == 0
    record = read_record(paths)
    assert record is not None
    stop_supervisor(client.status(paths))
    for arguments in (("serve", "--model", model, "--detach"), ("chat", "hi")):
        ran = r1tui(*arguments)
        assert (ran.returncode, "does not answer" in ran.stderr, "r1tui stop" in ran.stderr) == (1, True, True), ran
    told = r1tui("status")
    assert (told.returncode, "does not answer" in told.stdout) == (0, True)
    assert r1tui("stop").returncode == 0
    assert not any(map(alive, (record.supervisor, record.server)))
    assert client.status(paths) == Status()
