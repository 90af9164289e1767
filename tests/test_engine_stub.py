"""The stand-in for the NVIDIA driver's library: each function of cuda.h, under the name that linkers ask for."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from r1tui.engine.toolchain import make_driver_stub, stub_source
from r1tui.errors import R1tuiError

HEADER = """
#define cuDeviceTotalMem cuDeviceTotalMem_v2
#define cuMemFree __CUDA_API_PTDS(cuMemFree_v2)
#define cuCtxCreate cuCtxCreate_v4
#define CUDA_VERSION 13000
typedef int CUdevice;
typedef enum cudaError_enum { CUDA_SUCCESS = 0, CUDA_ERROR_STUB_LIBRARY = 34 } CUresult;
CUresult CUDAAPI cuInit(unsigned int Flags);
CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal);
CUresult CUDAAPI cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size);
"""
ASKED_FOR = {"cuInit", "cuDeviceGet", "cuMemCreate", "cuMemFree", "cuMemFree_v2", "cuMemFree_v2_ptds",
             "cuDeviceTotalMem_v2", "cuCtxCreate_v4"}  # fmt: skip
PROGRAM = """
int cuDeviceGet(int *device, int ordinal);
int main(void) { int device; return cuDeviceGet(&device, 0); }
"""
COMPILERS = [name for name in ("c++", "g++", "clang++", "cc", "clang") if shutil.which(name)]


def toolkit(root: Path) -> Path:
    (root / "include").mkdir(parents=True)
    (root / "include" / "cuda.h").write_text(HEADER)
    return root


def exported(library: Path) -> set[str]:
    """The names that the dynamic loader finds, asked of the loader itself, in a process of its own."""
    names = sorted(ASKED_FOR)
    code = "import ctypes, sys; lib = ctypes.CDLL(sys.argv[1]); print(*(n for n in sys.argv[2:] if hasattr(lib, n)))"
    said = subprocess.run([sys.executable, "-c", code, library, *names], capture_output=True, text=True, check=True)
    return set(said.stdout.split())


def linked(library: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A C program that asks for cuDeviceGet, linked against the stub as llama.cpp is: by -lcuda."""
    source = folder / "asks.c"
    source.write_text(PROGRAM)
    command: list[str | Path] = [
        COMPILERS[0], "-x", "c", source, "-o", folder / "asks", "-L", library.parent, "-lcuda"
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_stub_exports_the_driver_s_own_names(tmp_path: Path, compiler: str) -> None:
    root = toolkit(tmp_path)
    make_driver_stub(root, Path(compiler), lambda line: None, None)
    stub = root / "lib" / "stubs" / "libcuda.so"
    assert exported(stub) == ASKED_FOR
    result = linked(stub, tmp_path)
    assert result.returncode == 0, result.stderr
    (stub.parent / "libcuda.so.1").symlink_to(stub.name)
    program = subprocess.run([tmp_path / "asks"], env={"LD_LIBRARY_PATH": str(stub.parent)}, check=False)
    assert program.returncode == 34  # CUDA_ERROR_STUB_LIBRARY


@pytest.mark.parametrize("compiler", [name for name in COMPILERS if name.endswith("++")])
def test_its_names_are_the_same_when_it_is_compiled_as_c_plus_plus(tmp_path: Path, compiler: str) -> None:
    source = tmp_path / "libcuda.cpp"
    source.write_text(stub_source(HEADER))
    stub = tmp_path / "libcuda.so"
    subprocess.run([compiler, "-x", "c++", "-shared", "-fPIC", "-o", stub, source], check=True)
    assert exported(stub) == ASKED_FOR
    assert linked(stub, tmp_path).returncode == 0


def test_mangled_names_would_be_noticed(tmp_path: Path) -> None:
    """The check can fail: the same functions without C linkage link with nothing."""
    source = tmp_path / "libcuda.cpp"
    source.write_text("".join(line for line in stub_source(HEADER).splitlines(True) if line.startswith("int ")))
    stub = tmp_path / "libcuda.so"
    subprocess.run([COMPILERS[0], "-x", "c++", "-shared", "-fPIC", "-o", stub, source], check=True)
    assert exported(stub) == set()
    assert "cuDeviceGet" in linked(stub, tmp_path).stderr


def test_each_function_is_there_once_and_types_are_none() -> None:
    functions = re.findall(r"^int (\w+)\(void\)", stub_source(HEADER), re.MULTILINE)
    assert len(set(functions)) == len(functions)
    assert set(functions) >= ASKED_FOR
    assert "CUdevice" not in functions


def test_a_compiler_that_cannot_link_is_told_with_its_words(tmp_path: Path) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho no linker here\nexit 1\n")
    compiler.chmod(0o755)
    said: list[str] = []
    with pytest.raises(R1tuiError, match="could not be linked") as caught:
        make_driver_stub(toolkit(tmp_path), compiler, said.append, None)
    assert "no linker here" in caught.value.remedy
    assert said == ["no linker here"]
