"""This machine's means to build: compilers, toolkits, packages of its distribution.

Looks at files, starts nothing.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from r1tui.errors import R1tuiError
from r1tui.machine.hardware import ROOT, amd_hardware, nvidia_hardware
from r1tui.machine.nvml import Nvidia, read_nvidia
from r1tui.system.files import read_if_any
from r1tui.system.paths import expand

COMPILERS = ("c++", "g++", "clang++")
PACKAGES = {  # what a build needs -> its packages by package manager
    "compiler": {
        "apt-get": "build-essential", "dnf": "gcc-c++", "yum": "gcc-c++", "pacman": "base-devel",
        "zypper": "gcc-c++", "apk": "build-base",
    },
    "hip": {"apt-get": "hipcc libhipblas-dev librocblas-dev", "dnf": "rocm-hip-devel hipblas-devel rocblas-devel",
            "pacman": "rocm-hip-sdk", "zypper": "rocm-hip-devel"},
    "vulkan": {
        "apt-get": "libvulkan-dev glslc spirv-headers",
        "dnf": "vulkan-loader-devel vulkan-headers glslc spirv-headers-devel",
        "pacman": "vulkan-headers vulkan-icd-loader shaderc spirv-headers",
        "zypper": "vulkan-devel shaderc spirv-headers", "apk": "vulkan-loader-dev vulkan-headers shaderc spirv-headers",
    },
    "git": dict.fromkeys(("apt-get", "dnf", "yum", "pacman", "zypper", "apk"), "git"),
}  # fmt: skip
HEADERS = ("cuda_runtime.h", "cublas_v2.h")
SEARCHED = ("CMAKE_PREFIX_PATH", "CUDAToolkit_ROOT", "CPATH", "CPLUS_INCLUDE_PATH")  # where parts may lie elsewhere
NVIDIA_REPOSITORY = re.compile(r"compute/cuda/repos")  # in the address of NVIDIA's own packages
DEBIAN = {"bullseye": (11, 2), "bookworm": (11, 8), "trixie": (12, 4)}  # nvidia-cuda-toolkit, in non-free
UBUNTU = {"focal": (10, 1), "jammy": (11, 5), "noble": (12, 0), "plucky": (12, 2)}  # the same, in multiverse
WITHOUT_HIPBLAS = {"bullseye", "bookworm", "focal", "jammy"}  # no libhipblas-dev
APT = ("etc/apt/sources.list", "etc/apt/sources.list.d/*.list", "etc/apt/sources.list.d/*.sources")
RPM = ("etc/yum.repos.d/*.repo", "etc/zypp/repos.d/*.repo")
INSTALL = {"pacman": "pacman -S", "apk": "apk add"}  # the others: NAME install


@dataclass(frozen=True)
class PackagedCuda:
    """The package of a CUDA toolkit; `version` None where it is the newest or not known."""

    package: str
    version: tuple[int, int] | None = None


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit; `version` is its nvcc's (None when its files do not say), `bundled` one that r1tui fetched."""

    nvcc: Path
    version: tuple[int, int] | None
    bundled: bool = False
    has_cublas: bool = True
    """False where its other headers are found and cuBLAS's is not."""

    @property
    def root(self) -> Path:
        return self.nvcc.parent.parent


@dataclass(frozen=True)
class System:
    """Everything that the choice of a back end rests on."""

    platform: str
    nvidia: Nvidia
    nvidia_hardware: bool
    amd_hardware: bool
    toolkit: Toolkit | None
    hipcc: Path | None
    package_manager: str | None
    cxx: Path | None
    packaged_cuda: PackagedCuda | None = None
    """The toolkit that the package manager would install."""
    codename: str = ""
    """The distribution's release: bookworm, noble."""

    @property
    def architectures(self) -> tuple[str, ...]:
        """The visible GPUs' architectures, each once: 90, 120."""
        return tuple(dict.fromkeys(gpu.architecture for gpu in self.nvidia.gpus if gpu.architecture))


def survey(env: Mapping[str, str], cuda_toolkit: str, bundled: Toolkit | None, root: Path = ROOT) -> System:
    """Look at this machine; `bundled` is the toolkit from PyPI where it has been fetched already."""
    nvidia = read_nvidia()
    manager = next((name for name in PACKAGES["git"] if shutil.which(name, path=env.get("PATH"))), None)
    return System(
        platform=sys.platform,
        nvidia=nvidia,
        nvidia_hardware=bool(nvidia.gpus) or nvidia_hardware(root),
        amd_hardware=amd_hardware(root),
        toolkit=find_toolkit(env, cuda_toolkit, root) or bundled,
        hipcc=_find("hipcc", env, [root / "opt/rocm/bin"]),
        package_manager=manager,
        cxx=find_cxx(env),
        packaged_cuda=packaged_cuda(manager, root),
        codename=codename(root),
    )


def find_cxx(env: Mapping[str, str]) -> Path | None:
    """The C++ compiler that cmake will take: $CXX, else the usual names on the PATH."""
    names = [env["CXX"].split()[0]] if env.get("CXX", "").split() else list(COMPILERS)
    found = (shutil.which(name, path=env.get("PATH")) for name in names)
    return next((Path(path) for path in found if path), None)


def find_toolkit(env: Mapping[str, str], cuda_toolkit: str, root: Path = ROOT) -> Toolkit | None:
    """The system's CUDA toolkit: a folder that the settings name, PATH, CUDA_HOME, CUDA_PATH, /usr/local/cuda.

    Raises R1tuiError when a folder is named and holds no nvcc.
    """
    if cuda_toolkit not in ("auto", "pypi"):
        nvcc = expand(cuda_toolkit) / "bin" / "nvcc"
        if not nvcc.is_file():
            raise R1tuiError(
                f"engine.cuda_toolkit: {cuda_toolkit} has no bin/nvcc.",
                "Set it to the folder with bin/nvcc, to pypi, or to auto.",
            )
        return _toolkit(nvcc, env, root)
    if cuda_toolkit == "pypi":
        return None
    folders = [Path(env[name]) / "bin" for name in ("CUDA_HOME", "CUDA_PATH") if env.get(name)]
    nvcc_found = _find("nvcc", env, [*folders, root / "usr/local/cuda/bin"])
    return None if nvcc_found is None else _toolkit(nvcc_found, env, root)


def toolkit_version(nvcc: Path) -> tuple[int, int] | None:
    """The toolkit's version from the files beside its compiler; a script that starts another nvcc is followed."""
    real = nvcc.resolve()
    if target := _wrapped(real):
        return toolkit_version(target)
    root = real.parent.parent
    for file in (root / "version.json", root / "version.txt", root / "include" / "cuda.h", Path("/usr/include/cuda.h")):
        if found := _version_in(file):
            return found
    named = re.search(r"cuda-(\d+)\.(\d+)", str(root))
    return (int(named[1]), int(named[2])) if named else None


def codename(root: Path) -> str:
    """`bookworm`, `jammy`: the release that this system is, or is made from; empty where that is not known."""
    system = _os_release(root)
    return system.get("UBUNTU_CODENAME") or system.get("DEBIAN_CODENAME") or system.get("VERSION_CODENAME", "")


def packaged_cuda(manager: str | None, root: Path) -> PackagedCuda | None:
    """The toolkit that the package manager would install with the sources it has; None where it has none."""
    match manager:
        case "apt-get":
            return _from_apt(root)
        case "dnf" | "yum" | "zypper":
            return PackagedCuda("cuda-toolkit") if NVIDIA_REPOSITORY.search(_sources(root, RPM)) else None
        case "pacman":
            return PackagedCuda("cuda")
    return None


def install_command(manager: str | None, need: str) -> str:
    """The command that installs what is needed, for this system's package manager; on macOS Apple's own."""
    if sys.platform == "darwin" and need == "compiler":
        return "xcode-select --install"
    package = PACKAGES[need].get(manager or "")
    if manager is None or package is None:
        return f"install {PACKAGES[need]['apt-get']} (the name may differ on your distribution)"
    return install(manager, package)


def install(manager: str | None, package: str) -> str:
    """The package manager's command for a package."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}{INSTALL.get(manager or '', f'{manager} install')} {package}"


def hip_way(system: System) -> str:
    """The way to AMD's compiler and libraries here."""
    if system.codename in WITHOUT_HIPBLAS:
        return f"AMD's own ROCm packages (those of {system.codename} have no hipBLAS)"
    return install_command(system.package_manager, "hip")


def _toolkit(nvcc: Path, env: Mapping[str, str], root: Path) -> Toolkit:
    return Toolkit(nvcc, toolkit_version(nvcc), has_cublas=_has_cublas(nvcc, env, root))


def _has_cublas(nvcc: Path, env: Mapping[str, str], root: Path) -> bool:
    """True when cuBLAS's header lies where the toolkit's others do, and where that cannot be told."""
    if any(env.get(name) for name in SEARCHED):
        return True
    real = nvcc.resolve()
    base = (_wrapped(real) or real).parent.parent
    folders = [base / "include", *base.glob("targets/*/include"), root / "usr/include"]
    lies = {header: any((folder / header).exists() for folder in folders) for header in HEADERS}
    return not lies["cuda_runtime.h"] or lies["cublas_v2.h"]


def _version_in(file: Path) -> tuple[int, int] | None:
    text = read_if_any(file)
    if file.name == "version.json":
        try:
            text = "CUDA Version " + str(json.loads(text)["cuda"]["version"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
    if found := re.search(r"CUDA Version (\d+)\.(\d+)", text):
        return int(found[1]), int(found[2])
    if found := re.search(r"#define\s+CUDA_VERSION\s+(\d+)", text):  # 13000 is 13.0
        return int(found[1]) // 1000, int(found[1]) % 1000 // 10
    return None


def _wrapped(script: Path) -> Path | None:
    with script.open("rb") as file:
        if file.read(2) != b"#!":
            return None
        text = file.read(4096).decode(errors="replace")
    found = re.search(r"(/[^\s\"']*/nvcc)\b", text)
    target = Path(found[1]) if found else None
    return target if target is not None and target.is_file() and target.resolve() != script else None


def _find(program: str, env: Mapping[str, str], folders: list[Path]) -> Path | None:
    if found := shutil.which(program, path=env.get("PATH")):
        return Path(found)
    return next((folder / program for folder in folders if os.access(folder / program, os.X_OK)), None)


def _from_apt(root: Path) -> PackagedCuda | None:
    sources = _sources(root, APT)
    if NVIDIA_REPOSITORY.search(sources):
        return PackagedCuda("cuda-toolkit")
    name = codename(root)
    if name in UBUNTU:
        return PackagedCuda("nvidia-cuda-toolkit", UBUNTU[name])
    system = _os_release(root)
    is_debian = name in DEBIAN or system.get("ID") == "debian"
    if is_debian and not re.search(r"\bnon-free\b(?!-)", sources):
        return None
    return PackagedCuda("nvidia-cuda-toolkit", DEBIAN.get(name))


def _sources(root: Path, patterns: tuple[str, ...]) -> str:
    """The package manager's lists of sources, without comments."""
    text = "\n".join(read_if_any(path) for pattern in patterns for path in sorted(root.glob(pattern)))
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _os_release(root: Path) -> dict[str, str]:
    text = read_if_any(root / "etc/os-release") or read_if_any(root / "usr/lib/os-release")
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
