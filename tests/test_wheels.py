"""Packages fetched by the real pip from a folder, and archives that would do harm."""

import hashlib
import io
import os
import socket
import tarfile
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.errors import CancelledError, R1tuiError
from r1tui.system.packages import fetch_package, sha256_of, unpack

METADATA = "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"
BACKEND = """
import os
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    os.makedirs(os.path.join(folder, "toy-1.0.dist-info"))
    with open(os.path.join(folder, "toy-1.0.dist-info", "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n")
    return "toy-1.0.dist-info"
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("never asked for")
"""


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that pip looks in."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr("toy-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("toy-1.0.dist-info/RECORD", "")
    return path


def make_tar(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def make_sdist(folder: Path) -> Path:
    return make_tar(
        folder / "toy-1.0.tar.gz",
        {
            "toy-1.0/PKG-INFO": METADATA,
            "toy-1.0/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n',
            "toy-1.0/b.py": BACKEND,
        },
    )


def test_a_wheel_arrives_whole_and_is_kept(index: Path, tmp_path: Path) -> None:
    made = make_wheel(index, {"toy/data.bin": "x" * 1000})
    said: list[str] = []
    there = fetch_package("toy", "1.0", tmp_path / "here", said.append, sha256=(sha256_of(made),))
    assert there.read_bytes() == made.read_bytes()
    assert any("toy" in line for line in said)
    made.unlink()
    assert fetch_package("toy", "1.0", tmp_path / "here", said.append) == there
    assert list((tmp_path / "here").iterdir()) == [there]


def test_a_source_package_is_not_built(index: Path, tmp_path: Path) -> None:
    make_sdist(index)
    archive = fetch_package("toy", "1.0", tmp_path / "here", lambda line: None, source=True)
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "toy-1.0" / "b.py").is_file()


def test_another_checksum_is_refused_and_leaves_nothing(index: Path, tmp_path: Path) -> None:
    make_wheel(index, {})
    with pytest.raises(R1tuiError, match="is not the file that r1tui knows"):
        fetch_package(
            "toy", "1.0", tmp_path / "here", lambda line: None, sha256=(hashlib.sha256(b"other").hexdigest(),)
        )
    assert list((tmp_path / "here").iterdir()) == []


def test_what_the_index_has_not_is_said(tmp_path: Path) -> None:
    with pytest.raises(R1tuiError, match=r"cannot be reached, or has no toy==1\.0") as caught:
        fetch_package("toy", "1.0", tmp_path / "here", lambda line: None)
    assert "PIP_INDEX_URL" in caught.value.remedy


def test_another_version_is_named(index: Path, tmp_path: Path) -> None:
    make_wheel(index, {})
    with pytest.raises(R1tuiError, match=r"No matching distribution found for toy==2.0"):
        fetch_package("toy", "2.0", tmp_path / "here", lambda line: None)


def test_an_unreachable_index_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{unused.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        with pytest.raises(R1tuiError, match="no connection") as caught:
            fetch_package("toy", "1.0", tmp_path / "here", lambda line: None)
    assert "HTTPS_PROXY" in caught.value.remedy


def test_cancelling_a_stalled_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that accepts and never answers."""
    cancel = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as index:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.getsockname()[1]}/simple")

        def stop_once_asked() -> None:
            connection, _ = index.accept()
            with connection:
                connection.recv(1)
                cancel.set()

        stopper = threading.Thread(target=stop_once_asked)
        stopper.start()
        with pytest.raises(CancelledError):
            fetch_package("toy", "1.0", tmp_path / "here", lambda line: None, cancel=cancel)
        stopper.join()
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_members_that_would_land_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "in" / "side"
    wheel = make_wheel(tmp_path, {name: "x"})
    with pytest.raises(R1tuiError, match="outside"):
        unpack(wheel, inside)
    if not name.startswith("/"):  # tar's own filter takes the slash off
        with pytest.raises(R1tuiError, match="outside"):
            unpack(make_tar(tmp_path / "evil.tar.gz", {name: "x"}), inside)
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/evil").exists()


def test_links_in_a_wheel_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        wheel.writestr(link, "/etc")
    with pytest.raises(R1tuiError, match="outside"):
        unpack(path, tmp_path / "out")


def test_a_source_package_keeps_its_links_and_programs_and_makes_no_device(tmp_path: Path) -> None:
    kinds = {"link": tarfile.SYMTYPE, "same": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE}
    for device in (False, True):
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
            program = tarfile.TarInfo("x-1/tools/run.sh")
            program.size, program.mode = 4, 0o4755
            tar.addfile(program, io.BytesIO(b"echo"))
            for name, kind in list(kinds.items())[: 3 if device else 2]:
                info = tarfile.TarInfo(f"x-1/{name}")
                info.type, info.linkname = kind, "tools/run.sh" if name == "link" else "x-1/tools/run.sh"
                tar.addfile(info)
        if device:
            with pytest.raises(R1tuiError):
                unpack(tmp_path / "x.tar.gz", tmp_path / "refused")
        else:
            unpack(tmp_path / "x.tar.gz", tmp_path / "out")
    out = tmp_path / "out/x-1"
    assert (out / "link").readlink() == Path("tools/run.sh")
    assert (out / "link").read_bytes() == (out / "same").read_bytes() == b"echo"
    assert (out / "tools/run.sh").stat().st_mode & 0o7777 == 0o755
    assert not os.path.lexists(tmp_path / "refused/x-1/pipe")


def test_programs_stay_executable(tmp_path: Path) -> None:
    path = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        program = zipfile.ZipInfo("bin/nvcc")
        program.external_attr = 0o100755 << 16
        wheel.writestr(program, "#!/bin/sh\n")
    unpack(path, tmp_path / "out")
    assert os.access(tmp_path / "out" / "bin" / "nvcc", os.X_OK)


@given(st.binary(max_size=300), st.sampled_from(["toy.whl", "toy.tar.gz"]))
def test_no_archive_raises_anything_else(data: bytes, name: str) -> None:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        with suppress(R1tuiError):
            unpack(path, Path(folder) / "out")
