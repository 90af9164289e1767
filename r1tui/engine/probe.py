"""Asks a built llama-server what it is: `--version`, `--help`, `--list-devices`, each within a bounded time."""

import ctypes.util
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from r1tui.engine.system import Toolkit
from r1tui.errors import R1tuiError
from r1tui.machine.nvml import Nvidia
from r1tui.machine.visible import visible_gpus
from r1tui.plan.capabilities import Capabilities, EngineDevice, parse_devices, parse_flags, parse_version
from r1tui.remedies import AnyRemedy, BuildEngine, Run
from r1tui.system.children import Cancel, run_lines
from r1tui.system.environment import server_environment

TIMEOUT_S = 60.0  # CUDA's first start on a machine with many GPUs takes many seconds


def probe(server: Path, toolkit: Toolkit | None = None, cancel: Cancel | None = None) -> Capabilities:
    """Ask the binary for its capabilities. Raises R1tuiError if it does not run."""
    with _environment(toolkit) as env:
        version, number = parse_version(_ask(server, ["--version"], env, cancel))
        flags = parse_flags(_ask(server, ["--help"], env, cancel))
        if not version or "--model" not in flags:
            raise R1tuiError(f"{server} is not llama-server.", "Set engine.source to llama.cpp's llama-server.")
        devices = parse_devices(_ask(server, ["--list-devices"], env, cancel)) if "--list-devices" in flags else ()
        return Capabilities(version, number, flags, devices)


def check_runs(server: Path) -> None:
    """Raise R1tuiError when the binary does not run here: another processor, a library or the driver missing."""
    with _environment(None) as env:
        _ask(server, ["--version"], env, None)


def list_devices(server: Path, rpc: Sequence[str] = (), cancel: Cancel | None = None) -> tuple[EngineDevice, ...]:
    """The binary's devices at this moment, with those of the RPC workers (HOST:PORT). Raises R1tuiError."""
    workers = ["--rpc", ",".join(rpc)] if rpc else []
    with _environment(None) as env:
        return parse_devices(_ask(server, [*workers, "--list-devices"], env, cancel))


@contextmanager
def _environment(toolkit: Toolkit | None) -> Iterator[dict[str, str]]:
    """A clean environment; without a driver, one in which the toolkit's stub of it is found: enough to read flags."""
    env = {**server_environment(os.environ), "GGML_NO_BACKTRACE": "1"}
    stubs = [] if toolkit is None else [*toolkit.root.glob("lib*/stubs/libcuda.so"),
                                        *toolkit.root.glob("targets/*/lib/stubs/libcuda.so")]  # fmt: skip
    if not stubs or driver_library():
        yield env
        return
    with tempfile.TemporaryDirectory(prefix="r1tui-") as folder:
        (Path(folder) / "libcuda.so.1").symlink_to(stubs[0])
        env["LD_LIBRARY_PATH"] = ":".join(filter(None, [env.get("LD_LIBRARY_PATH"), folder]))
        yield env


def _ask(server: Path, arguments: Sequence[str], env: Mapping[str, str], cancel: Cancel | None) -> str:
    """Output of the binary for these arguments. Raises R1tuiError if it does not run or fails."""
    said: list[str] = []
    argv: list[str | Path] = [server, *arguments]
    what = f"{server.name} {' '.join(arguments)}"
    try:
        status = run_lines(argv, said.append, what=what, env=env, cancel=cancel, timeout_s=TIMEOUT_S)
    except (TimeoutError, OSError) as error:
        raise R1tuiError(f"{server} does not run: {error}", BuildEngine()) from error
    text = "\n".join(said)
    if status == 0:
        return text
    if worker := re.search(r"Failed to connect to (\S+)", text):
        raise R1tuiError(
            f"The RPC worker {worker[1]} cannot be reached.",
            "Start ggml-rpc-server there, or remove it from server.rpc.",
        )
    raise R1tuiError(f"{what} {_why(status, text)}", *_remedies(text))


def missing_gpus(nvidia: Nvidia, capabilities: Capabilities, backend: str) -> tuple[str, ...]:
    """Sentences about GPUs that the driver shows and the engine does not, or about a driver that is not here."""
    if backend == "cuda" and not driver_library():
        return ("The NVIDIA driver (libcuda.so.1) is missing; this engine needs it to start.",)
    if backend in ("cpu", "metal", "hip") or not nvidia.gpus:
        unused = backend == "cpu" and nvidia.gpus
        return (f"This engine is for the CPU only: {len(nvidia.gpus)} GPU unused.",) if unused else ()
    shown = [device for device in capabilities.devices if not device.name.startswith("RPC")]
    expected = visible_gpus(nvidia.gpus, os.environ)
    if len(shown) >= len(expected):
        return ()
    names = ", ".join(gpu.name for gpu in expected)
    return (
        f"The driver shows {len(expected)} GPU ({names}), the engine only {len(shown)}: "
        "see `llama-server --list-devices` and the driver's version.",
    )


def driver_library() -> bool:
    """True if the NVIDIA driver's libcuda.so.1 can be loaded here."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ctypes.util.find_library("cuda") is not None
    return True


def _why(status: int, text: str) -> str:
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    if status == -4:
        return "stopped with an illegal instruction: it was built for another CPU."
    ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"{ended}: {last}" if last else f"{ended}."


def _remedies(text: str) -> tuple[str | AnyRemedy, ...]:
    if "libcuda.so" in text:
        return "Install the NVIDIA driver.", Run("nvidia-smi", "must list the GPU"), BuildEngine("--backend cpu")
    if "error while loading shared libraries" in text:
        return "Install that library, or build again.", BuildEngine()
    return (BuildEngine(),)
