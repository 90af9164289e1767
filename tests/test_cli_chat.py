"""`r1tui chat` and `serve` as a script uses them, with the tiny R1 in the real server."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import Any

import psutil
import pytest

from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from tests.bare_server import bare_server
from tests.conftest import CommandLine, TinyModel
from tests.supervisor_rig import Toy, until
from tests.tiny_r1 import UNRECOGNISED_TEMPLATE

THINK = "Hm, 日本 and 🦙.\n"
ANSWER = "Hello ✅ there,\n\n```python\npass\n```\nnaïve 日本"
STATISTICS = {
    "finish_reason", "prompt_tokens", "reasoning_tokens", "completion_tokens", "prompt_tps", "tps", "ttft_ms"
}  # fmt: skip


def status(r1tui: CommandLine) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(r1tui("status", "--json").stdout)
    return result


def ready(r1tui: CommandLine) -> dict[str, Any]:
    """The status of a server that has been told to be ready: the file says so a moment later."""
    now: dict[str, Any] = until(lambda: (now := status(r1tui))["state"] == "ready" and now)
    return now


def left_behind(paths: Paths) -> list[str]:
    """Processes that name this test's folders, and what is in the folder of sockets and locks."""
    home = str(paths.state.parent)
    processes = [
        " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["cmdline"])
        if any(home in argument for argument in process.info["cmdline"] or [])
    ]
    files = [str(path) for path in paths.run.iterdir()] if paths.run.exists() else []
    return [*processes, *files, *(str(path) for path in [paths.state_file] if path.exists())]


@pytest.mark.parametrize("template", [None, UNRECOGNISED_TEMPLATE])
def test_the_answer_is_on_stdout_and_the_thinking_on_stderr(
    r1tui: CommandLine, tiny_r1: TinyModel, paths: Paths, template: str | None
) -> None:
    options = {"template": template} if template else {}
    ran = r1tui("chat", "--model", tiny_r1(think=THINK, answer=ANSWER, split_bytes=True, **options), "hi")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ANSWER + "\n"
    assert THINK.strip() in ran.stderr
    assert left_behind(paths) == []


def test_json_ends_with_the_statistics(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    ran = r1tui("chat", "--json", "--model", tiny_r1(think=THINK, answer=ANSWER), "hi")
    *events, last = [json.loads(line) for line in ran.stdout.splitlines()]
    assert set(last) == STATISTICS
    assert last["finish_reason"] == "stop"
    assert "".join(event["text"] for event in events if event["event"] == "content") == ANSWER
    assert "".join(event["text"] for event in events if event["event"] == "reasoning").strip() == THINK.strip()


def test_the_limits_of_a_variant_of_the_user_s_count(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    mine = f"variants: {{mine: {{file: '{model}', sampling: {{max_tokens: 3}}}}}}\n"
    r1tui.configure(r1tui.paths.config_file.read_text() + mine)
    ran = r1tui("chat", "--json", "--variant", "mine", "hi")
    last = json.loads(ran.stdout.splitlines()[-1])
    assert (last["finish_reason"], last["completion_tokens"]) == ("length", 3)


def test_the_question_may_come_from_stdin(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    assert r1tui("chat", "--model", tiny_r1(think=THINK, answer=ANSWER), stdin="hi").stdout == ANSWER + "\n"
    ran = r1tui("chat", "--model", tiny_r1(think=THINK, answer=ANSWER), stdin="")
    assert (ran.returncode, ran.stdout) == (2, "")


def test_pasted_control_tokens_are_told(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    ran = r1tui("chat", "--model", tiny_r1(think=THINK, answer=ANSWER), "hi<｜Assistant｜>")
    assert "sent as plain text: <｜Assistant｜>" in ran.stderr


def test_a_script_serves_asks_and_stops_and_nothing_is_left(
    r1tui: CommandLine, tiny_r1: TinyModel, paths: Paths
) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    served = r1tui("serve", "--model", model, "--detach")
    assert served.returncode == 0, served.stderr
    assert served.stdout.strip() == f"unix:{paths.server_socket}"
    now = ready(r1tui)
    assert psutil.Process(now["pid"]).cmdline() == now["argv"]
    assert r1tui("chat", "--model", model, "hello").stdout == ANSWER + "\n"
    assert r1tui("chat", "hello").stdout == ANSWER + "\n"
    assert status(r1tui)["pid"] == now["pid"]
    assert r1tui("serve", "--model", model, "--detach").returncode == 0
    assert r1tui("stop").returncode == 0
    assert status(r1tui)["state"] == "stopped"
    assert left_behind(paths) == []


def test_another_model_than_the_running_one_is_refused_with_the_remedy(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    r1tui("serve", "--model", tiny_r1(think=THINK, answer=ANSWER), "--detach")
    for command in ("chat", "serve"):
        ran = r1tui(command, "--model", tiny_r1(think=THINK, answer="Other."), *(["hi"] if command == "chat" else []))
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "r1tui stop" in ran.stderr


def test_attach_asks_any_server_by_socket(
    r1tui: CommandLine, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    with bare_server(llama_server, tiny_r1(think=THINK, answer=ANSWER), tmp_path) as (socket, _):
        assert r1tui("chat", "--attach", f"unix:{socket}", "hi").stdout == ANSWER + "\n"
    ran = r1tui("chat", "--attach", f"unix:{socket}", "hi")
    assert ran.returncode == 1
    assert "s.sock does not exist" in ran.stderr


def test_a_port_is_guarded_by_a_key_and_the_ssh_line_is_shown(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    served = r1tui("serve", "--model", model, "--tcp", "127.0.0.1:0", "--detach")
    assert served.returncode == 0, served.stderr
    assert "ssh -N -L" in served.stderr
    [url] = [word for word in served.stderr.split() if word.startswith("http://")]
    key = r1tui.paths.api_key.read_text().strip()
    assert key not in served.stdout + served.stderr + " ".join(status(r1tui)["argv"])
    assert key.encode() not in r1tui.paths.server_log.read_bytes()
    refused = r1tui("chat", "--attach", url, "hi")
    assert refused.returncode == 1
    assert "LLAMA_API_KEY" in refused.stderr
    os.environ["LLAMA_API_KEY"] = key
    try:
        assert r1tui("chat", "--attach", url, "hi").stdout == ANSWER + "\n"
    finally:
        del os.environ["LLAMA_API_KEY"]
    assert r1tui("chat", "hi").stdout == ANSWER + "\n"


def test_print_writes_a_script_that_runs(r1tui: CommandLine, tiny_r1: TinyModel, tmp_path: Path) -> None:
    ran = r1tui("serve", "--model", tiny_r1(think=THINK, answer=ANSWER), "--print")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("#!/bin/sh")
    assert not r1tui.paths.run.exists() or not list(r1tui.paths.run.iterdir())
    script = tmp_path / "serve.sh"
    script.write_text(ran.stdout)
    process = psutil.Popen(["sh", str(script)], stdout=-3, stderr=-3)
    try:
        attach = f"unix:{r1tui.paths.script_socket}"
        while (answered := r1tui("chat", "--attach", attach, "hi")).returncode != 0:
            assert process.poll() is None, answered.stderr
            sleep(0.1)
        assert answered.stdout == ANSWER + "\n"
    finally:
        process.kill()
        process.wait()


def test_ctrl_c_stops_the_answer_and_the_server_that_was_started_for_it(
    r1tui: CommandLine, tiny_r1: TinyModel, paths: Paths
) -> None:
    asked = r1tui.start("chat", "--model", tiny_r1(think=THINK, answer="one two ", loop=True), "hi")
    assert asked.stdout is not None
    assert asked.stdout.read(7) == "one two"
    asked.send_signal(signal.SIGINT)
    rest, _ = asked.communicate(timeout=60)
    assert asked.returncode == 130
    assert rest.endswith("\n")
    assert left_behind(paths) == []


def test_a_killed_chat_does_not_leave_the_server_that_was_started_for_it(
    r1tui: CommandLine, tiny_r1: TinyModel, paths: Paths
) -> None:
    asked = r1tui.start("chat", "--model", tiny_r1(think=THINK, answer="one two ", loop=True), "hi")
    assert asked.stdout is not None
    assert asked.stdout.read(7) == "one two"
    server = psutil.Process(status(r1tui)["pid"])
    asked.kill()
    asked.communicate()
    server.wait(timeout=60)


def test_ctrl_c_leaves_a_server_that_ran_before(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    model = tiny_r1(think=THINK, answer="one two ", loop=True)
    r1tui("serve", "--model", model, "--detach")
    asked = r1tui.start("chat", "hi")
    assert asked.stdout is not None
    assert asked.stdout.read(7) == "one two"
    asked.send_signal(signal.SIGTERM)
    asked.communicate(timeout=60)
    assert asked.returncode == 130
    assert status(r1tui)["state"] == "ready"


def test_serve_in_the_foreground_ends_with_ctrl_c(r1tui: CommandLine, tiny_r1: TinyModel, paths: Paths) -> None:
    serving = r1tui.start("serve", "--model", tiny_r1(think=THINK, answer=ANSWER))
    assert serving.stdout is not None
    assert serving.stdout.readline().strip() == f"unix:{paths.server_socket}"
    serving.send_signal(signal.SIGINT)
    serving.communicate(timeout=60)
    assert serving.returncode == 130
    assert left_behind(paths) == []


def test_a_model_that_is_none_is_a_clear_failure(r1tui: CommandLine, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model at all")
    for command in (["serve", "--detach"], ["chat", "hi"], ["plan"]):
        ran = r1tui(*command, "--model", bad)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "bad.gguf" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_extra_args_are_checked_before_anything_starts(
    r1tui: CommandLine, tiny_r1: TinyModel, llama_server: Path
) -> None:
    r1tui.configure(f"engine: {{source: '{llama_server}'}}\nserver: {{extra_args: [--no-such-flag]}}\n")
    ran = r1tui("serve", "--detach", "--model", tiny_r1(think=THINK, answer=ANSWER))
    assert ran.returncode == 2
    assert "--no-such-flag" in ran.stderr


def test_the_environment_cannot_change_the_server(
    r1tui: CommandLine, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_HOST", "0.0.0.0")  # noqa: S104  what must have no effect
    monkeypatch.setenv("LLAMA_ARG_PORT", "18099")
    r1tui("serve", "--detach", "--model", tiny_r1(think=THINK, answer=ANSWER))
    assert not psutil.Process(status(r1tui)["pid"]).net_connections(kind="tcp")


def test_logs_show_the_servers_log(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    assert r1tui("logs").returncode == 1
    r1tui("serve", "--detach", "--model", tiny_r1(think=THINK, answer=ANSWER))
    until(lambda: "tiny-r1.gguf" in r1tui("logs").stdout)  # llama-server's own thread writes it
    until(lambda: len(r1tui("logs", "-n", "5").stdout.splitlines()) == 5)


def test_serve_takes_a_server_over_whose_supervisor_was_killed(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    r1tui("serve", "--detach", "--model", model)
    before = status(r1tui)
    supervisor = psutil.Process(before["keeper_pid"])
    supervisor.kill()
    supervisor.wait()
    assert r1tui("serve", "--detach", "--model", model).returncode == 0
    after = ready(r1tui)
    assert after["pid"] == before["pid"]
    assert after["keeper_pid"] not in (None, before["keeper_pid"])


def test_serve_json_tells_where_a_running_server_listens(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    r1tui("serve", "--detach", "--model", model)
    ran = r1tui("serve", "--detach", "--json", "--model", model)
    event = json.loads(ran.stdout)
    assert (event["event"], event["result"]) == ("stage_done", status(r1tui)["endpoint"])


def test_nohup_is_respected(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    command = ["nohup", sys.executable, "-m", "r1tui", "serve", "--model", str(model)]
    with subprocess.Popen(command, stdin=-3, stdout=subprocess.PIPE, stderr=-3, text=True) as serving:
        assert serving.stdout is not None
        assert serving.stdout.readline().startswith("unix:")
        serving.send_signal(signal.SIGHUP)
        assert r1tui("chat", "hi").stdout == ANSWER + "\n"
        assert r1tui("stop").returncode == 0


def test_modules_in_the_current_folder_are_not_run(
    r1tui: CommandLine, tiny_r1: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "click.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path / "here")
    command = [str(Path(sys.executable).with_name("r1tui")), "serve", "--detach", "--model", str(tiny_r1())]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    monkeypatch.chdir(tmp_path)


def test_an_answer_that_was_stopped_from_elsewhere_says_so(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    r1tui("serve", "--detach", "--model", tiny_r1(think=THINK, answer="one two ", loop=True))
    asked = r1tui.start("chat", "hi")
    assert asked.stdout is not None
    assert asked.stdout.read(7) == "one two"
    r1tui("stop")
    _, said = asked.communicate(timeout=60)
    assert asked.returncode == 1
    assert "stopped" in said or "ended in the middle" in said


def test_a_thinking_budget_of_the_config_is_kept_to(
    r1tui: CommandLine, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    thoughts = "one two three four five six seven eight nine ten.\n"
    r1tui.configure("sampling: {thinking_budget: 5}\n")
    with bare_server(llama_server, tiny_r1(think=thoughts, answer=ANSWER), tmp_path) as (socket, _):
        ran = r1tui("chat", "--attach", f"unix:{socket}", "--json", "hi")
    assert ran.returncode == 0, ran.stderr
    assert 0 < json.loads(ran.stdout.splitlines()[-1])["reasoning_tokens"] <= 5


@pytest.mark.parametrize("command", [("serve", "--detach"), ("chat", "hello")], ids=" ".join)
def test_who_joins_a_server_that_comes_up_is_told_what_it_does(
    r1tui: CommandLine, tiny_r1: TinyModel, tmp_path: Path, command: tuple[str, ...]
) -> None:
    r1tui.configure(r1tui.paths.config_file.read_text().replace("threads: 1", "threads: 1, stuck_s: 5"))
    toy = Toy(r1tui.paths, tmp_path)
    toy.acts({"loads": True})
    supervisor.start(toy.spec(model=str(tiny_r1())), r1tui.paths)
    pid = until(lambda: supervisor.status(r1tui.paths).pid)
    os.kill(pid, signal.SIGSTOP)
    with r1tui.start(*command, "--model", tiny_r1()) as joining:
        assert joining.stderr is not None
        assert "llama-server with" in joining.stderr.readline()
        assert any("has done nothing for 5 s" in line for line in joining.stderr)
        assert r1tui("stop").returncode == 0
        assert joining.wait(60) == (1 if command[0] == "chat" else 0)  # `serve` goes on to start one of its own
