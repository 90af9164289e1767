"""A model that the engine does not know is refused by its first bytes: before a download, before a plan."""

import json
import re
from pathlib import Path

import pytest
from gguf import GGUFWriter

from r1tui.config import EngineSettings
from r1tui.engine.architectures import ARCHITECTURES, PINNED, UnknownArchitectureError, check_architecture
from r1tui.engine.find import Engine
from r1tui.gguf.parse import read_architecture
from r1tui.gguf.source import FileSource
from r1tui.plan.capabilities import Capabilities
from tests.conftest import CommandLine, TinyModel
from tests.hub_server import Hub, Repository


def engine(server: Path, build_number: int | None) -> Engine:
    return Engine(server, "cpu", "local", Capabilities("1", build_number, frozenset()))


def test_the_first_bytes_say_the_architecture(tiny_r1: TinyModel, tmp_path: Path) -> None:
    with FileSource(tiny_r1()) as file:
        assert read_architecture(file) == "deepseek2"
    page = tmp_path / "page.gguf"
    page.write_text("<html>" * 2000)
    with FileSource(page) as file:
        assert read_architecture(file) is None


@pytest.mark.parametrize("build_number", [11434, 9000, 99999, None])
def test_the_binary_itself_says_what_it_does_not_know(llama_server: Path, build_number: int | None) -> None:
    mine = engine(llama_server, build_number)
    for known in ("deepseek2", "glm5-next", "gpt-oss"):
        check_architecture(known, mine, EngineSettings())
    with pytest.raises(UnknownArchitectureError) as caught:
        check_architecture("deepseek9", mine, EngineSettings())
    assert caught.value.cause.endswith("does not know the architecture `deepseek9`.")
    assert "engine.ref" in caught.value.remedy


def test_the_release_that_knows_it_is_named(tmp_path: Path) -> None:
    old = tmp_path / "llama-server"
    old.write_text("#!/bin/sh\necho \"unknown model architecture: 'kimi-k3'\"\nexit 1\n")
    old.chmod(0o755)
    with pytest.raises(UnknownArchitectureError) as caught:
        check_architecture("kimi-k3", engine(old, 9000), EngineSettings())
    assert caught.value.cause == "llama.cpp b9000 does not know the architecture `kimi-k3`."
    assert f"{PINNED} knows it" in caught.value.remedy


def test_before_there_is_an_engine_the_list_of_its_release_counts() -> None:
    with pytest.raises(UnknownArchitectureError) as caught:
        check_architecture("glm5next", None, EngineSettings())
    assert caught.value.cause == f"llama.cpp {PINNED} does not know the architecture `glm5next`."
    assert "glm5-next" in caught.value.remedy
    check_architecture("glm5next", None, EngineSettings(ref="b20000"))
    check_architecture("deepseek2", None, EngineSettings())


def test_the_list_is_the_release_s_own(llama_server: Path) -> None:
    binary = llama_server.read_bytes()
    assert EngineSettings().ref == PINNED
    assert all(re.search(re.escape(name.encode()) + b"\0", binary) for name in ARCHITECTURES)


@pytest.mark.parametrize("command", ["download", "plan"])
def test_nothing_is_fetched_of_a_model_that_the_engine_does_not_know(
    r1tui: CommandLine, empty_hub: Hub, tiny_r1: TinyModel, command: str
) -> None:
    strange = tiny_r1().read_bytes().replace(b"deepseek2", b"deepseek9")
    empty_hub.repositories["some/R9-GGUF"] = Repository({"R9-Q8_0.gguf": strange})
    assert r1tui("build").returncode == 0
    ran = r1tui(command, "hf:some/R9-GGUF:Q8_0")
    assert ran.returncode != 0
    assert "llama.cpp b11434 does not know the architecture `deepseek9`." in ran.stderr
    ranges = [one for one in empty_hub.requests if "R9-Q8_0.gguf" in str(one) and "GET" in str(one)]
    assert len(ranges) == 1, ranges
    assert not list(r1tui.paths.models.rglob("*.gguf"))
    assert not list((r1tui.paths.cache / "headers").rglob("*.gguf"))


def test_the_header_of_any_model_can_be_looked_at(r1tui: CommandLine, empty_hub: Hub, tiny_r1: TinyModel) -> None:
    strange = tiny_r1().read_bytes().replace(b"deepseek2", b"deepseek9")
    empty_hub.repositories["some/R9-GGUF"] = Repository({"R9-Q8_0.gguf": strange})
    ran = r1tui("inspect", "hf:some/R9-GGUF:Q8_0")
    assert ran.returncode == 0, ran.stderr
    assert "deepseek9" in ran.stdout


def test_the_list_of_models_says_what_the_engine_does_not_know(
    r1tui: CommandLine, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(tiny_r1().read_bytes().replace(b"deepseek2", b"deepseek9"))
    r1tui.configure(f"engine: {{source: '{llama_server}'}}\nvariants: {{mine: {{file: '{strange}'}}}}\n")
    assert r1tui("build").returncode == 0
    listed = json.loads(r1tui("variants", "--json").stdout)["variants"]
    (mine,) = [one for one in listed if one["name"] == "mine"]
    assert (mine["verdict"], mine["problem"]) == (
        "no",
        "llama.cpp b11434 does not know the architecture `deepseek9`.",
    )


def test_a_file_here_that_the_engine_does_not_know_is_not_planned(
    r1tui: CommandLine, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(tiny_r1().read_bytes().replace(b"deepseek2", b"deepseek9"))
    assert r1tui("build").returncode == 0
    for exact in ((), ("--exact",)):
        ran = r1tui("plan", "--model", strange, *exact)
        assert "llama.cpp b11434 does not know the architecture `deepseek9`." in ran.stderr, ran.stdout
        assert ran.returncode != 0


@pytest.mark.parametrize("command", [("plan",), ("serve", "--print")])
def test_a_file_of_such_a_model_is_not_called_broken_for_what_it_lacks(
    r1tui: CommandLine, tmp_path: Path, command: tuple[str, ...]
) -> None:
    model = tmp_path / "strange.gguf"
    writer = GGUFWriter(model, "deepseek9")  # without the heads that models of today have
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_context_length(1024)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    ran = r1tui(*command, "--model", model)
    assert ran.returncode != 0
    assert "llama.cpp b11434 does not know the architecture `deepseek9`." in ran.stderr
