"""Plans of models that are not here, by their size and published dimensions, and for machines that are not this one."""

import json
import re
from pathlib import Path

import pytest

from r1tui.catalog.variants import load_catalog
from r1tui.config import Config
from r1tui.gguf import read_header
from r1tui.gguf.sketch import sketch_header
from r1tui.plan import Device, PlanRequest, make_plan
from tests import sparse_models, sparse_r1
from tests.conftest import CommandLine, SparseModel

GIB = 1024


@pytest.fixture(scope="module")
def mla(sparse_model: SparseModel) -> Path:
    return sparse_model(sparse_r1.build, mla=True)


def test_without_the_hub_a_model_is_planned_by_its_size(r1tui: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    ran = r1tui("plan", "r1-iq1_s", "--vram", "24", "--ram", "256", "--json")
    made = json.loads(ran.stdout)
    assert (made["verdict"], made["source"]) == ("hybrid", "estimate")
    assert made["tps"]["answer"][0] > 0
    assert "cannot be reached" in made["reasons"][-1]
    assert "cannot be reached" in r1tui("plan", "r1-iq1_s").stdout  # and on the devices that are here
    assert r1tui("plan", "r1-iq1_s", "--exact").returncode == 1
    assert r1tui("plan", "hf:some/Model-GGUF:Q4_K_M", "--vram", "24").returncode == 1  # nobody knows its size


def test_a_model_that_is_not_on_the_hub_is_planned_by_its_size_too(r1tui: CommandLine) -> None:
    made = json.loads(r1tui("plan", "demo", "--vram", "24", "--ram", "64", "--json").stdout)
    assert made["verdict"] == "gpu"
    assert made["reasons"][-1].startswith("demo is not on this machine yet. These numbers are estimated")
    refused = r1tui("plan", "demo", "--exact")
    assert (refused.returncode, "r1tui download demo" in refused.stderr) == (1, True)


def test_without_an_engine_rpc_workers_are_named_as_not_counted(r1tui: CommandLine, mla: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {rpc: ['127.0.0.1:9']}\n")
    made = json.loads(r1tui("--config", config, "plan", "--model", mla, "--json").stdout)
    assert made["devices"] == []
    assert made["reasons"][-1] == "RPC workers are not counted: the engine that asks them is not built yet."
    what_if = json.loads(
        r1tui("--config", config, "plan", "--model", mla, "--vram", "24", "--ram", "64", "--json").stdout
    )
    assert not any("RPC" in reason for reason in what_if["reasons"])


def test_all_strategies_are_compared_in_one_command(r1tui: CommandLine, mla: Path) -> None:
    ran = r1tui("plan", "--model", mla, "--vram", "24", "--ram", "256", "--compare", "--json")
    rows = json.loads(ran.stdout)["plans"]
    assert [row["strategy"] for row in rows] == ["experts", "layers", "rule"]
    assert [row["n_gpu_layers"] for row in rows] == [62, 10, 7]
    text = r1tui("plan", "--vram", "24", "--ram", "256", "--compare").stdout
    assert "r1-iq1_s" in text
    small = r1tui("plan", "--model", mla, "--vram", "24", "--ram", "96", "--compare").stdout
    assert re.search(r"experts +disk .* 93\.1 GiB \+ \d\d\.\d GiB on disk ", small)
    alone = r1tui("plan", "--model", mla, "--vram", "24", "--ram", "96").stdout
    assert re.search(r"of 98,304 MiB, \d\d,\d{3} of it on disk\n", alone)
    assert "~hybrid" in text


def test_models_that_are_not_here_are_compared_in_full_by_their_size(r1tui: CommandLine) -> None:
    r1tui.configure("variants: {mine: {repo: a/b, pattern: '*Q4*'}}\n")
    asked = ("plan", "--vram", "24", "--ram", "256", "--compare")
    rows = [row for row in json.loads(r1tui(*asked, "--json").stdout)["plans"] if row["variant"] != "mine"]
    assert {row["source"] for row in rows} == {"size"}
    assert all(row["ctx_size"] > 0 and row["verdict"] in ("gpu", "hybrid", "disk", "no") for row in rows)
    assert all(row["tps"]["answer"][0] > 0 for row in rows if row["verdict"] != "no")
    r1 = {row["strategy"]: row for row in rows if row["variant"] == "r1-iq1_s"}
    assert set(r1) == {"experts", "layers", "rule"}
    assert (r1["rule"]["n_gpu_layers"], r1["rule"]["verdict"]) == (7, "hybrid")
    assert {row["strategy"] for row in rows if row["variant"] == "qwen-32b"} == {"layers", "rule"}
    later = next(row for row in rows if row["variant"] == "r1-0528-iq1_s" and row["strategy"] == "experts")
    assert later["n_gpu_layers"] == 62
    assert later["n_cpu_moe"] > 50
    table = r1tui(*asked).stdout
    assert "size unknown" in table
    lines = [line for line in table.splitlines() if line.startswith(("r1-", "qwen-", "llama-"))]
    assert len({len(line.split("  ")) > 5 for line in lines}) == 1


def test_a_sketch_is_close_to_the_header(mla: Path) -> None:
    shape = load_catalog(Config()).find("r1-0528-iq1_s").shape
    assert shape is not None
    real = read_header(mla)
    sketched = sketch_header("r1", shape, real.size_bytes)
    assert sum(one.size_bytes for one in sketched.tensors) == pytest.approx(real.size_bytes, rel=0.01)
    card = Device("CUDA0", "cuda", 24 << 10, 24 << 10)
    plans = [make_plan(header, PlanRequest(256 << 10, 256 << 10, 16, devices=(card,))) for header in (real, sketched)]
    assert plans[0].n_gpu_layers == plans[1].n_gpu_layers
    assert plans[1].n_cpu_moe == pytest.approx(plans[0].n_cpu_moe, abs=3)
    assert plans[1].speed.answer == pytest.approx(plans[0].speed.answer, rel=0.3)


def test_without_the_network_a_model_that_is_not_here_is_planned_by_its_size(
    r1tui: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = r1tui("plan", "r1-iq1_s", "--vram", "24", "--ram", "160", "--json")
    assert ran.returncode == 0, ran.stderr
    made = json.loads(ran.stdout)
    assert (made["verdict"], made["source"]) == ("hybrid", "estimate")
    assert any("the model's size and published dimensions" in reason for reason in made["reasons"])
    assert sum(one["weights_mib"] for one in (*made["devices"], made["host"])) == pytest.approx(131 * GIB, rel=0.01)


def test_a_what_if_of_any_architecture_needs_no_engine(r1tui: CommandLine, tmp_path: Path) -> None:
    model = sparse_models.build(tmp_path / "qwen3.gguf", "qwen3-235b")
    ran = r1tui("plan", "--model", model, "--vram", "24", "--ram", "128", "--json")
    assert ran.returncode == 0, ran.stderr
    made = json.loads(ran.stdout)
    assert (made["verdict"], made["n_gpu_layers"]) == ("hybrid", 95)
