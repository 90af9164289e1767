"""`r1tui download` as a process: killed, interrupted, followed by a second one; and what it must never write down."""

import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.gguf.parse import BEGINNING_BYTES
from r1tui.gguf.source import CHUNK_BYTES
from r1tui.hub.download.staging import download_job, running_downloads, staging_folder, unfinished
from r1tui.system.paths import Paths
from r1tui.system.processes import is_suspended
from tests.conftest import CommandLine
from tests.hub_server import REPO, SIGNATURE, Faults, Hub

NAME = f"hf:{REPO}:Big"
BIG = Variant(NAME, repo=REPO, pattern="*Big*")
SIZE_BYTES = 40 << 20
HEADER_BYTES = BEGINNING_BYTES + CHUNK_BYTES
KILLS = 4
BOUND_BYTES = 16 << 20
"""What one connection may fetch twice after a kill."""
TOKEN = "hf_aSecretThatNobodyMaySee"  # noqa: S105
PATIENCE_S = 60.0


@pytest.fixture
def command(paths: Paths) -> CommandLine:
    """`r1tui` with one connection; nothing here needs an engine."""
    command_line = CommandLine(paths)
    command_line.configure("download: {connections: 1}\n")
    return command_line


@pytest.fixture
def big(hub: Hub) -> bytes:
    """A file on the hub that is large enough to be interrupted in."""
    data = b"GGUF" + random.Random(3407).randbytes(SIZE_BYTES - 4)  # noqa: S311
    hub.repositories[REPO].files["Tiny-R1-Big.gguf"] = data
    return data


def until(fact: Callable[[], bool]) -> None:
    """Wait for a fact."""
    deadline_s = monotonic() + PATIENCE_S
    while not fact():
        assert monotonic() < deadline_s, "it did not happen"
        sleep(0.01)


def begun(hub: Hub, command: CommandLine, n_bytes: int) -> "subprocess.Popen[str]":
    """A download of which that much has been sent, and nothing more until the hub's limit is taken away."""
    hub.limit_bytes = hub.sent.total() + n_bytes
    process = command.start("download", "--json", NAME)
    until(lambda: hub.sent.total() >= (hub.limit_bytes or 0) or process.poll() is not None)
    assert process.poll() is None
    return process


def test_killed_again_and_again_little_is_fetched_twice(hub: Hub, command: CommandLine, big: bytes) -> None:
    steps = random.Random(5)  # noqa: S311
    for _ in range(KILLS):
        known, _ = unfinished(BIG, command.paths, Config()) or (0, 0)
        process = begun(hub, command, steps.randrange(1 << 20, (SIZE_BYTES - known) // 2))
        process.kill()
        process.wait()
        kept, _ = unfinished(BIG, command.paths, Config()) or (0, 0)
        assert known <= kept
    hub.limit_bytes = None
    asked_before, (kept, total) = hub.asked.total(), unfinished(BIG, command.paths, Config()) or (0, 0)
    done = command("download", NAME)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == big
    assert hub.asked.total() - asked_before == total - kept
    assert hub.sent.total() - SIZE_BYTES <= KILLS * BOUND_BYTES


def test_ctrl_c_keeps_what_came_and_says_how_to_go_on(hub: Hub, command: CommandLine, big: bytes) -> None:
    process = begun(hub, command, 4 << 20)
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "files_progress" and event["files"][0]["done"]:
            break
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    last = json.loads(stdout.splitlines()[-1])
    assert (last["event"], last["exit_status"]) == ("stage_failed", 130)
    assert f"r1tui download {NAME}" in last["remedy"]
    kept, total = unfinished(BIG, command.paths, Config()) or (0, 0)
    assert 0 < kept < total == SIZE_BYTES


def test_a_second_download_follows_the_first(hub: Hub, command: CommandLine, big: bytes) -> None:
    first = begun(hub, command, 1 << 20)
    assert running_downloads(command.paths) == [NAME]
    second = command.start("download", "--json", NAME)
    assert second.stdout is not None
    beginning = second.stdout.readline()
    hub.limit_bytes = None
    stdout, _ = second.communicate(timeout=PATIENCE_S)
    first.communicate(timeout=PATIENCE_S)
    assert (first.returncode, second.returncode) == (0, 0)
    assert f"is already being downloaded (PID {first.pid})" in json.loads(beginning)["text"]
    events = [json.loads(line) for line in stdout.splitlines()]
    assert any(event["event"] == "files_progress" for event in events)
    assert events[-1]["event"] == "stage_done"
    assert hub.asked["Tiny-R1-Big.gguf"] <= SIZE_BYTES + HEADER_BYTES, "it was fetched once, its header apart"
    assert running_downloads(command.paths) == []


def test_a_second_download_says_that_the_first_is_suspended(hub: Hub, command: CommandLine, big: bytes) -> None:
    first = begun(hub, command, 1 << 20)
    first.send_signal(signal.SIGSTOP)
    until(lambda: is_suspended(first.pid))
    second = command.start("download", "--json", NAME)
    assert second.stdout is not None
    _, said = second.stdout.readline(), json.loads(second.stdout.readline())["text"]
    assert said == f"Process {first.pid} is suspended: `kill -CONT {first.pid}` continues it."
    first.send_signal(signal.SIGCONT)
    hub.limit_bytes = None
    for process in (second, first):
        process.communicate(timeout=PATIENCE_S)
    assert (first.returncode, second.returncode) == (0, 0)


def test_neither_token_nor_signed_address_is_written_down(
    hub: Hub, command: CommandLine, big: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults = Faults(
        redirect=True, expires_after=1, drop_after_bytes=15 << 20, stalls=1, refusals=[(500, {}), (403, {})]
    )
    command.configure("download: {connections: 2, stall_s: 1}\n")
    process = begun(hub, command, 1)
    arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
    hub.limit_bytes = None
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    written = [path.read_text(errors="replace") for path in command.paths.state.rglob("*") if path.is_file()]
    said = "\n".join([arguments, stdout, stderr, *written])
    assert "expired" in said
    for secret in (TOKEN, SIGNATURE, *hub.signatures):
        assert secret not in said
    assert hub.authorised == {"hub"}


def test_a_small_disk_is_refused_before_the_first_byte(hub: Hub, command: CommandLine) -> None:
    hub.repositories[REPO].files["Tiny-R1-Big.gguf"] = huge = command.paths.data.parent / "huge"
    huge.parent.mkdir(parents=True, exist_ok=True)
    with huge.open("wb") as file:
        file.truncate(1 << 43)
    hub.repositories[REPO].sha256["Tiny-R1-Big.gguf"] = "0" * 64
    refused = command("download", NAME)
    assert refused.returncode == 1
    assert re.search(r"needs 8\.0 TiB; .* has [\d.]+ [GT]iB free", refused.stderr)
    assert unfinished(BIG, command.paths, Config()) is None
    assert not staging_folder(BIG, command.paths.models).exists()


def test_a_download_that_was_started_detached_is_the_same_job(hub: Hub, command: CommandLine, big: bytes) -> None:
    first = begun(hub, command, 1 << 20)
    job = download_job(BIG, command.paths)
    assert job.running() is not None
    assert job.stop()
    first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130
    assert job.running() is None


def test_it_comes_through_a_proxy(hub: Hub, command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, hub.url)
    done = command.alone("download", f"hf:{REPO}:Q8_0")
    assert done.returncode == 0, done.stderr
    first = min(path for path in hub.repositories[REPO].files if path.startswith("Q8_0"))
    assert Path(done.stdout.strip()).read_bytes() == hub.repositories[REPO].files[first]


def test_before_the_first_byte_it_says_what_comes_and_how_it_would_run(hub: Hub, command: CommandLine) -> None:
    done = command("download", f"hf:{REPO}:Q8_0", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    notices = [event["text"] for event in events if event["event"] == "notice"]
    assert notices[0].startswith("On this machine: ")
    assert notices[1].startswith("2 files, ")
    assert "GiB free)" in notices[1]
    assert events[-1]["event"] == "stage_done"


def test_an_open_umask_lets_nobody_else_write(hub: Hub, paths: Paths) -> None:
    def run(*arguments: str) -> int:
        program = f"import os; os.umask(0); from r1tui.cli import main; main({list(arguments)!r})"
        return subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode

    assert run("plan", f"hf:{REPO}:Q8_0") in (0, 1)  # there need not be an engine
    assert run("download", f"hf:{REPO}:Q8_0") == 0
    home = paths.state.parent
    assert [path for path in home.rglob("*.gguf") if path.is_relative_to(paths.models)]
    open_to_others = [path for path in (home, *home.rglob("*")) if path.exists() and path.stat().st_mode & 0o022]
    assert open_to_others == []
