"""The supervisor's tasks: none dies in silence, none leaves a server behind, and none waits for a disk on its loop."""

import json
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from r1tui.errors import R1tuiError
from r1tui.messages import ProcessId, ServerSpec, Status
from r1tui.server.prompt_cache import FLAG, PromptCacheFolder
from r1tui.server.record import UNRECORDED_EVENT, record_file
from r1tui.supervisor import client
from r1tui.supervisor.protocol import asker_of, new_conversation_id
from r1tui.supervisor.status import read_record
from r1tui.system.paths import Paths
from r1tui.system.processes import alive, identify, spawn_detached
from tests.conftest import TinyModel
from tests.supervisor_rig import SocketConnection, Toy, call, open_stream, spec_for, start_ready, until, watch

POINTS = {
    "r1tui.supervisor.watches:check_health": "Checking the server's health (supervisor)",
    "r1tui.supervisor.watches:OomWatch.look": "Watching log and memory (supervisor)",
    "r1tui.supervisor.watches:cap_log": "Watching log and memory (supervisor)",
    "r1tui.supervisor.watches:is_asked_by_others": "Watching the server's owner (supervisor)",
    "r1tui.supervisor.prompts:idle_s": "Saving prompt caches (supervisor)",
}
"""Where a task of a running server meets what nobody foresaw, and what it is called then."""
OTHERS = (
    "r1tui.supervisor.lifecycle:wait_ended", "r1tui.supervisor.lifecycle:diagnose",
    "r1tui.supervisor.lifecycle:end_server", "r1tui.supervisor.lifecycle:clean_up",
    "r1tui.supervisor.lifecycle:begin_log", "r1tui.supervisor.lifecycle:identify",
    "r1tui.supervisor.recorder:opened", "r1tui.supervisor.recorder:RecordFile.append",
    "r1tui.supervisor.control:_understand",
    "r1tui.supervisor.book:write_record", "r1tui.supervisor.ending:_end_answers", "r1tui.supervisor.ending:save_at_end",
    "r1tui.supervisor.ending:wait_vram_free",
)  # fmt: skip


class Hook:
    """What is done to the supervisor, see `tests/hooks/sitecustomize.py`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "points").write_text("\n".join([*POINTS, *OTHERS]))

    def raises(self, *points: str) -> None:
        """From now on these functions raise."""
        (self._folder / "raise").write_text("\n".join(points))

    def raises_nothing(self) -> None:
        (self._folder / "raise").unlink()

    def stalls(self) -> None:
        """From now on every touch of the disk hangs."""
        (self._folder / "stall").touch()

    def goes_on(self) -> None:
        (self._folder / "stall").unlink(missing_ok=True)

    def notes_the_loop(self) -> None:
        """From now on every touch of the disk by the event loop is noted."""
        (self._folder / "on-loop").touch()

    @property
    def on_loop(self) -> list[str]:
        return (self._folder / "on-loop").read_text().splitlines()


@pytest.fixture(autouse=True)
def nothing_is_left(paths: Paths) -> Iterator[None]:
    """After every test, whatever happened in it, no process runs on."""
    yield
    client.stop(paths)


@pytest.fixture
def hook(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """A hook in every supervisor of this test."""
    folder = tmp_path / "hook"
    folder.mkdir()
    hooks = str(Path(__file__).with_name("hooks"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [hooks, os.environ.get("PYTHONPATH", "")])))
    monkeypatch.setenv("R1TUI_TEST_HOOK", str(folder))
    hook = Hook(folder)
    yield hook
    hook.goes_on()


def server_of(paths: Paths) -> ProcessId:
    record = read_record(paths)
    assert record is not None
    assert record.server is not None
    return record.server


def ended(paths: Paths) -> Status:
    """How it ended, as a watcher sees it, and who looks at the file."""
    last = list(watch(paths))[-1]
    until(lambda: client.status(paths).supervisor_pid is None)
    now = client.status(paths)
    assert (now.state, now.cause) == (last.state, last.cause)
    return now


def watched_spec(paths: Paths, toy: Toy, owner: ProcessId | None = None) -> ServerSpec:
    """A server with work for each of the supervisor's tasks."""
    argv = toy.argv("--sleep-idle-seconds", "1", FLAG, str(paths.kept_prompts))
    return ServerSpec(
        variant="toy", argv=argv, socket=str(paths.server_socket), owner=owner, sleeps=True, silence_s=0.2
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_task_that_dies_ends_the_server_and_says_so(point: str, hook: Hook, paths: Paths, tmp_path: Path) -> None:
    owner = spawn_detached(["/bin/sleep", "1000"], os.environ, tmp_path / "owner.log")
    early = point.endswith("idle_s")  # is asked once
    if early:
        hook.raises(point)
        client.start(watched_spec(paths, Toy(paths, tmp_path), owner), paths)
    else:
        start_ready(watched_spec(paths, Toy(paths, tmp_path), owner), paths)
    server = server_of(paths)
    hook.raises(point)
    if point.endswith("is_asked_by_others"):
        os.kill(owner.pid, signal.SIGKILL)
    failed = ended(paths)
    assert failed.state == "failed"
    assert failed.cause == f"{POINTS[point]} ended with an unexpected error (KeyError)."
    assert failed.remedy == f"Start it again with `r1tui serve`. Details: {paths.own_log}"
    assert not alive(server)
    log = paths.own_log.read_text()
    assert "Traceback" in log or "File " in log
    assert "KeyError" in log
    if alive(owner):
        os.kill(owner.pid, signal.SIGKILL)


def test_the_real_server_is_ended_in_order_when_a_task_dies(
    hook: Hook, paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    start_ready(spec_for(llama_server, tiny_r1(loop=True), paths, silence_s=0.2), paths)
    server = server_of(paths)
    name = new_conversation_id()
    client.answer_started(paths, name)
    open_stream(paths.server_socket, name, max_tokens=100_000).close()
    hook.raises("r1tui.supervisor.watches:check_health")
    failed = ended(paths)
    assert (failed.state, failed.exit_status) == ("failed", 0)
    assert "the server's health" in (failed.cause or "")
    assert not alive(server)
    assert not list(paths.run.iterdir())


@pytest.mark.parametrize(
    "point", ["lifecycle:wait_ended", "lifecycle:diagnose", "lifecycle:begin_log", "lifecycle:identify"]
)
def test_the_supervisor_s_own_course_may_not_die_in_silence_either(
    point: str, hook: Hook, paths: Paths, tmp_path: Path
) -> None:
    name = f"r1tui.supervisor.{point}"
    spec = Toy(paths, tmp_path).spec(restart_delays_s=[0.0])
    server = None
    if point == "lifecycle:diagnose":
        start_ready(spec, paths)
        server = server_of(paths)
        hook.raises(name)
        os.kill(server.pid, signal.SIGKILL)
    elif point == "lifecycle:begin_log":
        start_ready(spec, paths)
        server = server_of(paths)
        hook.raises(name)
        client.restart(paths)
    else:
        hook.raises(name)
        client.start(spec, paths)
    failed = ended(paths)
    assert failed.state == "failed"
    assert "unexpected error (KeyError)" in (failed.cause or "")
    assert server is None or not alive(server)
    hook.raises_nothing()
    start_ready(spec, paths)  # the next start clears it


@pytest.mark.parametrize(
    "points",
    [
        ("lifecycle:end_server",),
        ("lifecycle:clean_up",),
        ("ending:_end_answers", "ending:save_at_end", "ending:wait_vram_free"),
        ("book:write_record",),
    ],
)
def test_whatever_goes_wrong_in_a_stop_it_ends_the_server(
    points: tuple[str, ...], hook: Hook, paths: Paths, tmp_path: Path
) -> None:
    start_ready(Toy(paths, tmp_path).spec(), paths)
    server = server_of(paths)
    client.answer_started(paths, "1-a")
    hook.raises(*(f"r1tui.supervisor.{point}" for point in points))
    assert client.stop(paths) == Status()
    assert not alive(server)
    assert client.status(paths) == Status()
    assert "injected" in paths.own_log.read_text() or "KeyError" in paths.own_log.read_text()


def test_a_recording_that_dies_costs_its_answer_the_rest_and_not_the_server(
    hook: Hook, paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    start_ready(spec_for(llama_server, tiny_r1(loop=True), paths), paths)
    name = new_conversation_id()
    client.answer_started(paths, name)
    open_stream(paths.server_socket, name, max_tokens=100_000).close()
    record = record_file(paths.answers, name)
    until(lambda: record.exists() and record.stat().st_size > 1000)
    hook.raises("r1tui.supervisor.recorder:RecordFile.append")
    until(lambda: client.status(paths).answers == [])
    assert record.read_bytes().endswith(UNRECORDED_EVENT)
    hook.raises_nothing()
    assert client.status(paths).state == "ready"
    until(lambda: not json.loads(call(SocketConnection(paths.server_socket), "GET", "/slots")[1])[0]["is_processing"])
    assert asker_of(name) == os.getpid()


def test_a_request_that_fails_in_the_supervisor_is_refused_and_the_next_one_is_not(
    hook: Hook, paths: Paths, tmp_path: Path
) -> None:
    start_ready(Toy(paths, tmp_path).spec(), paths)
    server = server_of(paths)
    hook.raises("r1tui.supervisor.control:_understand")
    with pytest.raises(R1tuiError, match="KeyError"):
        client.answer_started(paths, "1-a")
    hook.raises_nothing()
    client.answer_started(paths, "1-a")
    assert client.status(paths).answers == ["1-a"]
    assert alive(server)


def test_a_damaged_note_of_the_slot_does_not_keep_a_server_from_being_stopped(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    paths.kept_prompts.mkdir(parents=True)
    start_ready(spec_for(llama_server, tiny_r1(), paths, FLAG, str(paths.kept_prompts)), paths)
    server = server_of(paths)
    held = PromptCacheFolder(paths.kept_prompts)
    for content in (b"\xff", b'{"prompt": "\xff"}', b"[" * 100_000, b"{}", b'{"task": 1e400}'):
        (paths.kept_prompts / "held").write_bytes(content)
        assert held.held(server) is None
    (paths.kept_prompts / "held").write_bytes(b'{"a": "\xff"}')
    assert client.stop(paths) == Status()
    assert not alive(server)


def test_the_disk_is_never_touched_on_the_event_loop(
    hook: Hook, paths: Paths, llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    paths.kept_prompts.mkdir(parents=True)
    arguments = (FLAG, str(paths.kept_prompts))
    hook.notes_the_loop()
    spec = spec_for(llama_server, tiny_r1(loop=True), paths, *arguments, tcp=True, log_max_mib=0)
    start_ready(spec, paths)
    name = new_conversation_id()
    client.answer_started(paths, name)
    key = paths.api_key.read_text().strip()
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 200}
    connection = SocketConnection(paths.server_socket)
    headers = {"Authorization": f"Bearer {key}", "X-Conversation-Id": name}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    connection.getresponse().read()
    client.answer_ended(paths, name)
    until(lambda: client.status(paths).answers == [])
    first = server_of(paths)
    until(lambda: (record := read_record(paths)) is not None and record.log_capped)
    client.restart(paths)
    until(lambda: client.status(paths).state == "ready" and server_of(paths) != first)
    os.kill(server_of(paths).pid, signal.SIGKILL)
    assert ended(paths).state == "failed"
    start_ready(spec, paths)
    client.stop(paths)
    assert hook.on_loop == []


def test_a_disk_that_hangs_does_not_make_the_supervisor_deaf(hook: Hook, paths: Paths, tmp_path: Path) -> None:
    start_ready(Toy(paths, tmp_path).spec(silence_s=0.2), paths)
    server = server_of(paths)
    seen: list[Status] = []
    threading.Thread(target=lambda: deque(map(seen.append, watch(paths)), maxlen=0), daemon=True).start()
    until(lambda: seen)
    hook.stalls()
    client.answer_started(paths, "1-a")
    os.kill(server.pid, signal.SIGSTOP)
    until(lambda: seen[-1].hangs)
    os.kill(server.pid, signal.SIGCONT)
    until(lambda: not seen[-1].hangs)
    client.answer_ended(paths, "1-a")
    assert client.stop(paths) == Status()
    assert not alive(server)
    until(lambda: seen[-1].state == "stopped")


def test_what_a_hanging_disk_held_up_is_written_in_order_when_it_goes_on(
    hook: Hook, paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    start_ready(spec_for(llama_server, tiny_r1(loop=True), paths), paths)
    name = new_conversation_id()
    client.answer_started(paths, name)
    record = record_file(paths.answers, name)
    stream = open_stream(paths.server_socket, name, max_tokens=500)
    until(lambda: record.exists() and record.stat().st_size > 1000)
    hook.stalls()
    stream.read()  # to the end, while nothing can be written
    client.answer_started(paths, "2-b")
    hook.goes_on()
    until(lambda: record.read_bytes().endswith(b"data: [DONE]\n\n"))
    until(lambda: client.status(paths).answers == ["2-b"])
    supervisor = client.status(paths).supervisor_pid
    assert supervisor is not None
    assert identify(supervisor)


def test_an_open_umask_opens_nothing_of_the_supervisor_or_its_server(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    before = os.umask(0)
    try:
        spec = spec_for(llama_server, tiny_r1(), paths, FLAG, str(paths.kept_prompts), tcp=True)
        start_ready(spec, paths)
    finally:
        os.umask(before)
    key = paths.api_key.read_text().strip()
    name = new_conversation_id()
    client.answer_started(paths, name)
    connection = SocketConnection(paths.server_socket)
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 5})
    headers = {"Authorization": f"Bearer {key}", "X-Conversation-Id": name}
    connection.request("POST", "/v1/chat/completions", body, headers)
    connection.getresponse().read()
    until(lambda: record_file(paths.answers, name).exists())
    saved = call(SocketConnection(paths.server_socket), "POST", "/slots/0?action=save", {"filename": "x.kv"}, key)
    assert saved[0] == 200
    made = [file for folder in (paths.state, paths.run, paths.kept_prompts) for file in (folder, *folder.rglob("*"))]
    assert {paths.kept_prompts / "x.kv", paths.server_socket, paths.state_file, paths.api_key} <= set(made)
    assert [file for file in made if file.exists() and file.stat().st_mode & 0o077] == []
    client.stop(paths)
