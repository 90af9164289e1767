"""What to build and how: the back end for a machine, and cmake's arguments for it. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r1tui.config import EngineSettings
from r1tui.engine.system import System, Toolkit, install_command
from r1tui.errors import R1tuiError

TARGETS = ("llama-server", "llama-fit-params", "ggml-rpc-server", "llama-bench")
GIB = 1 << 30
JOB_BYTES = GIB  # the largest compiler process of a CUDA build took 0.9 GB

BuiltBackend = Literal["cpu", "cuda", "hip", "vulkan", "metal"]

# The first CUDA release that compiles for an architecture, and the last that does (release notes of CUDA 11 to 13).
FIRST_CUDA = {
    "80": (11, 0), "86": (11, 1), "87": (11, 4), "89": (11, 8), "90": (11, 8), "100": (12, 8), "120": (12, 8),
    "103": (12, 9), "121": (12, 9), "110": (13, 0),
}  # fmt: skip
OLDEST_IN_CUDA_13 = 75
DRIVER_OF_CUDA = {13: "580", 12: "525", 11: "450"}  # the oldest Linux driver that runs a release
MENDED_AMX = {11: 5, 12: 4, 13: 3}  # minor versions of GCC
PYPI_DRIVER_CUDA = (13, 0)


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
                    "A hip build needs AMD's ROCm, and there is no hipcc.",
                    f"Install it: {install_command(system.package_manager, 'hip')}",
                )
            return Recipe("hip")
        case "metal":
            if system.platform != "darwin":
                raise R1tuiError("Metal is Apple's, and this is no macOS.", "Leave --backend out.")
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


def ways_on(system: System) -> str:
    """What to do about a GPU without a CUDA compiler, the best way first."""
    driver = system.nvidia.driver_version
    here = f"; here: {driver}" if driver else ""
    return "\n".join(
        [
            "Choose one of:",
            f"  r1tui build --backend cuda --cuda-toolkit pypi   the CUDA 13 compiler from NVIDIA's PyPI wheels "
            f"(needs driver {DRIVER_OF_CUDA[13]} or newer{here})",
            f"  {install_command(system.package_manager, 'cuda')}   then r1tui build again",
            "  r1tui build --backend cpu   leaves the GPU unused on purpose",
        ]
    )


def _automatic(settings: EngineSettings, system: System) -> Recipe:
    if system.platform == "darwin":
        return Recipe("metal")
    if system.nvidia_hardware:
        if not system.nvidia.gpus:
            reason = system.nvidia.reason or "unknown"
            raise R1tuiError(
                f"An NVIDIA GPU is here, but its driver does not show it ({reason}).",
                "Install or mend the NVIDIA driver (nvidia-smi must list the GPU; a container is started with it), "
                "or leave the GPU unused on purpose: r1tui build --backend cpu",
            )
        if system.toolkit is None and settings.cuda_toolkit != "pypi":
            names = ", ".join(sorted({gpu.name for gpu in system.nvidia.gpus}))
            raise R1tuiError(f"There is a GPU ({names}) but no CUDA compiler (nvcc).", ways_on(system))
        return _cuda(settings, system)
    if system.amd_hardware:
        if system.hipcc is not None:
            return Recipe("hip")
        return Recipe(
            "cpu",
            notices=(
                "An AMD GPU is here, but no ROCm compiler (hipcc): this build is for the CPU alone. For the GPU: "
                f"{install_command(system.package_manager, 'hip')}, or r1tui build --backend vulkan",
            ),
        )
    return Recipe("cpu")


def _cuda(settings: EngineSettings, system: System) -> Recipe:
    from_pypi = settings.cuda_toolkit == "pypi"
    if system.platform == "darwin":
        raise R1tuiError("There is no CUDA for macOS.", "Leave --backend out: Metal is used.")
    if system.toolkit is None and not from_pypi:
        raise R1tuiError("A CUDA build needs the CUDA compiler (nvcc), and there is none.", ways_on(system))
    version = PYPI_DRIVER_CUDA if from_pypi or system.toolkit is None else system.toolkit.version
    architectures = tuple(dict.fromkeys(gpu.architecture for gpu in system.nvidia.gpus if gpu.architecture))
    notices = _check_toolkit(version, architectures, system)
    if any("CMAKE_CUDA_ARCHITECTURES" in argument for argument in settings.cmake_args):
        architectures = ()
    elif not architectures:
        architectures = default_architectures(version)
        notices.append(
            f"No GPU is visible: compiling for {', '.join(architectures)}, which takes several times as long as "
            "for one. For one: engine.cmake_args: ['-DCMAKE_CUDA_ARCHITECTURES=90']"
        )
    return Recipe("cuda", architectures, system.toolkit, from_pypi and system.toolkit is None, tuple(notices))


def default_architectures(version: tuple[int, int] | None) -> tuple[str, ...]:
    """For a machine whose GPUs cannot be seen: machine code for the common cards, PTX for what lies between."""
    known = version or (12, 0)
    common = ["75-virtual", "80-real", "86-real", "89-real", "90-real"]
    return (*common, "120a-real") if known >= FIRST_CUDA["120"] else tuple(common)


def _check_toolkit(version: tuple[int, int] | None, architectures: Sequence[str], system: System) -> list[str]:
    """What the toolkit cannot do for these GPUs and this driver: errors raised, mere warnings returned."""
    if version is None:
        return []
    name = "CUDA {}.{}".format(*version)
    for architecture in architectures:
        first = FIRST_CUDA.get(architecture)
        if first is not None and version < first:
            raise R1tuiError(
                f"{name} is too old for this GPU: compute capability {_dotted(architecture)} needs "
                f"{first[0]}.{first[1]}.",
                ways_on(system),
            )
        if version[0] >= 13 and int(architecture) < OLDEST_IN_CUDA_13:
            raise R1tuiError(
                f"{name} no longer compiles for this GPU (compute capability {_dotted(architecture)}).",
                "Install a CUDA 12 toolkit and name its folder: engine.cuda_toolkit: /usr/local/cuda-12.9",
            )
    runs = system.nvidia.cuda_version
    if runs is None or version <= runs:
        return []
    driver = f"the driver {system.nvidia.driver_version} runs CUDA up to {runs[0]}.{runs[1]}"
    if version[0] > runs[0]:
        needed = DRIVER_OF_CUDA.get(version[0], "a newer one")
        raise R1tuiError(
            f"{name} is too new: {driver}.",
            f"Update the NVIDIA driver ({needed} or newer), or install a CUDA {runs[0]} toolkit and name its folder in "
            "engine.cuda_toolkit, or leave the GPU unused on purpose: r1tui build --backend cpu",
        )
    return [f"{name} is newer than {driver}. It works for machine code of this very GPU; updating the driver is safer."]


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


def _dotted(architecture: str) -> str:
    return f"{architecture[:-1]}.{architecture[-1]}"
