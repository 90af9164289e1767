"""Detached children and jobs: known again, waited for, stopped, followed; also when pids are reused."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from r1tui.messages import ProcessId
from r1tui.system.jobs import Job
from r1tui.system.log_reader import LONGEST_LINE_BYTES, follow
from r1tui.system.processes import alive, find_command, identify, runs_command, spawn_detached, stop, wait, wait_ended
from tests.supervisor_rig import until

SHORT = (0.3, 0.3, 2.0)


def sleeper(tmp_path: Path, seconds: float = 1000) -> ProcessId:
    return spawn_detached(["/bin/sleep", str(seconds)], os.environ, tmp_path / "log")


def shell(tmp_path: Path, script: str) -> ProcessId:
    """A shell that has done `script` so far as to print `ready`."""
    child = spawn_detached(["/bin/sh", "-c", script], os.environ, tmp_path / "log")
    until(lambda: b"ready" in (tmp_path / "log").read_bytes())
    return child


async def test_a_child_is_detached_and_writes_to_its_private_log(tmp_path: Path) -> None:
    facts = "os.getsid(0) == os.getpid(), sys.stdin.read() == ''"
    script = f"import os, sys; print({facts}, flush=True); print('err', file=sys.stderr)"
    child = spawn_detached([sys.executable, "-c", script], os.environ, tmp_path / "logs" / "log")
    assert wait(child, 60)
    assert (tmp_path / "logs" / "log").read_text().splitlines() == ["True True", "err"]
    assert (tmp_path / "logs" / "log").stat().st_mode & 0o777 == 0o600


def test_a_child_that_ended_and_a_reused_pid_are_not_alive(tmp_path: Path) -> None:
    child = sleeper(tmp_path)
    assert alive(child)
    assert identify(child.pid) == child
    assert not alive(ProcessId(child.pid, "another boot/1"))
    os.kill(child.pid, signal.SIGKILL)
    assert wait(child, 60)
    assert not alive(child)


def test_a_zombie_counts_as_ended() -> None:
    child = subprocess.Popen(["/bin/sleep", "1000"])
    known = identify(child.pid)
    assert known is not None
    child.kill()
    assert wait(known, 60)
    assert not alive(known)
    assert child.returncode is None  # nobody has collected it so far
    child.wait()


@pytest.mark.parametrize("pidfds", [True, False])
async def test_an_end_is_noticed_with_and_without_pidfds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pidfds: bool
) -> None:
    if not pidfds:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = sleeper(tmp_path)
    assert not wait(child, 0.01)
    waiting = asyncio.create_task(wait_ended(child))
    await asyncio.sleep(0)
    os.kill(child.pid, signal.SIGKILL)
    await asyncio.wait_for(waiting, 60)
    await wait_ended(child)
    assert wait(child, 0)


def test_stop_ends_a_willing_child_at_once_and_an_unwilling_one_in_bounded_time(tmp_path: Path) -> None:
    assert stop(sleeper(tmp_path), (3600.0, 3600.0, 3600.0))
    stubborn = shell(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    assert stop(stubborn, SHORT)
    assert not alive(stubborn)


def test_stop_leaves_nothing_of_the_session(tmp_path: Path) -> None:
    leader = shell(tmp_path, "/bin/sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & echo $! ready; wait")
    grandchild = identify(int((tmp_path / "log").read_text().split()[0]))
    assert alive(grandchild)
    assert stop(leader, SHORT)
    until(lambda: not alive(grandchild))


def test_stop_spares_the_one_who_has_the_pid_now() -> None:
    assert stop(ProcessId(os.getpid(), "another boot/1"), SHORT)


def test_a_process_is_found_by_its_whole_command(tmp_path: Path) -> None:
    child = sleeper(tmp_path, 999.125)
    assert find_command(["/bin/sleep", "999.125"]) == child
    assert find_command(["/bin/sleep", "999.12"]) is None
    assert find_command([]) is None
    assert stop(child, SHORT)


def test_a_script_is_known_by_its_own_command(tmp_path: Path) -> None:
    script = tmp_path / "serve"
    script.write_text("#!/bin/sh\nwhile :; do sleep 0.1; done\n")
    script.chmod(0o755)
    child = spawn_detached([str(script), "--port", "1"], os.environ, tmp_path / "log")
    try:
        assert runs_command(child.pid, [str(script), "--port", "1"])
        assert not runs_command(child.pid, [str(script), "--port", "2"])
    finally:
        assert stop(child, SHORT)


async def lines_of(log: Path, is_alive: threading.Event, offset: int = 0) -> list[str]:
    return [line async for line in follow(log, offset, is_alive.is_set)]


class Writer:
    """Writes to a log while it is followed, each step after the lines so far have been read."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.alive = True
        self.seen: list[str] = []
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        async for line in follow(self.log, 0, lambda: self.alive):
            self.seen.append(line)
            self._changed.set()

    async def sees(self, expected: list[str]) -> None:
        async with asyncio.timeout(60):
            while self.seen != expected:
                self._changed.clear()
                await self._changed.wait()

    def append(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)


async def test_follow_gives_whole_lines_and_at_the_end_what_is_left(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log")
    following = asyncio.create_task(writer.follow())  # before the file is there
    writer.append("one\ntw")
    await writer.sees(["one"])
    writer.append("o\r\nfür")
    await writer.sees(["one", "two"])
    writer.append(" alle")
    writer.alive = False
    await following
    assert writer.seen == ["one", "two", "für alle"]


async def test_follow_starts_at_an_offset(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo\n")
    assert await lines_of(tmp_path / "log", threading.Event(), 4) == ["two"]


@pytest.mark.parametrize("way", ["emptied", "replaced"])
async def test_follow_goes_on_when_the_log_is_started_afresh(tmp_path: Path, way: str) -> None:
    writer = Writer(tmp_path / "log")
    following = asyncio.create_task(writer.follow())
    writer.append("one\n")
    await writer.sees(["one"])
    writer.append("two\n")  # not read before the log is started afresh
    if way == "emptied":
        (tmp_path / "log.1").write_bytes((tmp_path / "log").read_bytes())
        os.truncate(tmp_path / "log", 0)
    else:
        (tmp_path / "log").replace(tmp_path / "log.1")
    writer.append("three, and longer than all before\n")
    await writer.sees(["one", "two", "three, and longer than all before"])
    writer.alive = False
    await following


async def test_a_line_without_end_is_given_out_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * (3 * LONGEST_LINE_BYTES))
    lines = await lines_of(tmp_path / "log", threading.Event())
    assert sum(map(len, lines)) == 3 * LONGEST_LINE_BYTES
    assert len(lines) >= 2


JOB = "import json, time\nfor n in range(3): print(json.dumps({'n': n}), flush=True); time.sleep(0.05)"


async def test_a_job_is_started_once_and_followed_by_everybody(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", JOB + "\ntime.sleep(1000)"]
    first, second = Job(tmp_path, "build"), Job(tmp_path, "build")
    process_id, new = first.start(argv)
    assert new
    assert second.start(argv) == (process_id, False)
    numbers = []
    async for line in second.follow():
        numbers.append(json.loads(line)["n"])
        if len(numbers) == 3:
            assert second.stop(SHORT)
    assert numbers == [0, 1, 2]
    assert first.running() is None
    assert first.stop()


async def test_the_next_run_of_a_job_has_a_log_of_its_own(tmp_path: Path) -> None:
    job = Job(tmp_path, "download")
    for _ in range(2):
        job.start([sys.executable, "-c", JOB])
        assert [json.loads(line)["n"] async for line in job.follow()] == [0, 1, 2]


def test_two_who_start_a_job_at_once_share_one(tmp_path: Path) -> None:
    results: list[tuple[ProcessId, bool]] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        results.append(Job(tmp_path, "build").start(["/bin/sleep", "1000"]))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new for _, new in results) == [False, False, False, True]
    assert len({found for found, _ in results}) == 1
    assert Job(tmp_path, "build").stop(SHORT)


def test_a_job_whose_starter_was_killed_half_way_is_found(tmp_path: Path) -> None:
    job = Job(tmp_path, "build")
    child = spawn_detached(["/bin/sleep", "998.125"], os.environ, job.log)
    (tmp_path / "build.json").write_text(json.dumps({"argv": ["/bin/sleep", "998.125"], "process": None}))
    assert job.start(["/bin/sleep", "998.125"]) == (child, False)
    assert job.stop(SHORT)


def test_a_garbled_identity_file_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_bytes(b"\xff{")
    assert Job(tmp_path, "build").running() is None


def test_a_process_can_take_a_job_itself(tmp_path: Path) -> None:
    job = Job(tmp_path, "download")
    (tmp_path / "download.jsonl").write_text("of an earlier one")
    assert job.take() is None
    assert job.running() == identify(os.getpid())
    assert job.log.read_text() == ""
    assert job.take() == identify(os.getpid())
    assert job.start(["/bin/sleep", "1000"]) == (identify(os.getpid()), False)


def test_a_job_that_another_does_is_not_taken(tmp_path: Path) -> None:
    job = Job(tmp_path, "download")
    process, _ = job.start(["/bin/sleep", "1000"])
    assert job.take() == process
    assert job.stop(SHORT)
    assert job.take() is None
