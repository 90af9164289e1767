"""The places of everything that is kept: XDG folders, all under `$R1TUI_HOME` when that is set.

And names from outside (the hub, files, archives, models, titles), made paths that stay where they belong.
"""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from r1tui.errors import LOCAL_DISK, R1tuiError, UsageError
from r1tui.system.files import make_folder
from r1tui.system.lazy import platformdirs, unicodedata
from r1tui.text import shortened

SOCKET_PATH_BYTES = 108  # sockaddr_un.sun_path, unix(7), its closing NUL included
LONGEST_NAME_BYTES, LONGEST_PATH_BYTES = 255, 4096  # limits.h: NAME_MAX, PATH_MAX
LONGEST_SOCKET_NAME = "/keeper.sock"
FALLBACK = Path("/tmp")  # noqa: S108  the same for every shell, unlike $TMPDIR; the folder in it is checked and private
LONGEST_OUTSIDE_BYTES = 2048
"""Of a path below a folder; the system's limit for all of it is twice that."""
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, and what ends a line."""


class _PathIn:
    """A file or folder below one of the folders of `Paths`."""

    def __init__(self, folder: str, *parts: str) -> None:
        self._folder, self._parts = folder, parts

    def __get__(self, paths: "Paths", owner: type) -> Path:
        return Path(getattr(paths, self._folder), *self._parts)


@dataclass(frozen=True)
class Paths:
    """The folders; none is made before it is used."""

    config: Path
    data: Path
    cache: Path
    state: Path
    run: Path
    """Sockets and locks; private (0700), short enough for a socket's path."""

    config_file = _PathIn("config", "config.yaml")
    models = _PathIn("data", "models")
    engines = _PathIn("cache", "engines")
    sources = _PathIn("cache", "sources")
    downloads = _PathIn("cache", "downloads")
    """Packages from PyPI on their way."""
    kept_prompts = _PathIn("cache", "prompts")
    """KV caches of conversations that were left; private, since they hold their text."""
    jobs = _PathIn("state", "jobs")
    """Long work as detached processes: who does it, and its log."""
    download_rate = _PathIn("state", "download-rate.json")
    theme_choice = _PathIn("state", "theme.json")
    sampling_choices = _PathIn("state", "sampling.json")
    model_settings = _PathIn("state", "model-settings.json")
    """Context, layers, cache types and threads that the user set for a model."""
    prompt = _PathIn("state", "prompt")
    """Texts of the prompt, sent or not; private."""
    conversations = _PathIn("state", "conversations")
    answers = _PathIn("state", "answers")
    """The running and the last answers, byte for byte as llama-server sent them; private."""
    state_file = _PathIn("state", "server.json")
    """The supervisor's state of its server; there as long as there is something to know."""
    logs = _PathIn("state", "logs")
    server_log = _PathIn("state", "logs", "server.log")
    supervisor_log = _PathIn("state", "logs", "keeper.log")
    own_log = _PathIn("state", "logs", "r1tui.log")
    """r1tui's own log, of all its processes."""
    server_socket = _PathIn("run", "server.sock")
    script_socket = _PathIn("run", "by-hand.sock")
    """The socket of a server that a user starts by hand with `serve --print`'s script."""
    supervisor_socket = _PathIn("run", "keeper.sock")
    supervisor_lock = _PathIn("run", "keeper.lock")
    api_key = _PathIn("run", "api-key")
    """The key of a server that listens on a port; there as long as that server."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> "Paths":
        """The folders for this user and environment; makes none of them."""
        env = os.environ if env is None else env
        if home := env.get("R1TUI_HOME"):
            try:
                root = expand(home)
            except UsageError as error:
                raise UsageError(f"R1TUI_HOME: {error.cause}", "Set it to the full path of a folder.") from error
            return cls(root / "config", root / "data", root / "cache", root / "state", _short_run_dir(root / "run"))
        dirs = platformdirs.PlatformDirs("r1tui", appauthor=False)
        try:
            dirs.user_state_dir  # noqa: B018  raises for a user without a home
        except RuntimeError as error:
            raise UsageError("This user has no home folder.", "Set HOME, or R1TUI_HOME.") from error
        run = Path(dirs.user_state_dir) / "run"  # systemd removes $XDG_RUNTIME_DIR at the last logout, the server stays
        return cls(
            Path(dirs.user_config_dir),
            Path(dirs.user_data_dir),
            Path(dirs.user_cache_dir),
            Path(dirs.user_state_dir),
            _short_run_dir(run),
        )


def expand(text: str) -> Path:
    """The full path that a user means, `~` included. Raises UsageError for a user or a folder that is not there."""
    if "\0" in text:
        raise UsageError(f"{text!r} is not a path.", "Give a full path.")
    try:
        path = Path(text).expanduser().absolute()
        long = max((len(part.encode()) for part in path.parts), default=0) > LONGEST_NAME_BYTES
        if long or len(os.fspath(path).encode()) >= LONGEST_PATH_BYTES:
            raise UsageError(f"{text[:40]}…: the name is too long for a file.", "Give a shorter path.")
    except (RuntimeError, FileNotFoundError) as error:
        raise UsageError(f"{text}: no such folder or user.", "Give a full path.") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!r} is not UTF-8.", "Rename it, or link to it under a plain name.") from error
    return path


def expand_if_known(text: str) -> Path:
    """The path with `~` resolved; as it stands where there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def private_folder(path: Path) -> Path:
    """Make the folder for this user alone (0700); raises R1tuiError when it belongs to someone else."""
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        raise R1tuiError(
            f"{path} is a link, which may lead to another user's folder.", "Make it a folder that you own."
        )
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise R1tuiError(f"{path} belongs to another user.", "Set R1TUI_HOME to a folder that you own.")
    if info.st_mode & 0o077:
        try:
            path.chmod(0o700)
        except PermissionError as error:
            cause = f"{path} cannot be made private: its disk does not support permissions."
            raise R1tuiError(cause, LOCAL_DISK) from error
    return path


def _short_run_dir(wanted: Path) -> Path:
    """The folder itself, or a private one in the temporary folder where a socket's path would be too long."""
    if len(os.fsencode(wanted)) + len(LONGEST_SOCKET_NAME) < SOCKET_PATH_BYTES:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
    return FALLBACK / f"r1tui-{os.getuid()}-{digest}"


class OutsideError(R1tuiError):
    """A name from outside that must not become a path."""

    def __init__(self, name: str, why: str) -> None:
        shown = shortened(name.encode(errors="backslashreplace").decode(), 80)
        super().__init__(f"{shown!r} is not a valid file name: {why}.", "Get it from another source.")


def component(name: str) -> str:
    """The name itself, if it can be one name in a path; raises OutsideError."""
    if name in ("", ".", ".."):
        raise OutsideError(name, "it is a folder's name" if name else "it is empty")
    if "/" in name:
        raise OutsideError(name, "it contains a /")
    if any(unicodedata.category(char) in _UNFIT for char in name):
        raise OutsideError(name, "it contains control characters")
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise OutsideError(name, f"it is longer than {LONGEST_NAME_BYTES} bytes")
    return name


def relative(name: str) -> str:
    """The name itself, if it can be a path below some folder, with / between its parts; raises OutsideError."""
    if name.startswith("/"):
        raise OutsideError(name, "it is absolute")
    for part in name.split("/"):
        component(part)
    if len(name.encode()) > LONGEST_OUTSIDE_BYTES:
        raise OutsideError(name, f"it is longer than {LONGEST_OUTSIDE_BYTES} bytes")
    return name


def inside(folder: Path, name: str) -> Path:
    """The path of a name, with / between its parts, below a folder; raises OutsideError when it would lie elsewhere.

    Neither `..` nor a link that is already there leads out; a link in the last part is the caller's: replace it by a
    rename, or open it with O_NOFOLLOW.
    """
    path = folder / relative(name)
    if "/" in name and not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):
        raise OutsideError(name, f"a link in {folder} leads out of it")
    return path


def is_relative(name: str) -> bool:
    try:
        relative(name)
    except OutsideError:
        return False
    return True


def stem_of(identifier: str) -> str:
    """The name of a file for this identifier, without its ending: the identifier itself where it is plain."""
    if re.fullmatch(r"[0-9A-Za-z_-]{1,100}", identifier):
        return identifier
    return hashlib.sha256(identifier.encode(errors="surrogatepass")).hexdigest()
