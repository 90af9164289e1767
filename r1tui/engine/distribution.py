"""The distribution, and the CUDA toolkit that its own package manager would install. Reads files, starts nothing."""

import re
from dataclasses import dataclass
from pathlib import Path

NVIDIA_REPOSITORY = re.compile(r"compute/cuda/repos")  # in the address of NVIDIA's own packages
DEBIAN = {"bullseye": (11, 2), "bookworm": (11, 8), "trixie": (12, 4)}  # nvidia-cuda-toolkit, in non-free
UBUNTU = {"focal": (10, 1), "jammy": (11, 5), "noble": (12, 0), "plucky": (12, 2)}  # the same, in multiverse
WITHOUT_HIPBLAS = {"bullseye", "bookworm", "focal", "jammy"}  # no libhipblas-dev
APT = ("etc/apt/sources.list", "etc/apt/sources.list.d/*.list", "etc/apt/sources.list.d/*.sources")
RPM = ("etc/yum.repos.d/*.repo", "etc/zypp/repos.d/*.repo")


@dataclass(frozen=True)
class PackagedCuda:
    """The package of a CUDA toolkit; `version` None where it is the newest or not known."""

    package: str
    version: tuple[int, int] | None = None


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
    text = "\n".join(_read(path) for pattern in patterns for path in sorted(root.glob(pattern)))
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _os_release(root: Path) -> dict[str, str]:
    text = _read(root / "etc/os-release") or _read(root / "usr/lib/os-release")
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
