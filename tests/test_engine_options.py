"""Every -D option of ours is one that llama.cpp has: those that the recipes set, and those that the pages advise."""

import re
from pathlib import Path

import pytest

from r1tui.config import EngineSettings
from r1tui.engine.recipe import BuiltBackend, Recipe, cmake_arguments
from r1tui.engine.system import Toolkit
from tests.conftest import USERS_PATHS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "config.example.yaml", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("r1tui/**/*.py"),
         *ROOT.glob("tests/gpu/*")]  # fmt: skip
OPTION = re.compile(r"-D((?:GGML|LLAMA)_\w+)")


@pytest.fixture(scope="module")
def known(llama_server: Path) -> str:
    """All of the CMake files of the release that the tests' llama-server is built from."""
    ref = EngineSettings().ref
    trees = [path for path in USERS_PATHS.sources.glob(f"{ref}-*") if path.is_dir()]
    if not trees:
        pytest.skip(f"no source of {ref} is here: $R1TUI_TEST_SERVER names a llama-server")
    return "\n".join(path.read_text() for name in ("CMakeLists.txt", "*.cmake") for path in trees[0].rglob(name))


def recipes() -> set[str]:
    """The options that cmake is given, of every back end."""
    bundled = Toolkit(Path("/c/bin/nvcc"), (13, 0), bundled=True)
    backends: tuple[BuiltBackend, ...] = ("cpu", "cuda", "hip", "vulkan", "metal")
    said = [
        word
        for backend in backends
        for word in cmake_arguments(
            Recipe(backend, ("90-real",), bundled), EngineSettings(), Path("/n"), ["gfx1100"], "-O3"
        )
    ]
    return set(OPTION.findall(" ".join(said)))


def test_options_that_we_set_or_advise_exist(known: str) -> None:
    advised = {name for page in PAGES if page.is_file() for name in OPTION.findall(page.read_text())}
    assert "GGML_CUDA_FA_ALL_QUANTS" in advised
    assert {"GGML_CUDA", "GGML_RPC"} <= recipes()
    unknown = {name for name in advised | recipes() if not re.search(rf"\b{name}\b", known)}
    assert unknown == set()
    assert not re.search(r"\bGGML_CUDA_F16\b", known)  # as an option that went would be noticed
