"""One file of a package index by pip itself, checked before anything of it runs; and then nothing of it runs either.

For a source package pip asks the package's own code for its metadata, and fetches what that code needs, unchecked.
Here it is given a stand-in to ask.
"""

import os
import re
import shlex
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from r1tui.errors import R1tuiError
from r1tui.system.children import Cancel, run_lines
from r1tui.system.variables import check_proxies

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
class Wanted:
    """A file to fetch: of one version, a wheel or the source package, with one of these sha256 where they are known."""

    name: str
    version: str
    binary: bool
    sha256: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def options(self) -> list[str]:
        """pip's options that choose the kind of file.

        `--no-binary` names the package alone: with `:all:` pip would compile the tools that it reads metadata with.
        """
        return ["--only-binary", ":all:"] if self.binary else ["--no-binary", self.name]


def pip_download(wanted: Wanted, folder: Path, line: Callable[[str], None], cancel: Cancel | None) -> None:
    """Fetch the file, with a known sha256 or the one in the index. Raises R1tuiError and CancelledError."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "sitecustomize.py").write_text(_STAND_IN)
    listed = tools / "requirements.txt"
    hashes = "".join(f" --hash=sha256:{digest}" for digest in wanted.sha256)
    listed.write_text(f"{wanted.requirement}{hashes}\n")
    argv = ["download", "--no-deps", "--no-input", "--progress-bar", "off", "--no-build-isolation", "--use-pep517"]
    argv += ["--require-hashes"] if wanted.sha256 else []
    argv += [*wanted.options, "--dest", str(folder), "--requirement", str(listed)]
    said: deque[str] = deque(maxlen=50)

    def keep(text: str) -> None:
        if text:
            said.append(text)
            line(text)

    path = [str(tools), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(path), "R1TUI_PACKAGE": wanted.requirement}
    status = _run_pip(argv, keep, f"Fetching {wanted.requirement}", env=env, cancel=cancel)
    if status != 0:
        raise _pip_error(wanted, list(said))


def find_origins(wanted: Wanted, file_name: str, cancel: Cancel | None) -> list[str]:
    """The pages of package indexes, or folders, that offer this file to pip; empty when pip does not say."""
    found: list[str] = []

    def keep(text: str) -> None:
        if (link := _FOUND.match(text)) and Path(urlsplit(link["url"]).path).name == file_name:
            found.append(link["page"] or link["url"].rpartition("/")[0])

    argv = ["index", "versions", "-vv", *wanted.options, wanted.name]
    try:
        _run_pip(argv, keep, f"Looking for {wanted.requirement}", env={}, cancel=cancel, timeout_s=INDEX_S)
    except TimeoutError:
        return []
    return list(dict.fromkeys(found))


def _run_pip(
    arguments: Sequence[str],
    line: Callable[[str], None],
    what: str,
    *,
    env: dict[str, str],
    cancel: Cancel | None,
    timeout_s: float | None = None,
) -> int:
    """Run pip; -P: a folder `pip` in the current one is not it. Raises UsageError for a proxy that is mistyped."""
    check_proxies()
    argv = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", *arguments]
    whole = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", **env}
    return run_lines(argv, line, what=what, env=whole, cancel=cancel, timeout_s=timeout_s)


def _pip_error(wanted: Wanted, said: list[str]) -> R1tuiError:
    text = "\n".join(said)
    requirement = wanted.requirement
    mirror = "Check the network; behind a proxy set HTTPS_PROXY, with a mirror PIP_INDEX_URL."
    if "No module named pip" in text:
        return R1tuiError("This Python has no pip.", f"{shlex.quote(sys.executable)} -m ensurepip --upgrade")
    if "No space left on device" in text:
        return R1tuiError(f"The disk is full: {requirement} could not be fetched.", "Make room and try again.")
    if other := _MISMATCH.search(text):
        known = "that r1tui knows" if wanted.sha256 else "that the index names"
        return R1tuiError(
            f"What came for {requirement} is not the file {known}: its sha256 is {other['sha256'][:16]}…",
            "Check the package indexes that pip uses (pip config list, PIP_INDEX_URL, PIP_EXTRA_INDEX_URL).",
        )
    if broken := _UNREACHABLE.search(text):
        return R1tuiError(f"{requirement} could not be fetched: no connection ({broken[0]}).", mirror)
    if "(from versions: none)" in text:
        return R1tuiError(f"The package index cannot be reached, or has no {requirement} for this machine.", mirror)
    errors = [line.removeprefix("ERROR:").strip() for line in said if line.startswith("ERROR:")]
    last = errors[-1] if errors else (said[-1] if said else "pip said nothing")
    return R1tuiError(f"pip could not fetch {requirement}: {last}.", f"Try it by hand: pip download {requirement}")
