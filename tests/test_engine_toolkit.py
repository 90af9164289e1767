"""The CUDA toolkit out of wheels, put together, configured and linked with by the real pip, cmake and linker.

The wheels are stand-ins that a C compiler makes; `make slow` does the same with NVIDIA's own, in 40 minutes.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from r1tui.config import EngineSettings
from r1tui.engine import system, toolchain
from r1tui.engine.find import find_engine
from r1tui.engine.make import build_engine
from r1tui.engine.probe import driver_library
from r1tui.engine.recipe import Recipe, cmake_arguments
from r1tui.engine.system import find_cxx
from r1tui.engine.toolchain import bundled_toolkit, complete, fetch_toolkit, toolkit_folder
from r1tui.errors import R1tuiError
from r1tui.events import Notice, StageEvent
from r1tui.machine.nvml import Nvidia
from r1tui.system.paths import Paths
from tests.toy_cuda import cuda_source, publish_toolkit

ARCHITECTURE = "-DCMAKE_CUDA_ARCHITECTURES=90-real"


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a card and without a CUDA toolkit, whatever this one has."""
    monkeypatch.setattr(system, "read_nvidia", lambda: Nvidia(reason="no driver"))
    monkeypatch.setenv("CUDA_HOME", "/nonexistent")


def fetch(paths: Paths, said: list[str] | None = None) -> system.Toolkit:
    compiler = find_cxx({}) or Path("c++")
    line = (said if said is not None else []).append
    return fetch_toolkit(paths, compiler, line=line, waiting=lambda pid: None, cancel=None)


def cuda_settings(source: Path) -> EngineSettings:
    return EngineSettings(backend="cuda", cuda_toolkit="pypi", source=str(source), jobs=1, cmake_args=[ARCHITECTURE])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of a home where the toolkit has been fetched, over the remains of an attempt that was cut off."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("fetched")
        publish_toolkit(home / "index", patch)
        patch.setenv("R1TUI_HOME", str(home))
        paths = Paths.from_environment()
        (toolkit_folder(paths) / "half").mkdir(parents=True)
        assert bundled_toolkit(paths) is None
        assert fetch(paths).nvcc.is_file()
        assert list(paths.downloads.iterdir()) == []
        yield toolkit_folder(paths)


@pytest.fixture
def toolkit(published: Path, paths: Paths) -> system.Toolkit:
    """It, in this test's own home."""
    shutil.copytree(published, toolkit_folder(paths), symlinks=True)
    found = bundled_toolkit(paths)
    assert found is not None
    return found


def test_the_wheels_become_one_toolkit(toolkit: system.Toolkit, paths: Paths) -> None:
    assert (toolkit.bundled, toolkit.version) == (True, toolchain.CUDA)
    root = toolkit.root
    assert root.is_relative_to(toolkit_folder(paths))
    for name in ("libcudart.so", "libcublas.so", "libcublasLt.so"):
        assert (root / "lib64" / name).resolve() == (root / "lib" / f"{name}.13").resolve()
    assert (root / "lib" / "stubs" / "libcuda.so").is_file()
    for name in toolchain.CUDA_WHEELS:
        assert (root / f"{name}.txt").is_file()
    assert not (toolkit_folder(paths) / "half").exists()
    said: list[str] = []
    assert fetch(paths, said) == toolkit
    assert said == []  # nothing is fetched twice


def test_one_wrong_wheel_leaves_no_toolkit(published: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"nvidia-cuda-nvcc": toolchain.Pin("13.0", ("1" * 64, "2" * 64))}
    monkeypatch.setattr(toolchain, "CUDA_WHEELS", wrong)
    with pytest.raises(R1tuiError, match=r"nvidia-cuda-nvcc==13\.0 is not the file that r1tui knows"):
        fetch(paths)
    assert bundled_toolkit(paths) is None


def test_wheels_without_a_compiler_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    with pytest.raises(R1tuiError, match="contain no nvcc"):
        complete(tmp_path)


def test_a_server_is_configured_linked_and_run_with_them(toolkit: system.Toolkit, paths: Paths, tmp_path: Path) -> None:
    """By the real cmake and linker: the driver's stub, the runtime and cuBLAS, found again where the wheels lie."""
    settings = cuda_settings(cuda_source(tmp_path / "source"))
    events: list[StageEvent] = []
    engine = build_engine(settings, paths, events.append)
    assert engine.capabilities.accepts("--model")  # it has run, here where there is no driver
    needed = subprocess.run(["ldd", engine.server], capture_output=True, text=True, check=True).stdout.splitlines()
    for name in ("libcudart.so.13", "libcublas.so.13"):
        (line,) = [line for line in needed if name in line]
        assert str(toolkit_folder(paths)) in line
    assert any("libcuda.so.1" in line for line in needed)
    if not driver_library():
        assert engine.notes == ("The NVIDIA driver (libcuda.so.1) is missing; this engine needs it to start.",)
        assert [event.text for event in events if isinstance(event, Notice)][-1] == engine.notes[0]
    log = (paths.logs / "build.log").read_text()
    for argument in cmake_arguments(Recipe("cuda", (), toolkit), settings, Path("ninja")):
        assert argument in log or argument.startswith("-DCMAKE_MAKE_PROGRAM")
    assert find_engine(settings, paths) == engine


def test_a_toolkit_without_cublas_is_named_where_only_cmake_notices(
    toolkit: system.Toolkit, paths: Paths, tmp_path: Path
) -> None:
    for path in (toolkit.root / "lib").glob("libcublas.*"):
        path.unlink()
    with pytest.raises(R1tuiError, match=r"the CUDA toolkit has no cuBLAS \(CUDA::cublas\), which llama-server needs"):
        build_engine(cuda_settings(cuda_source(tmp_path / "source")), paths, lambda event: None)


def test_the_driver_is_found_by_the_loader(toolkit: system.Toolkit, tmp_path: Path) -> None:
    """In a process of its own, whose loader reads LD_LIBRARY_PATH as it starts."""
    (tmp_path / "libcuda.so.1").symlink_to(toolkit.root / "lib" / "stubs" / "libcuda.so")
    code = "from r1tui.engine.probe import driver_library; print(driver_library())"
    for folder, found in ((tmp_path, True), (tmp_path / "none", driver_library())):
        env = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        assert said.stdout.strip() == str(found)
