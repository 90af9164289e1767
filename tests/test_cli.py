"""The commands that look at things: variants, inspect, plan, doctor, build; and how every command fails."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from r1tui.plan import Verdict
from tests import sparse_models, sparse_r1
from tests.conftest import CommandLine, SparseModel, TinyModel


def of_json(r1tui: CommandLine, *arguments: str | Path) -> dict[str, Any]:
    ran = r1tui(*arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def test_variants_say_size_place_and_verdict(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    server = json.dumps({"source": os.environ.get("R1TUI_TEST_SERVER", "auto")})
    r1tui.configure(f"engine: {server}\nvariants: {{mine: {{title: Mine, file: '{tiny_r1()}'}}}}\n")
    rows = {row["name"]: row for row in of_json(r1tui, "variants")["variants"]}
    assert rows["mine"]["on_disk"]
    assert rows["mine"]["exact"]
    assert rows["mine"]["verdict"] in get_args(Verdict)  # by what is free now
    assert not rows["r1-iq1_s"]["on_disk"]
    assert rows["r1-iq1_s"]["size_gib"] == 131
    assert rows["r1-iq1_s"]["verdict"] in ("gpu", "hybrid", "cpu", "disk")
    assert "DeepSeek-R1 671B" in r1tui("variants").stdout


def test_inspect_says_what_the_header_says(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    facts = of_json(r1tui, "inspect", tiny_r1())
    assert (facts["architecture"], facts["mla"], facts["n_layers"]) == ("deepseek2", True, 4)
    assert set(facts["kv_bytes_per_token"]) == {"f16", "q8_0", "q4_0"}
    assert len(facts["layers"]) == 4
    assert "deepseek2" in r1tui("inspect", tiny_r1()).stdout


def test_a_plan_for_another_machine(r1tui: CommandLine, sparse_model: SparseModel) -> None:
    model = sparse_model(sparse_r1.build, mla=True)
    plan = of_json(r1tui, "plan", "--model", model, "--vram", "24", "--ram", "192")
    assert plan["verdict"] == "hybrid"
    assert plan["n_gpu_layers"] == 62
    assert 40 < plan["n_cpu_moe"] < 61
    assert [device["name"] for device in plan["devices"]] == ["CUDA0"]
    assert (plan["cache_type_k"], plan["cache_type_v"]) == ("f16", "f16")
    assert plan["argv"][plan["argv"].index("--n-cpu-moe") + 1] == str(plan["n_cpu_moe"])
    assert len(of_json(r1tui, "plan", "--model", model, "--vram", "80,80", "--ram", "64")["devices"]) == 2
    given = of_json(r1tui, "plan", "--model", model, "--vram", "24", "--n-gpu-layers", "7", "--cache-type", "q4_0")
    assert (given["n_gpu_layers"], given["cache_type_k"], given["cache_type_v"]) == (7, "q4_0", "q4_0")
    text = r1tui("plan", "--model", model, "--vram", "24", "--ram", "192").stdout
    assert "CUDA0 [###" in text


def test_a_plan_says_how_fast_and_how_dear_a_machine_is_that_is_not_this_one(
    r1tui: CommandLine, sparse_model: SparseModel
) -> None:
    model = sparse_model(sparse_r1.build, mla=True)
    asked = ("plan", "--model", model, "--vram", "24", "--ram", "128", "--ctx", "16384")
    made = of_json(r1tui, *asked, "--price", "1.8")
    low, high = made["tps"]["answer"]
    assert 1 < low < high < 4.2 * low  # the two cores and the memory of this machine have no say
    assert made["tps"]["prompt"][0] > 20
    assert set(made["ttft_s"]) == {"512", "8192"}
    assert made["ttft_s"]["512"][0] < made["ttft_s"]["8192"][0]
    assert made["cost_per_1000_tokens"] == pytest.approx([0.5 / high, 0.5 / low], rel=0.1)
    assert of_json(r1tui, *asked)["cost_per_1000_tokens"] is None
    assert "1,000 tokens of answers cost " in r1tui(*asked, "--price", "1.8").stdout
    assert r1tui(*asked, "--price", "0").returncode == 2
    assert of_json(r1tui, "plan", "--model", model, "--vram", "1e-9", "--ram", "64")["devices"] == []
    rows = of_json(r1tui, *asked, "--compare", "--price", "1.8")["plans"]
    assert rows[0]["cost_per_1000_tokens"] == made["cost_per_1000_tokens"]
    assert "1,000 tokens cost" in r1tui(*asked, "--compare", "--price", "1.8").stdout
    assert "cost" not in r1tui(*asked, "--compare").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ram", "inf"),
        ("--ram", "nan"),
        ("--rpc", "garbage"),
        ("--rpc", ","),
        ("--vram", "24", "--exact"),
        ("--price", "nan"),
        ("--gpu-backend", "metal"),
        ("--price", "inf"),
        ("--vram", "24", "--ram", "8", "--unified"),
        ("--vram", "24", "--ram", "8", "--gpu-backend", "metal"),
    ],
    ids=" ".join,
)
def test_a_plan_s_bad_input_is_a_usage_error(
    r1tui: CommandLine, tiny_r1: TinyModel, arguments: tuple[str, ...]
) -> None:
    ran = r1tui("plan", "--model", tiny_r1(), *arguments)
    assert ran.returncode == 2
    assert arguments[0] in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_largest_of_several_gpus_is_named_that_the_machine_s_memory_cannot_hold(
    r1tui: CommandLine, tiny_r1: TinyModel
) -> None:
    ran = r1tui("plan", "--model", tiny_r1(), "--vram", "24,48", "--ram", "32", "--unified")
    assert ran.returncode == 2
    assert "--vram 48 is more than --ram 32" in ran.stderr


def test_an_imagined_machine_has_not_the_devices_of_the_config(
    r1tui: CommandLine, sparse_model: SparseModel, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "server:\n  devices: [CUDA7]\n  rpc: ['127.0.0.1:1']\nplan: {margins_mib: {CUDA7: 9, CUDA0: 5000}}\n"
    )
    model = sparse_model(sparse_r1.build, mla=True)
    made = of_json(r1tui, "--config", config, "plan", "--model", model, "--vram", "24", "--ram", "192")
    assert [device["name"] for device in made["devices"]] == ["CUDA0"]
    planned_mib = sum(
        value
        for key, value in made["devices"][0].items()
        if key in ("weights_mib", "kv_mib", "compute_mib", "pool_mib")
    )
    assert planned_mib <= 24 * 1024 - 5000
    apple = of_json(r1tui, "plan", "--model", model, "--vram", "192", "--gpu-backend", "metal")
    assert apple["host"]["total_mib"] == apple["devices"][0]["total_mib"] == 192 << 10


def test_more_experts_than_layers_are_all_of_them(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    plan = of_json(r1tui, "plan", "--model", tiny_r1(), "--vram", "24", "--n-cpu-moe", "9999", "--n-gpu-layers", "9999")
    layers = of_json(r1tui, "inspect", tiny_r1())["n_layers"]
    assert (plan["n_cpu_moe"], plan["n_gpu_layers"]) == (layers, layers + 1)


def test_a_model_without_experts_has_none_on_the_cpu(r1tui: CommandLine, sparse_model: SparseModel) -> None:
    model = sparse_model(sparse_models.build, name="llama-1b")
    plan = of_json(r1tui, "plan", "--model", model, "--vram", "24", "--ram", "64", "--n-cpu-moe", "3")
    assert (plan["n_cpu_moe"], plan["verdict"]) == (0, "gpu")
    assert "--n-cpu-moe" not in plan["argv"]


def test_an_exact_plan_has_the_engines_own_figures(r1tui: CommandLine, sparse_model: SparseModel) -> None:
    """Of a llama-server that the config names, too, which nobody had looked at before."""
    model = sparse_model(sparse_r1.build, mla=True)
    estimate = of_json(r1tui, "plan", "--model", model)
    exact = of_json(r1tui, "plan", "--model", model, "--exact")
    assert (estimate["source"], exact["source"]) == ("estimate", "engine")
    assert abs(exact["host"]["weights_mib"] - estimate["host"]["weights_mib"]) <= 1
    assert abs(exact["host"]["kv_mib"] - estimate["host"]["kv_mib"]) <= 1


def test_build_with_a_llama_server_that_is_there_prints_it(r1tui: CommandLine, llama_server: Path) -> None:
    assert r1tui("build", "--source", llama_server).stdout.strip() == str(llama_server)
    events = [json.loads(line) for line in r1tui("build", "--source", llama_server, "--json").stdout.splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("stage_started", "stage_done")
    assert events[-1]["result"] == str(llama_server)


def test_a_failed_stage_is_the_last_json_line(r1tui: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = r1tui("build", "--source", tmp_path / "empty", "--json")
    last = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == last["exit_status"] != 0
    assert last["event"] == "stage_failed"
    assert last["remedy"]


@pytest.mark.parametrize("command", [["variants"], ["plan", "demo"], ["serve", "demo"], ["chat", "hi"], ["build"]])
def test_a_wrong_config_is_one_message_and_exit_2(r1tui: CommandLine, command: list[str]) -> None:
    r1tui.configure("server: {thread: 4}\n")
    ran = r1tui(*command)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "'server.thread' is not a setting" in ran.stderr
    assert "config.yaml" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_status_stop_and_doctor_work_with_a_wrong_config(r1tui: CommandLine) -> None:
    r1tui.configure("{{{")
    assert of_json(r1tui, "status")["state"] == "stopped"
    assert r1tui("stop").returncode == 0
    ran = r1tui("doctor", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["ok"]) == (1, False)


def test_config_names_another_file(r1tui: CommandLine, tmp_path: Path) -> None:
    for command in ("variants", "status"):  # the second reads no config
        ran = r1tui("--config", tmp_path / "none.yaml", command)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "none.yaml: no such file" in ran.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["nonsense"], ["plan"], ["serve"], ["plan", "no-such-variant"], ["plan", "demo", "--vram", "lots"],
        ["plan", "demo", "--cache-type", "q9"], ["serve", "demo", "--tcp", "0.0.0.0:80"],
        ["chat", "--attach", "x", "hi"],
        ["serve", "--model", "/no/such/file.gguf"], ["download", "hf:nonsense"], ["build", "--backend", "abacus"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_2_with_a_sentence(r1tui: CommandLine, command: list[str]) -> None:
    ran = r1tui(*command)
    assert (ran.returncode, ran.stdout) == (2, ""), ran.stderr
    assert "Error" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_closed_pipe_is_no_traceback(r1tui: CommandLine) -> None:
    command = f"{sys.executable} -m r1tui variants | head -1"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert ran.stderr == ""


def test_a_place_that_cannot_be_written_is_a_sentence(r1tui: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R1TUI_HOME", "/proc/r1tui")
    assert r1tui("stop").returncode == 0  # there is nothing that it could not do
    for command in (["chat", "--variant", "demo", "hi"], ["serve", "demo", "--detach"], ["build"]):
        ran = r1tui(*command)
        assert ran.returncode == 1, command
        assert "Error: /proc/r1tui" in ran.stderr
        assert "R1TUI_HOME" in ran.stderr
        assert "Traceback" not in ran.stderr
    monkeypatch.setenv("R1TUI_HOME", r1tui.paths.state.parent.as_posix())


def test_a_full_stdout_is_a_sentence(r1tui: CommandLine) -> None:
    ran = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m r1tui variants >/dev/full"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("stderr", ["/dev/full", "pipe"])
def test_an_answer_comes_whatever_becomes_of_stderr(r1tui: CommandLine, tiny_r1: TinyModel, stderr: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken, Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "r1tui", "chat", "--model", tiny_r1(), "hi"],
            stdout=subprocess.PIPE, stderr=full if stderr == "/dev/full" else broken, check=False,
        )  # fmt: skip
    assert ran.returncode == 0
    assert ran.stdout.strip()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams_are_no_traceback(r1tui: CommandLine, closed: str, tmp_path: Path) -> None:
    for command in ("chat hi --attach unix:/no/such.sock", "", "serve --model /none.gguf"):
        out = tmp_path / "out"
        script = f"{sys.executable} -m r1tui {command} >{out} 2>&1 {closed}"
        ran = subprocess.run(["sh", "-c", script], check=False)
        assert ran.returncode in (1, 2)
        assert "Traceback" not in out.read_text()


def test_a_home_that_is_nobodys_is_a_sentence(r1tui: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.environ["R1TUI_HOME"]
    monkeypatch.setenv("R1TUI_HOME", "~nosuchuser/x")
    ran = r1tui("status")
    assert ran.returncode == 2
    assert "~nosuchuser/x" in ran.stderr
    monkeypatch.setenv("R1TUI_HOME", home)


def test_a_question_that_is_no_utf8_is_asked_all_the_same(r1tui: CommandLine) -> None:
    command: list[str | bytes] = [sys.executable, "-m", "r1tui", "chat", b"caf\xe9"]
    command += ["--attach", "unix:/no/such.sock"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "such.sock does not exist" in ran.stderr


INTERRUPTED_IMPORT = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from r1tui.__main__ import main
main()
"""


def test_ctrl_c_while_the_program_is_imported_is_no_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT, "status"], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
