"""What to build and how: the back end for a machine, and cmake's arguments for it. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r1tui.config import EngineSettings
from r1tui.engine import pins
from r1tui.engine.cuda import (
    architectures_of,
    check_cublas,
    check_toolkit,
    default_architectures,
    machine_code,
    ways_on,
)
from r1tui.engine.system import System, Toolkit, hip_way
from r1tui.errors import R1tuiError
from r1tui.remedies import BuildEngine, Run

TARGETS = ("llama-server", "llama-fit-params", "ggml-rpc-server", "llama-bench")
GIB = 1 << 30
JOB_BYTES = GIB  # the largest compiler process of a CUDA build took 0.9 GB

BuiltBackend = Literal["cpu", "cuda", "hip", "vulkan", "metal"]

MENDED_AMX = {11: 5, 12: 4, 13: 3}  # minor versions of GCC


@dataclass(frozen=True)
class Recipe:
    """A decided build; `notices` are what the user should know about the decision."""

    backend: BuiltBackend
    architectures: tuple[str, ...] = ()
    toolkit: Toolkit | None = None
    fetch_toolkit: bool = False
    notices: tuple[str, ...] = ()


def choose(settings: EngineSettings, system: System) -> Recipe:
    """The build for these settings here. Raises R1tuiError rather than leave a GPU unused without being asked to."""
    match settings.backend:
        case "auto":
            return _automatic(settings, system)
        case "cuda":
            return _cuda(settings, system)
        case "hip":
            if system.hipcc is None:
                raise R1tuiError(
                    "A hip build needs AMD's ROCm, and there is no hipcc.", f"Install it: {hip_way(system)}"
                )
            return Recipe("hip")
        case "metal":
            if system.platform != "darwin":
                raise R1tuiError("Metal is only available on macOS.", "Leave --backend out.")
            return Recipe("metal")
        case other:
            return Recipe(other)


def cmake_arguments(
    recipe: Recipe, settings: EngineSettings, ninja: Path, hip_targets: Sequence[str] = (), cxx_flags: str = ""
) -> list[str]:
    """The -D arguments of the configure step; the settings' own come last and so prevail."""
    arguments = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_MAKE_PROGRAM": str(ninja),
        "BUILD_SHARED_LIBS": "OFF",
        "GGML_RPC": "ON",
        "GGML_NATIVE": "ON",
        "GGML_CCACHE": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_USE_PREBUILT_UI": "OFF",
    }
    if cxx_flags:
        arguments["CMAKE_CXX_FLAGS"] = cxx_flags
    if number := build_number(settings.ref):
        arguments["LLAMA_BUILD_NUMBER"] = str(number)
    match recipe.backend:
        case "cuda":
            arguments |= _cuda_arguments(recipe)
        case "hip":
            arguments["GGML_HIP"] = "ON"
            if hip_targets:
                arguments["GPU_TARGETS"] = ";".join(hip_targets)
        case "vulkan":
            arguments["GGML_VULKAN"] = "ON"
        case "metal":
            arguments["GGML_METAL"] = "ON"
        case "cpu":
            arguments["GGML_METAL"] = "OFF"  # on by default on macOS
    return [f"-D{name}={value}" for name, value in arguments.items()] + list(settings.cmake_args)


def flags_against_broken_amx(macros: str) -> str:
    """Compiler flags that leave AMX out where this compiler breaks it; `macros` is what `-march=native -dM -E` prints.

    GCC drops the stores before `_tile_loadconfig` (its bug 114098; mended in 11.5, 12.4, 13.3 and 14), so that
    llama-server dies of SIGSEGV at its first token on every Xeon with AMX.
    """
    defined = dict(line.split(maxsplit=2)[1:3] for line in macros.splitlines() if line.count(" ") >= 2)
    if "__AMX_INT8__" not in defined or "__clang__" in defined:
        return ""
    major, minor = (int(defined.get(name, "0")) for name in ("__GNUC__", "__GNUC_MINOR__"))
    return "-mno-amx-int8" if major < 14 and minor < MENDED_AMX.get(major, 99) else ""


def build_number(ref: str) -> int | None:
    """11434 of `b11434`; None of any other ref."""
    return int(ref[1:]) if ref[:1] == "b" and ref[1:].isdigit() else None


def compile_jobs(asked: int | None, cores: int, available_bytes: int) -> int:
    """Compiler processes at once: what was asked for, else one per core and GiB of free memory; ≥ 1."""
    return asked or max(1, min(cores, available_bytes // JOB_BYTES))


def _automatic(settings: EngineSettings, system: System) -> Recipe:
    if system.platform == "darwin":
        return Recipe("metal")
    if system.nvidia_hardware:
        if not system.nvidia.gpus:
            reason = system.nvidia.reason or "unknown"
            raise R1tuiError(
                f"An NVIDIA GPU is here, but its driver does not show it ({reason}).",
                "Install or mend the NVIDIA driver; a container is started with it.",
                Run("nvidia-smi", "must list the GPU"),
                "Or leave the GPU unused on purpose.",
                BuildEngine("--backend cpu"),
            )
        if system.toolkit is None and settings.cuda_toolkit != "pypi":
            names = ", ".join(sorted({gpu.name for gpu in system.nvidia.gpus}))
            raise R1tuiError(f"There is a GPU ({names}) but no CUDA compiler (nvcc).", ways_on(system))
        return _cuda(settings, system)
    if not system.amd_hardware:
        return Recipe("cpu")
    if system.hipcc is not None:
        return Recipe("hip")
    notice = (
        "An AMD GPU is here, but no ROCm compiler (hipcc): this build is for the CPU alone. For the GPU: "
        f"{hip_way(system)}, or r1tui build --backend vulkan"
    )
    return Recipe("cpu", notices=(notice,))


def _cuda(settings: EngineSettings, system: System) -> Recipe:
    from_pypi = settings.cuda_toolkit == "pypi"
    if system.platform == "darwin":
        raise R1tuiError("There is no CUDA for macOS.", "Leave --backend out: Metal is used.")
    if system.toolkit is None and not from_pypi:
        raise R1tuiError("A CUDA build needs the CUDA compiler (nvcc), and there is none.", ways_on(system))
    version = pins.CUDA if from_pypi or system.toolkit is None else system.toolkit.version
    notices = check_toolkit(version, system)
    given = " ".join(settings.cmake_args)
    if system.toolkit is not None and "CMAKE_PREFIX_PATH" not in given and "CUDAToolkit" not in given:
        check_cublas(system.toolkit, system)
    architectures = machine_code(architectures_of(system))
    if "CMAKE_CUDA_ARCHITECTURES" in given:
        architectures = ()
    elif not architectures:
        architectures = default_architectures(version)
        notices.append(
            f"No GPU is visible: compiling for {', '.join(architectures)}, which takes several times as long as "
            "for one. For one: engine.cmake_args: ['-DCMAKE_CUDA_ARCHITECTURES=90-real']"
        )
    return Recipe("cuda", architectures, system.toolkit, from_pypi and system.toolkit is None, tuple(notices))


def _cuda_arguments(recipe: Recipe) -> dict[str, str]:
    arguments = {"GGML_CUDA": "ON"}
    if recipe.architectures:
        arguments["CMAKE_CUDA_ARCHITECTURES"] = ";".join(recipe.architectures)
    if recipe.toolkit is not None:
        arguments["CMAKE_CUDA_COMPILER"] = str(recipe.toolkit.nvcc)
        if recipe.toolkit.bundled:
            root = recipe.toolkit.root
            arguments |= {
                "CUDAToolkit_ROOT": str(root),
                "CMAKE_BUILD_RPATH": str(root / "lib"),
                "GGML_CUDA_NCCL": "OFF",  # the system's belongs to another toolkit
            }
    return arguments
