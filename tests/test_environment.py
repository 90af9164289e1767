"""What of this program's environment reaches llama.cpp: the hardware's and the system's; no argument, no secret."""

import http.client
import os
import re
import subprocess
from pathlib import Path

import pytest

from r1tui.config import EngineSettings
from r1tui.supervisor import client
from r1tui.system.environment import clean_environment, server_environment, shell_lines
from r1tui.system.paths import Paths
from tests.conftest import USERS_PATHS, TinyModel
from tests.supervisor_rig import call, spec_for, start_ready

KEPT = {
    "PATH": "/bin:/usr/bin",
    "HOME": "/h",
    "CUDA_VISIBLE_DEVICES": "1",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1",
    "HIP_VISIBLE_DEVICES": "0",
    "HSA_OVERRIDE_GFX_VERSION": "11.0.0",
    "LD_LIBRARY_PATH": "/l",
    "DYLD_LIBRARY_PATH": "/l",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "3",
    "TMPDIR": "/t",
    "R1TUI_HOME": "/r",
    "XDG_CACHE_HOME": "/c",
}
OF_LLAMA = {
    "LLAMA_ARG_HOST": "::",
    "LLAMA_ARG_NO_WEBUI": "1",
    "LLAMA_API_KEY": "theirs",
    "LLAMA_CACHE": "/c",
    "LLAMA_TRACE": "1",
    "LLAMA_MEDIA_MARKER": "x",
    "LLAMA_SERVER_CHILD_MODE": "1",
    "AIP_MODE": "PREDICTION",
    "AIP_HTTP_PORT": "1",
    "AIP_HEALTH_ROUTE": "/x",
    "HF_TOKEN": "t",
    "HF_ENDPOINT": "http://h",
    "HF_HUB_CACHE": "/c",
    "MODEL_ENDPOINT": "http://h",
    "HUGGING_FACE_HUB_TOKEN": "t",
    "HUGGINGFACE_HUB_CACHE": "/c",
    "MTMD_BACKEND_DEVICE": "x",
}
SECRETS = {
    "GITHUB_TOKEN": "t",
    "OPENAI_API_KEY": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    "AWS_ACCESS_KEY_ID": "k",
    "PGPASSWORD": "p",
    "DB_PASSW": "p",
    "HTTP_AUTHORIZATION": "Basic p",
    "my_password": "p",
    "GOOGLE_APPLICATION_CREDENTIALS": "/c",
    "NPM_CONFIG__AUTHTOKEN": "t",
    "two\nlines": "SECRET",
}


def test_llama_cpp_is_told_nothing_but_the_key() -> None:
    given = {**KEPT, **OF_LLAMA, **SECRETS, "XDG_CONFIG_HOME": "/h/.config"}
    env = server_environment(given, "ours")
    ours = {"LLAMA_API_KEY": "ours", "XDG_CONFIG_HOME": os.devnull, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert env == {**KEPT, "two\nlines": "SECRET", **ours}
    assert server_environment({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
    assert "LLAMA_API_KEY" not in server_environment(given)
    assert clean_environment({**KEPT, **OF_LLAMA}) == KEPT


def test_a_script_empties_its_environment_alike() -> None:
    given = {**KEPT, **OF_LLAMA, **SECRETS, "TEXT": "a\nAIP_MODE=in a value\nlast line"}
    given.pop("two\nlines")
    script = "\n".join(["set -eu", *shell_lines(), "env -0"])
    shown = subprocess.run(["/bin/sh", "-c", script], env=given, capture_output=True, text=True, check=True).stdout
    env = dict(one.split("=", 1) for one in shown.split("\0") if one)
    expected = server_environment(given)
    assert {name: env.get(name) for name in expected} == expected
    assert set(env) - set(expected) <= {"PWD", "SHLVL", "_", "OLDPWD", "name"}


def test_every_variable_that_the_source_reads_is_the_hardware_s_or_is_taken_out(llama_server: Path) -> None:
    fetched = USERS_PATHS.sources.glob(f"{EngineSettings().ref}-*/CMakeLists.txt")
    source = next((file.parent for file in fetched), None)
    if source is None:
        pytest.skip("the engine was built elsewhere")
    read = re.compile(r'(?:getenv|get_env\w*|path_from_env|set_env)\s*\(\s*"(\w+)"')
    names: set[str] = set()
    for folder in ("common", "src", "ggml/src", "tools/server", "tools/fit-params", "tools/rpc", "vendor"):
        for file in (source / folder).rglob("*"):
            if file.suffix in (".c", ".cc", ".cpp", ".h", ".hpp", ".cu", ".cuh", ".m"):
                names.update(read.findall(file.read_text(errors="replace")))
    assert {"AIP_HTTP_PORT", "LLAMA_ARG_HOST", "HF_TOKEN", "GGML_CUDA_NO_PINNED"} <= names
    left = server_environment(dict.fromkeys(names, "x"))
    harmless = {
        "HOME",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "APPDATA",
        "LOCALAPPDATA",
        "TEMP",
        "TERM",
        "NO_COLOR",
        "USERPROFILE",
        "PROGRAMDATA",
        "LLGUIDANCE_LOG_LEVEL",
        "KMP_BLOCKTIME",
        "OMP_WAIT_POLICY",
        "ONEAPI_DEVICE_SELECTOR",
    }
    unknown = {name for name in left if not name.startswith(("GGML_", "SPACEMIT_", "CUDA_"))} - harmless
    assert unknown == set()


def test_a_cloud_s_container_variables_do_not_move_the_port(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIP_MODE", "PREDICTION")
    monkeypatch.setenv("AIP_HTTP_PORT", "1")
    monkeypatch.setenv("LLAMA_ARG_API_PREFIX", "/trap")
    spec = spec_for(llama_server, tiny_r1(), paths, tcp=True)
    ready = start_ready(spec, paths)
    assert ready.tcp is not None
    key = paths.api_key.read_text().strip()
    assert call(http.client.HTTPConnection(ready.tcp, timeout=60), "GET", "/health", key=key)[0] == 200
    environment = Path(f"/proc/{ready.pid}/environ")
    if environment.exists():
        names = {one.partition(b"=")[0] for one in environment.read_bytes().split(b"\0")}
        assert not [name for name in names if name.startswith((b"AIP_", b"LLAMA_ARG_", b"HF_"))]
    client.stop(paths)
