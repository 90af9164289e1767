"""`r1tui doctor`: what this machine has, what it lacks, and the command that mends it."""

import errno
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from r1tui import __version__
from r1tui.bandwidth import load_bandwidth, measure
from r1tui.catalog import load_catalog
from r1tui.cli.context import Context, json_option, pass_context, print_json
from r1tui.config import Config
from r1tui.engine import find_engine
from r1tui.engine.recipe import ways_on
from r1tui.engine.system import System, install_command, survey
from r1tui.engine.toolchain import bundled_toolkit
from r1tui.errors import R1tuiError
from r1tui.hardware import detect_machine
from r1tui.hub import ollama
from r1tui.hub.disks import existing
from r1tui.hub.found import Search
from r1tui.hub.places import OWNERS, model_roots
from r1tui.keeper.state import status
from r1tui.text import plain, size

ENGINE_BYTES = 2 << 30
"""Room for source and build of the CPU engine, roughly; a CUDA one takes twice that."""
SHOWN = 5
"""Places without a usable model that are listed."""


@dataclass(frozen=True)
class Check:
    """One finding. `remedy` is empty when there is nothing to mend."""

    name: str
    level: Literal["ok", "note", "missing"]
    found: str
    remedy: str = ""


@click.command()
@click.option("--measure", "measuring", is_flag=True, help="Measure memory, bus and disk first, ten seconds long.")
@json_option
@pass_context
def doctor(context: Context, *, measuring: bool, as_json: bool) -> None:
    """Show what this machine has and lacks, and the command that mends it."""
    if measuring:
        click.echo("Measuring how fast memory, bus and disk are read…", err=True)
        measure(context.paths, _largest_model(context))
    checks = list(_checks(context))
    if as_json:
        print_json({"ok": _healthy(checks), "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            mark = {"ok": "ok ", "note": " i ", "missing": "NO "}[check.level]
            click.echo(plain(f"{mark} {check.name:<10} {check.found}"))
            for line in check.remedy.splitlines():
                click.echo(plain(f"{'':15}{line}"))


def _largest_model(context: Context) -> Path | None:
    """The largest file of a model that is here: what the disk is measured with."""
    search = Search(context.paths, context.config)
    models = [found.path for variant in load_catalog(context.config) if (found := search.find(variant)) is not None]
    return max(models, key=lambda model: model.stat().st_size, default=None)


def _healthy(checks: list[Check]) -> bool:
    return all(check.level != "missing" for check in checks)


def _checks(context: Context) -> Iterator[Check]:
    yield Check("r1tui", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    config, check = _config(context)
    yield check
    for look in (_compiler, _gpus, _engine, _memory, _disk, _models, _server):
        yield from _guarded(look, context, config)


Look = Callable[[Context, Config], Iterator[Check]]


def _guarded(look: Look, context: Context, config: Config) -> Iterator[Check]:
    """A check that fails is a finding too."""
    try:
        yield from look(context, config)
    except R1tuiError as error:
        yield Check(look.__name__.strip("_"), "missing", error.cause, error.remedy)


def _config(context: Context) -> tuple[Config, Check]:
    path = context.config_file or context.paths.config_file
    try:
        config = context.config
    except R1tuiError as error:
        return Config(), Check("config", "missing", error.cause, error.remedy)
    there = Path(path).exists()
    return config, Check("config", "ok", str(path) if there else f"all defaults; {path} would change them")


def _survey(context: Context, config: Config) -> System:
    return survey(os.environ, config.engine.cuda_toolkit, bundled_toolkit(context.paths))


def _compiler(context: Context, config: Config) -> Iterator[Check]:
    system = _survey(context, config)
    if system.cxx is None:
        yield Check("compiler", "missing", "no C++ compiler", install_command(system.package_manager, "compiler"))
    else:
        yield Check("compiler", "ok", str(system.cxx))
    tools = [name for name in ("cmake", "ninja", "pip") if importlib.util.find_spec(name) is None]
    remedy = f"{sys.executable} -m pip install {' '.join(tools)}"
    yield (
        Check("tools", "missing", f"{', '.join(tools)} not installed", remedy)
        if tools
        else Check("tools", "ok", "cmake, ninja and pip in r1tui's own environment")
    )
    if shutil.which("git") is None:
        yield Check(
            "git",
            "note",
            "not installed; llama.cpp's source comes from PyPI then",
            install_command(system.package_manager, "git"),
        )


def _gpus(context: Context, config: Config) -> Iterator[Check]:
    system = _survey(context, config)
    nvidia = system.nvidia
    if not nvidia.gpus:
        why = f"none seen ({nvidia.reason})" if nvidia.reason else "none"
        if system.nvidia_hardware:
            yield Check("GPU", "missing", why, "Install NVIDIA's driver; `nvidia-smi` must list the GPU.")
        else:
            yield Check("GPU", "note", "an AMD one" if system.amd_hardware else why)
        return
    for gpu in nvidia.gpus:
        memory = f", {size(gpu.free_bytes or 0)} of {size(gpu.total_bytes)} free" if gpu.total_bytes else ""
        yield Check(f"GPU {gpu.index}", "ok", f"{gpu.name}{memory}, driver {nvidia.driver_version}")
    if system.toolkit is None:
        yield Check("CUDA", "missing", "no CUDA compiler (nvcc)", ways_on(system))
    else:
        yield Check("CUDA", "ok", str(system.toolkit.nvcc))


def _engine(context: Context, config: Config) -> Iterator[Check]:
    engine = find_engine(config.engine, context.paths)
    if engine is None:
        yield Check("engine", "note", "not built yet", "r1tui build")
        return
    yield Check("engine", "ok", f"{engine.backend}, {engine.capabilities.version}: {engine.server}")
    for note in engine.notes:
        yield Check("engine", "note", note)


def _memory(context: Context, config: Config) -> Iterator[Check]:
    machine = detect_machine()
    yield Check(
        "CPU",
        "ok",
        f"{machine.cpu_name}: {machine.physical_cores} cores for this process, {machine.logical_cpus} threads",
    )
    free, total = size(machine.memory_available_bytes), size(machine.memory_total_bytes)
    yield Check("memory", "ok", f"{free} of {total} free for this process")
    rates = load_bandwidth(context.paths, machine.fingerprint)
    if rates is None:
        yield Check("rates", "note", "how fast memory and disk are read was not measured", "r1tui doctor --measure")
        return
    found = [f"memory {rates.memory_gbps:.0f} GB/s"]
    found += [f"bus to GPU {index} {gbps:.0f} GB/s" for index, gbps in rates.bus_gbps.items()]
    found += [f"disk {rates.disk_gbps:.1f} GB/s"] if rates.disk_gbps else []
    yield Check("rates", "ok", ", ".join(found))


def _disk(context: Context, config: Config) -> Iterator[Check]:
    folders = [("engines", context.paths.engines), *(("models", root) for root in model_roots(context.paths, config))]
    for name, folder in folders:
        place = existing(folder)
        free_bytes = shutil.disk_usage(place).free
        if not os.access(place, os.W_OK):
            yield Check(name, "missing", f"{place} cannot be written", "Set R1TUI_HOME to a folder of your own.")
        elif free_bytes < ENGINE_BYTES:
            yield Check(
                name, "missing", f"{size(free_bytes)} free in {place}", "Make room, or set R1TUI_HOME elsewhere."
            )
        else:
            yield Check(name, "ok", f"{size(free_bytes)} free in {folder}")


def _models(context: Context, config: Config) -> Iterator[Check]:
    search = Search(context.paths, config)
    here = [(one.name, found) for one in load_catalog(config) if (found := search.find(one)) is not None]
    names = ", ".join(name if found.owner == "r1tui" else f"{name} ({OWNERS[found.owner]})" for name, found in here)
    yield Check("on disk", "ok" if here else "note", names or "no model yet", "" if here else "r1tui variants")
    for path, why in list(search.ignored.items())[:SHOWN]:
        yield Check("on disk", "note", f"{path}: {why}", _way_in(path, why))
    if len(search.ignored) > SHOWN:
        yield Check("on disk", "note", f"{len(search.ignored) - SHOWN} more places were left out")


def _way_in(path: Path, why: str) -> str:
    if why != os.strerror(errno.EACCES):
        return ""
    if path.is_relative_to(ollama.SYSTEM_FOLDER):
        return "sudo usermod -aG ollama $USER, and log in again, to use Ollama's models"
    return "Make it readable to use the models there."


def _server(context: Context, config: Config) -> Iterator[Check]:
    now = status(context.paths)
    level: Literal["note", "ok"] = "note" if now.cause else "ok"
    text = now.state + (f" {now.variant}" if now.variant else "") + (f": {now.cause}" if now.cause else "")
    yield Check("server", level, text, now.remedy or "")
