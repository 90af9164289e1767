"""Runs cmake and ninja in one folder: progress out, the whole output in a log, and half-done builds go on."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from r1tui.engine.diagnose import Means, diagnose
from r1tui.engine.recipe import TARGETS, Recipe
from r1tui.errors import R1tuiError
from r1tui.events import Emit, LogLine, Meter
from r1tui.system.children import Cancel, run_lines
from r1tui.system.environment import clean_environment
from r1tui.system.files import make_folder, read_json_if_any, write_json
from r1tui.system.lazy import cmake, ninja

STEP = re.compile(r"^\[(\d+)/(\d+)\] ")
CONFIGURED = "r1tui-configured.json"
CUDA_VARIABLES = ("CUDA_HOME", "CUDA_PATH", "CUDACXX", "CUDAToolkit_ROOT", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")
SEARCH_VARIABLES = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH")


class Builder:
    """One build folder and everything that its steps share."""

    def __init__(
        self,
        folder: Path,
        *,
        log: Path,
        env: Mapping[str, str],
        means: Means,
        jobs: int,
        emit: Emit,
        cancel: Cancel | None,
    ) -> None:
        self._folder = folder
        self._log = log
        self._temporary = folder / "tmp"
        self._env = {**env, "TMPDIR": str(self._temporary)}
        self._means = means
        self._jobs = jobs
        self._emit = emit
        self._cancel = cancel

    def run(self, source: Path, arguments: Sequence[str]) -> Path:
        """Configure if that has not been done this way, compile what is missing; the path of llama-server.

        Raises R1tuiError with the first compiler error, CancelledError; what was compiled stays.
        """
        self._empty_temporary()
        make_folder(self._log.parent)
        self._log.write_text("")
        self._configure(source, arguments)
        self._compile()
        shutil.rmtree(self._temporary, ignore_errors=True)
        server = self._folder / "bin" / "llama-server"
        if not os.access(server, os.X_OK):
            raise R1tuiError(f"The build made no {server.name}.", f"Full log: {self._log}")
        return server

    def _empty_temporary(self) -> None:
        """The compilers' own temporary folder: killed ones leave gigabytes, which here the next start removes."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        make_folder(self._temporary)

    def _configure(self, source: Path, arguments: Sequence[str]) -> None:
        command = [str(cmake_binary()), "-S", str(source), "-B", str(self._folder), "-G", "Ninja", *arguments]
        done = self._folder / CONFIGURED
        if (self._folder / "build.ninja").is_file() and read_json_if_any(done, list[str]) == command:
            return
        done.unlink(missing_ok=True)
        if _configured_source(self._folder) not in (None, source):
            self._clear()
        fresh = not (self._folder / "CMakeCache.txt").exists()
        status, said = self._step(command)
        if status != 0 and not fresh:  # the cache of an earlier attempt may be what is wrong
            self._clear()
            status, said = self._step(command)
        if status != 0:
            shutil.rmtree(self._folder / "CMakeFiles", ignore_errors=True)
            (self._folder / "CMakeCache.txt").unlink(missing_ok=True)
            raise self._diagnose("cmake", status, said)
        write_json(done, command)

    def _clear(self) -> None:
        shutil.rmtree(self._folder)
        self._empty_temporary()

    def _compile(self) -> None:
        ninja = [str(ninja_binary()), "-C", str(self._folder)]
        said: list[str] = []
        run_lines([*ninja, "-t", "targets", "all"], said.append, what="The build", env=self._env, cancel=self._cancel)
        offered = {line.partition(":")[0] for line in said}
        if "llama-server" not in offered:
            raise R1tuiError("This source builds no llama-server.", f"Use another engine.ref. Full log: {self._log}")
        status, said = self._step([*ninja, "-j", str(self._jobs), *(name for name in TARGETS if name in offered)])
        if status != 0:
            raise self._diagnose("ninja", status, said)

    def _diagnose(self, step: str, status: int, said: list[str]) -> R1tuiError:
        return diagnose(step, said, status, log=self._log, means=self._means, jobs=self._jobs)

    def _step(self, command: Sequence[str]) -> tuple[int, list[str]]:
        """Run it; its exit status and all that it said, which goes to the log and to the events too."""
        said: list[str] = []
        meter = Meter("engine", "steps", self._emit)
        with self._log.open("a", encoding="utf-8", errors="replace") as log:

            def line(text: str) -> None:
                said.append(text)
                log.write(text + "\n")
                log.flush()
                self._emit(LogLine("engine", text))
                if step := STEP.match(text):
                    meter.total = int(step[2])
                    meter.update(int(step[1]))

            line("$ " + " ".join(command))
            status = run_lines(command, line, what="The build", env=self._env, cancel=self._cancel)
        return status, said


def build_environment(env: Mapping[str, str], recipe: Recipe, source: Path) -> dict[str, str]:
    """What cmake and ninja run with. With a toolkit of our own, nothing of the system's toolkit is left in it."""
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


def cmake_binary() -> Path:
    """The cmake of the PyPI package, whatever the PATH holds."""
    return _there(Path(cmake.CMAKE_BIN_DIR) / "cmake", "cmake")


def ninja_binary() -> Path:
    """The ninja of the PyPI package."""
    return _there(Path(ninja.BIN_DIR) / "ninja", "ninja")


def _there(program: Path, package: str) -> Path:
    if not program.is_file():
        raise R1tuiError(f"The Python package {package} is not whole.", f"pip install --force-reinstall {package}")
    return program


def _configured_source(folder: Path) -> Path | None:
    """The source folder that a CMakeCache.txt was made for."""
    try:
        text = (folder / "CMakeCache.txt").read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", text, re.MULTILINE)
    return Path(found[1]) if found else Path()
