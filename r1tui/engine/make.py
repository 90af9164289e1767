"""An engine for these settings, built or asked where there is none yet.

cmake and ninja run in one folder: progress goes out, the whole output into a log, and a half-done build goes on.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from r1tui.config import EngineSettings
from r1tui.engine import find
from r1tui.engine.diagnose import Means, diagnose
from r1tui.engine.find import Engine
from r1tui.engine.probe import missing_gpus, probe
from r1tui.engine.recipe import TARGETS, Recipe, choose, cmake_arguments, compile_jobs, flags_without_amx, ways_on
from r1tui.engine.source import fetch_source, source_kind
from r1tui.engine.system import System, find_toolkit, install_command, survey
from r1tui.engine.toolchain import bundled_toolkit, fetch_toolkit
from r1tui.errors import R1tuiError
from r1tui.events import Emit, LogLine, Meter, Notice, StageDone, StageStarted
from r1tui.machine.hardware import memory_available_bytes, usable_physical_cores
from r1tui.machine.nvml import read_nvidia
from r1tui.system.children import Cancel, check, run_lines, run_quietly, sigterm_raises
from r1tui.system.environment import clean_environment
from r1tui.system.files import make_folder, read_json_if_any, write_json
from r1tui.system.lazy import cmake, ninja
from r1tui.system.locks import locked
from r1tui.system.paths import Paths

STEP = re.compile(r"^\[(\d+)/(\d+)\] ")
CONFIGURED = "r1tui-configured.json"
CUDA_VARIABLES = ("CUDA_HOME", "CUDA_PATH", "CUDACXX", "CUDAToolkit_ROOT", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")
SEARCH_VARIABLES = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH")


def build_engine(settings: EngineSettings, paths: Paths, emit: Emit, *, cancel: Cancel | None = None) -> Engine:
    """The engine for these settings, built if it is not there; reports as stage `engine`.

    Raises R1tuiError (the caller reports it), and CancelledError when `cancel` is set or SIGTERM comes (in the main
    thread). KeyboardInterrupt and whatever `emit` raises end the build's programs too. What was done is kept.
    """
    emit(StageStarted("engine", "llama.cpp"))
    with sigterm_raises("The build"):
        engine = _EngineMaker(settings, paths, emit, cancel).engine()
    for note in engine.notes:
        emit(Notice("engine", note))
    emit(StageDone("engine", str(engine.server), f"{engine.backend}, {engine.capabilities.version}"))
    return engine


def engine_to_ask(settings: EngineSettings, paths: Paths, *, must_run: bool = False) -> Engine | None:
    """The engine that plans can ask: the finished build, or the llama-server that the config names, which is looked at
    once (1 to 2 s) and remembered; None: not built yet, or it does not run.

    Raises R1tuiError for settings that name nothing, and where it `must_run` and does not.
    """
    found = find.find_engine(settings, paths)
    if found is not None or source_kind(settings)[0] != "binary":
        return found
    with suppress(*() if must_run else (R1tuiError,)):
        return build_engine(settings, paths, lambda _: None)
    return None


@dataclass(frozen=True)
class _EngineMaker:
    """One call of build_engine."""

    settings: EngineSettings
    paths: Paths
    emit: Emit
    cancel: Cancel | None

    def engine(self) -> Engine:
        kind, path = source_kind(self.settings)
        if kind == "binary":
            return self._existing(path)
        if kind == "release" and (record := find.find_finished(self.settings, self.paths, os.environ)) is not None:
            return self._known(record)
        system = survey(os.environ, self.settings.cuda_toolkit, bundled_toolkit(self.paths))
        recipe = choose(self.settings, system)
        if system.cxx is None:
            raise R1tuiError(
                "No C++ compiler found.",
                f"Install one, then try again: {install_command(system.package_manager, 'compiler')}",
            )
        for notice in recipe.notices:
            self._notice(notice)
        identity = find.identify(self.settings, recipe, os.environ)
        if recipe.fetch_toolkit:
            self._notice("Downloading NVIDIA's CUDA compiler from PyPI (about 530 MB).")
            waiting = self._waiting("the CUDA toolkit")
            toolkit = fetch_toolkit(self.paths, system.cxx, line=self._line, waiting=waiting, cancel=self.cancel)
            recipe = replace(recipe, toolkit=toolkit, fetch_toolkit=False)
        if kind == "release":
            path = fetch_source(
                self.settings,
                self.paths,
                line=self._line,
                notice=self._notice,
                waiting=self._waiting("the source"),
                cancel=self.cancel,
            )
        folder = self.paths.engines / identity.name
        lock = folder.with_name(f"{identity.name}.lock")
        waiting, poll = self._waiting("this build"), lambda: check(self.cancel, "The build")
        with locked(lock, "The build folder", waiting, poll):
            record = (
                find.read_record(folder) if kind == "release" else None
            )  # another r1tui may have built it meanwhile
            return find.engine_of(record or self._build(folder, path, identity, recipe, system))

    def _build(
        self, folder: Path, source: Path, identity: find.Identity, recipe: Recipe, system: System
    ) -> find.BuildRecord:
        started_s = time.monotonic()
        jobs = compile_jobs(self.settings.jobs, usable_physical_cores(), memory_available_bytes())
        macros = self._ask([system.cxx or "c++", "-march=native", "-dM", "-E", "-x", "c++", os.devnull], os.environ)
        if cxx_flags := flags_without_amx("\n".join(macros)):
            self._notice("This compiler breaks AMX, so AMX is off; GCC 14 or newer makes prompts faster.")
            cxx_flags = f"{os.environ.get('CXXFLAGS', '')} {cxx_flags}".strip()
        env = build_environment(os.environ, recipe, source)
        # The AMD GPUs' targets (gfx1100) by ROCm's own tool; none leaves the choice to cmake.
        amd = self._ask(["amdgpu-arch"], env) if recipe.backend == "hip" else []
        targets = tuple(dict.fromkeys(line for line in amd if line.startswith("gfx")))
        env["TMPDIR"] = str(folder / "tmp")  # killed compilers leave gigabytes, which here the next start removes
        means = Means(system.package_manager, ways_on(system))
        builder = _Builder(folder, self.paths.logs / "build.log", env, means, jobs, self.emit, self.cancel)
        server = builder.run(
            source,
            cmake_arguments(recipe, self.settings, _packaged("ninja", ninja.BIN_DIR), targets, cxx_flags),
        )
        capabilities = probe(server, recipe.toolkit, self.cancel)
        notes = missing_gpus(system.nvidia, capabilities, recipe.backend)
        seconds = time.monotonic() - started_s
        on_purpose = self.settings.backend != "auto"
        return find.record_build(
            folder, identity, server, capabilities, notes=notes, seconds=seconds, on_purpose=on_purpose
        )

    def _ask(self, command: Sequence[str | Path], env: Mapping[str, str]) -> list[str]:
        """The lines that a program writes about this machine; none where it cannot run."""
        try:
            return run_quietly(command, what=str(command[0]), env=env, cancel=self.cancel, timeout_s=10)[1]
        except (OSError, TimeoutError):
            return []

    def _known(self, record: find.BuildRecord) -> Engine:
        """A finished build; what it said about GPUs that it does not see is asked again, since that can be mended."""
        engine = find.engine_of(record)
        if not engine.notes:
            return engine
        try:
            capabilities = replace(engine.capabilities, devices=find.current_devices(engine))
        except R1tuiError:  # it does not run here: what was noted still holds
            return engine
        notes = missing_gpus(read_nvidia(), capabilities, engine.backend)
        return replace(engine, capabilities=capabilities, notes=notes)

    def _existing(self, server: Path) -> Engine:
        """A llama-server that the user has; what it says is remembered as long as the file is the same."""
        folder = find.folder_of_binary(server, self.paths)
        if (record := find.read_record(folder)) is not None:
            return self._known(record)
        capabilities = probe(server, find_toolkit(os.environ, "auto"), self.cancel)
        devices = [device.name for device in capabilities.devices]
        backend = next((name for name in ("cuda", "hip", "rocm", "vulkan", "metal")
                        if any(device.lower().startswith(name) for device in devices)), "cpu")  # fmt: skip
        notes = missing_gpus(read_nvidia(), capabilities, backend)
        make_folder(folder)
        identity = find.Identity("existing", backend, (), (), str(server), "", "", "")
        return find.engine_of(
            find.record_build(folder, identity, server, capabilities, notes=notes, seconds=0.0, on_purpose=True)
        )

    def _notice(self, text: str) -> None:
        self.emit(Notice("engine", text))

    def _line(self, text: str) -> None:
        self.emit(LogLine("engine", text))

    def _waiting(self, what: str) -> Callable[[int], None]:
        return lambda pid: self._notice(f"Another r1tui (PID {pid}) is working on {what}; waiting for it.")


@dataclass(frozen=True)
class _Builder:
    """One build folder and everything that its steps share."""

    folder: Path
    log: Path
    env: Mapping[str, str]
    means: Means
    jobs: int
    emit: Emit
    cancel: Cancel | None

    def run(self, source: Path, arguments: Sequence[str]) -> Path:
        """Configure if that has not been done this way, compile what is missing; the path of llama-server.

        Raises R1tuiError with the first compiler error, CancelledError; what was compiled stays.
        """
        self._empty_temporary()
        make_folder(self.log.parent)
        self.log.write_text("")
        self._configure(source, arguments)
        self._compile()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        server = self.folder / "bin" / "llama-server"
        if not os.access(server, os.X_OK):
            raise R1tuiError(f"The build did not produce {server.name}.", f"Full log: {self.log}")
        return server

    def _empty_temporary(self) -> None:
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        make_folder(self.folder / "tmp")

    def _configure(self, source: Path, arguments: Sequence[str]) -> None:
        command = [
            str(_packaged("cmake", cmake.CMAKE_BIN_DIR)),
            "-S",
            str(source),
            "-B",
            str(self.folder),
            "-G",
            "Ninja",
            *arguments,
        ]
        done = self.folder / CONFIGURED
        if (self.folder / "build.ninja").is_file() and read_json_if_any(done, list[str]) == command:
            return
        done.unlink(missing_ok=True)
        if _configured_source(self.folder) not in (None, source):
            self._clear()
        fresh = not (self.folder / "CMakeCache.txt").exists()
        status, said = self._step(command)
        if status != 0 and not fresh:  # the cache of an earlier attempt may be what is wrong
            self._clear()
            status, said = self._step(command)
        if status != 0:
            shutil.rmtree(self.folder / "CMakeFiles", ignore_errors=True)
            (self.folder / "CMakeCache.txt").unlink(missing_ok=True)
            raise self._diagnose("cmake", status, said)
        write_json(done, command)

    def _clear(self) -> None:
        shutil.rmtree(self.folder)
        self._empty_temporary()

    def _compile(self) -> None:
        program = [str(_packaged("ninja", ninja.BIN_DIR)), "-C", str(self.folder)]
        _, said = run_quietly([*program, "-t", "targets", "all"], what="The build", env=self.env, cancel=self.cancel)
        offered = {line.partition(":")[0] for line in said}
        if "llama-server" not in offered:
            raise R1tuiError(
                "This source does not build llama-server.", f"Use another engine.ref. Full log: {self.log}"
            )
        status, said = self._step([*program, "-j", str(self.jobs), *(name for name in TARGETS if name in offered)])
        if status != 0:
            raise self._diagnose("ninja", status, said)

    def _diagnose(self, step: str, status: int, said: list[str]) -> R1tuiError:
        return diagnose(step, said, status, log=self.log, means=self.means, jobs=self.jobs)

    def _step(self, command: Sequence[str]) -> tuple[int, list[str]]:
        """Run it; its exit status and all that it said, which goes to the log and to the events too."""
        said: list[str] = []
        meter = Meter("engine", "steps", self.emit)
        with self.log.open("a", encoding="utf-8", errors="replace") as log:

            def line(text: str) -> None:
                said.append(text)
                log.write(text + "\n")
                log.flush()
                self.emit(LogLine("engine", text))
                if step := STEP.match(text):
                    meter.total = int(step[2])
                    meter.update(int(step[1]))

            line("$ " + " ".join(command))
            status = run_lines(command, line, what="The build", env=self.env, cancel=self.cancel)
        return status, said


def build_environment(env: Mapping[str, str], recipe: Recipe, source: Path) -> dict[str, str]:
    """The environment of cmake and ninja. With a toolkit of our own, nothing of the system's is left in it."""
    clean = clean_environment(env)
    clean["GIT_CEILING_DIRECTORIES"] = str(source.parent)  # a repository around our folder is not llama.cpp's
    clean["NINJA_STATUS"] = "[%f/%t] "
    clean["LC_ALL"] = "C"  # compilers' words are read
    toolkit = recipe.toolkit
    if toolkit is not None and toolkit.bundled:
        for name in CUDA_VARIABLES:
            clean.pop(name, None)
        for name in SEARCH_VARIABLES:
            if name in clean:
                clean[name] = ":".join(part for part in clean[name].split(":") if "cuda" not in part.lower())
        clean["PATH"] = f"{toolkit.nvcc.parent}:{clean.get('PATH', os.defpath)}"
    return clean


def _packaged(name: str, folder: str) -> Path:
    """The program of the Python package of its name, whatever the PATH holds."""
    program = Path(folder) / name
    if not program.is_file():
        raise R1tuiError(f"The Python package {name} is incomplete.", f"pip install --force-reinstall {name}")
    return program


def _configured_source(folder: Path) -> Path | None:
    """The source folder that a CMakeCache.txt was made for."""
    try:
        text = (folder / "CMakeCache.txt").read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", text, re.MULTILINE)
    return Path(found[1]) if found else Path()
