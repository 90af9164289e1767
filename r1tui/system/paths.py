"""Where things are kept: XDG folders, all under `$R1TUI_HOME` when that is set."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from r1tui.errors import LOCAL_DISK, R1tuiError, UsageError
from r1tui.system.files import make_folder
from r1tui.system.lazy import platformdirs

SOCKET_PATH_BYTES = 108  # sockaddr_un.sun_path, unix(7), its closing NUL included
LONGEST_NAME_BYTES, LONGEST_PATH_BYTES = 255, 4096  # limits.h: NAME_MAX, PATH_MAX
LONGEST_SOCKET_NAME = "/keeper.sock"
FALLBACK = Path("/tmp")  # noqa: S108  the same for every shell, unlike $TMPDIR; the folder in it is checked and private


@dataclass(frozen=True)
class Paths:
    """The folders; none is made before it is used."""

    config: Path
    data: Path
    cache: Path
    state: Path
    run: Path
    """Sockets and locks; private (0700), short enough for a socket's path."""

    @property
    def config_file(self) -> Path:
        return self.config / "config.yaml"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def engines(self) -> Path:
        return self.cache / "engines"

    @property
    def sources(self) -> Path:
        return self.cache / "sources"

    @property
    def downloads(self) -> Path:
        """Packages from PyPI on their way."""
        return self.cache / "downloads"

    @property
    def jobs(self) -> Path:
        """Long work as detached processes: who does it, and its log."""
        return self.state / "jobs"

    @property
    def download_rate(self) -> Path:
        """How fast the last download was, as JSON."""
        return self.state / "download-rate.json"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def server_log(self) -> Path:
        return self.logs / "server.log"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "keeper.log"

    @property
    def own_log(self) -> Path:
        """r1tui's own log, of all its processes."""
        return self.logs / "r1tui.log"

    @property
    def state_file(self) -> Path:
        """What the supervisor knows about its server, as JSON; there as long as there is something to know."""
        return self.state / "server.json"

    @property
    def answers(self) -> Path:
        """The running and the last answers, byte for byte as llama-server sent them; private."""
        return self.state / "answers"

    @property
    def conversations(self) -> Path:
        """The conversations of the screen; private."""
        return self.state / "conversations"

    @property
    def theme_choice(self) -> Path:
        """The theme that was chosen on the screen, as JSON."""
        return self.state / "theme.json"

    @property
    def prompt(self) -> Path:
        """What was typed into the prompt, sent or not; private."""
        return self.state / "prompt"

    @property
    def sampling_choices(self) -> Path:
        """How tokens are chosen, where the user wants it otherwise than the config for a model."""
        return self.state / "sampling.json"

    @property
    def kept_prompts(self) -> Path:
        """KV caches of conversations that were left; private, since they hold their text."""
        return self.cache / "prompts"

    @property
    def server_socket(self) -> Path:
        return self.run / "server.sock"

    @property
    def api_key(self) -> Path:
        """The key of a server that listens on a port; there as long as that server."""
        return self.run / "api-key"

    @property
    def script_socket(self) -> Path:
        """The socket of a server that a user starts by hand with `serve --print`'s script."""
        return self.run / "by-hand.sock"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "keeper.sock"

    @property
    def supervisor_lock(self) -> Path:
        return self.run / "keeper.lock"

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
        raise UsageError(f"{text!r} is no path.", "Give a full path.")
    try:
        path = Path(text).expanduser().absolute()
        long = max((len(part.encode()) for part in path.parts), default=0) > LONGEST_NAME_BYTES
        if long or len(os.fspath(path).encode()) >= LONGEST_PATH_BYTES:
            raise UsageError(f"{text[:40]}…: the name is too long for a file.", "Give a shorter path.")
    except (RuntimeError, FileNotFoundError) as error:
        raise UsageError(f"{text}: there is no such place.", "Give a full path.") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!r} is no UTF-8.", "Rename it, or link to it under a plain name.") from error
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
        raise R1tuiError(f"{path} is a link, which may lead to another user's folder.", "Make it a folder of your own.")
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise R1tuiError(f"{path} belongs to another user.", "Set R1TUI_HOME to a folder of your own.")
    if info.st_mode & 0o077:
        try:
            path.chmod(0o700)
        except PermissionError as error:
            cause = f"{path} cannot be closed to others: its disk knows no permissions."
            raise R1tuiError(cause, LOCAL_DISK) from error
    return path


def _short_run_dir(wanted: Path) -> Path:
    """The folder itself, or a private one in the temporary folder where a socket's path would be too long."""
    if len(os.fsencode(wanted)) + len(LONGEST_SOCKET_NAME) < SOCKET_PATH_BYTES:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
    return FALLBACK / f"r1tui-{os.getuid()}-{digest}"
