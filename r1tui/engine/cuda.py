"""What CUDA can do for which card and driver, and the ways to a toolkit that can. Pure functions."""

from collections.abc import Sequence

from r1tui.engine import pins
from r1tui.engine.system import System, Toolkit, install, install_command
from r1tui.errors import R1tuiError

# The first CUDA release that compiles for an architecture, and the last that does (release notes of CUDA 11 to 13).
FIRST_CUDA = {
    "80": (11, 0), "86": (11, 1), "87": (11, 4), "89": (11, 8), "90": (11, 8), "100": (12, 8), "120": (12, 8),
    "103": (12, 9), "121": (12, 9), "110": (13, 0),
}  # fmt: skip
OLDEST_IN_CUDA_13 = 75
LAST_CUDA_12 = (12, 9)
DRIVER_OF_CUDA = {13: "580", 12: "525", 11: "450"}  # the oldest Linux driver that runs a release
FROM_PYPI = "r1tui build --backend cuda --cuda-toolkit pypi"


def architectures_of(system: System) -> tuple[str, ...]:
    """The visible GPUs' architectures, each once: 90, 120."""
    return tuple(dict.fromkeys(gpu.architecture for gpu in system.nvidia.gpus if gpu.architecture))


def machine_code(architectures: Sequence[str]) -> tuple[str, ...]:
    """For cards that are here: their machine code alone (90-real), without the PTX that others would need.

    llama.cpp makes 120a of its own accord out of 120, with the suffix too.
    """
    return tuple(f"{architecture}-real" for architecture in architectures)


def default_architectures(version: tuple[int, int] | None) -> tuple[str, ...]:
    """For a machine whose GPUs cannot be seen: machine code for the common cards, PTX for what lies between."""
    known = version or (12, 0)
    common = ["75-virtual", "80-real", "86-real", "89-real", "90-real"]
    return (*common, "120a-real") if known >= FIRST_CUDA["120"] else tuple(common)


def ways_on(system: System) -> str:
    """What to do about a GPU without a CUDA compiler that suits it: only what works here, the best way first."""
    here = f"; here: {system.nvidia.driver_version}" if system.nvidia.driver_version else ""
    runs = system.nvidia.cuda_version
    ways: list[str] = []
    if _suits(pins.CUDA, system):
        ways.append(
            f"{FROM_PYPI}   the CUDA 13 compiler from NVIDIA's PyPI wheels "
            f"(needs driver {DRIVER_OF_CUDA[13]} or newer{here})"
        )
    packaged = system.packaged_cuda
    if packaged is not None and (packaged.version is None or _suits(packaged.version, system)):
        command = install(system.package_manager, packaged.package)
        if packaged.version is None and runs is not None and runs < pins.CUDA:
            command += f"   if that is CUDA {runs[0]}"
        ways.append(f"{command}   then r1tui build again")
    if not _suits(pins.CUDA, system) and (older := _older_toolkit(system)) is not None:
        name = "{}.{}".format(*older)
        ways.append(
            f"install NVIDIA's CUDA {name} toolkit and name its folder: engine.cuda_toolkit: /usr/local/cuda-{name}"
        )
    if runs is not None and runs < pins.CUDA and _compiles(pins.CUDA, system):
        ways.append(f"update the NVIDIA driver to {DRIVER_OF_CUDA[13]} or newer{here}   then {FROM_PYPI}")
    ways.append(f"r1tui build --backend vulkan   slower; needs {install_command(system.package_manager, 'vulkan')}")
    ways.append("r1tui build --backend cpu   leaves the GPU unused on purpose")
    return "\n".join(["Choose one of:", *(f"  {way}" for way in ways)])


def check_toolkit(version: tuple[int, int] | None, system: System) -> list[str]:
    """What the toolkit cannot do for these GPUs and this driver: errors raised, mere warnings returned."""
    if version is None:
        return []
    name = "CUDA {}.{}".format(*version)
    for architecture in architectures_of(system):
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
    return [f"{name} is newer than {driver}. It works for machine code of this very GPU; updating the driver is safer."]


def check_cublas(toolkit: Toolkit, system: System) -> None:
    """Raise R1tuiError for a toolkit that lacks cuBLAS, without which llama.cpp's CUDA code does not compile."""
    if not toolkit.has_cublas:
        raise R1tuiError(
            f"The CUDA toolkit in {toolkit.root} has no cuBLAS (cublas_v2.h).",
            f"Install the rest of that toolkit (libcublas and its headers), or another.\n{ways_on(system)}",
        )


def _suits(version: tuple[int, int], system: System) -> bool:
    """Whether this CUDA compiles for every visible GPU and its driver runs what comes of it."""
    runs = system.nvidia.cuda_version
    return _compiles(version, system) and (runs is None or version[0] <= runs[0])


def _compiles(version: tuple[int, int], system: System) -> bool:
    return all(
        version >= FIRST_CUDA.get(architecture, (0, 0)) and (version[0] < 13 or int(architecture) >= OLDEST_IN_CUDA_13)
        for architecture in architectures_of(system)
    )


def _older_toolkit(system: System) -> tuple[int, int] | None:
    """The CUDA 12 (or 11) for a driver or card that CUDA 13 has left behind; None where there is none."""
    runs = min(system.nvidia.cuda_version or LAST_CUDA_12, LAST_CUDA_12)
    needed = max((FIRST_CUDA.get(architecture, (0, 0)) for architecture in architectures_of(system)), default=(0, 0))
    version = max(runs, needed)
    return version if _suits(version, system) else None
