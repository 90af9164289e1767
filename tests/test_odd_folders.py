"""Variables that name folders oddly, or none: a command works, or says which variable it is."""

import os
import subprocess
from pathlib import Path

import pytest

from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel
from tests.hub_server import REPO, Hub

FOLDERS = {
    "nobody's": "~nobody-is-called-so/x",
    "relative": "relative/x",
    "home": "~/x",
    "newline": "new\nline",
    "quotes": "“x”",
    "no folder": "/dev/null/x",
    "not writable": "/proc/nope",
    "empty": "",
    "blank": " ",
}
NAMES = (
    "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "LLAMA_CACHE", "OLLAMA_MODELS", "XDG_CACHE_HOME", "TMPDIR", "HOME",
)  # fmt: skip


def no_trace(ran: "subprocess.CompletedProcess[str]") -> str:
    said = ran.stdout + ran.stderr
    for word in ("Traceback", "unexpected"):
        assert word not in said
    assert said.strip()
    return said


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, where what is relative goes."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_others_may_be_any(
    hub: Hub, paths: Paths, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for kind, value in FOLDERS.items():
        monkeypatch.setenv(name, value)
        ran = CommandLine(paths)("variants")
        assert ran.returncode == 0, (kind, ran.stderr)
        assert "unexpected" not in ran.stderr, kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("HF_HOME", "nobody's"), ("HF_HOME", "no folder"), ("HF_TOKEN_PATH", "relative"), ("TMPDIR", "empty"),
     ("TMPDIR", "no folder")],
)  # fmt: skip
def test_a_model_comes_all_the_same(
    hub: Hub, paths: Paths, here: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, kind: str
) -> None:
    monkeypatch.setenv(name, FOLDERS[kind])
    fetched = CommandLine(paths).alone("download", f"hf:{REPO}:Q8_0")
    no_trace(fetched)
    assert fetched.returncode == 0 or "HF_TOKEN" in fetched.stderr, fetched.stderr


@pytest.mark.parametrize("kind", FOLDERS)
def test_r1tui_s_own_may_be_any(
    paths: Paths, empty_home: Path, here: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("R1TUI_HOME", FOLDERS[kind])
    for command in ("status", "variants", "doctor", "chats", "stop", "logs"):
        ran = CommandLine(paths)(command)
        assert ran.returncode in (0, 1, 2), command
        said = no_trace(ran)
        if kind == "nobody's":
            assert "R1TUI_HOME: ~nobody-is-called-so/x" in said
        if kind in ("no folder", "not writable") and command == "doctor":
            assert FOLDERS[kind].rpartition("/")[0] in said
            assert "R1TUI_HOME" in said


def test_a_server_runs_in_a_relative_home(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("R1TUI_HOME", "relative")
    command = CommandLine(Paths.from_environment())
    command.configure(f"engine: {{source: '{llama_server}'}}\nserver: {{threads: 1}}\n")
    try:
        served = command("serve", "--detach", "--model", tiny_r1())
        assert served.returncode == 0, served.stderr
        assert command("status").stdout.startswith("ready")
        assert (here / "relative" / "state" / "server.json").exists()
    finally:
        stopped = command("stop")
    assert stopped.returncode == 0, stopped.stderr


@pytest.mark.parametrize("kind", ["no folder", "not writable"])
def test_a_server_where_nothing_can_be_written_names_the_folder(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch, *, kind: str
) -> None:
    config = paths.config_file.with_name("mine.yaml")
    config.parent.mkdir(parents=True)
    config.write_text(f"engine: {{source: '{llama_server}'}}\n", "utf-8")
    monkeypatch.setenv("R1TUI_HOME", FOLDERS[kind])
    said = no_trace(CommandLine(paths).alone("--config", config, "serve", "--detach", "--model", tiny_r1()))
    assert FOLDERS[kind].removesuffix("/x").removesuffix("/nope") in said
    assert "R1TUI_HOME" in said


@pytest.mark.parametrize("names", [("HOME",), ("HOME", "USER", "LOGNAME", "LANG", "TERM"), ("PATH",)], ids=" ".join)
def test_variables_that_are_not_there(paths: Paths, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for command in ("status", "variants", "doctor"):
        no_trace(CommandLine(paths).alone(command))
    assert not set(names) & set(os.environ)
