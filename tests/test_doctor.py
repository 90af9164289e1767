"""`r1tui doctor`: what is needed for a chat and missing is exit status 1; what only would be better is not."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from r1tui.cli import checks
from r1tui.cli.checks import Check, Checkup, is_healthy, problem_of, sockets_problem
from r1tui.cli.context import Context
from r1tui.errors import R1tuiError
from r1tui.supervisor.status import mark_environment
from r1tui.system.paths import Paths
from tests.conftest import CommandLine
from tests.fake_nvml import fails, fake_nvml
from tests.supervisor_rig import Toy, start_ready


def report_of(r1tui: CommandLine, status: int) -> dict[str, dict[str, Any]]:
    """The checks by their names (of several, the last), once exit status and `ok` are as expected."""
    ran = r1tui("doctor", "--json")
    assert ran.returncode == status, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["ok"] == (status == 0)
    assert all({"name", "level", "found", "remedy", "needed"} == set(check) for check in report["checks"])
    assert all(check["remedy"] and check["needed"] for check in report["checks"] if check["level"] == "missing")
    return {check["name"]: check for check in report["checks"]}


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)


def test_a_machine_with_an_engine_is_well(r1tui: CommandLine) -> None:
    found = report_of(r1tui, 0)
    assert found["engine"]["level"] == "ok"
    assert found["engine"]["needed"]
    assert not found["compiler"]["needed"]
    assert r1tui("doctor").returncode == 0


def test_no_compiler_and_no_engine(r1tui: CommandLine, no_compiler: None) -> None:
    r1tui.configure("")
    found = report_of(r1tui, 1)
    assert found["compiler"]["level"] == "missing"
    assert "install" in found["compiler"]["remedy"]
    ran = r1tui("doctor")
    assert ran.returncode == 1
    assert "NO  compiler" in ran.stdout


def test_no_compiler_beside_an_engine_that_runs(r1tui: CommandLine, no_compiler: None) -> None:
    assert report_of(r1tui, 0)["compiler"]["level"] == "note"


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 3\n", "#!/no/such/interpreter\n", "#!/bin/sh\nkill -ILL $$\n"])
def test_an_engine_that_does_not_run(r1tui: CommandLine, tmp_path: Path, script: str) -> None:
    broken = tmp_path / "llama-server"
    broken.write_text(script)
    broken.chmod(0o755)
    r1tui.configure(f"engine: {{source: '{broken}'}}\n")
    found = report_of(r1tui, 1)
    assert found["engine"]["level"] == "missing"
    assert found["compiler"]["needed"]


def test_an_engine_that_is_not_there(r1tui: CommandLine, tmp_path: Path) -> None:
    r1tui.configure(f"engine: {{source: '{tmp_path / 'gone'}'}}\n")
    assert report_of(r1tui, 1)["engine"]["level"] == "missing"


@pytest.mark.parametrize("config", ["{{{", "server: {thread: 4}\n", "\x00", "[1]"])
def test_a_damaged_config(r1tui: CommandLine, config: str) -> None:
    right = r1tui.paths.config_file.read_text()
    r1tui.configure(config)
    assert report_of(r1tui, 1)["config"]["level"] == "missing"
    r1tui.configure(right)


def test_a_folder_that_is_a_file(r1tui: CommandLine) -> None:
    r1tui.paths.state.parent.mkdir(parents=True, exist_ok=True)
    r1tui.paths.state.write_text("")
    try:
        ran = r1tui("doctor", "--json")
        state = [one for one in json.loads(ran.stdout)["checks"] if one["name"] == "state"]
        assert (ran.returncode, state[0]["level"], state[0]["needed"]) == (1, "missing", True)
    finally:
        r1tui.paths.state.unlink()


def test_a_models_folder_of_the_user_s_that_cannot_be_written_is_not_needed(r1tui: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    r1tui.configure(r1tui.paths.config_file.read_text() + f"model_folders: ['{tmp_path}/file', '{tmp_path}/gone']\n")
    assert report_of(r1tui, 0)["models"]["level"] == "note"


def test_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    """On a real one, where this user may mount."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("no right to mount")
    try:
        assert problem_of(tmp_path / "not/there/yet") is None
        with (tmp_path / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        problem = problem_of(tmp_path / "not/there/yet")
        assert problem is not None
        assert "full" in problem.found
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        problem = problem_of(tmp_path)
        assert problem is not None
        assert "cannot write to" in problem.found
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    assert problem_of(tmp_path) is None
    assert sockets_problem(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError(95, "Operation not supported")

    monkeypatch.setattr(socket, "socket", Refused)
    problem = sockets_problem(tmp_path)
    assert problem is not None
    assert "without Unix sockets" in problem.found
    assert "R1TUI_HOME" in problem.remedy


def test_a_package_that_is_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.missing_packages() == []
    wanted = [
        "msgspec>=0.20",
        "no-such-package>=1",
        "textual==0.1",
        "other; extra == 'dev'",
        "gone; python_version<'3'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    assert checks.missing_packages() == ["no-such-package>=1", "textual==0.1"]
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert checks.missing_packages() == ["no-such-package>=1", "gone; python_version<'3'"]


Look = Callable[..., dict[str, Check]]


@pytest.fixture
def look(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Look:
    """A checkup in this process of a machine with the NVML that is given, without an engine and without nvcc."""

    def run(config: str = "", **nvml: Any) -> dict[str, Check]:
        monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**nvml))
        monkeypatch.setattr("r1tui.engine.system._find", lambda program, env, folders: None)
        paths.config_file.parent.mkdir(parents=True, exist_ok=True)
        paths.config_file.write_text(config)
        found = list(Checkup(Context()).checks())
        assert is_healthy(found) == all(check.level != "missing" for check in found)
        return {check.name: check for check in found}

    return run


def test_a_lost_card_is_named(look: Look) -> None:
    right = fake_nvml().nvmlDeviceGetMemoryInfo
    found = look(
        "engine: {backend: cpu}\n",
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetMemoryInfo=lambda handle: fails() if handle == 1 else right(handle),
    )
    assert found["GPU 0"].level == "ok"
    assert found["GPU 1"].level == "note"
    assert "GPU is lost" in found["GPU 1"].found
    assert found["GPU 1"].remedy


def test_all_cards_lost(look: Look) -> None:
    found = look("engine: {backend: cpu}\n", nvmlDeviceGetHandleByIndex=fails)
    assert "GPU is lost" in found["GPU 0"].found
    assert is_healthy(list(found.values()))


def test_a_card_whose_name_cannot_be_decoded(look: Look) -> None:
    found = look("engine: {backend: cpu}\n", nvmlDeviceGetName=lambda handle: b"\xf8".decode())
    assert found["GPU 0"].level == "ok"
    assert "NVIDIA GPU" in found["GPU 0"].found


def test_a_card_without_its_compiler_is_a_missing_part_only_where_it_is_to_be_used(
    look: Look, llama_server: Path
) -> None:
    found = look()
    assert (found["CUDA"].level, found["engine"].level) == ("missing", "missing")
    assert "--cuda-toolkit pypi" in found["CUDA"].remedy
    assert look("engine: {backend: cpu}\n")["CUDA"].level == "note"
    assert look(f"engine: {{source: '{llama_server}'}}\n")["CUDA"].level == "note"
    assert "CUDA" not in look("engine: {cuda_toolkit: pypi}\n")


def test_a_card_without_its_driver(look: Look, monkeypatch: pytest.MonkeyPatch, llama_server: Path) -> None:
    monkeypatch.setattr("r1tui.engine.system.nvidia_hardware", lambda root: True)
    assert look(nvmlInit=fails)["GPU"].level == "missing"
    assert look("engine: {backend: cpu}\n", nvmlInit=fails)["GPU"].level == "note"
    assert look(f"engine: {{source: '{llama_server}'}}\n", nvmlInit=fails)["GPU"].level == "note"


def test_no_card_is_no_missing_part(look: Look) -> None:
    found = look(nvmlInit=fails)
    assert found["GPU"].level == "note"
    assert is_healthy(list(found.values()))


@pytest.mark.parametrize("error", [R1tuiError("no", "mend it"), OSError(5, "I/O"), KeyError("x")])
def test_a_look_that_fails_is_a_finding_and_the_others_go_on(
    look: Look, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(checks, "detect_machine", broken)
    found = look("engine: {backend: cpu}\n")
    assert found["memory"].level == "note"
    assert "server" in found


def test_help_says_when_it_fails(r1tui: CommandLine) -> None:
    assert "Exit status: 1" in r1tui("doctor", "--help").stdout


def test_a_supervisor_that_hangs_is_named(r1tui: CommandLine, tmp_path: Path) -> None:
    ready = start_ready(Toy(r1tui.paths, tmp_path).spec(), r1tui.paths)
    assert ready.supervisor_pid is not None
    os.kill(ready.supervisor_pid, signal.SIGSTOP)
    server = report_of(r1tui, 0)["server"]
    assert server["level"] == "note"
    assert "does not answer" in server["found"]
    assert "r1tui stop" in server["remedy"]


def test_what_is_left_of_a_home_is_named_with_the_command_that_ends_it(r1tui: CommandLine, tmp_path: Path) -> None:
    ready = start_ready(Toy(r1tui.paths, tmp_path).spec(), r1tui.paths)
    stray = subprocess.Popen(["sleep", "600"], env=mark_environment(os.environ, r1tui.paths), start_new_session=True)
    try:
        server = report_of(r1tui, 0)["server"]
        assert str(stray.pid) in server["found"]
        assert "r1tui stop" in server["remedy"]
        assert ready.supervisor_pid is not None
        os.kill(ready.supervisor_pid, signal.SIGKILL)
        r1tui.paths.state_file.unlink()
        ran = r1tui("doctor", "--json")
        told = [check for check in json.loads(ran.stdout)["checks"] if check["name"] == "server"]
        assert {pid for pid in (ready.pid, stray.pid) if any(str(pid) in check["found"] for check in told)} == {
            ready.pid,
            stray.pid,
        }
        assert all("r1tui stop" in check["remedy"] for check in told)
        assert r1tui("stop").returncode == 0
        assert stray.wait(60) != 0
    finally:
        stray.kill()
