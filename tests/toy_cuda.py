"""A CUDA toolkit in wheels whose parts a C compiler makes in a second, and a source that needs it as llama.cpp does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from r1tui.engine import toolchain
from r1tui.engine.toolchain import UNPACKED
from r1tui.system.packages import sha256_of
from tests.engine_toys import SERVER, toy_source
from tests.package_index import only_these_indexes, publish, wheel

NVCC = """#!/bin/sh
case "$*" in
*--version*) echo "Cuda compilation tools, release 13.0, V13.0.88" ;;
*) echo "#$ TOP=$(dirname "$(dirname "$0")")" >&2 ;;
esac
"""
HEADER = """
#define CUDA_VERSION 13000
typedef int CUdevice;
int cuDeviceGet(CUdevice *device, int ordinal);
"""
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(toy CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
find_package(CUDAToolkit REQUIRED)
add_executable(llama-server main.cpp part.cpp)
target_link_libraries(llama-server PRIVATE CUDA::cudart CUDA::cublas CUDA::cuda_driver)
"""
USES_ALL = """
extern "C" int cuDeviceGet(int *, int);
extern "C" int cudaFree(void *);
extern "C" int cublasCreate_v2(void **);
extern "C" int part_of_cuda(int x) {
    int d;
    void * h;
    return x ? cuDeviceGet(&d, 0) + cudaFree(0) + cublasCreate_v2(&h) : 0;
}
"""
LIBRARIES = {
    "libcudart.so.13": ("int cudaFree(void *p) { return 0; }", "nvidia-cuda-runtime"),
    "libcublasLt.so.13": ("int cublasLtCreate(void **h) { return 0; }", "nvidia-cublas"),
    "libcublas.so.13": ("int cublasCreate_v2(void **h) { return 0; }", "nvidia-cublas"),
}


def publish_toolkit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the wheels on an index, the only one that pip knows, with their checksums as those that r1tui knows."""
    root = str(UNPACKED)
    files: dict[str, dict[str, bytes]] = {name: {f"{root}/{name}.txt": b""} for name in toolchain.CUDA_WHEELS}
    files["nvidia-cuda-nvcc"][f"{root}/bin/nvcc"] = NVCC.encode()
    files["nvidia-cuda-runtime"][f"{root}/include/cuda.h"] = HEADER.encode()
    files["nvidia-cuda-runtime"][f"{root}/include/cuda_runtime.h"] = b""
    files["nvidia-cublas"][f"{root}/include/cublas_v2.h"] = b""
    for name, (code, package) in LIBRARIES.items():
        files[package][f"{root}/lib/{name}"] = _library(folder, name, code)
    known = {}
    for name, content in files.items():
        made = wheel(folder, content, name, "13.0", programs=(f"{root}/bin/nvcc",))
        publish(folder / "simple", made)
        known[name] = toolchain.Pin("13.0", (sha256_of(made), "0" * 64))
    monkeypatch.setattr(toolchain, "CUDA_WHEELS", known)
    only_these_indexes(monkeypatch, folder / "simple")


def cuda_source(folder: Path) -> Path:
    """The source of a llama-server that calls the driver, the runtime and cuBLAS."""
    source = toy_source(folder)
    (source / "CMakeLists.txt").write_text(CMAKE)
    (source / "main.cpp").write_text(
        SERVER.replace("int part(int);", 'int part(int);\nextern "C" int part_of_cuda(int);').replace(
            "int argc, char ** argv) {", "int argc, char ** argv) {\n    if (argc == 99) return part_of_cuda(argc);"
        )
    )
    (source / "part.cpp").write_text(f"int part(int x) {{ return x; }}\n{USES_ALL}")
    return source


def _library(folder: Path, name: str, code: str) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    source, made = folder / f"{name}.c", folder / name
    source.write_text(code)
    compiler = shutil.which("cc") or shutil.which("c++") or "c++"
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", made, source], check=True)
    return made.read_bytes()
