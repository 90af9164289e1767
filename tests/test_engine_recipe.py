"""Which build for which machine, and cmake's arguments for it: every back end, also those that cannot run here."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.config import EngineSettings
from r1tui.engine.make import build_environment
from r1tui.engine.recipe import Recipe, choose, cmake_arguments, compile_jobs, flags_without_amx
from r1tui.engine.system import (
    System,
    Toolkit,
    find_toolkit,
    install_command,
    survey,
    toolkit_version,
)
from r1tui.errors import R1tuiError
from r1tui.machine.nvml import Gpu, Nvidia

GIB = 1 << 30
NINJA = Path("/n/ninja")
TOOLKIT = Toolkit(Path("/usr/local/cuda/bin/nvcc"), (12, 9))
BARE = System("linux", Nvidia(reason="no driver"), False, False, None, None, "apt-get", Path("/usr/bin/c++"))


def gpu(capability: tuple[int, int], index: int = 0) -> Gpu:
    return Gpu(index, "NVIDIA Card", f"GPU-{index}", 24 * GIB, 23 * GIB, GIB, capability)


def nvidia_machine(
    *capabilities: tuple[int, int], toolkit: Toolkit | None = TOOLKIT, cuda: tuple[int, int] = (13, 0)
) -> System:
    gpus = tuple(gpu(capability, index) for index, capability in enumerate(capabilities))
    return replace(BARE, nvidia=Nvidia(gpus, "580.65.06", cuda), nvidia_hardware=True, toolkit=toolkit)


def arguments(recipe: Recipe, settings: EngineSettings | None = None) -> dict[str, str]:
    """cmake's -D arguments as it understands them: the last one counts."""
    words = cmake_arguments(recipe, settings or EngineSettings(), NINJA)
    return dict(word.removeprefix("-D").split("=", 1) for word in words)


def test_no_gpu_is_a_cpu_build() -> None:
    assert choose(EngineSettings(), BARE) == Recipe("cpu")


def test_gpus_and_nvcc_are_a_cuda_build_for_exactly_these_gpus() -> None:
    recipe = choose(EngineSettings(), nvidia_machine((9, 0), (8, 6), (9, 0)))
    assert (recipe.backend, recipe.architectures, recipe.toolkit) == ("cuda", ("90-real", "86-real"), TOOLKIT)
    assert arguments(recipe)["CMAKE_CUDA_ARCHITECTURES"] == "90-real;86-real"
    assert arguments(recipe)["CMAKE_CUDA_COMPILER"] == "/usr/local/cuda/bin/nvcc"


def test_a_gpu_without_a_driver_is_no_silent_cpu_build_either() -> None:
    with pytest.raises(R1tuiError, match="does not show it") as caught:
        choose(EngineSettings(), replace(BARE, nvidia_hardware=True, toolkit=TOOLKIT))
    assert "r1tui build --backend cpu" in caught.value.remedy


def test_cpu_on_purpose_beside_a_gpu() -> None:
    assert choose(EngineSettings(backend="cpu"), nvidia_machine((9, 0), toolkit=None)).backend == "cpu"


def test_the_toolkit_from_pypi_is_fetched_only_when_asked_for() -> None:
    asked = EngineSettings(backend="cuda", cuda_toolkit="pypi")
    recipe = choose(asked, nvidia_machine((9, 0), toolkit=None))
    assert (recipe.fetch_toolkit, recipe.toolkit) == (True, None)
    assert choose(EngineSettings(cuda_toolkit="pypi"), nvidia_machine((9, 0), toolkit=None)).fetch_toolkit
    with pytest.raises(R1tuiError, match="needs the CUDA compiler"):
        choose(EngineSettings(backend="cuda"), BARE)


def test_the_bundled_toolkit_is_named_in_full() -> None:
    bundled = Toolkit(Path("/c/cuda/13.0/nvidia/cu13/bin/nvcc"), (13, 0), bundled=True)
    composed = arguments(Recipe("cuda", ("90",), bundled))
    assert composed["CMAKE_CUDA_COMPILER"] == "/c/cuda/13.0/nvidia/cu13/bin/nvcc"
    assert composed["CUDAToolkit_ROOT"] == "/c/cuda/13.0/nvidia/cu13"
    assert composed["CMAKE_BUILD_RPATH"] == "/c/cuda/13.0/nvidia/cu13/lib"


def test_the_system_s_toolkit_does_not_leak_into_the_bundled_one_s_build() -> None:
    env = {
        "PATH": "/usr/local/bin:/usr/bin",
        "CUDA_HOME": "/usr/local/cuda",
        "CUDACXX": "/usr/local/bin/nvcc",
        "NVCC_APPEND_FLAGS": "-g",
        "LIBRARY_PATH": "/usr/local/cuda/lib64:/opt/lib",
        "LLAMA_ARG_HOST": "0.0.0.0",  # noqa: S104
    }
    bundled = Recipe("cuda", ("90",), Toolkit(Path("/c/cu13/bin/nvcc"), (13, 0), bundled=True))
    clean = build_environment(env, bundled, Path("/s/b1"))
    assert clean["PATH"] == "/c/cu13/bin:/usr/local/bin:/usr/bin"
    assert clean["LIBRARY_PATH"] == "/opt/lib"
    assert not {"CUDA_HOME", "CUDACXX", "NVCC_APPEND_FLAGS", "LLAMA_ARG_HOST"} & clean.keys()
    assert build_environment(env, Recipe("cuda", ("90",), TOOLKIT), Path("/s/b1"))["CUDA_HOME"] == "/usr/local/cuda"


def test_without_a_visible_gpu_common_cards_are_compiled_for_and_said() -> None:
    recipe = choose(EngineSettings(backend="cuda"), replace(BARE, toolkit=TOOLKIT))
    assert {"86-real", "90-real", "120a-real"} <= set(recipe.architectures)
    assert "CMAKE_CUDA_ARCHITECTURES" in recipe.notices[0]
    old = replace(BARE, toolkit=Toolkit(Path("/x/bin/nvcc"), (12, 1)))
    assert "120a-real" not in choose(EngineSettings(backend="cuda"), old).architectures


def test_the_user_s_arguments_prevail() -> None:
    settings = EngineSettings(backend="cuda", cmake_args=["-DCMAKE_CUDA_ARCHITECTURES=90", "-DGGML_NATIVE=OFF"])
    recipe = choose(settings, replace(BARE, toolkit=TOOLKIT))
    assert recipe.notices == ()
    composed = arguments(recipe, settings)
    assert (composed["CMAKE_CUDA_ARCHITECTURES"], composed["GGML_NATIVE"]) == ("90", "OFF")


@pytest.mark.parametrize(
    ("toolkit", "capability", "driver_cuda", "message"),
    [
        ((11, 7), (9, 0), (13, 0), "CUDA 11.7 is too old for this GPU: compute capability 9.0 needs 11.8"),
        ((12, 4), (12, 0), (13, 0), "CUDA 12.4 is too old for this GPU: compute capability 12.0 needs 12.8"),
        ((13, 0), (6, 1), (13, 0), r"CUDA 13.0 no longer compiles for this GPU \(compute capability 6.1\)"),
        ((13, 0), (9, 0), (12, 8), "CUDA 13.0 is too new: the driver 580.65.06 runs CUDA up to 12.8"),
    ],
)
def test_toolkits_that_do_not_suit_are_refused(
    toolkit: tuple[int, int], capability: tuple[int, int], driver_cuda: tuple[int, int], message: str
) -> None:
    system = nvidia_machine(capability, toolkit=Toolkit(Path("/x/bin/nvcc"), toolkit), cuda=driver_cuda)
    with pytest.raises(R1tuiError, match=message):
        choose(EngineSettings(), system)


def test_pypi_s_toolkit_needs_its_driver() -> None:
    with pytest.raises(R1tuiError, match=r"CUDA 13\.0 is too new") as caught:
        choose(EngineSettings(backend="cuda", cuda_toolkit="pypi"), nvidia_machine((9, 0), toolkit=None, cuda=(12, 4)))
    assert "580 or newer" in caught.value.remedy


def test_a_slightly_newer_toolkit_is_said() -> None:
    system = nvidia_machine((9, 0), toolkit=Toolkit(Path("/x/bin/nvcc"), (12, 9)), cuda=(12, 4))
    (notice,) = choose(EngineSettings(), system).notices
    assert "newer than the driver" in notice


def test_amd_with_rocm_is_hip() -> None:
    recipe = choose(EngineSettings(), replace(BARE, amd_hardware=True, hipcc=Path("/opt/rocm/bin/hipcc")))
    assert recipe.backend == "hip"
    composed = dict(
        word[2:].split("=", 1) for word in cmake_arguments(recipe, EngineSettings(), NINJA, ["gfx1100", "gfx942"])
    )
    assert (composed["GGML_HIP"], composed["GPU_TARGETS"]) == ("ON", "gfx1100;gfx942")


def test_amd_without_rocm_builds_for_the_cpu_and_says_so() -> None:
    """Many processors have a small AMD GPU inside: no reason to stop."""
    recipe = choose(EngineSettings(), replace(BARE, amd_hardware=True))
    assert recipe.backend == "cpu"
    assert "--backend vulkan" in recipe.notices[0]


def test_hip_without_rocm_and_metal_elsewhere_are_refused() -> None:
    with pytest.raises(R1tuiError, match="hipcc is missing"):
        choose(EngineSettings(backend="hip"), BARE)
    with pytest.raises(R1tuiError, match="only available on macOS"):
        choose(EngineSettings(backend="metal"), BARE)
    with pytest.raises(R1tuiError, match="CUDA does not exist for macOS"):
        choose(EngineSettings(backend="cuda"), replace(BARE, platform="darwin"))


def test_macos_is_metal_and_vulkan_only_on_request() -> None:
    assert choose(EngineSettings(), replace(BARE, platform="darwin")).backend == "metal"
    assert choose(EngineSettings(backend="vulkan"), nvidia_machine((9, 0))).backend == "vulkan"


@pytest.mark.parametrize(
    ("backend", "switch"),
    [("cpu", "GGML_METAL=OFF"), ("vulkan", "GGML_VULKAN=ON"), ("metal", "GGML_METAL=ON"), ("hip", "GGML_HIP=ON")],
)
def test_every_back_end_has_the_common_recipe(backend: str, switch: str) -> None:
    words = cmake_arguments(Recipe(backend), EngineSettings(), NINJA)  # type: ignore[arg-type]
    assert f"-D{switch}" in words
    for common in ("CMAKE_BUILD_TYPE=Release", "BUILD_SHARED_LIBS=OFF", "GGML_RPC=ON", "LLAMA_BUILD_TESTS=OFF",
                   "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_USE_PREBUILT_UI=OFF", "LLAMA_BUILD_NUMBER=11434"):  # fmt: skip
        assert f"-D{common}" in words


def test_a_ref_that_is_no_release_has_no_build_number() -> None:
    assert "LLAMA_BUILD_NUMBER" not in arguments(Recipe("cpu"), EngineSettings(ref="master"))


@given(st.integers(1, 512), st.integers(0, 1 << 44))
def test_jobs_are_bounded_by_cores_and_memory(cores: int, available_bytes: int) -> None:
    jobs = compile_jobs(None, cores, available_bytes)
    assert 1 <= jobs <= cores
    assert jobs == 1 or jobs * GIB <= available_bytes
    assert compile_jobs(7, cores, available_bytes) == 7


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_toolkit_is_found_by_path_then_cuda_home_then_the_usual_folder(tmp_path: Path) -> None:
    assert find_toolkit({"PATH": ""}, "auto", tmp_path) is None
    usual = executable(tmp_path / "usr/local/cuda/bin/nvcc")
    home = executable(tmp_path / "home/bin/nvcc")
    path = executable(tmp_path / "path/nvcc")
    env = {"PATH": str(path.parent), "CUDA_HOME": str(home.parent.parent)}
    found = [find_toolkit(env, "auto", tmp_path), find_toolkit({**env, "PATH": ""}, "auto", tmp_path),
             find_toolkit({"PATH": ""}, "auto", tmp_path)]  # fmt: skip
    assert [toolkit.nvcc if toolkit else None for toolkit in found] == [path, home, usual]
    named = find_toolkit(env, str(tmp_path / "usr/local/cuda"), tmp_path)
    assert named is not None
    assert named.nvcc == usual
    with pytest.raises(R1tuiError, match="no bin/nvcc"):
        find_toolkit(env, str(tmp_path), tmp_path)


def test_a_toolkit_s_version_comes_from_its_files(tmp_path: Path) -> None:
    nvcc = executable(tmp_path / "a/bin/nvcc")
    assert toolkit_version(nvcc) is None
    (tmp_path / "a/version.json").write_text('{"cuda": {"version": "12.9.1"}}')
    assert toolkit_version(nvcc) == (12, 9)
    assert toolkit_version(executable(tmp_path / "bin/nvcc", f'#!/bin/sh\nexec {nvcc} "$@"\n')) == (12, 9)
    other = executable(tmp_path / "b/bin/nvcc")
    (tmp_path / "b/include").mkdir()
    (tmp_path / "b/include/cuda.h").write_text("#define CUDA_VERSION 13020\n")
    assert toolkit_version(other) == (13, 2)


def test_a_survey_starts_nothing_and_knows_this_machine(tmp_path: Path) -> None:
    system = survey({"PATH": str(tmp_path)}, "auto", None, tmp_path)
    assert (system.toolkit, system.hipcc, system.cxx, system.package_manager) == (None, None, None, None)
    executable(tmp_path / "pacman")
    executable(tmp_path / "clang++")
    again = survey({"PATH": str(tmp_path)}, "auto", TOOLKIT, tmp_path)
    assert (again.toolkit, again.cxx, again.package_manager) == (TOOLKIT, tmp_path / "clang++", "pacman")


def test_install_commands_fit_the_distribution() -> None:
    assert install_command("apt-get", "compiler").endswith("apt-get install build-essential")
    assert install_command("pacman", "compiler").endswith("pacman -S base-devel")
    assert "build-essential" in install_command(None, "compiler")


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("__GNUC__ 12\n#define __GNUC_MINOR__ 2", "-mno-amx-int8"),
        ("__GNUC__ 12\n#define __GNUC_MINOR__ 4", ""),
        ("__GNUC__ 13\n#define __GNUC_MINOR__ 2", "-mno-amx-int8"),
        ("__GNUC__ 14\n#define __GNUC_MINOR__ 1", ""),
        ("__GNUC__ 4\n#define __GNUC_MINOR__ 2\n#define __clang__ 1", ""),
    ],
)
def test_amx_is_left_out_where_the_compiler_breaks_it(compiler: str, flags: str) -> None:
    assert flags_without_amx(f"#define __AMX_INT8__ 1\n#define {compiler}") == flags
    assert flags_without_amx(f"#define {compiler}") == ""


def test_flags_against_a_compiler_reach_cmake() -> None:
    assert "-DCMAKE_CXX_FLAGS=-mno-amx-int8" in cmake_arguments(
        Recipe("cpu"), EngineSettings(), Path("ninja"), cxx_flags="-mno-amx-int8"
    )
