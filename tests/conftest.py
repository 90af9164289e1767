"""What every test stands on: folders of its own, a real llama-server, a tiny R1 whose answer is known."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

from r1tui.supervisor import client as supervisor
from r1tui.system.files import take_damages
from r1tui.system.paths import Paths
from tests.hub_server import REPO, Hub, Repository, running_hub

USERS_PATHS = Paths.from_environment()
"""Of the user who runs the tests; the engine is kept there."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, where no Ctrl+C could be tested
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup, where no hang-up could be
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# The hundreds of processes that tests start read what the first of them has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
for profile, examples in (("usual", 30), ("thorough", 1000)):  # pytest --hypothesis-profile=thorough
    checks = [HealthCheck.too_slow]
    settings.register_profile(profile, max_examples=examples, deadline=None, suppress_health_check=checks)
settings.load_profile("usual")


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: more processes than cores, since a test waits for a server or a screen half of its time."""
    cores = os.cpu_count() or 1
    return cores + min(cores, 4)


@pytest.fixture(autouse=True)
def _damages_of_this_test_alone() -> None:
    """What earlier tests have damaged is not told in this one."""
    take_damages()


@pytest.fixture(scope="session", autouse=True)
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """A home folder, one for temporary files, and a terminal of all colours, in this process and its children: what a
    user has is not seen."""
    folders = [tmp_path_factory.mktemp(name) for name in ("me", "t")]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        for name, folder in zip(("HOME", "TMPDIR"), folders, strict=True):
            patch.setenv(name, str(folder))
        patch.setenv("COLORTERM", "truecolor")
        patch.setattr(tempfile, "tempdir", None)  # asked for anew
        yield folders


@pytest.fixture(autouse=True)
def _homes_of_this_test_alone(_homes: list[Path]) -> Iterator[None]:
    """What a test leaves in them is not there in the next one."""
    yield
    for folder in _homes:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Every folder of r1tui under this test's own root, in this process and its children."""
    for name in [name for name in os.environ if name.startswith(("R1TUI_", "LLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("R1TUI_HOME", str(tmp_path / "home"))
    return Paths.from_environment()


@pytest.fixture
def empty_home(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home where no other program has models, and none of the variables that lead elsewhere."""
    from r1tui.hub.local import places  # noqa: PLC0415

    names = ("XDG_CACHE_HOME", "OLLAMA_MODELS", "HUGGINGFACE_HUB_CACHE")
    for name in (*names, *(name for name in os.environ if name.startswith("HF_"))):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(places, "OLLAMA_SERVICE_FOLDER", tmp_path / "no-service")
    return home


@pytest.fixture
def empty_hub(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without repositories, which the real huggingface_hub asks in this process and its children."""
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture(scope="session")
def llama_server() -> Path:
    """The real llama-server; `make test` builds it before the tests start."""
    from tests.tools.engine import engine_for_tests  # noqa: PLC0415

    return engine_for_tests(print, USERS_PATHS)


@pytest.fixture(scope="session")
def workers(llama_server: Path) -> Iterator[list[str]]:
    """Two ggml-rpc-servers as HOST:PORT: real devices to offload to, on a machine without a GPU."""
    from tests.engine_figures import running_worker  # noqa: PLC0415

    with running_worker(llama_server) as one, running_worker(llama_server) as other:
        yield [one, other]


TinyModel = Callable[..., Path]
SparseModel = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_r1(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Makes tiny R1 files, `tiny_r1(think="…", loop=True, …)` -> path; the same arguments give the same file."""
    from tests.tiny_r1 import build  # noqa: PLC0415

    made: dict[str, Path] = {}

    def make(**options: object) -> Path:
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = build(tmp_path_factory.mktemp("tiny") / "tiny-r1.gguf", **options)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def sparse_model(tmp_path_factory: pytest.TempPathFactory) -> SparseModel:
    """Models of full dimensions, `sparse_model(sparse_r1.build, mla=True)` -> path; made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sparse-models"
    shared.mkdir(exist_ok=True)

    def make(build: Callable[..., Path], **options: object) -> Path:
        model = shared / (re.sub(r"\W+", "-", f"{build.__module__} {sorted(options.items())}").strip("-") + ".gguf")
        with model.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not model.exists():
                build(made := model.with_suffix(".new"), **options)
                made.rename(model)
        return model

    return make


@pytest.fixture
def hub(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the tiny R1 in shards; the Hugging Face cache is the test's own."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repositories[REPO] = Repository(tiny_files())
        yield hub


@cache
def _tiny_files(answer: str) -> dict[str, bytes]:
    from tests.tiny_r1 import build  # noqa: PLC0415

    with TemporaryDirectory() as folder:
        build(Path(folder) / "Tiny-R1-Q8_0.gguf", shard_tensors=40, answer=answer)
        return {f"Q8_0/{path.name}": path.read_bytes() for path in sorted(Path(folder).iterdir())}


def tiny_files(answer: str = "Hello.") -> dict[str, bytes]:
    """A repository's files: a split model in a folder of its own, another model, a readme."""
    return _tiny_files(answer) | {"Tiny-R1-Q4_0.gguf": b"GGUF other", "README.md": b"hello"}


@dataclass(frozen=True)
class CommandLine:
    """Runs `r1tui` without a terminal: a call in this process, which saves half a second, the others in their own."""

    paths: Paths

    def __call__(self, *arguments: str | Path, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        from r1tui.cli import run  # noqa: PLC0415

        out, err = (TextIOWrapper(BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode()), "utf-8"))
            status = run([*map(str, arguments)])
        said = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return subprocess.CompletedProcess([*arguments], status, *said)

    def alone(self, *arguments: str | Path, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """As a call, in a process of its own."""
        command = [sys.executable, "-m", "r1tui", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=300, check=False)

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """As `alone`, but do not wait for it."""
        command = [sys.executable, "-m", "r1tui", *map(str, arguments)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def configure(self, text: str) -> None:
        """Write config.yaml."""
        self.paths.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.paths.config_file.write_text(text)


@pytest.fixture
def r1tui(paths: Paths, llama_server: Path) -> Iterator[CommandLine]:
    """`r1tui` in folders of its own, with the built engine; whatever server it leaves running is stopped."""
    command_line = CommandLine(paths)
    command_line.configure(f"engine: {{source: '{llama_server}'}}\nserver: {{threads: 1}}\n")
    yield command_line
    supervisor.stop(paths)
