"""What a failed build died of, from lines that compilers, linkers and cmake write."""

from pathlib import Path

import pytest

from r1tui.engine.diagnose import Means, diagnose

LOG = Path("/logs/build.log")
WAYS = "the ways to a CUDA toolkit"
HEAD = [
    "[10/221] Building CXX object a.o",
    "[11/221] Building CXX object b.o",
    "FAILED: [code=1] b.o",
    "/usr/bin/c++ -O3 b.cpp",
]
TAIL = ["ninja: build stopped: subcommand failed."]


def of(*lines: str, status: int = 1, manager: str = "apt-get", jobs: int = 8) -> tuple[str, str]:
    error = diagnose("ninja", [*HEAD, *lines, *TAIL], status, log=LOG, means=Means(manager, WAYS), jobs=jobs)
    assert str(LOG) in error.remedy
    return error.cause, error.remedy


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (
            [
                "In file included from /s/b.cpp:1:",
                "/s/x.h:3:5: warning: something harmless",
                "/s/b.cpp:12:3: error: 'foo' was not declared in this scope; did you mean 'for'?",
                "/s/b.cpp:13:3: error: a second one",
            ],
            "/s/b.cpp:12:3: 'foo' was not declared in this scope; did you mean 'for'?",
        ),
        (["/s/b.cu(42): error: identifier \"foo\" is undefined"], "/s/b.cu(42): identifier \"foo\" is undefined"),
        (
            ["/usr/bin/ld: x.a(x.o): in function `f':", "x.cpp:(.text+0x1): undefined reference to `cuMemCreate'"],
            "undefined reference to `cuMemCreate'",
        ),
        (["/usr/bin/ld: cannot find -lcublas: No such file or directory"], "cannot find -lcublas"),
        (["something odd"], "ninja: build stopped: subcommand failed."),
    ],
)  # fmt: skip
def test_the_first_error_is_the_cause(lines: list[str], cause: str) -> None:
    assert cause in of(*lines)[0]


@pytest.mark.parametrize(
    "line",
    [
        "c++: fatal error: Killed signal terminated program cc1plus",
        "nvcc error   : 'cicc' died due to signal 9 (Kill signal)",
        "virtual memory exhausted: Cannot allocate memory",
        "g++: internal compiler error: Killed (program cc1plus)",
    ],
)
def test_a_killed_compiler_means_fewer_jobs(line: str) -> None:
    cause, remedy = of("/s/b.cpp:1:1: error: misleading", line, jobs=16)
    assert "memory ran out (16 at once)" in cause
    assert "engine.jobs: 8" in remedy


def test_source_code_in_a_warning_is_no_cause() -> None:
    quoted = '  12 |     puts("No space left on device"); // Killed'
    assert "'x' was not declared" in of(quoted, "/s/b.cpp:13:3: error: 'x' was not declared")[0]


def test_a_full_disk() -> None:
    cause, remedy = of("/s/b.cpp:12:3: fatal error: error writing to /tmp/cc.s: No space left on device")
    assert "disk is full" in cause
    assert "Free some" in remedy


def test_a_compiler_too_new_for_nvcc() -> None:
    line = (
        "/usr/include/crt/host_config.h:143:2: error: #error -- unsupported GNU version! "
        "gcc versions later than 13 are not supported!"
    )
    assert "CUDAHOSTCXX" in of(line)[1]


def test_a_toolkit_too_old_for_the_gpu() -> None:
    cause, remedy = of("nvcc fatal   : Unsupported gpu architecture 'compute_120'")
    assert cause.endswith("Unsupported gpu architecture 'compute_120'")
    assert WAYS in remedy


@pytest.mark.parametrize(
    "line",
    [
        "/s/c.cu:3:10: fatal error: cublas_v2.h: No such file or directory",
        "/usr/bin/ld: cannot find -lcublas: No such file or directory",
        "nvcc error   : 'cicc' not found",
        "nvcc fatal   : Could not find 'ptxas'",
    ],
)
def test_what_a_toolkit_lacks_leads_to_the_ways_that_suit_this_machine(line: str) -> None:
    assert WAYS in of(line)[1]


@pytest.mark.parametrize(
    ("library", "said"),
    [("CUDA::cublas", "the CUDA toolkit has no cuBLAS (CUDA::cublas), which ggml-cuda needs."),
     ("CUDA::cuda_driver", "the CUDA toolkit has no cuda_driver (CUDA::cuda_driver), which ggml-cuda needs.")],
)  # fmt: skip
def test_a_toolkit_without_a_library_is_a_whole_sentence(library: str, said: str) -> None:
    lines = [
        "-- Configuring done (0.4s)",
        "CMake Error at ggml/src/ggml-cuda/CMakeLists.txt:175 (target_link_libraries):",
        '  Target "ggml-cuda" links to:',
        "",
        f"    {library}",
        "",
        "  but the target was not found.  Possible reasons include:",
        "",
        "    * There is a typo in the target name.",
        "    * A find_package call is missing for an IMPORTED target.",
        "",
        "-- Generating done (0.0s)",
    ]
    error = diagnose("cmake", lines, 1, log=LOG, means=Means("apt-get", WAYS), jobs=2)
    assert error.cause == f"The build failed: cmake: {said}"
    assert WAYS in error.remedy


@pytest.mark.parametrize(
    ("line", "manager", "package"),
    [
        ("/s/v.cpp:1:10: fatal error: vulkan/vulkan.h: No such file or directory", "apt-get", "libvulkan-dev"),
        ("/s/v.cpp:1:10: fatal error: vulkan/vulkan.h: No such file or directory", "pacman", "vulkan-headers"),
        ("/s/v.cpp:1:10: fatal error: 'stdlib.h' file not found", "dnf", "gcc-c++"),
        ("/s/h.cpp:1:10: fatal error: hip/hip_runtime.h: No such file or directory", "apt-get", "hipcc"),
    ],
)
def test_a_missing_header_names_its_package(line: str, manager: str, package: str) -> None:
    assert package in of(line, manager=manager)[1]


def test_cmake_s_sentence_is_put_together() -> None:
    said = [
        "-- Found Threads: TRUE",
        "CMake Error at /c/FindPackageHandleStandardArgs.cmake:290 (message):",
        "  Could NOT find Vulkan (missing: Vulkan_LIBRARY Vulkan_INCLUDE_DIR glslc)",
        "  (found version \"\")",
        "Call Stack (most recent call first):",
        "  /c/FindVulkan.cmake:600",
        "",
        "-- Configuring incomplete, errors occurred!",
    ]  # fmt: skip
    error = diagnose("cmake", said, 1, log=LOG, means=Means("apt-get", WAYS), jobs=2)
    assert "Could NOT find Vulkan (missing: Vulkan_LIBRARY Vulkan_INCLUDE_DIR glslc)" in error.cause
    assert "Call Stack" not in error.cause
    assert "libvulkan-dev" in error.remedy


def test_cmake_without_a_compiler() -> None:
    said = [
        "CMake Error at CMakeLists.txt:2 (project):",
        "  No CMAKE_CXX_COMPILER could be found.",
        "",
        "  Tell CMake where to find the compiler by setting either the environment",
    ]
    error = diagnose("cmake", said, 1, log=LOG, means=Means("dnf", WAYS), jobs=2)
    assert error.cause == "The build failed: cmake: No CMAKE_CXX_COMPILER could be found."
    assert "gcc-c++" in error.remedy
