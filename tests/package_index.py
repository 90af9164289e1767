"""Package indexes in folders, as pip reads them, with packages that leave a mark when any code of theirs runs."""

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest


def only_these_indexes(monkeypatch: pytest.MonkeyPatch, main: Path, *extra: Path) -> None:
    """Make them all that pip knows, in this process and its children."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", main.as_uri())
    if extra:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", " ".join(folder.as_uri() for folder in extra))


def publish(index: Path, archive: Path, digest: str | None = "") -> Path:
    """Put the file on the index's page of its project; `digest`: the true one, None for none, or a false one."""
    project = archive.name.removesuffix(".tar.gz").split("-")[0].replace("_", "-")
    if digest == "":
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    fragment = f"#sha256={digest}" if digest else ""
    page = index / project / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    with page.open("a") as file:
        file.write(f'<a href="{archive.as_uri()}{fragment}">{archive.name}</a><br>\n')
    return archive


def sdist(folder: Path, mark: Path, name: str = "toy", version: str = "1.0", **files: str) -> Path:
    """A source package that touches `mark` when its setup.py or its build backend runs; an empty file is left out."""
    leaves_mark = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    root = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    project = '[build-system]\nrequires = ["builder"]\nbuild-backend = "backend.inner:api"\nbackend-path = ["."]\n'
    content = {
        "PKG-INFO": metadata,
        "setup.py": leaves_mark,
        "pyproject.toml": project,
        "backend/__init__.py": leaves_mark,
        "backend/inner.py": leaves_mark,
        **files,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{root}.tar.gz", "w:gz") as tar:
        for path, text in ((path, text) for path, text in content.items() if text):
            info = tarfile.TarInfo(f"{root}/{path}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return folder / f"{root}.tar.gz"


def wheel(
    folder: Path, files: dict[str, bytes], name: str = "toy", version: str = "1.0", programs: tuple[str, ...] = ()
) -> Path:
    """A wheel for every machine."""
    stem = f"{name.replace('-', '_')}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            info = zipfile.ZipInfo(member)
            info.external_attr = (0o100755 if member in programs else 0o100644) << 16
            archive.writestr(info, data)
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path
