"""The screen's monitor of its server: one connection, each change once, whatever becomes of the supervisor."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from textual.message import Message

from r1tui.messages import Status
from r1tui.supervisor import client, stopping
from r1tui.supervisor.protocol import connect
from r1tui.system.paths import Paths
from r1tui.system.processes import identify, wait_ended
from r1tui.tui.messages import ServerChanged
from r1tui.tui.services import server as monitoring
from r1tui.tui.services.server import ServerMonitor
from tests.supervisor_rig import Toy, start_ready

PATIENCE_S = 60.0


class Heard:
    """A monitor and what it has told."""

    def __init__(self, paths: Paths, *, managed: bool = True) -> None:
        self.told: list[ServerChanged] = []
        self.met: list[int | None] = []
        self.monitor = ServerMonitor(paths, self._post, managed=managed)

    def _post(self, message: Message) -> None:
        assert isinstance(message, ServerChanged)
        self.told.append(message)

    async def meet(self) -> None:
        self.met.append(self.monitor.status.supervisor_pid)

    @property
    def states(self) -> list[str]:
        return [one.status.state for one in self.told]

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.monitor.watch(self.meet))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
async def heard(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heard]:
    for module, name in ((client, "REPLY_S"), (client, "SILENCE_S"), (stopping, "REPLY_S"), (stopping, "HANGING_S")):
        monkeypatch.setattr(module, name, 0.5)
    yield Heard(paths)
    await asyncio.to_thread(client.stop, paths)


async def test_each_change_is_told_once_from_its_coming_to_its_end(heard: Heard, paths: Paths, tmp_path: Path) -> None:
    async with heard.watching():
        await until(lambda: heard.states == ["stopped"])
        await asyncio.to_thread(start_ready, Toy(paths, tmp_path).spec(), paths)
        await until(lambda: heard.monitor.status.state == "ready")
        assert heard.met == [heard.monitor.status.supervisor_pid]
        known = len(heard.told)
        for _ in range(3):
            assert heard.monitor.refresh().state == "ready"
        assert len(heard.told) == known
        await asyncio.to_thread(client.stop, paths)
        assert heard.monitor.refresh().state == "stopped"
        await until(lambda: heard.states[-1] == "stopped")
    timeless = [msgspec.structs.replace(one.status, uptime_s=None) for one in heard.told]
    assert all(one != other for one, other in pairwise(timeless))


async def test_a_server_that_is_looked_at_after_its_start_is_followed_at_once(
    heard: Heard, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "LOOK_S", 10 * PATIENCE_S)
    async with heard.watching():
        await until(lambda: heard.states == ["stopped"])
        await asyncio.to_thread(client.start, Toy(paths, tmp_path).spec(), paths)
        async with aclosing(heard.monitor.changes()) as changes:
            assert "ready" in [status.state async for status in changes if _ends_at(status, "ready", paths)]
    assert heard.states[-1] == "stopped"


def _ends_at(status: Status, state: str, paths: Paths) -> bool:
    """Have a server that is in this state stopped."""
    if status.state == state:
        client.stop(paths)
    return True


async def test_all_who_follow_share_one_connection(
    heard: Heard, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def counted(path: Path) -> socket.socket:
        opened.append(path)
        return connect(path)

    monkeypatch.setattr(client, "connect", counted)
    toy = Toy(paths, tmp_path)
    toy.acts({"loads": True})
    await asyncio.to_thread(client.start, toy.spec(), paths)
    seen: list[list[str]] = [[], []]

    async def follow(states: list[str]) -> None:
        async with aclosing(heard.monitor.changes()) as changes:
            async for status in changes:
                states += [status.state]

    async with heard.watching():
        await until(lambda: heard.monitor.status.state == "loading")
        following = [asyncio.create_task(follow(states)) for states in seen]
        await until(lambda: all(seen))
        assert len(opened) == 1
        await asyncio.to_thread(client.stop, paths)
        await asyncio.wait_for(asyncio.gather(*following), PATIENCE_S)
    assert seen[0] == seen[1]
    assert seen[0][0] == "loading"


async def test_a_killed_supervisor_is_replaced_and_the_new_one_met(heard: Heard, paths: Paths, tmp_path: Path) -> None:
    before = await asyncio.to_thread(start_ready, Toy(paths, tmp_path).spec(), paths)
    async with heard.watching():
        await until(lambda: heard.met == [before.supervisor_pid])
        assert before.supervisor_pid is not None
        supervisor = identify(before.supervisor_pid)
        os.kill(before.supervisor_pid, signal.SIGKILL)
        await until(lambda: len(heard.met) == 2 and heard.monitor.status.state == "ready")
        if supervisor is not None:
            await asyncio.wait_for(wait_ended(supervisor), PATIENCE_S)
    assert heard.monitor.status.pid == before.pid
    assert heard.met[1] == heard.monitor.status.supervisor_pid != before.supervisor_pid


async def test_one_that_hangs_is_part_of_the_status_until_it_answers(
    heard: Heard, paths: Paths, tmp_path: Path
) -> None:
    ready = await asyncio.to_thread(start_ready, Toy(paths, tmp_path).spec(), paths)
    assert ready.supervisor_pid is not None
    async with heard.watching():
        await until(lambda: heard.monitor.status.state == "ready")
        async with aclosing(heard.monitor.changes()) as changes:
            assert (await anext(changes)).state == "ready"
            os.kill(ready.supervisor_pid, signal.SIGSTOP)
            with pytest.raises(client.SupervisorHangsError):
                await anext(changes)
        assert heard.monitor.refresh().hangs
        os.kill(ready.supervisor_pid, signal.SIGCONT)
        await until(lambda: not heard.monitor.status.hangs)
    assert [one.status.hangs for one in heard.told][-2:] == [True, False]


async def test_of_somebody_elses_server_it_knows_what_was_told_alone(paths: Paths, tmp_path: Path) -> None:
    ours = await asyncio.to_thread(start_ready, Toy(paths, tmp_path).spec(), paths)
    try:
        heard = Heard(paths, managed=False)
        assert heard.monitor.refresh().pid is None
        assert not heard.told
        heard.monitor.take_status(Status(state="ready", variant="theirs"), 4096)
        assert heard.monitor.refresh().variant == "theirs"
        assert [(one.status.variant, one.context_size) for one in heard.told] == [("theirs", 4096)]
        assert not heard.monitor.is_being_stopped()
        assert ours.pid is not None
    finally:
        await asyncio.to_thread(client.stop, paths)
