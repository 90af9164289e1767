"""Packages from PyPI by pip itself, so that mirrors, proxies and PIP_INDEX_URL work; unpacked with care."""

import hashlib
import os
import re
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

from r1tui.children import Cancel, check, run_lines, sigterm_raises
from r1tui.errors import R1tuiError, os_error

CHUNK_BYTES = 1 << 20
_UNREACHABLE = re.compile(
    r"Failed to establish a new connection|Failed to resolve '[^']*'|Name or service not known|Network is unreachable"
    r"|Connection refused|Connection timed out|Read timed out|Cannot connect to proxy|CERTIFICATE_VERIFY_FAILED"
)


def fetch_wheel(
    name: str,
    version: str,
    folder: Path,
    line: Callable[[str], None],
    *,
    sha256: str = "",
    cancel: Cancel | None = None,
) -> Path:
    """The wheel NAME==VERSION for this machine in `folder`, without its dependencies; one already there is kept.

    Raises R1tuiError when pip fails or the sha256 (checked if given) is another, CancelledError.
    """
    return _fetch(name, version, folder, line, options=["--only-binary", ":all:"], sha256=sha256, cancel=cancel)


def fetch_sdist(
    name: str,
    version: str,
    folder: Path,
    line: Callable[[str], None],
    *,
    sha256: str = "",
    cancel: Cancel | None = None,
) -> Path:
    """The source package NAME==VERSION in `folder`; like `fetch_wheel`.

    `--no-binary` names the package alone: with `:all:` pip would compile the tools that it reads its metadata with.
    """
    return _fetch(name, version, folder, line, options=["--no-binary", name], sha256=sha256, cancel=cancel)


def unpack(archive: Path, folder: Path, *, cancel: Cancel | None = None) -> None:
    """Unpack a wheel or source package into `folder`, which may hold others already.

    Raises R1tuiError for a damaged archive, one whose members would land elsewhere, and a full disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if archive.suffix in {".whl", ".zip"}:
            _unzip(archive, folder, cancel)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    check(cancel, f"Unpacking {archive.name}")
                    tar.extract(member, folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError) as error:
        raise R1tuiError(f"{archive.name} is damaged: {error}.", f"Delete {archive} and try again.") from error
    except OSError as error:
        raise os_error(error, folder) from error


def sha256_of(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(
    name: str,
    version: str,
    folder: Path,
    line: Callable[[str], None],
    *,
    options: list[str],
    sha256: str,
    cancel: Cancel | None,
) -> Path:
    requirement = f"{name}=={version}"
    kinds = (".whl",) if "--only-binary" in options else (".tar.gz", ".zip", ".tar.bz2", ".tar.xz")
    present = _present(folder, name, version, kinds)
    if present is not None and (not sha256 or sha256_of(present) == sha256):
        return present
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    except OSError as error:
        raise os_error(error, folder) from error
    try:
        with sigterm_raises(f"Fetching {requirement}"):
            _pip_download(requirement, options, temporary, line, cancel)
        found = [path for path in temporary.iterdir() if path.name.endswith(kinds)]
        if len(found) != 1:
            raise R1tuiError(f"pip left no file for {requirement}.", f"Try it by hand: pip download {requirement}")
        if sha256 and (actual := sha256_of(found[0])) != sha256:
            raise R1tuiError(
                f"{found[0].name} is not the file that r1tui knows (sha256 {actual[:16]}… instead of {sha256[:16]}…).",
                "Check the package index that pip uses (pip config list), and try again.",
            )
        return found[0].replace(folder / found[0].name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _present(folder: Path, name: str, version: str, kinds: tuple[str, ...]) -> Path | None:
    normal = name.replace("-", "_").lower()
    for path in sorted(folder.glob("*")):
        stem = path.name.replace("-", "_").lower()
        if (
            path.name.endswith(kinds)
            and stem.startswith(f"{normal}_{version}")
            and stem[len(f"{normal}_{version}")] in "_."
        ):
            return path
    return None


def _pip_download(
    requirement: str, options: list[str], folder: Path, line: Callable[[str], None], cancel: Cancel | None
) -> None:
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]
    argv += ["--progress-bar", "off", *options, "--dest", str(folder), requirement]
    said: deque[str] = deque(maxlen=50)

    def keep(text: str) -> None:
        if text:
            said.append(text)
            line(text)

    env = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)}
    status = run_lines(argv, keep, what=f"Fetching {requirement}", env=env, cancel=cancel)
    if status != 0:
        raise _pip_error(requirement, list(said))


def _pip_error(requirement: str, said: list[str]) -> R1tuiError:
    text = "\n".join(said)
    mirror = "Check the network; behind a proxy set HTTPS_PROXY, with a mirror PIP_INDEX_URL."
    if "No module named pip" in text:
        return R1tuiError("This Python has no pip.", f"{sys.executable} -m ensurepip --upgrade")
    if "No space left on device" in text:
        return R1tuiError(f"The disk is full: {requirement} could not be fetched.", "Make room and try again.")
    if broken := _UNREACHABLE.search(text):
        return R1tuiError(f"{requirement} could not be fetched: no connection ({broken[0]}).", mirror)
    if "(from versions: none)" in text:
        return R1tuiError(f"The package index cannot be reached, or has no {requirement} for this machine.", mirror)
    errors = [line.removeprefix("ERROR:").strip() for line in said if line.startswith("ERROR:")]
    last = errors[-1] if errors else (said[-1] if said else "pip said nothing")
    return R1tuiError(f"pip could not fetch {requirement}: {last}.", f"Try it by hand: pip download {requirement}")


def _unzip(archive: Path, folder: Path, cancel: Cancel | None) -> None:
    root = folder.resolve()
    with zipfile.ZipFile(archive) as whole:
        for member in whole.infolist():
            check(cancel, f"Unpacking {archive.name}")
            mode = member.external_attr >> 16
            target = (root / member.filename).resolve()
            if not target.is_relative_to(root) or stat.S_ISLNK(mode):
                raise R1tuiError(
                    f"{archive.name} holds {member.filename!r}, which would land outside its folder.",
                    "Check the package index that pip uses (pip config list).",
                )
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole.open(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK_BYTES)
            target.chmod(0o755 if mode & 0o111 else 0o644)
