"""The checks of `r1tui doctor`: each part of the way to a chat on this machine, and the remedy for one that is missing.

A part is needed when there is no chat without it: a config that can be read, folders that can be written, and an
engine that runs or all that building one takes. A GPU, or a toolkit beside an engine that runs, is not.
"""

import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import platform
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from r1tui import __version__
from r1tui.catalog.variants import load_catalog
from r1tui.cli.context import Context
from r1tui.config import Config
from r1tui.engine.find import Engine, find_engine
from r1tui.engine.probe import check_runs
from r1tui.engine.recipe import choose, ways_on
from r1tui.engine.source import source_kind
from r1tui.engine.system import System, install_command, survey
from r1tui.engine.toolchain import bundled_toolkit
from r1tui.errors import LOCAL_DISK, R1tuiError, is_full
from r1tui.hub.local.folders import nearest_folder
from r1tui.hub.local.found import ModelSearch
from r1tui.hub.local.places import OLLAMA_SERVICE_FOLDER, OWNERS, model_roots
from r1tui.machine.bandwidth import load_bandwidth
from r1tui.machine.hardware import detect_machine
from r1tui.machine.visible import VISIBLE, visible_gpus
from r1tui.remedies import StopServer, in_commands
from r1tui.server.sampling import repeats_old_example
from r1tui.supervisor.client import verified_status
from r1tui.supervisor.status import find_processes, status
from r1tui.system.logs import as_user_error
from r1tui.text import size

ENGINE_BYTES = 2 << 30
"""Room for source and build of the CPU engine, roughly; a CUDA one takes twice that."""
STATE_BYTES = 16 << 20
"""Room for what is said and logged; less is gone in an evening."""
ELSEWHERE = "Set R1TUI_HOME to a folder that you own."
SHOWN = 5
"""Places without a usable model that are listed."""

Level = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Check:
    """One finding. `remedy` is empty when there is nothing to mend; `missing` is only what is needed."""

    name: str
    level: Level
    found: str
    remedy: str = ""
    needed: bool = False


class Checkup:
    """One look at everything; what several checks rest on is looked at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._paths = context.paths

    def checks(self) -> Iterator[Check]:
        """All findings, in the order in which things are needed."""
        yield Check("r1tui", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
        looks: tuple[tuple[Callable[[], Iterator[Check]], bool], ...] = (
            (self._packages, True), (self._settings, True), (self._engine, True),
            (self._compiler, not self._has_engine), (self._gpus, not self._has_engine), (self._memory, False),
            (self._folders, True), (self._models, False), (self._server, False),
        )  # fmt: skip
        for check, needed in looks:
            yield from _guarded(check, needed=needed)

    @cached_property
    def _config(self) -> Config:
        """The settings; all defaults where they cannot be read, which is a finding of its own."""
        try:
            return self._context.config
        except R1tuiError:
            return Config()

    @cached_property
    def _system(self) -> System:
        return survey(os.environ, self._config.engine.cuda_toolkit, bundled_toolkit(self._paths))

    @cached_property
    def _built(self) -> Engine | None:
        return find_engine(self._config.engine, self._paths)

    @cached_property
    def _given(self) -> Path | None:
        kind, path = source_kind(self._config.engine)
        return path if kind == "binary" else None

    @cached_property
    def _has_engine(self) -> bool:
        """True with an engine that runs, so that none has to be built."""
        try:
            server = self._built.server if self._built else self._given
            if server is None:
                return False
            check_runs(server)
        except R1tuiError:
            return False
        return True

    def _packages(self) -> Iterator[Check]:
        if missing := missing_packages():
            yield _lack(
                "packages", f"not installed: {', '.join(missing)}", _pip_install(map(repr, missing)), needed=True
            )
        else:
            yield Check("packages", "ok", "complete", needed=True)

    def _settings(self) -> Iterator[Check]:
        path = Path(self._context.config_file or self._paths.config_file)
        try:
            _ = self._context.config
        except R1tuiError as error:
            yield _lack("config", error.cause, error.remedy, needed=True)
            return
        found = str(path) if path.exists() else f"all defaults; {path} can change them"
        yield Check("config", "ok", found, needed=True)
        if repeats_old_example(self._config.sampling):
            yield _lack(
                "sampling",
                "The config's sampling section has an old example's values: R1's for every model.",
                f"Remove temperature, top_p, min_p and seed from it ({path}); then each model uses its own.",
            )

    def _engine(self) -> Iterator[Check]:
        engine = self._built
        server = engine.server if engine else self._given
        if server is None:
            choose(self._config.engine, self._system)  # raises what building it would end with
            yield Check("engine", "note", "not built yet", "r1tui build", needed=True)
            return
        check_runs(server)
        what = f"{engine.backend}, {engine.capabilities.version}: {engine.server}" if engine else str(server)
        yield Check("engine", "ok", what, needed=True)
        for note in engine.notes if engine else ():
            yield _lack("engine", note)

    def _compiler(self) -> Iterator[Check]:
        manager, needed = self._system.package_manager, not self._has_engine
        if self._system.cxx is None:
            yield _lack("compiler", "no C++ compiler", install_command(manager, "compiler"), needed=needed)
        else:
            yield Check("compiler", "ok", str(self._system.cxx), needed=needed)
        tools = [name for name in ("cmake", "ninja", "pip") if importlib.util.find_spec(name) is None]
        if tools:
            yield _lack("tools", f"{', '.join(tools)} not installed", _pip_install(tools), needed=needed)
        else:
            yield Check("tools", "ok", "cmake, ninja and pip in r1tui's own environment", needed=needed)
        if shutil.which("git") is None:
            found = "not installed; llama.cpp's source comes from PyPI instead"
            yield _lack("git", found, install_command(manager, "git"))

    def _gpus(self) -> Iterator[Check]:
        system, nvidia = self._system, self._system.nvidia
        visible = visible_gpus(nvidia.gpus, os.environ)
        for gpu in nvidia.gpus:
            memory = ", shares the machine's memory" if gpu.unified else ""
            memory = f", {size(gpu.free_bytes or 0)} of {size(gpu.total_bytes)} free" if gpu.total_bytes else memory
            hidden = "" if gpu in visible else f", hidden by {VISIBLE}"
            found = f"{gpu.name}{memory}, driver {nvidia.driver_version or 'unknown'}{hidden}"
            yield Check(f"GPU {gpu.index}", "ok", found)
        for lost in nvidia.lost:
            yield _lack(
                f"GPU {lost.index}",
                f"does not answer and is not used: {lost.problem}",
                "Look for `Xid` in `sudo dmesg`; restart the machine or the container to recover the GPU.",
            )
        # What the card lacks is missing as long as there is no engine and none is wanted without the card.
        needed = not self._has_engine and self._config.engine.backend in ("auto", "cuda")
        if nvidia.gpus:
            if system.toolkit is not None:
                yield Check("CUDA", "ok", str(system.toolkit.nvcc))
            elif self._config.engine.cuda_toolkit != "pypi":
                yield _lack("CUDA", "no CUDA compiler (nvcc)", ways_on(system), needed=needed)
        elif not nvidia.lost:
            why = f"none found ({nvidia.reason})" if nvidia.reason else "none"
            if system.nvidia_hardware:
                remedy = "Install NVIDIA's driver; `nvidia-smi` must list the GPU."
                yield _lack("GPU", why, remedy, needed=needed)
            else:
                yield _lack("GPU", "an AMD GPU" if system.amd_hardware else why)

    def _memory(self) -> Iterator[Check]:
        machine = detect_machine()
        cores, threads = machine.physical_cores, machine.logical_cpus
        yield Check("CPU", "ok", f"{machine.cpu_name}: {cores} cores for this process, {threads} threads")
        free, total = size(machine.memory_available_bytes), size(machine.memory_total_bytes)
        yield Check("memory", "ok", f"{free} of {total} free for this process")
        rates = load_bandwidth(self._paths, machine.fingerprint)
        if rates is None:
            yield _lack("rates", "memory and disk speed not measured", "r1tui doctor --measure")
            return
        found = [f"memory {rates.memory_gbps:.0f} GB/s"]
        found += [f"bus to GPU {index} {gbps:.0f} GB/s" for index, gbps in rates.bus_gbps.items()]
        found += [f"disk {rates.disk_gbps:.1f} GB/s"] if rates.disk_gbps else []
        found += [f"prompts on the CPU {rates.cpu_gflops:,.0f} GFLOPS"] if rates.cpu_gflops else []
        yield Check("rates", "ok", ", ".join(found))

    def _folders(self) -> Iterator[Check]:
        yield _folder("state", self._paths.state, STATE_BYTES, needed=True)
        yield _folder("run", self._paths.run, 0, needed=True)
        if (problem := sockets_problem(self._paths.run)) is not None:
            yield _lack("run", problem.found, problem.remedy, needed=True)
        building = not self._has_engine
        yield _folder("engines", self._paths.engines, ENGINE_BYTES if building else 0, needed=building)
        search = ModelSearch(self._paths, self._config)
        has_model = any(search.find(one) is not None for one in load_catalog(self._config))
        own, *others = model_roots(self._paths, self._config)
        yield _folder("models", own, ENGINE_BYTES, needed=not has_model)
        for root in others:
            if root.is_dir():
                yield _folder("models", root, 0, needed=False)
            else:
                yield _lack("models", f"{root} does not exist")

    def _models(self) -> Iterator[Check]:
        search = ModelSearch(self._paths, self._config)
        catalog = load_catalog(self._config)
        here = [(one.name, found) for one in catalog if (found := search.find(one)) is not None]
        names = ", ".join(name if found.owner == "r1tui" else f"{name} ({OWNERS[found.owner]})" for name, found in here)
        yield Check("on disk", "ok" if here else "note", names or "no model yet", "" if here else "r1tui variants")
        for path, why in list(search.ignored.items())[:SHOWN]:
            yield _lack("on disk", f"{path}: {why}", _way_in(path, why))
        if len(search.ignored) > SHOWN:
            yield _lack("on disk", f"{len(search.ignored) - SHOWN} more not shown")

    def _server(self) -> Iterator[Check]:
        now = verified_status(self._paths, status(self._paths))
        text = now.state + (f" {now.variant}" if now.variant else "") + (f": {now.cause}" if now.cause else "")
        yield Check("server", "note" if now.cause else "ok", text, now.remedy or "")
        found, stop = find_processes(self._paths), in_commands([StopServer()])
        kinds = (("llama-server", found.servers), ("supervisor", found.supervisors)) if now.running else ()
        for what, pid in ((what, one.pid) for what, some in kinds for one in some):
            if pid not in (now.pid, now.supervisor_pid):
                yield _lack("server", f"another {what} runs from this home (PID {pid})", stop)


def is_healthy(checks: list[Check]) -> bool:
    """True when nothing that is needed is missing."""
    return all(check.level != "missing" for check in checks)


def _lack(name: str, found: str, remedy: str = "", *, needed: bool = False) -> Check:
    return Check(name, "missing" if needed else "note", found, remedy, needed=needed)


def _pip_install(packages: Iterable[str]) -> str:
    return f"{sys.executable} -m pip install {' '.join(packages)}"


def _guarded(look: Callable[[], Iterator[Check]], *, needed: bool) -> Iterator[Check]:
    """A check that fails is a finding too."""
    name = look.__name__.strip("_")
    try:
        yield from look()
    except R1tuiError as error:
        yield _lack(name, error.cause, error.remedy, needed=needed)
    except Exception as error:
        shown = as_user_error(error, f"Checking {name}")
        yield _lack(name, shown.cause, shown.remedy)


def _folder(name: str, folder: Path, room_bytes: int, *, needed: bool) -> Check:
    """The check of a folder of ours, or of the one that it will be in: it can be written, and has room."""
    problem = problem_of(folder)
    if problem is None:
        free_bytes = shutil.disk_usage(nearest_folder(folder)).free
        if free_bytes >= room_bytes:
            return Check(name, "ok", f"{size(free_bytes)} free in {folder}", needed=needed)
        found = f"{size(free_bytes)} free in {nearest_folder(folder)}"
        problem = FolderProblem(found, "Free some space, or set R1TUI_HOME to another disk.")
    return _lack(name, problem.found, problem.remedy, needed=needed)


def _way_in(path: Path, why: str) -> str:
    if why != os.strerror(errno.EACCES):
        return ""
    if path.is_relative_to(OLLAMA_SERVICE_FOLDER):
        return "To use Ollama's models: sudo usermod -aG ollama $USER, then log in again."
    return "Make it readable to use its models."


class FolderProblem(NamedTuple):
    """The reason why a folder cannot be used by r1tui, and the remedy."""

    found: str
    remedy: str


def problem_of(folder: Path) -> FolderProblem | None:
    """The reason why no file can be written there, or above it where there is no folder yet; None when it can.

    Tried for real, with a file without a name: permissions do not tell of a full or read-only disk.
    """
    place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        if not place.is_dir():
            return FolderProblem(f"{place} is not a folder", f"Move it away, or: {ELSEWHERE}")
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        if is_full(error):
            return FolderProblem(f"{place} is full", "Free some space, or set R1TUI_HOME to another disk.")
        return FolderProblem(f"cannot write to {place}: {error.strerror or error}", ELSEWHERE)
    return None


def sockets_problem(folder: Path) -> FolderProblem | None:
    """The reason why a folder takes no socket or lock, as on some network disks; None when it does, or is not there."""
    if not folder.is_dir():
        return None
    if folder.lstat().st_uid != os.getuid():
        return FolderProblem(f"{folder} belongs to another user", ELSEWHERE)
    tried = folder / f".{secrets.token_hex(2)}"  # no longer than the names of ours
    lacking = "Unix sockets"
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.fspath(tried))
        lacking = "file locks"
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            return None  # said by `problem_of`
        return FolderProblem(f"{folder} is on a file system without {lacking}: {error.strerror or error}", LOCAL_DISK)
    finally:
        with suppress(OSError):
            tried.unlink()
    return None


def missing_packages() -> list[str]:
    """The requirements of r1tui that are not met in this environment; empty where it runs without being installed."""
    try:
        return [one for one in importlib.metadata.requires("r1tui") or [] if not _is_met(one)]
    except importlib.metadata.PackageNotFoundError:
        return []


def _is_met(requirement: str) -> bool:
    try:
        from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  missing too, perhaps
    except ImportError:
        name, is_met = re.split(r"[^\w.-]", requirement, maxsplit=1)[0], None
        if "extra" in requirement.partition(";")[2]:
            return True
    else:
        try:
            parsed = Requirement(requirement)
        except InvalidRequirement:
            return True
        if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
            return True
        name, is_met = parsed.name, parsed.specifier.contains
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return is_met is None or is_met(version, prereleases=True)
