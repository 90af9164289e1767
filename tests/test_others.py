"""Models on this machine that no variant means are listed too, once each, and can be used by their path."""

import json
from pathlib import Path

import pytest

from r1tui.config import Config
from r1tui.hub.local.found import FoundModel, other_models
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel
from tests.test_found import put, put_in_ollama


@pytest.fixture(autouse=True)
def home(empty_home: Path) -> Path:
    return empty_home


def test_every_place_is_looked_into_and_parts_of_models_are_none(paths: Paths, home: Path) -> None:
    (own,) = put(paths.models / "me/X-GGUF", {"x.gguf": b"GGUF"})
    (mine,) = put(home / "mine/deep", {"y.gguf": b"GGUF"})
    put(home / "mine", {"half-00001-of-00002.gguf": b"GGUF", "mmproj-y.gguf": b"GGUF", "notes.txt": b""})
    first, _ = put(home / ".lmstudio/models/a/b", {f"z-0000{n}-of-00002.gguf": b"GGUF" for n in (1, 2)})
    (cached,) = put(home / ".cache/huggingface/hub/models--a--b/snapshots/0", {"Q4/c.gguf": b"GGUF"})
    (flat,) = put(home / ".cache/llama.cpp", {"a_b_d.gguf": b"GGUF"})
    blob = put_in_ollama(home / ".ollama/models", "registry.ollama.ai/library/deepseek-r1/7b", b"GGUF")
    (home / "mine/again.gguf").symlink_to(own)
    config = Config(model_folders=[str(home / "mine")])
    assert other_models(paths, config, []) == [
        FoundModel(own, "r1tui", "x"),
        FoundModel(mine, "model_folders", "y"),
        FoundModel(cached, "huggingface", "c"),
        FoundModel(flat, "llama.cpp", "a_b_d"),
        FoundModel(first, "lmstudio", "z"),
        FoundModel(blob, "ollama", "deepseek-r1:7b"),
    ]
    assert blob not in [other.path for other in other_models(paths, config, [blob, own])]


def test_the_command_lists_them_with_a_verdict_and_they_run_by_their_path(
    r1tui: CommandLine, home: Path, tiny_r1: TinyModel
) -> None:
    blob = put_in_ollama(home / ".ollama/models", "registry.ollama.ai/library/tiny/1b", tiny_r1().read_bytes())
    (listed,) = json.loads(r1tui("variants", "--json").stdout)["others"]
    assert (listed["name"], listed["path"], listed["exact"]) == ("tiny:1b", str(blob), True)
    assert str(blob) in r1tui("variants").stdout
    odd = put(home / ".lmstudio/models/a/b", {"c\nserver: forged.gguf": tiny_r1().read_bytes()})[0]
    assert "c\\nserver: forged.gguf" in r1tui("variants").stdout
    assert "\nserver: forged" not in r1tui("variants").stdout + r1tui("chat", "--model", odd, "hi").stderr
    answered = r1tui("chat", "--model", blob, "hi")
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip()
