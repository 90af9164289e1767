"""What `uv tool install .` and `pipx install .` do: a wheel and an sdist, each in an empty environment, run."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from r1tui import __version__

CHECKOUT = Path(__file__).parent.parent
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
"""Where packages are, below an environment."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("packages")
    run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=CHECKOUT)
    return folder


def run(command: list[str | Path], status: int = 0, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == status, done.stdout + done.stderr
    return str(done.stdout)


def installed(archive: Path, environment: Path, *options: str) -> Path:
    """An empty environment with r1tui out of `archive`."""
    venv.create(environment)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "install", "-q", "--no-compile"]
    run([*pip, "--constraint", str(CHECKOUT / "constraints.txt"), *options, archive])
    return environment


def works(environment: Path, home: Path) -> None:
    """r1tui of this environment says its version, looks at the machine, and has its themes and its catalog."""
    env = {"PATH": os.defpath, "HOME": str(home), "R1TUI_HOME": str(home), "LANG": "C.UTF-8"}
    program = environment / "bin/r1tui"
    home.mkdir()
    assert run([program, "--version"], cwd=home, env=env) == f"r1tui {__version__}\n"
    checks = {
        check["name"]: check for check in json.loads(run([program, "doctor", "--json"], cwd=home, env=env))["checks"]
    }
    assert checks["packages"]["level"] == "ok"
    assert checks["engine"]["found"] == "not built yet"
    listed = json.loads(run([program, "variants", "--json"], cwd=home, env=env))
    names = {variant["name"] for variant in listed["variants"]}
    assert {"demo", "r1-iq1_s"} <= names
    code = (
        "from r1tui.tui.themes import load_themes; themes = load_themes()\n"
        "assert not themes.problems; print(*(theme.name for theme in themes.themes))"
    )
    themes = run([environment / "bin/python", "-c", code], cwd=home, env=env).split()
    assert len(themes) == len(list((CHECKOUT / "themes").iterdir()))
    assert "r1-dark" in themes


def test_the_wheel_runs_in_an_empty_environment_and_so_does_what_the_sdist_builds(
    packages: Path, tmp_path: Path
) -> None:
    (wheel,), (sdist,) = packages.glob("*.whl"), packages.glob("*.tar.gz")
    whole = installed(wheel, tmp_path / "wheel")
    works(whole, tmp_path / "home")
    bare = installed(sdist, tmp_path / "sdist", "--no-deps")
    (bare / SITE / "dependencies.pth").write_text(str(whole / SITE))  # r1tui itself is found before them
    works(bare, tmp_path / "other")


def test_a_wheel_holds_the_package_alone_and_an_sdist_what_makes_it(packages: Path) -> None:
    (wheel,), (sdist,) = packages.glob("*.whl"), packages.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        upgrades = [name for name in archive.namelist() if name.endswith(".sql")]
    assert tops == {"r1tui", f"r1tui-{__version__}.dist-info"}
    assert len(upgrades) == len(list((CHECKOUT / "r1tui").rglob("*.sql")))
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "Makefile"} <= names
