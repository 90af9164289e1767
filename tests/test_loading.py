"""A server that comes up is seen: how much is in memory, what it does, and that it is stuck only when nothing moves."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from r1tui.events import LogLine, Notice, Progress, StageDone, StageEvent, StageFailed
from r1tui.launch.loading import LoadingWatch, follow_server, outcome, read_signs
from r1tui.messages import DevicePlan, HostPlan, PlanSummary, Status
from r1tui.supervisor import client
from r1tui.system.paths import Paths
from tests.conftest import TinyModel
from tests.supervisor_rig import Toy, spec_for

MIB = 1 << 20
HOLDS = "import time; held = bytearray(b'x') * (64 << 20); print('held', flush=True); time.sleep(1000)"


def collected(watch: LoadingWatch, enough: Callable[[list[StageEvent]], bool]) -> list[StageEvent]:
    """What is seen until that is enough."""
    events: list[StageEvent] = []
    deadline_s = monotonic() + 90
    while not enough(events):
        assert monotonic() < deadline_s, events
        events += watch.look()
        sleep(0.02)
    watch.close()
    return events


def test_what_the_process_holds_is_the_progress(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        watch = LoadingWatch(process.pid, tmp_path / "log", 128 * MIB, 1000.0)
        [seen] = [one for one in collected(watch, bool) if isinstance(one, Progress)]
        assert 64 * MIB <= seen.done < 128 * MIB
        assert (seen.total, seen.unit) == (128 * MIB, "bytes")
        process.kill()


def test_it_is_stuck_when_nothing_moves_and_that_is_told_once(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        watch = LoadingWatch(process.pid, tmp_path / "log", None, 0.2)
        events = collected(watch, lambda events: any(isinstance(one, Notice) for one in events))
        events += watch.look()
        [notice] = [one for one in events if isinstance(one, Notice)]
        assert "has done nothing" in notice.text
        process.kill()


def test_a_line_in_the_log_is_a_sign_of_life(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen(["sleep", "1000"]) as process:
        watch = LoadingWatch(process.pid, log, None, 0.05)
        collected(watch, lambda events: any(isinstance(one, Notice) for one in events))
        with log.open("a") as file:
            file.write("0.00.008.767 I load_tensors: loading model tensors, this can take a while...\n")
        steps = [one for one in watch.look() if isinstance(one, LogLine)]
        assert steps == [LogLine("server", "reading the weights")]
        collected(watch, lambda events: any(isinstance(one, Notice) for one in events))  # and stuck again
        process.kill()


def test_figures_of_no_process_are_none() -> None:
    mine = read_signs(os.getpid())
    assert mine is not None
    assert mine.resident_bytes > MIB
    with subprocess.Popen(["true"]) as gone:
        pass
    assert read_signs(gone.pid) is None


def test_the_weights_of_a_plan_are_those_of_all_places() -> None:
    devices = (DevicePlan(weights_mib=5), DevicePlan(weights_mib=7))
    assert PlanSummary(host=HostPlan(weights_mib=10), devices=devices).weights_bytes == 22 * MIB


@pytest.fixture
async def stopped(paths: Paths) -> AsyncIterator[Paths]:
    yield paths
    client.stop(paths)


async def test_a_real_server_is_followed_until_it_is_ready(
    stopped: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    seen: list[Status] = []
    client.start(spec_for(llama_server, tiny_r1(), stopped), stopped)
    events = [event async for event in follow_server(stopped, 60.0, seen.append)]
    assert events[-1] == LogLine("server", "ready")
    assert seen[-1].state == "ready"
    assert isinstance(outcome(seen[-1]), StageDone)


async def test_every_new_start_is_told_with_its_reason(stopped: Paths, tmp_path: Path) -> None:
    toy = Toy(stopped, tmp_path)
    toy.acts({"loads": True})
    client.start(toy.spec(restart_delays_s=[0.0]), stopped)
    events = follow_server(stopped, 60.0)
    async for event in events:
        if event == LogLine("server", "loading"):
            toy.acts({})
            client.restart(stopped)
            break
    rest = [event async for event in follow_server(stopped, 60.0)]
    assert Notice("server", "Stopped on request. Restarting.") in rest
    assert rest[-1] == LogLine("server", "ready")
    await events.aclose()
    again = [event async for event in follow_server(stopped, 60.0, restarts=1)]
    assert again == [LogLine("server", "ready")]


def test_how_it_ended_is_told() -> None:
    assert isinstance(outcome(Status(state="failed", cause="x", remedy="y")), StageFailed)
    assert outcome(None) == StageFailed("server", "The server was stopped before it was ready.", "", 130)
