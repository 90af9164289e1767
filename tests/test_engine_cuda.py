"""The real CUDA build out of PyPI's wheels alone, for one architecture; no GPU and no driver needed. Run by name."""

import subprocess
from pathlib import Path

import pytest

from r1tui.config import EngineSettings
from r1tui.engine.find import find_engine
from r1tui.engine.make import build_engine
from r1tui.engine.probe import driver_library
from tests.conftest import USERS_PATHS


@pytest.mark.slow
def test_llama_server_links_against_the_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kept in the user's cache: about 40 minutes on 2 cores the first time, none the second."""
    monkeypatch.setenv("CUDA_HOME", "/nonexistent")
    paths = USERS_PATHS
    settings = EngineSettings(backend="cuda", cuda_toolkit="pypi", cmake_args=["-DCMAKE_CUDA_ARCHITECTURES=90-real"])
    engine = build_engine(settings, paths, print)
    assert engine.capabilities.build_number == 11434
    assert engine.capabilities.accepts("--n-gpu-layers")
    libraries = subprocess.run(["ldd", engine.server], capture_output=True, text=True, check=True).stdout
    wheels = str(paths.cache / "cuda")
    for name in ("libcudart.so", "libcublas.so", "libcublasLt.so"):
        (line,) = [line for line in libraries.splitlines() if name in line]
        assert wheels in line
    assert bool(engine.notes) == (not driver_library() or not engine.capabilities.devices)
    assert find_engine(settings, paths) == engine
