"""The ways to a CUDA toolkit that suits: by the distribution, the cards and the driver. Only what works is offered."""

from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.config import EngineSettings
from r1tui.engine.recipe import choose, ways_on
from r1tui.engine.system import PackagedCuda, System, Toolkit, codename, find_toolkit, hip_way, packaged_cuda, survey
from r1tui.errors import R1tuiError
from r1tui.machine.nvml import Gpu, Nvidia

GIB = 1 << 30
PYPI = "r1tui build --backend cuda --cuda-toolkit pypi"
UBUNTU = "NAME=Ubuntu\nID=ubuntu\nUBUNTU_CODENAME={0}\nVERSION_CODENAME={0}\n"
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME={0}\n'
MINT = "ID=linuxmint\nID_LIKE='ubuntu debian'\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n"
FREE = "Types: deb\nURIs: http://deb/debian\nSuites: bookworm\nComponents: main non-free-firmware\n"
BOOKWORM, NOBLE = {"os-release": DEBIAN.format("bookworm")}, {"os-release": UBUNTU.format("noble")}
APT, NVIDIAS_OWN = PackagedCuda("nvidia-cuda-toolkit"), PackagedCuda("cuda-toolkit")
APT_11_8, APT_12_0 = replace(APT, version=(11, 8)), replace(APT, version=(12, 0))
NVIDIA_APT = "deb [signed-by=/k.gpg] https://nvidia/compute/cuda/repos/ubuntu2404/x86_64/ /\n"


def machine(
    *capabilities: tuple[int, int],
    packaged: PackagedCuda | None = None,
    runs: tuple[int, int] | None = (13, 0),
    driver: str = "580.65.06",
    toolkit: Toolkit | None = None,
    manager: str = "apt-get",
) -> System:
    gpus = tuple(
        Gpu(index, "NVIDIA Card", f"GPU-{index}", 24 * GIB, 23 * GIB, GIB, capability)
        for index, capability in enumerate(capabilities)
    )
    nvidia = Nvidia(gpus, driver, runs)
    return System("linux", nvidia, True, False, toolkit, None, manager, Path("/usr/bin/c++"), packaged)


def etc(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("manager", "files", "packaged"),
    [
        ("apt-get", BOOKWORM | {"apt/sources.list.d/debian.sources": FREE}, None),
        ("apt-get", BOOKWORM | {"apt/sources.list": "deb http://deb bookworm main non-free"}, APT_11_8),
        ("apt-get", BOOKWORM | {"apt/sources.list": "# deb http://deb bookworm non-free\n"}, None),
        ("apt-get", {"os-release": "ID=debian\n", "apt/sources.list": "deb http://deb sid non-free\n"}, APT),
        ("apt-get", {"os-release": UBUNTU.format("jammy")}, replace(APT, version=(11, 5))),
        ("apt-get", NOBLE, APT_12_0),
        ("apt-get", {"os-release": MINT}, APT_12_0),
        ("apt-get", NOBLE | {"apt/sources.list.d/cuda.list": NVIDIA_APT}, NVIDIAS_OWN),
        ("apt-get", {}, APT),
        ("dnf", {"os-release": "ID=fedora\n"}, None),
        ("dnf", {"yum.repos.d/cuda.repo": "baseurl=https://nvidia/compute/cuda/repos/fedora41\n"}, NVIDIAS_OWN),
        ("zypper", {"zypp/repos.d/cuda.repo": "baseurl=https://nvidia/compute/cuda/repos/sles15\n"}, NVIDIAS_OWN),
        ("pacman", {}, PackagedCuda("cuda")),
        ("apk", {}, None),
        (None, {}, None),
    ],
)
def test_the_package_that_the_distribution_has(
    tmp_path: Path, manager: str | None, files: dict[str, str], packaged: PackagedCuda | None
) -> None:
    assert packaged_cuda(manager, etc(tmp_path, files)) == packaged


def test_a_survey_reads_the_distribution(tmp_path: Path) -> None:
    etc(tmp_path, {"os-release": UBUNTU.format("noble")})
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text("#!/bin/sh\n")
    apt.chmod(0o755)
    system = survey({"PATH": str(apt.parent)}, "auto", None, tmp_path)
    assert system.packaged_cuda == PackagedCuda("nvidia-cuda-toolkit", (12, 0))
    assert system.codename == codename(tmp_path) == "noble"


@pytest.mark.parametrize(
    ("packaged", "capability", "offered"),
    [
        (PackagedCuda("nvidia-cuda-toolkit", (11, 5)), (8, 6), True),
        (PackagedCuda("nvidia-cuda-toolkit", (11, 5)), (8, 9), False),
        (PackagedCuda("nvidia-cuda-toolkit", (11, 5)), (9, 0), False),
        (PackagedCuda("nvidia-cuda-toolkit", (12, 0)), (9, 0), True),
        (PackagedCuda("nvidia-cuda-toolkit", (12, 0)), (12, 0), False),
        (PackagedCuda("cuda"), (12, 0), True),
        (None, (8, 6), False),
    ],
)
def test_a_package_is_offered_where_it_compiles_for_the_card(
    packaged: PackagedCuda | None, capability: tuple[int, int], *, offered: bool
) -> None:
    with pytest.raises(R1tuiError, match="no CUDA compiler") as caught:
        choose(EngineSettings(), machine(capability, packaged=packaged))
    ways = caught.value.remedy.splitlines()
    assert PYPI in ways[1]
    assert "needs driver 580 or newer; here: 580.65.06" in ways[1]
    assert any("apt-get install" in way and "then r1tui build again" in way for way in ways) == offered
    assert "--backend cpu" in ways[-1]
    assert "engine.cuda_toolkit" not in caught.value.remedy


def test_an_older_driver_is_told_which_ways_remain() -> None:
    """Neither CUDA 13 nor a package of it: a CUDA 12 toolkit, a newer driver, Vulkan, the CPU."""
    system = machine((9, 0), runs=(12, 4), driver="550.54.15", packaged=PackagedCuda("nvidia-cuda-toolkit", (12, 0)))
    ways = ways_on(system).splitlines()[1:]
    assert "apt-get install nvidia-cuda-toolkit" in ways[0]
    assert "engine.cuda_toolkit: /usr/local/cuda-12.4" in ways[1]
    assert "update the NVIDIA driver to 580 or newer; here: 550.54.15" in ways[2]
    assert PYPI in ways[2]
    assert [way.split()[3] for way in ways[3:]] == ["vulkan", "cpu"]
    asked = EngineSettings(backend="cuda", cuda_toolkit="pypi")
    with pytest.raises(
        R1tuiError, match=r"CUDA 13\.0 is too new: the driver 550\.54\.15 runs CUDA up to 12\.4"
    ) as caught:
        choose(asked, system)
    assert caught.value.remedy == ways_on(system)


def test_a_card_that_needs_more_than_its_driver_is_offered_what_it_needs() -> None:
    assert "/usr/local/cuda-12.8" in ways_on(machine((12, 0), runs=(12, 6), driver="565.57.01"))


def test_a_card_that_cuda_13_has_left_behind_is_offered_cuda_12_alone() -> None:
    remedy = ways_on(machine((6, 1)))
    assert PYPI not in remedy
    assert "update the NVIDIA driver" not in remedy
    assert "engine.cuda_toolkit: /usr/local/cuda-12.9" in remedy


def test_a_newest_package_with_an_older_driver_carries_its_condition() -> None:
    remedy = ways_on(machine((8, 6), runs=(12, 2), driver="535.161", manager="pacman", packaged=PackagedCuda("cuda")))
    assert "pacman -S cuda   if that is CUDA 12   then r1tui build again" in remedy


def test_a_toolkit_that_is_too_old_leads_to_one_that_is_not() -> None:
    old = Toolkit(Path("/usr/bin/nvcc"), (11, 5))
    system = machine((9, 0), toolkit=old, packaged=PackagedCuda("nvidia-cuda-toolkit", (11, 5)))
    with pytest.raises(R1tuiError, match=r"CUDA 11\.5 is too old") as caught:
        choose(EngineSettings(), system)
    assert PYPI in caught.value.remedy
    assert "apt-get install nvidia-cuda-toolkit" not in caught.value.remedy


def toolkit_files(root: Path, *headers: str) -> Path:
    nvcc = root / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("binary")
    nvcc.chmod(0o755)
    for header in headers:
        path = root / "targets" / "x86_64-linux" / "include" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_a_toolkit_without_cublas_is_said_before_the_build(tmp_path: Path) -> None:
    bare = find_toolkit({}, str(toolkit_files(tmp_path / "bare", "cuda_runtime.h")), tmp_path)
    with pytest.raises(R1tuiError, match=r"has no cuBLAS \(cublas_v2\.h\)") as caught:
        choose(EngineSettings(backend="cuda"), machine((9, 0), toolkit=bare))
    assert PYPI in caught.value.remedy
    elsewhere = EngineSettings(backend="cuda", cmake_args=["-DCMAKE_PREFIX_PATH=/opt/cublas"])
    assert choose(elsewhere, machine((9, 0), toolkit=bare)).toolkit == bare


@pytest.mark.parametrize(
    ("headers", "env"),
    [
        (("cuda_runtime.h", "cublas_v2.h"), {}),
        ((), {}),  # headers that lie nobody knows where: cmake may find them
        (("cuda_runtime.h",), {"CMAKE_PREFIX_PATH": "/opt/cublas"}),
    ],
)
def test_a_toolkit_with_cublas_or_one_of_which_it_cannot_be_told_is_used(
    tmp_path: Path, headers: tuple[str, ...], env: dict[str, str]
) -> None:
    toolkit = find_toolkit(env, str(toolkit_files(tmp_path / "whole", *headers)), tmp_path)
    assert choose(EngineSettings(backend="cuda"), machine((9, 0), toolkit=toolkit)).toolkit == toolkit


@pytest.mark.parametrize("capability", [(7, 5), (9, 0), (12, 0), (12, 1)])
def test_a_card_that_is_here_needs_machine_code_alone(capability: tuple[int, int]) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 9))
    recipe = choose(EngineSettings(backend="cuda"), machine(capability, toolkit=toolkit))
    assert recipe.architectures == ("{}{}-real".format(*capability),)


def test_rocm_is_offered_where_the_distribution_has_it() -> None:
    system = machine()
    assert "libhipblas-dev" in hip_way(replace(system, codename="noble"))
    assert "ROCm" in hip_way(replace(system, codename="bookworm"))
