"""`r1tui doctor --bundle`: everything for a bug report, and nothing that is a secret or was said in a chat."""

import json
import os
import socket
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from r1tui.cli import doctor
from r1tui.cli.doctor import LOG_BYTES
from r1tui.cli.redact import Redactor, without_chat
from r1tui.errors import R1tuiError
from r1tui.messages import PlanSummary
from r1tui.supervisor import client
from tests.conftest import CommandLine, TinyModel
from tests.supervisor_rig import SocketConnection, call, spec_for, start_ready, until

SECRETS = {
    "HF_TOKEN": "hf_QxZvTokenOfTheHub01",
    "OPENAI_API_KEY": "sk-proj-QxZvKeyOfTheApi02",
    "MY_PASSWORD": "QxZvPlainWord03",
    "HTTPS_PROXY": "http://proxyuser:QxZvProxy04@proxy.example:3128",
    "PIP_INDEX_URL": "https://__token__:QxZv%2BIndex05@pypi.example/simple",
}
LINES = [
    "GET https://hub.example/x.gguf?X-Amz-Signature=QxZvSigned06&X-Amz-Expires=3600",
    "Authorization: Bearer QxZvBearer07",
    '{"Authorization": "Basic UXhadkJhc2ljMDg=", "x-api-key": "QxZvHeader09"}',
    "curl -H 'Proxy-Authorization: Digest QxZvDigest10' --api-key QxZvFlag11 --hf-token=QxZvFlag12",
    "password = QxZvPass13; secret: 'QxZvSecret14'",
    "through someone:QxZvUrl35@proxy:1, redirected to https://someone:QxZvUrl15@mirror.example/a and ssh://x:QxZvUrl16@host",
    "github_pat_QxZvGithub17 ghp_QxZvGithub18 AKIAQXZVAMAZON0019X eyJQxZvJwt20.eyJpayload.sig",
    "-----BEGIN OPENSSH PRIVATE KEY----- QxZvPrivate21 -----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "QxZvPrivate34",
    "-----END PRIVATE KEY-----",
    "Cookie: session=QxZvCookie22",
    "read /home/quentinzv/models/x.gguf and /Users/quentinzv/y by quentinzv@host, QUENTINZV",
    "token hf_QxZvTokenOfTheHub01 and sk-proj-QxZvKeyOfTheApi02 and QxZvPlainWord03 again",
]
QUESTION, THINK, ANSWER = "Platypus wombats zanzibar?", "Pondering giraffes quietly.\n", "Quokka zebras yonder.\n"
SAID = ("latypus", "ombat", "anzibar", "ondering", "iraffes", "uokka", "ebras", "yonder")


def members_of(file: Path) -> dict[str, bytes]:
    """What is in the archive, by the names below its one folder."""
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
    else:
        with tarfile.open(file) as archive:
            assert all(one.isfile() and (one.uid, one.gid, one.uname) == (0, 0, "") for one in archive)
            found = {one.name: reader.read() for one in archive if (reader := archive.extractfile(one))}
    assert all(name.startswith("r1tui-report/") for name in found)
    return {name.partition("/")[2]: content for name, content in found.items()}


@pytest.fixture
def marked(r1tui: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """A home with a secret in everything that a bundle could take from."""
    home = tmp_path / "home of" / "quentinzv"
    (home / ".cache/huggingface").mkdir(parents=True)
    (home / ".cache/huggingface/token").write_text("hf_QxZvTokenInAFile23\n")
    for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (SECRETS | {"HOME": str(home), "USER": "quentinzv", "LOGNAME": "quentinzv"}).items():
        monkeypatch.setenv(name, value)
    paths = r1tui.paths
    for folder in (paths.logs, paths.jobs, paths.run, paths.conversations, paths.answers, paths.prompt):
        folder.mkdir(parents=True, exist_ok=True)
    paths.api_key.write_text("QxZvServerKey24\n")
    lines = [*LINES, "the server's key is QxZvServerKey24, the hub's hf_QxZvTokenInAFile23", str(home / "x"), "kept 7"]
    names = ["server.log", "server.log.1", "keeper.log", "r1tui.log", "r1tui.log.1", "build.log", "other.log"]
    for name in names:
        prefix = "0.00.000.001 W srv  " if name.startswith("server") else ""
        (paths.logs / name).write_text("".join(f"{prefix}{line}\n" for line in lines))
    (paths.jobs / "download-r1.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    for private in (paths.conversations / "conversations.db", paths.answers / "1-a.sse", paths.prompt / "draft.json"):
        private.write_text(f"{QUESTION} {ANSWER}")
    r1tui.configure(
        paths.config_file.read_text()
        + "prompts: {mine: 'Platypus wombats'}\n"
        + f"model_folders: ['{home}/models', 'https://a:QxZvConfig25@b']\n"
        + "variants: {mine: {file: /home/quentinzv/m.gguf, extra_args: ['--some-token', 'QxZvConfig26']}}\n"
    )
    return r1tui


def assert_clean(members: dict[str, bytes], *more: str) -> None:
    for name, content in members.items():
        text = f"{name}\n{content.decode()}"
        found = [
            word
            for word in ("QxZv", "QXZV", "UXhadkJhc2lj", "quentinzv", "proxyuser", *more)
            if word.lower() in text.lower()
        ]
        assert not found, f"{found} in {name}: " + "\n".join(
            line for line in text.splitlines() if any(word.lower() in line.lower() for word in found)
        )


@pytest.mark.parametrize("name", ["report.tar.gz", "report.zip"])
def test_nothing_in_it_is_a_secret(marked: CommandLine, tmp_path: Path, name: str) -> None:
    ran = marked("doctor", "--bundle", tmp_path / name)
    assert ran.returncode == 0, ran.stderr
    assert "Read it before you send it." in ran.stdout
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    members = members_of(tmp_path / name)
    assert_clean(members, *SAID)
    assert list(members)[:9] == [
        "README.txt", "doctor.json", "status.json", "plan.json", "config.json", "hardware.json", "versions.json",
        "environment.json", "files.json",
    ]  # fmt: skip
    logs = ["server.log.1", "server.log", "keeper.log", "r1tui.log.1", "r1tui.log", "build.log", "other.log"]
    assert [one for one in members if one.startswith("logs/")] == [
        *(f"logs/{one}" for one in logs), "logs/job-download-r1.jsonl",
    ]  # fmt: skip
    for one in (*logs, "job-download-r1.jsonl"):
        text = members[f"logs/{one}"].decode()
        assert "kept 7" in text
        assert "***" in text
        assert "~/models/x.gguf" in text or one.startswith("other")
    versions = json.loads(members["versions.json"])
    assert versions["packages"]["textual"]
    assert versions["r1tui"]
    assert json.loads(members["doctor.json"])["checks"]
    assert json.loads(members["config.json"])["variants"]["mine"]["extra_args"] == ["--some-token", "***"]
    assert json.loads(members["environment.json"])["HF_TOKEN"] != SECRETS["HF_TOKEN"]


def test_argv_and_plan_of_the_last_server(
    marked: CommandLine, llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    """A real one, as talkative as it can be, that was asked something."""
    model = tiny_r1(think=THINK, answer=ANSWER)
    spec = spec_for(llama_server, model, marked.paths, "--verbosity", "9", tcp=True, plan=PlanSummary(verdict="cpu"))
    for log in (*marked.paths.logs.iterdir(), *marked.paths.jobs.iterdir()):  # they name the key of an earlier server
        log.unlink()
    start_ready(spec, marked.paths)
    key = marked.paths.api_key.read_text().strip()
    try:
        body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 50}
        code, reply = call(SocketConnection(marked.paths.server_socket), "POST", "/v1/chat/completions", body, key)
        assert code == 200
        assert b"Quokka" in reply
        until(lambda: b"Quokka" in marked.paths.server_log.read_bytes())  # llama-server's own thread writes it
        assert marked("doctor", "--bundle", tmp_path / "a.tgz").returncode == 0
    finally:
        client.stop(marked.paths)
    members = members_of(tmp_path / "a.tgz")
    assert_clean(members, *SAID, key)
    assert json.loads(members["status.json"])["state"] == "ready"
    assert "--verbosity" in json.loads(members["status.json"])["argv"]
    plan = json.loads(members["plan.json"])
    assert (plan["verdict"], plan["devices"]) == ("cpu", [])
    assert b"model loaded" in members["logs/server.log"]
    assert b"may hold chat text]" in members["logs/server.log"]


def test_secrets_in_the_state_file(marked: CommandLine, tmp_path: Path) -> None:
    argv = ["/home/quentinzv/llama-server", "--api-key", "QxZvState27", "--hf-token=QxZvState28", "--threads", "4"]
    spec = {"argv": argv, "variant": "demo", "plan": {"note": "https://u:QxZvState29@x/"}}
    record = {"version": 2, "spec": spec, "state": "failed", "cause": "Bearer QxZvState30"}
    marked.paths.state_file.write_text(json.dumps(record))
    assert marked("doctor", "--bundle", tmp_path / "a.zip").returncode == 0
    marked.paths.state_file.unlink()
    members = members_of(tmp_path / "a.zip")
    assert_clean(members, *SAID)
    assert json.loads(members["status.json"])["argv"][-2:] == ["--threads", "4"]


@pytest.mark.parametrize("damaged", ["{{{ token: QxZvConfig31", "hf_token: QxZvConfig32\n"])
def test_a_damaged_config_and_no_home_at_all(marked: CommandLine, tmp_path: Path, damaged: str) -> None:
    right = marked.paths.config_file.read_text()
    marked.configure(damaged)
    ran = marked("doctor", "--json", "--bundle", tmp_path / "a.tar.gz")
    marked.configure(right)
    assert ran.returncode == 0
    said = json.loads(ran.stdout)
    assert said["bundle"] == str(tmp_path / "a.tar.gz")
    members = members_of(tmp_path / "a.tar.gz")
    assert [one["name"].partition("/")[2] for one in said["members"]] == list(members)
    assert json.loads(members["config.json"])["error"]
    assert_clean(members, *SAID)


def test_what_is_there_is_not_replaced(r1tui: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("mine")
    (tmp_path / "link.tar.gz").symlink_to(tmp_path / "gone")
    for name in ("a.zip", "link.tar.gz"):
        ran = r1tui("doctor", "--bundle", tmp_path / name)
        assert ran.returncode == 1
        assert "already exists" in ran.stderr
    assert (tmp_path / "a.zip").read_text() == "mine"
    assert not (tmp_path / "gone").exists()
    assert r1tui("doctor", "--bundle", tmp_path / "no" / "a.zip").returncode == 1
    assert r1tui("doctor", "--bundle", tmp_path / "a.txt").returncode == 2
    with pytest.raises(R1tuiError):
        doctor.pack(tmp_path / "a.zip", [("x", b"")])


def test_large_logs_are_packed_from_their_end_and_all_is_bounded(r1tui: CommandLine, tmp_path: Path) -> None:
    r1tui.paths.logs.mkdir(parents=True)
    with (r1tui.paths.logs / "server.log").open("wb") as log:
        log.truncate(5 << 30)
        log.seek(0, 2)
        log.write(b"\n0.00.000.001 I srv  the last line\n")
    (r1tui.paths.logs / "build.log").write_text("x" * 100_000 + "\nend\n")
    assert r1tui("doctor", "--bundle", tmp_path / "a.zip").returncode == 0
    members = members_of(tmp_path / "a.zip")
    assert len(members["logs/server.log"]) <= LOG_BYTES
    assert members["logs/server.log"].endswith(b"the last line\n")
    assert b"(100000 characters)\nend" in members["logs/build.log"]


def test_parts_beyond_the_bound_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LARGEST_BYTES", 100)
    packed = doctor.pack(tmp_path / "a.zip", [("a", bytes(80)), ("b", bytes(80)), ("c", bytes(20))])
    assert [name.partition("/")[2] for name, _ in packed] == ["a", "c", "left-out.txt"]
    assert members_of(tmp_path / "a.zip")["left-out.txt"] == b"b\n"


def test_only_plain_files_are_read(r1tui: CommandLine, tmp_path: Path) -> None:
    logs = r1tui.paths.logs
    logs.mkdir(parents=True)
    (tmp_path / "private").write_text("QxZvLinked33\n")
    (logs / "server.log").symlink_to(tmp_path / "private")
    os.mkfifo(logs / "keeper.log")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(logs / "r1tui.log.1"))
    (logs / "build.log").mkdir()
    assert r1tui("doctor", "--bundle", tmp_path / "a.zip").returncode == 0
    assert not [name for name in members_of(tmp_path / "a.zip") if name.startswith("logs/")]


LOG_LINES = [
    ("0.00.121.360 I srv  update_slots: all slots are idle", True),
    ("0.00.235.703 I slot launch_slot_: id  0 | task -1 | sampler params: ", True),
    ("\trepeat_last_n = 64, repeat_penalty = 1.000, frequency_penalty = 0.000, presence_penalty = 0.000", True),
    ("/src/ggml/src/ggml-cuda/ggml-cuda.cu:98: CUDA error: out of memory", True),
    ("  what():  bad alloc", True),
    ("0.01.000.000 E srv    send_error: task id = 2, error: request (80014 tokens) exceeds the context size", True),
    ("0.00.131.855 D slot process_toke: next token:   262 'Zebra'", False),
    ("Zebra and what follows", False),
    ("  what():  parse error; last read: 'Zebra'", False),
    ("0.00.001.000 W slot update_slots: id 0 | old: ... the |  Zebra", False),
    ("0.00.001.000 W common_chat_parse: unparsed Content output: Zebra", False),
    ('0.00.001.000 D srv  request:  {"messages":[{"role":"user","content":"Zebra"}]}', False),
    ('0.00.001.000 I srv  response: {"content":"Zebra"}', False),
]


def test_lines_of_the_server_s_log_that_hold_chat_text() -> None:
    for line, kept in LOG_LINES:
        assert list(without_chat([line])) == ([line] if kept else ["[1 line left out: may hold chat text]"]), line
    said = '0.1.1.1 W srv operator(): got exception: {"error":{"code":400,"message":"Zebra","type":"invalid_request"}}'
    assert list(without_chat([said])) == ["0.1.1.1 W srv operator(): got exception: 400 invalid_request"]


def test_what_is_no_secret_stays(tmp_path: Path) -> None:
    redactor = Redactor(tmp_path, env={"HOME": "/root", "USER": "root", "X_TOKEN": "abc"})
    kept: list[Any] = [
        "print_info: BOS token        = 0 '<|begin|>'", "n_tokens = 38, key = 5", "/rootfs and a root node", "abc",
        "general.architecture str = deepseek2", "https://github.com/ggml-org/llama.cpp/pull/16391", "max_tokens: 128",
        "-m model.gguf --keep 64 --cache-type-k f16 --n-predict 100", "prompt eval time = 7.46 ms / 38 tokens",
    ]  # fmt: skip
    assert redactor.value(kept) == kept
    figures = {"max_tokens": 128, "tokenizers": "0.21", "prompt_tokens": 5, "ui": {"keys": {"chat.stop": "escape"}}}
    assert redactor.value(figures) == figures
    assert redactor.text("/root/.cache/x") == "~/.cache/x"
    assert redactor.value({"api_key": "x", "token": ["y"]}) == {"api_key": "***", "token": "***"}


def test_a_home_folder_that_is_a_link_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "people").symlink_to(tmp_path / "disk")
    redactor = Redactor(tmp_path / "state", env={"HOME": f"{tmp_path}/people/"})
    for folder in ("people", "disk"):
        assert redactor.text(f"read {tmp_path}/{folder}/x.gguf") == "read ~/x.gguf"
