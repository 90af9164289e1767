"""The measurement on a card (`make gpu`) still runs: as much of it as needs none, on the tests' own engine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from r1tui.gguf import read_header
from tests import random_r1, sparse_r1
from tests.gpu.card import Card
from tests.gpu.rig import Rig
from tests.gpu.server import signal_name

GPU = Path(__file__).parent / "gpu"


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.gpu", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def test_the_sections_that_need_no_card_run(llama_server: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("--engine", llama_server.parent, "--out", out, "--work", tmp_path / "work", "--smoke",
               "--only", "facts,program,pool,grid", "--budget", "600")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    kinds = [entry["kind"] for entry in logged]
    assert kinds == ["list-devices", "list-devices", "program", "pool", "grid"]
    by_kind = dict(zip(kinds, logged, strict=True))
    assert by_kind["pool"]["timings"]["error"] == ""
    assert by_kind["pool"]["timings"]["prompt_tps"] > 0
    assert by_kind["pool"]["buffers"][0]["name"] == "Host"
    assert "1 of 1 layouts agree" in (out / "report.txt").read_text()
    assert done.stdout == (out / "report.txt").read_text()


def test_a_section_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    """Without an engine: the facts say so, the grid fails, and the status is 1."""
    done = run("--engine", tmp_path, "--out", tmp_path / "out", "--smoke", "--only", "pool,facts")
    assert done.returncode == 1
    assert "pool failed:" in done.stdout
    assert "== facts" in done.stdout
    assert done.stdout.rstrip().endswith("done")


def test_without_a_card_it_says_so(tmp_path: Path) -> None:
    if Card().is_here:
        pytest.skip("there is a card")
    done = run("--engine", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "There is no NVIDIA GPU" in done.stderr
    assert run("--only", "nothing").returncode == 2


def test_the_random_router_s_file_is_the_sparse_one_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_r1, "VOCAB", 2048)
    path = random_r1.build(tmp_path / "r.gguf", mla=True, layers=4)
    empty = sparse_r1.build(tmp_path / "s.gguf", mla=True, layers=4)
    tensors = {tensor.name: tensor for tensor in read_header(path).tensors}
    assert list(tensors.values()) == list(read_header(empty).tensors)
    assert path.stat().st_size == empty.stat().st_size
    with path.open("rb") as file:

        def bytes_of(name: str) -> bytes:
            file.seek(tensors[name].offset)
            return file.read(tensors[name].size_bytes)

        assert any(bytes_of("blk.3.ffn_gate_inp.weight"))
        assert any(bytes_of("token_embd.weight")[-144:])  # filled to its end
        assert not any(bytes_of("blk.3.ffn_gate_inp.weight".replace("gate_inp", "down_shexp")))  # a hole


def test_what_it_imports_can_be_packed() -> None:
    command = [sys.executable, "-m", "tests.gpu.needs", "numpy"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.partition("==")[0].lower() for line in said.splitlines()}
    assert {"gguf", "msgspec", "httpx2", "nvidia-ml-py", "psutil"} <= names
    assert not {"numpy", "r1tui", "cmake", "pytest"} & names


@pytest.mark.parametrize("script", ["prepare.sh", "run.sh"])
def test_the_scripts_for_another_machine_are_whole(script: str) -> None:
    subprocess.run(["bash", "-n", GPU / script], check=True)
    assert (GPU / script).stat().st_mode & 0o111


def test_a_rig_keeps_models_and_counts_its_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, tmp_path / "out", tmp_path / "work", 0.0, smoke=True)
    assert rig.left_s() <= 0
    made = rig.model("mla", 4)
    assert rig.model("mla", 4) == made
    assert rig.ask(tmp_path / "nothing").returncode == 127


def test_an_end_in_words() -> None:
    assert [signal_name(status) for status in (None, -9, 1)] == ["still running", "signal 9", "status 1"]
