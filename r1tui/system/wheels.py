"""Packages from PyPI by pip itself, so that mirrors and proxies work as they do there; checked, unpacked with care."""

import hashlib
import os
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from r1tui.errors import R1tuiError, os_error
from r1tui.system.children import Cancel, check, sigterm_raises
from r1tui.system.files import make_folder
from r1tui.system.outside import OutsideError, inside
from r1tui.system.pip_download import Wanted, find_origins, pip_download

CHUNK_BYTES = 1 << 20


def fetch_package(
    name: str,
    version: str,
    folder: Path,
    line: Callable[[str], None],
    *,
    source: bool = False,
    sha256: tuple[str, ...] = (),
    notice: Callable[[str], None] | None = None,
    cancel: Cancel | None = None,
) -> Path:
    """The wheel NAME==VERSION for this machine in `folder`, without its dependencies; one already there is kept.

    With `source` the source package; nothing in it is executed. `sha256` has what is known of it, one for each
    platform; nothing else is taken. Where none is known, the index's own counts; `notice` (or `line`) says which and
    from where, `line` the whole of it. Raises R1tuiError, CancelledError.
    """
    wanted = Wanted(name, version, not source, sha256)
    kinds = (".whl",) if wanted.binary else (".tar.gz", ".zip", ".tar.bz2", ".tar.xz")
    present = _present(folder, f"{name}_{version}", kinds)
    if present is not None and (not wanted.sha256 or sha256_of(present) in wanted.sha256):
        return present
    try:
        make_folder(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{wanted.name}-", dir=folder))
    except OSError as error:
        raise os_error(error, folder) from error
    try:
        with sigterm_raises(f"Fetching {wanted.requirement}"):
            pip_download(wanted, temporary, line, cancel)
        found = [path for path in temporary.iterdir() if path.name.endswith(kinds)]
        if len(found) != 1:
            raise R1tuiError(
                f"pip left no file for {wanted.requirement}.", f"Try it by hand: pip download {wanted.requirement}"
            )
        digest = sha256_of(found[0])
        if not wanted.sha256:
            origin = " or ".join(find_origins(wanted, found[0].name, cancel)) or "the package index"
            line(f"sha256 {digest}  {found[0].name}  {origin}")
            (notice or line)(f"Unknown version: {found[0].name}, sha256 {digest[:16]}…, from {origin}")
        elif digest not in wanted.sha256:  # pip has checked it; this is for a pip that would not
            raise R1tuiError(
                f"{found[0].name} is not the file that r1tui knows: its sha256 is {digest[:16]}…",
                "Check the package indexes that pip uses (pip config list, PIP_INDEX_URL, PIP_EXTRA_INDEX_URL).",
            )
        return found[0].replace(folder / found[0].name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(archive: Path, folder: Path, *, cancel: Cancel | None = None) -> None:
    """Unpack a wheel or source package into `folder`. Raises R1tuiError: damaged, unsafe paths, full disk."""
    try:
        make_folder(folder)
        if archive.suffix in {".whl", ".zip"}:
            _unzip(archive, folder, cancel)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    check(cancel, f"Unpacking {archive.name}")
                    if (name := posixpath.normpath(member.name)) != ".":
                        _place(archive, folder, name)
                    tar.extract(member, folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, LookupError, RecursionError) as error:
        raise R1tuiError(f"{archive.name} is damaged: {error}.", f"Delete {archive} and try again.") from error
    except OSError as error:
        raise os_error(error, folder) from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _present(folder: Path, stem: str, kinds: tuple[str, ...]) -> Path | None:
    begins = re.compile(re.escape(stem.replace("-", "_")) + "[_.]", re.IGNORECASE)
    found = (path for path in sorted(folder.glob("*")) if path.name.endswith(kinds))
    return next((path for path in found if begins.match(path.name.replace("-", "_"))), None)


def _place(archive: Path, folder: Path, name: str) -> Path:
    """Where a member goes; raises R1tuiError where that would be elsewhere than in the folder."""
    try:
        place = inside(folder, name)
    except OutsideError as error:
        raise _astray(archive, name) from error
    if place.is_symlink() and not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)):
        raise _astray(archive, name)
    return place


def _astray(archive: Path, name: str) -> R1tuiError:
    return R1tuiError(
        f"{archive.name} holds {name!r}, which would land outside its folder.",
        "Check the package index that pip uses (pip config list).",
    )


def _unzip(archive: Path, folder: Path, cancel: Cancel | None) -> None:
    with zipfile.ZipFile(archive) as whole:
        for member in whole.infolist():
            check(cancel, f"Unpacking {archive.name}")
            mode = member.external_attr >> 16
            if stat.S_ISLNK(mode):
                raise _astray(archive, member.filename)
            target = _place(archive, folder, member.filename.removesuffix("/"))
            if member.is_dir():
                make_folder(target)
                continue
            make_folder(target.parent)
            with whole.open(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK_BYTES)
            target.chmod(0o755 if mode & 0o111 else 0o644)
