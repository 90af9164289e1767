"""Builds for real, of a small source: whole or unfinished, never in between; found again, interrupted, shared."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from r1tui.config import EngineSettings
from r1tui.engine.find import RECORD, current_devices, find_engine, find_made_on_purpose
from r1tui.engine.make import build_engine
from r1tui.engine.probe import missing_gpus
from r1tui.errors import CancelledError, R1tuiError, UsageError
from r1tui.events import LogLine, Notice, Progress, StageDone, StageEvent, StageStarted, decode_event
from r1tui.machine.nvml import Gpu, Nvidia
from r1tui.plan.capabilities import Capabilities, EngineDevice
from r1tui.system.paths import Paths
from tests.engine_toys import close_gate, fetched_release, open_gate, toy_source

CPU = EngineSettings(backend="cpu", ref="b1", jobs=1)
BUILD = """
import sys
from r1tui.config import EngineSettings
from r1tui.engine.make import build_engine
from r1tui.events import encode_event
from r1tui.system.paths import Paths
settings = EngineSettings(backend="cpu", ref="b1", jobs=1)
build_engine(settings, Paths.from_environment(), lambda event: print(encode_event(event), flush=True))
"""


def build(settings: EngineSettings, paths: Paths) -> list[StageEvent]:
    events: list[StageEvent] = []
    build_engine(settings, paths, events.append)
    return events


def steps(events: list[StageEvent]) -> int:
    """How many steps ninja had to do."""
    return max((event.total or 0 for event in events if isinstance(event, Progress)), default=0)


def users_of(text: str) -> list[str]:
    """Command lines of running processes that name the text."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if text in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def test_a_build_from_nothing_and_once_more(paths: Paths) -> None:
    fetched_release(paths)
    assert find_engine(CPU, paths) is None
    events = build(CPU, paths)
    assert isinstance(events[0], StageStarted)
    assert isinstance(events[-1], StageDone)
    assert steps(events) >= 7
    assert any(isinstance(event, LogLine) and "Linking CXX executable" in event.text for event in events)
    engine = find_engine(CPU, paths)
    assert engine is not None
    assert events[-1].result == str(engine.server)
    assert (engine.backend, engine.ref, engine.capabilities.version) == ("cpu", "b1", "1 (toy1)")
    assert engine.capabilities.accepts("--model")
    bench = engine.tool("llama-bench")
    assert bench is not None
    assert bench.is_file()
    assert engine.tool("ggml-rpc-server") is None
    assert current_devices(engine) == ()
    log = (paths.logs / "build.log").read_text()
    assert "-DGGML_RPC=ON" in log
    assert "-DLLAMA_BUILD_NUMBER=1 " in log
    assert not list(paths.cache.rglob("*.lock"))

    (paths.logs / "build.log").unlink()
    again = build(CPU, paths)
    assert [type(event) for event in again] == [StageStarted, StageDone]
    assert not (paths.logs / "build.log").exists()  # neither cmake nor ninja ran


def test_other_options_are_another_build(paths: Paths) -> None:
    fetched_release(paths)
    build(CPU, paths)
    other = EngineSettings(backend="cpu", ref="b1", cmake_args=["-DCMAKE_BUILD_TYPE=Debug"])
    assert find_engine(other, paths) is None
    assert find_engine(EngineSettings(backend="cpu", ref="b1", jobs=7), paths) is not None


def test_a_build_is_found_when_its_compiler_is_gone(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched_release(paths)
    build(CPU, paths)
    monkeypatch.setenv("PATH", str(paths.cache))
    monkeypatch.delenv("CXX", raising=False)
    assert find_engine(CPU, paths) is not None


def test_without_a_compiler_the_package_is_named(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched_release(paths)
    monkeypatch.setenv("PATH", str(paths.cache))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(R1tuiError, match=r"No C\+\+ compiler found") as caught:
        build(CPU, paths)
    assert "nstall" in caught.value.remedy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_no_process_and_goes_on(paths: Paths, number: signal.Signals) -> None:
    source = fetched_release(paths)
    gate = close_gate(source)
    child = subprocess.Popen(
        [sys.executable, "-c", BUILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    with gate.open("w"):  # open as soon as the build has come to it
        child.send_signal(number)
        said, _ = child.communicate(timeout=120)
    assert child.returncode != 0
    assert users_of(str(paths.cache)) == []
    assert find_engine(CPU, paths) is None
    assert not list(paths.cache.rglob(RECORD))

    first = [decode_event(line) for line in said.splitlines()]
    open_gate(gate)
    second = build(CPU, paths)
    assert 0 < steps(second) <= steps(first) - 3
    assert not any(isinstance(event, LogLine) and "compiler identification" in event.text for event in second)
    assert find_engine(CPU, paths) is not None


def test_cancelling_from_another_thread(paths: Paths) -> None:
    gate = close_gate(fetched_release(paths))
    cancel = threading.Event()

    def stop() -> None:
        with gate.open("w"):
            cancel.set()
            stopped.wait()

    stopped = threading.Event()
    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(CancelledError):
        build_engine(CPU, paths, lambda event: None, cancel=cancel)
    stopped.set()
    thread.join()
    assert users_of(str(paths.cache)) == []


def test_two_at_once_build_once(paths: Paths) -> None:
    gate = close_gate(fetched_release(paths))
    child = subprocess.Popen([sys.executable, "-c", BUILD], stdout=subprocess.PIPE, text=True, env=os.environ)
    events: list[StageEvent] = []
    waiting = threading.Event()

    def emit(event: StageEvent) -> None:
        events.append(event)
        if isinstance(event, Notice):
            waiting.set()

    with gate.open("w"):
        thread = threading.Thread(target=build_engine, args=(CPU, paths, emit))
        thread.start()
        assert waiting.wait(60)
    child.communicate(timeout=120)
    thread.join(120)
    assert child.returncode == 0
    assert f"PID {child.pid}" in next(event.text for event in events if isinstance(event, Notice))
    assert steps(events) == 0
    assert isinstance(events[-1], StageDone)


def test_a_cache_that_cmake_cannot_use_is_made_afresh(paths: Paths) -> None:
    fetched_release(paths)
    build(CPU, paths)
    (folder,) = (path for path in paths.engines.iterdir() if path.is_dir())
    (folder / RECORD).unlink()
    (folder / "build.ninja").unlink()
    (folder / "CMakeCache.txt").write_text("CMAKE_HOME_DIRECTORY:INTERNAL=/elsewhere\nnonsense\n")
    build(CPU, paths)
    assert find_engine(CPU, paths) is not None


def test_a_build_whose_server_is_gone_is_built_again(paths: Paths) -> None:
    fetched_release(paths)
    build(CPU, paths)
    engine = find_engine(CPU, paths)
    assert engine is not None
    engine.server.unlink()
    assert find_engine(CPU, paths) is None
    assert 0 < steps(build(CPU, paths)) <= 2


def test_the_first_compiler_error_is_the_cause_and_the_fix_goes_on(paths: Paths, tmp_path: Path) -> None:
    source = toy_source(tmp_path / "mine")
    settings = EngineSettings(backend="cpu", source=str(source), jobs=1)
    (source / "part2.cpp").write_text("#include <r1tui_missing.h>\n")
    with pytest.raises(R1tuiError, match=r"part2.cpp:1:10: r1tui_missing.h: No such file or directory") as caught:
        build(settings, paths)
    assert str(paths.logs / "build.log") in caught.value.remedy
    (source / "part2.cpp").write_text("int part2() { return 2; }\n")
    again = build(settings, paths)
    assert not any(isinstance(event, LogLine) and "compiler identification" in event.text for event in again)
    (source / "part.cpp").write_text("int part(int) { return 5; }\n")
    build(settings, paths)
    engine = find_engine(settings, paths)
    assert engine is not None
    assert (engine.ref, engine.capabilities.version) == ("local", "1 (toy5)")


def test_a_llama_server_that_is_already_there(
    paths: Paths, llama_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_THREADS", "not a number")  # the real one refuses to start with it
    settings = EngineSettings(source=str(llama_server))
    assert find_engine(settings, paths) is None
    events = build(settings, paths)
    assert not any(isinstance(event, LogLine) for event in events)
    engine = find_engine(settings, paths)
    assert engine is not None
    assert engine.server == llama_server
    assert engine.capabilities.build_number == 11434
    assert engine.tool("llama-fit-params") is not None


def test_the_real_engine_is_found_without_running_anything(
    paths: Paths, llama_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings(source=str(llama_server))
    build(settings, paths)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert find_engine(settings, paths) is not None


def test_an_unreachable_rpc_worker_is_named(paths: Paths, llama_server: Path) -> None:
    settings = EngineSettings(source=str(llama_server))
    build(settings, paths)
    engine = find_engine(settings, paths)
    assert engine is not None
    with pytest.raises(R1tuiError, match=r"The RPC worker 127\.0\.0\.1:1 cannot be reached"):
        current_devices(engine, ["127.0.0.1:1"])


@pytest.mark.parametrize(
    "settings",
    [
        EngineSettings(source="/nowhere/at/all"),
        EngineSettings(source="/usr"),
        EngineSettings(source="/etc/passwd"),
        EngineSettings(ref="--upload-pack=evil"),
        EngineSettings(ref="../../evil"),
    ],
)
def test_sources_and_refs_that_make_no_sense(paths: Paths, settings: EngineSettings) -> None:
    with pytest.raises(UsageError):
        find_engine(settings, paths)
    with pytest.raises(UsageError):
        build(settings, paths)


def test_a_program_that_is_no_llama_server(paths: Paths) -> None:
    with pytest.raises(R1tuiError):
        build(EngineSettings(source="/bin/true"), paths)
    assert find_engine(EngineSettings(source="/bin/true"), paths) is None


def test_what_was_built_on_purpose_is_remembered(paths: Paths) -> None:
    fetched_release(paths)
    build(CPU, paths)
    made = find_made_on_purpose(paths, EngineSettings(ref="b1"))
    assert made is not None
    assert made.identity.backend == "cpu"
    assert find_made_on_purpose(paths, EngineSettings(ref="b2")) is None


GPU = Gpu(0, "NVIDIA H100", "GPU-0", 80 << 30, 79 << 30, 1 << 30, (9, 0))


def test_gpus_that_the_engine_does_not_show_are_said() -> None:
    nvidia = Nvidia((GPU, GPU), "580.65.06", (13, 0))
    cuda0 = EngineDevice("CUDA0", "NVIDIA H100", 81559, 80000)
    rpc0 = EngineDevice("RPC0", "10.0.0.1:50052", 81559, 80000)
    (note,) = missing_gpus(nvidia, Capabilities("1", 1, frozenset(), (cuda0, rpc0)), "vulkan")
    assert "shows 2 GPU" in note
    assert "only 1" in note
    assert missing_gpus(nvidia, Capabilities("1", 1, frozenset(), (cuda0, cuda0)), "vulkan") == ()
    assert missing_gpus(nvidia, Capabilities("1", 1, frozenset()), "cpu") != ()
    assert missing_gpus(Nvidia(), Capabilities("1", 1, frozenset()), "cpu") == ()
