"""A server's ordinary life under its supervisor, by the real llama-server: start, use, failure, stop, nothing left."""

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import process_time, sleep

import msgspec
import pytest

from r1tui.errors import R1tuiError
from r1tui.messages import PlanSummary, ServerSpec, Status
from r1tui.supervisor import client
from r1tui.supervisor.status import read_record
from r1tui.system.locks import holder
from r1tui.system.log_reader import follow, older_log
from r1tui.system.paths import Paths
from r1tui.system.processes import alive, identify, wait
from tests.conftest import TinyModel
from tests.supervisor_rig import SocketConnection, call, idle_spec, open_stream, spec_for, start_ready, until, watch


@pytest.fixture(autouse=True)
def nothing_is_left(paths: Paths) -> Iterator[None]:
    """After every test, whatever happened in it, `stop` leaves no process, socket, lock, key or state."""
    yield
    record = read_record(paths)
    client.stop(paths)
    assert list(paths.run.iterdir()) == []
    assert not paths.state_file.exists()
    for one in (record.supervisor, record.server) if record else ():
        assert one is None or one.pid == os.getpid() or not alive(one)


@pytest.mark.parametrize("alias", [(), ("--alias", "zed,alpha")])
def test_start_ready_stop(paths: Paths, llama_server: Path, tiny_r1: TinyModel, alias: tuple[str, ...]) -> None:
    assert client.status(paths) == Status()
    plan = PlanSummary(verdict="cpu", reasons=("no GPU",))
    spec = spec_for(llama_server, tiny_r1(), paths, *alias, plan=plan)
    started = client.start(spec, paths)
    assert started.state in ("starting", "loading", "ready")
    states = []
    for status in watch(paths):
        states.append(status.state)
        if status.settled:
            break
    assert states == [state for state in ("starting", "loading", "ready") if state in states]
    ready = until(lambda: (now := client.status(paths)).state == "ready" and now)  # told at once, written soon
    assert list(ready.as_json()) == [
        "state", "pid", "keeper_pid", "restarts", "exit_status", "variant",
        "endpoint", "uptime_s", "argv", "log", "cause", "remedy", "model_name", "remedies",
    ]  # fmt: skip
    assert ready.endpoint == f"unix:{paths.server_socket}"
    assert (ready.argv, ready.plan, ready.variant) == (spec.argv, spec.plan, "tiny")
    assert ready.uptime_s is not None
    assert 0 <= ready.uptime_s < 60
    assert ready.supervisor_pid == holder(paths.supervisor_lock)
    assert call(SocketConnection(paths.server_socket), "GET", "/health")[0] == 200
    listed = json.loads(call(SocketConnection(paths.server_socket), "GET", "/v1/models")[1])
    assert ready.model_name == listed["data"][0]["id"]
    until(lambda: "buffer size" in Path(ready.log or "").read_text(errors="replace"))
    for private in (paths.run, paths.logs, paths.server_log, paths.state_file, paths.supervisor_socket):
        assert private.stat().st_mode & 0o077 == 0
    assert client.stop(paths) == Status()
    assert client.status(paths) == Status()


def test_the_whole_life_in_the_foreground_ends_in_order_at_ctrl_c(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    spec_file = paths.state.parent / "spec.json"
    spec_file.parent.mkdir(parents=True)
    spec_file.write_bytes(msgspec.json.encode(spec_for(llama_server, tiny_r1(), paths)))
    script = (
        "import sys, msgspec\n"
        "from r1tui.errors import CancelledError\n"
        "from r1tui.supervisor.client import run_supervisor\n"
        "from r1tui.messages import PlanSummary, ServerSpec\n"
        "from r1tui.system.paths import Paths\n"
        "spec = msgspec.json.decode(open(sys.argv[1], 'rb').read(), type=ServerSpec)\n"
        "try: run_supervisor(spec, Paths.from_environment(), lambda status: print(status.state, flush=True))\n"
        "except CancelledError: print('interrupted')\n"
    )
    command = [sys.executable, "-c", script, str(spec_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as supervisor:
        assert supervisor.stdout is not None
        seen = []
        for line in supervisor.stdout:
            seen.append(line.strip())
            if seen[-1] == "ready":
                os.killpg(supervisor.pid, signal.SIGINT)  # as a terminal does: to all of the foreground
    assert seen == ["starting", "loading", "ready", "stopping", "stopped", "interrupted"]
    assert supervisor.returncode == 0


async def test_watchers_see_every_change_to_the_end(paths: Paths) -> None:
    client.start(idle_spec(paths), paths)
    states: list[str] = []
    first = asyncio.Event()

    async def watch() -> None:
        async for status in client.watch_async(paths):
            states.append(status.state)
            first.set()

    watching = asyncio.create_task(watch())
    await first.wait()
    assert (await asyncio.to_thread(client.stop, paths)).state == "stopped"
    await watching
    assert states == ["loading", "stopping", "stopped"]


def test_watching_without_a_server_ends_at_once(paths: Paths) -> None:
    assert list(watch(paths)) == [Status()]


def test_a_model_that_cannot_be_loaded_is_a_failure_with_a_cause(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_r1().read_bytes()[:8_000_000])
    client.start(spec_for(llama_server, cut, paths), paths)
    assert list(watch(paths))[-1].state == "failed"
    failed = until(
        lambda: now if (now := client.status(paths)).state == "failed" else None
    )  # told at once, written soon
    assert (failed.state, failed.exit_status, failed.pid, failed.endpoint) == ("failed", 1, None, None)
    assert failed.cause == "The model's file is incomplete or damaged."
    assert "r1tui download" in (failed.remedy or "")
    assert any("not within the file bounds" in line for line in failed.evidence)
    until(lambda: holder(paths.supervisor_lock) is None)
    assert list(paths.run.iterdir()) == []
    start_ready(spec_for(llama_server, tiny_r1(), paths), paths)  # the next start clears it
    assert client.status(paths).cause is None
    assert "not within the file bounds" in older_log(paths.server_log).read_text()


def test_a_binary_that_is_not_there_is_a_failure_with_a_cause(paths: Paths, tmp_path: Path) -> None:
    spec = ServerSpec(argv=[str(tmp_path / "llama-server")], socket=str(paths.server_socket))
    client.start(spec, paths)
    failed = list(watch(paths))[-1]
    assert failed.state == "failed"
    assert "cannot be started: No such file or directory" in (failed.cause or "")


def test_a_second_server_is_refused_by_name(paths: Paths) -> None:
    first = client.start(idle_spec(paths), paths)
    with pytest.raises(R1tuiError, match="idle is already running") as caught:
        client.start(idle_spec(paths), paths)
    assert "r1tui stop" in caught.value.remedy
    with pytest.raises(R1tuiError, match="idle is already running"):
        client.run_supervisor(idle_spec(paths), paths)
    assert client.status(paths).supervisor_pid == first.supervisor_pid


def test_of_two_starts_at_once_one_wins(paths: Paths) -> None:
    outcomes: list[Status | R1tuiError] = []
    barrier = threading.Barrier(3)

    def start() -> None:
        barrier.wait()
        try:
            outcomes.append(client.start(idle_spec(paths), paths))
        except R1tuiError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [outcome for outcome in outcomes if isinstance(outcome, R1tuiError)]
    assert len(errors) == 2
    assert all("is already running" in error.cause for error in errors), errors
    assert client.status(paths).running
    assert not list(paths.run.glob("spec-*"))


def test_stops_at_once_and_stops_twice_all_succeed(paths: Paths) -> None:
    client.start(idle_spec(paths), paths)
    outcomes: list[Status] = []
    threads = [threading.Thread(target=lambda: outcomes.append(client.stop(paths))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.state for outcome in outcomes] == ["stopped"] * 3
    assert client.stop(paths).state == "stopped"


def test_a_known_answer_is_ended_before_the_server_is(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> None:
    start_ready(spec_for(llama_server, tiny_r1(loop=True), paths), paths)
    stream = open_stream(paths.server_socket, "conversation 1/&x")
    client.answer_started(paths, "conversation 1/&x")
    client.answer_started(paths, "another")
    client.answer_ended(paths, "another")
    until(lambda: client.status(paths).answers == ["conversation 1/&x"])
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(stream.read)
        assert client.stop(paths).state == "stopped"
        reading.result()  # raises where the stream was torn


def test_an_unknown_stream_whose_reader_hangs_delays_a_stop_by_a_bounded_time(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    start_ready(spec_for(llama_server, tiny_r1(loop=True), paths), paths)
    stream = open_stream(paths.server_socket, "nobody told the supervisor")
    assert client.stop(paths).state == "stopped"
    stream.close()


def test_a_port_is_guarded_by_a_key_that_lasts_as_long_as_the_server(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    spec = spec_for(llama_server, tiny_r1(), paths, tcp=True)
    ready = start_ready(spec, paths)
    assert ready.tcp is not None
    key = paths.api_key.read_text().strip()
    assert paths.api_key.stat().st_mode & 0o077 == 0
    tcp = http.client.HTTPConnection(ready.tcp, timeout=60)
    assert call(tcp, "GET", "/props")[0] == 401
    assert call(tcp, "GET", "/props", key=key)[0] == 200
    assert call(SocketConnection(paths.server_socket), "GET", "/props", key=key)[0] == 200
    assert key not in json.dumps(ready.argv)
    assert key not in paths.state_file.read_text()
    client.stop(paths)
    assert not paths.api_key.exists()


def test_neither_environment_nor_llama_cpps_own_config_changes_the_server(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "config.ini").write_text("[*]\nctx-size = 512\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("LLAMA_ARG_HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "512")
    monkeypatch.setenv("LLAMA_API_KEY", "theirs")
    monkeypatch.setenv("HF_TOKEN", "secret")
    plan = PlanSummary(env={"GGML_OP_OFFLOAD_MIN_BATCH": "128"})
    ready = start_ready(spec_for(llama_server, tiny_r1(), paths, plan=plan), paths)
    code, body = call(SocketConnection(paths.server_socket), "GET", "/props")
    assert code == 200
    assert json.loads(body)["default_generation_settings"]["n_ctx"] == 8192
    if sys.platform == "linux":
        environ = Path(f"/proc/{ready.pid}/environ").read_bytes()
        assert not any(name in environ for name in (b"LLAMA_ARG_", b"theirs", b"secret"))
        assert b"GGML_OP_OFFLOAD_MIN_BATCH=128" in environ.split(b"\0")  # what its plan wants, it has


async def test_a_flood_of_log_is_capped_and_its_reader_loses_nothing(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    spec = spec_for(llama_server, tiny_r1(), paths, log_max_mib=1)
    await asyncio.to_thread(start_ready, spec, paths)
    done = threading.Event()
    seen: set[int] = set()

    async def read() -> None:
        async for line in follow(paths.server_log, 0, lambda: not done.is_set()):
            seen.update(int(number) for number in re.findall(r"marker-(\d{4})-", line))

    def flood() -> None:
        connection = SocketConnection(paths.server_socket)
        for number in range(800):
            call(connection, "DELETE", f"/v1/stream?conv_id=marker-{number:04}-" + "x" * 2000)  # logged twice

    reading = asyncio.create_task(read())

    def there() -> set[str]:
        return {path.name for path in paths.logs.iterdir()} - {paths.own_log.name}  # a busy machine has things to say

    await asyncio.to_thread(flood)
    await asyncio.to_thread(until, lambda: 799 in seen)  # llama-server's own thread writes it
    await asyncio.to_thread(until, lambda: paths.server_log.stat().st_size <= 1 << 20)
    done.set()
    await reading
    assert older_log(paths.server_log).stat().st_mode & 0o077 == 0
    until(lambda: there() == {"keeper.log", "server.log", "server.log.1"})  # no copy is left
    assert seen == set(range(800))
    assert client.status(paths).state == "ready"


def test_an_idle_supervisor_is_small_and_sleeps(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> None:
    supervisor = start_ready(spec_for(llama_server, tiny_r1(), paths), paths).supervisor_pid
    if sys.platform != "linux":
        pytest.skip("read from /proc")

    def ticks() -> int:
        fields = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def sleeps() -> bool:
        before = ticks()
        sleep(2)  # what is measured is that nothing happens in it
        return ticks() - before <= 2  # hundredths of a second

    until(sleeps)  # just after the start there is something to do
    resident = int(Path(f"/proc/{supervisor}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 40 << 20


def test_status_costs_little(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> None:
    start_ready(spec_for(llama_server, tiny_r1(), paths), paths)
    costs_s = []
    for _ in range(20):
        started_s = process_time()
        assert client.status(paths).state == "ready"
        costs_s.append(process_time() - started_s)
    assert median(costs_s) < 0.01
    script = (
        "import sys; from r1tui.supervisor import client; from r1tui.system.paths import Paths\n"
        "client.status(Paths.from_environment())\n"
        "heavy = {'asyncio', 'http', 'httpx2', 'textual', 'huggingface_hub', 'yaml', 'psutil', 'platformdirs', 'ssl'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"


def test_a_hang_up_does_not_concern_a_detached_supervisor(paths: Paths) -> None:
    started = client.start(idle_spec(paths), paths)
    assert started.supervisor_pid is not None
    supervisor = identify(started.supervisor_pid)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGHUP)
    assert not wait(supervisor, 0.2)
    os.kill(supervisor.pid, signal.SIGTERM)
    assert wait(supervisor, 60)
    assert client.status(paths) == Status()
