"""An engine for these settings, built or asked where there is none yet."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from r1tui.config import EngineSettings
from r1tui.engine.build import Builder, build_environment, ninja_binary
from r1tui.engine.cuda import ways_on
from r1tui.engine.diagnose import Means
from r1tui.engine.find import Engine, current_devices, engine_of, find_finished, folder_of_binary
from r1tui.engine.probe import missing_gpus, probe
from r1tui.engine.recipe import Recipe, choose, cmake_arguments, compile_jobs, flags_against_broken_amx
from r1tui.engine.source import fetch_source, source_kind
from r1tui.engine.store import (
    RECORD_VERSION,
    BuildRecord,
    Identity,
    identify,
    read_record,
    write_record,
)
from r1tui.engine.system import System, find_toolkit, install_command, survey
from r1tui.engine.toolchain import bundled_toolkit, fetch_toolkit
from r1tui.errors import R1tuiError
from r1tui.events import Emit, LogLine, Notice, StageDone, StageStarted
from r1tui.machine.hardware import memory_available_bytes, usable_physical_cores
from r1tui.machine.nvml import read_nvidia
from r1tui.plan.capabilities import Capabilities
from r1tui.system.children import Cancel, check, run_lines, sigterm_raises
from r1tui.system.files import make_folder
from r1tui.system.locks import locked
from r1tui.system.paths import Paths


def build_engine(settings: EngineSettings, paths: Paths, emit: Emit, *, cancel: Cancel | None = None) -> Engine:
    """The engine for these settings, built if it is not there; reports as stage `engine`.

    Raises R1tuiError (the caller reports it), and CancelledError when `cancel` is set or SIGTERM comes (in the main
    thread). KeyboardInterrupt and whatever `emit` raises end the build's programs too. What was done is kept.
    """
    emit(StageStarted("engine", "llama.cpp"))
    with sigterm_raises("The build"):
        engine = _Work(settings, paths, emit, cancel).engine()
    for note in engine.notes:
        emit(Notice("engine", note))
    emit(StageDone("engine", str(engine.server), f"{engine.backend}, {engine.capabilities.version}"))
    return engine


class _Work:
    """One call of build_engine."""

    def __init__(self, settings: EngineSettings, paths: Paths, emit: Emit, cancel: Cancel | None) -> None:
        self._settings = settings
        self._paths = paths
        self._emit = emit
        self._cancel = cancel

    def engine(self) -> Engine:
        kind, path = source_kind(self._settings)
        if kind == "binary":
            return self._existing(path)
        if kind == "release" and (record := find_finished(self._settings, self._paths, os.environ)) is not None:
            return self._known(record)
        system = survey(os.environ, self._settings.cuda_toolkit, bundled_toolkit(self._paths))
        recipe = choose(self._settings, system)
        if system.cxx is None:
            raise R1tuiError(
                "There is no C++ compiler.",
                f"Install one, then start again: {install_command(system.package_manager, 'compiler')}",
            )
        for notice in recipe.notices:
            self._notice(notice)
        identity = identify(self._settings, recipe, os.environ)
        if recipe.fetch_toolkit:
            self._notice("Fetching NVIDIA's CUDA compiler from PyPI (about 530 MB).")
            waiting = self._waiting("the CUDA toolkit")
            toolkit = fetch_toolkit(self._paths, system.cxx, line=self._line, waiting=waiting, cancel=self._cancel)
            recipe = replace(recipe, toolkit=toolkit, fetch_toolkit=False)
        if kind == "release":
            path = fetch_source(
                self._settings,
                self._paths,
                line=self._line,
                notice=self._notice,
                waiting=self._waiting("the source"),
                cancel=self._cancel,
            )
        folder = self._paths.engines / identity.name
        lock = folder.with_name(f"{identity.name}.lock")
        waiting, poll = self._waiting("this build"), lambda: check(self._cancel, "The build")
        with locked(lock, "The build folder", waiting, poll):
            record = read_record(folder) if kind == "release" else None  # another r1tui may have built it meanwhile
            return engine_of(record or self._build(folder, path, identity, recipe, system))

    def _build(self, folder: Path, source: Path, identity: Identity, recipe: Recipe, system: System) -> BuildRecord:
        started_s = time.monotonic()
        jobs = compile_jobs(self._settings.jobs, usable_physical_cores(), memory_available_bytes())
        cxx_flags = flags_against_broken_amx(_native_macros(system.cxx, self._cancel))
        if cxx_flags:
            self._notice("This compiler breaks AMX, so it is left out; GCC 14 or newer makes prompts faster.")
            cxx_flags = f"{os.environ.get('CXXFLAGS', '')} {cxx_flags}".strip()
        env = build_environment(os.environ, recipe, source)
        builder = Builder(
            folder,
            log=self._paths.logs / "build.log",
            env=env,
            means=Means(system.package_manager, ways_on(system)),
            jobs=jobs,
            emit=self._emit,
            cancel=self._cancel,
        )
        hip = _hip_targets(env, self._cancel) if recipe.backend == "hip" else ()
        server = builder.run(source, cmake_arguments(recipe, self._settings, ninja_binary(), hip, cxx_flags))
        capabilities = probe(server, recipe.toolkit, self._cancel)
        notes = missing_gpus(system.nvidia, capabilities, recipe.backend)
        seconds = time.monotonic() - started_s
        on_purpose = self._settings.backend != "auto"
        return _record(folder, identity, server, capabilities, notes=notes, seconds=seconds, on_purpose=on_purpose)

    def _known(self, record: BuildRecord) -> Engine:
        """A finished build; what it said about GPUs that it does not see is asked again, since that can be mended."""
        engine = engine_of(record)
        if not engine.notes:
            return engine
        try:
            capabilities = replace(engine.capabilities, devices=current_devices(engine))
        except R1tuiError:  # it does not run here: what was noted still holds
            return engine
        notes = missing_gpus(read_nvidia(), capabilities, engine.backend)
        return replace(engine, capabilities=capabilities, notes=notes)

    def _existing(self, server: Path) -> Engine:
        """A llama-server that the user has; what it says is remembered as long as the file is the same."""
        folder = folder_of_binary(server, self._paths)
        if (record := read_record(folder)) is not None:
            return self._known(record)
        capabilities = probe(server, find_toolkit(os.environ, "auto"), self._cancel)
        devices = [device.name for device in capabilities.devices]
        backend = next((name for name in ("cuda", "hip", "rocm", "vulkan", "metal")
                        if any(device.lower().startswith(name) for device in devices)), "cpu")  # fmt: skip
        notes = missing_gpus(read_nvidia(), capabilities, backend)
        make_folder(folder)
        identity = Identity("existing", backend, (), (), str(server), "", "", "")
        return engine_of(_record(folder, identity, server, capabilities, notes=notes, seconds=0.0, on_purpose=True))

    def _notice(self, text: str) -> None:
        self._emit(Notice("engine", text))

    def _line(self, text: str) -> None:
        self._emit(LogLine("engine", text))

    def _waiting(self, what: str) -> Callable[[int], None]:
        return lambda pid: self._notice(f"Another r1tui (PID {pid}) is at work on {what}; waiting for it.")


def _record(
    folder: Path,
    identity: Identity,
    server: Path,
    capabilities: Capabilities,
    *,
    notes: tuple[str, ...],
    seconds: float,
    on_purpose: bool,
) -> BuildRecord:
    """Write and return the record that makes the folder a finished build."""
    record = BuildRecord(
        RECORD_VERSION,
        identity,
        str(server),
        capabilities.version,
        capabilities.build_number,
        tuple(sorted(capabilities.flags)),
        tuple((d.name, d.description, d.total_mib, d.free_mib) for d in capabilities.devices),
        notes,
        round(seconds, 1),
        time.time(),
        on_purpose,
    )
    write_record(folder, record)
    return record


def _native_macros(cxx: Path | None, cancel: Cancel | None) -> str:
    """What the compiler defines for this very processor; empty where it does not say."""
    said: list[str] = []
    command: list[str | Path] = [cxx or "c++", "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    try:
        run_lines(command, said.append, what="the compiler", env=os.environ, cancel=cancel, timeout_s=10)
    except (OSError, TimeoutError):
        return ""
    return "\n".join(said)


def _hip_targets(env: Mapping[str, str], cancel: Cancel | None) -> tuple[str, ...]:
    """The AMD GPUs' targets (gfx1100) by ROCm's own tool; empty leaves the choice to cmake."""
    said: list[str] = []
    try:
        run_lines(["amdgpu-arch"], said.append, what="amdgpu-arch", env=env, cancel=cancel, timeout_s=10)
    except (OSError, TimeoutError):
        return ()
    return tuple(dict.fromkeys(line for line in said if line.startswith("gfx")))
