"""The recipe of a build: the back end for a machine, its CUDA, and cmake's arguments. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r1tui.config import EngineSettings
from r1tui.engine import toolchain
from r1tui.engine.system import System, Toolkit, hip_way, install, install_command
from r1tui.errors import R1tuiError
from r1tui.remedies import BuildEngine, Run

TARGETS = ("llama-server", "llama-fit-params", "ggml-rpc-server", "llama-bench")
JOB_BYTES = 1 << 30  # the largest compiler process of a CUDA build took 0.9 GB
# The first CUDA release that compiles for an architecture, and the last that does (release notes of CUDA 11 to 13).
FIRST_CUDA = {
    "80": (11, 0), "86": (11, 1), "87": (11, 4), "89": (11, 8), "90": (11, 8), "100": (12, 8), "120": (12, 8),
    "103": (12, 9), "121": (12, 9), "110": (13, 0),
}  # fmt: skip
COMMON_ARCHITECTURES = ("75-virtual", "80-real", "86-real", "89-real", "90-real")
OLDEST_IN_CUDA_13 = 75
LAST_CUDA_12 = (12, 9)
DRIVER_OF_CUDA = {13: "580", 12: "525", 11: "450"}  # the oldest Linux driver that runs a release
FROM_PYPI = "r1tui build --backend cuda --cuda-toolkit pypi"

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
                    "A hip build needs AMD's ROCm, but hipcc is missing.", f"Install it: {hip_way(system)}"
                )
            return Recipe("hip")
        case "metal":
            if system.platform != "darwin":
                raise R1tuiError("Metal is only available on macOS.", "Remove --backend.")
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


def flags_without_amx(macros: str) -> str:
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


def ways_on(system: System) -> str:
    """Ways to use a GPU that has no suitable CUDA compiler: only those that work here, the best first."""
    here = f"; here: {system.nvidia.driver_version}" if system.nvidia.driver_version else ""
    runs = system.nvidia.cuda_version
    ways: list[str] = []
    if _suits(toolchain.CUDA, system):
        ways.append(
            f"{FROM_PYPI}   the CUDA 13 compiler from NVIDIA's PyPI wheels "
            f"(needs driver {DRIVER_OF_CUDA[13]} or newer{here})"
        )
    packaged = system.packaged_cuda
    if packaged is not None and (packaged.version is None or _suits(packaged.version, system)):
        command = install(system.package_manager, packaged.package)
        if packaged.version is None and runs is not None and runs < toolchain.CUDA:
            command += f"   if that is CUDA {runs[0]}"
        ways.append(f"{command}   then r1tui build again")
    if not _suits(toolchain.CUDA, system) and (older := _older_toolkit(system)) is not None:
        name = "{}.{}".format(*older)
        ways.append(
            f"install NVIDIA's CUDA {name} toolkit and name its folder: engine.cuda_toolkit: /usr/local/cuda-{name}"
        )
    if runs is not None and runs < toolchain.CUDA and _compiles(toolchain.CUDA, system):
        ways.append(f"update the NVIDIA driver to {DRIVER_OF_CUDA[13]} or newer{here}   then {FROM_PYPI}")
    ways.append(f"r1tui build --backend vulkan   slower; needs {install_command(system.package_manager, 'vulkan')}")
    ways.append("r1tui build --backend cpu   does not use the GPU")
    return "\n".join(["Choose one of:", *(f"  {way}" for way in ways)])


def _automatic(settings: EngineSettings, system: System) -> Recipe:
    if system.platform == "darwin":
        return Recipe("metal")
    if system.nvidia_hardware:
        if not system.nvidia.gpus:
            reason = system.nvidia.reason or "unknown"
            raise R1tuiError(
                f"There is an NVIDIA GPU, but the driver does not show it ({reason}).",
                "Install or repair the NVIDIA driver; a container must be started with it.",
                Run("nvidia-smi", "must list the GPU"),
                "Or build without the GPU.",
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
        "There is an AMD GPU but no ROCm compiler (hipcc), so this build is for the CPU only. For the GPU: "
        f"{hip_way(system)}, or r1tui build --backend vulkan"
    )
    return Recipe("cpu", notices=(notice,))


def _cuda(settings: EngineSettings, system: System) -> Recipe:
    from_pypi = settings.cuda_toolkit == "pypi"
    if system.platform == "darwin":
        raise R1tuiError("CUDA does not exist for macOS.", "Remove --backend: Metal is used.")
    if system.toolkit is None and not from_pypi:
        raise R1tuiError("A CUDA build needs the CUDA compiler (nvcc), which is missing.", ways_on(system))
    version = toolchain.CUDA if from_pypi or system.toolkit is None else system.toolkit.version
    notices = _check_toolkit(version, system)
    given = " ".join(settings.cmake_args)
    is_elsewhere = "CMAKE_PREFIX_PATH" in given or "CUDAToolkit" in given
    if system.toolkit is not None and not system.toolkit.has_cublas and not is_elsewhere:
        raise R1tuiError(  # without cuBLAS llama.cpp's CUDA code does not compile
            f"The CUDA toolkit in {system.toolkit.root} has no cuBLAS (cublas_v2.h).",
            f"Install its missing parts (libcublas and headers), or another toolkit.\n{ways_on(system)}",
        )
    # Machine code alone, without the PTX that other cards would need; llama.cpp makes 120a of 120 of its own accord.
    architectures = tuple(f"{architecture}-real" for architecture in system.architectures)
    if "CMAKE_CUDA_ARCHITECTURES" in given:
        architectures = ()
    elif not architectures:  # machine code for the common cards, PTX for what lies between
        architectures = COMMON_ARCHITECTURES
        if version is not None and version >= FIRST_CUDA["120"]:
            architectures += ("120a-real",)
        notices.append(
            f"No GPU is visible: compiling for {', '.join(architectures)}, several times slower than for one. "
            "For one: engine.cmake_args: ['-DCMAKE_CUDA_ARCHITECTURES=90-real']"
        )
    return Recipe("cuda", architectures, system.toolkit, from_pypi and system.toolkit is None, tuple(notices))


def _check_toolkit(version: tuple[int, int] | None, system: System) -> list[str]:
    """Check the toolkit for these GPUs and this driver: raise R1tuiError, or return warnings."""
    if version is None:
        return []
    name = "CUDA {}.{}".format(*version)
    for architecture in system.architectures:
        capability = f"{architecture[:-1]}.{architecture[-1]}"
        first = FIRST_CUDA.get(architecture)
        if first is not None and version < first:
            raise R1tuiError(
                f"{name} is too old for this GPU: compute capability {capability} needs {first[0]}.{first[1]}.",
                ways_on(system),
            )
        if version[0] >= 13 and int(architecture) < OLDEST_IN_CUDA_13:
            raise R1tuiError(
                f"{name} no longer compiles for this GPU (compute capability {capability}).", ways_on(system)
            )
    runs = system.nvidia.cuda_version
    if runs is None or version <= runs:
        return []
    driver = f"the driver {system.nvidia.driver_version} runs CUDA up to {runs[0]}.{runs[1]}"
    if version[0] > runs[0]:
        raise R1tuiError(f"{name} is too new: {driver}.", ways_on(system))
    return [
        f"{name} is newer than {driver}. It works for machine code of exactly this GPU; updating the driver is safer."
    ]


def _suits(version: tuple[int, int], system: System) -> bool:
    """True when this CUDA compiles for every visible GPU and the driver runs the result."""
    runs = system.nvidia.cuda_version
    return _compiles(version, system) and (runs is None or version[0] <= runs[0])


def _compiles(version: tuple[int, int], system: System) -> bool:
    return all(
        version >= FIRST_CUDA.get(architecture, (0, 0)) and (version[0] < 13 or int(architecture) >= OLDEST_IN_CUDA_13)
        for architecture in system.architectures
    )


def _older_toolkit(system: System) -> tuple[int, int] | None:
    """The CUDA 12 (or 11) for a driver or card that CUDA 13 has left behind; None where there is none."""
    runs = min(system.nvidia.cuda_version or LAST_CUDA_12, LAST_CUDA_12)
    needed = max((FIRST_CUDA.get(architecture, (0, 0)) for architecture in system.architectures), default=(0, 0))
    version = max(runs, needed)
    return version if _suits(version, system) else None


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
