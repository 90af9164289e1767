"""llama-server's command: composed from settings, plan and what the binary knows; safe for the user's secrets."""

import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.config import SamplingSettings, ServerSettings
from r1tui.errors import R1tuiError, UsageError
from r1tui.plan.capabilities import Capabilities, parse_flags
from r1tui.server.command import (
    Tcp,
    as_script,
    compose,
    parse_tcp,
    ssh_line,
    with_free_port,
)
from r1tui.server.sampling import R1_VALUES
from r1tui.system.processes import identify, stop
from tests.conftest import TinyModel
from tests.supervisor_rig import SocketConnection, call, capabilities_of, until

NEW = parse_flags(
    """
--host --port --model -m --verbosity -lv --parallel -np --threads -t --prio --temp --top-p --top-k --min-p --seed -s
--device -dev --rpc --no-ui --cors-origins --ctx-size -c --n-gpu-layers -ngl --n-cpu-moe --cache-type-k -ctk --lora
--load-mode -lm --no-repack --repack -nr --no-host --api-key --hf-token -hft --log-file --flash-attn
""".replace(" ", ", ")
)
OLD = (NEW - {"--verbosity", "--load-mode", "-lm", "--no-ui", "--n-cpu-moe", "--prio"}) | {"--no-webui", "--no-mmap"}
SOCKET = Path("/run/r1tui/server.sock")


def composed(
    *placement: str,
    flags: frozenset[str] = NEW,
    server: ServerSettings | None = None,
    sampling: SamplingSettings | None = None,
    tcp: Tcp | None = None,
    extra_args: list[str] | None = None,
    prompt_cache: Path | None = None,
) -> list[str]:
    return compose(
        Path("/bin/llama-server"),
        Capabilities("11434", 11434, flags),
        Path("/models/r1.gguf"),
        placement,
        server=server or ServerSettings(),
        sampling=sampling or SamplingSettings(),
        socket=SOCKET,
        tcp=tcp,
        prompt_cache=prompt_cache,
        extra_args=extra_args or [],
    )


def with_extra(*arguments: str) -> list[str]:
    return composed(server=ServerSettings(extra_args=list(arguments)))


def value(argv: list[str], flag: str) -> str:
    assert argv.count(flag) == 1, argv
    return argv[argv.index(flag) + 1]


def test_what_the_founding_documents_ask_for() -> None:
    argv = composed(
        "--cache-type-k", "q4_0", "--ctx-size", "8192", "--n-gpu-layers", "7",
        server=ServerSettings(prio=2), sampling=R1_VALUES,
    )  # fmt: skip
    assert argv == [
        "/bin/llama-server", "--model", "/models/r1.gguf", "--host", str(SOCKET), "--verbosity", "4", "--parallel", "1",
        "--prio", "2", "--temp", "0.6", "--top-p", "0.95", "--min-p", "0.05", "--seed", "3407",
        "--cache-type-k", "q4_0", "--ctx-size", "8192", "--n-gpu-layers", "7",
    ]  # fmt: skip


def test_defaults_that_say_nothing_are_left_out() -> None:
    argv = composed()
    assert not {"--prio", "--device", "--rpc", "--port", "--no-ui"} & set(argv)
    assert not {"--temp", "--top-p", "--min-p", "--top-k", "--seed", "--repeat-penalty"} & set(argv)


def test_devices_and_workers() -> None:
    argv = composed(server=ServerSettings(devices=["CUDA0", "CUDA2"], rpc=["a:1", "b:2"]))
    assert (value(argv, "--device"), value(argv, "--rpc")) == ("CUDA0,CUDA2", "a:1,b:2")
    assert value(composed(server=ServerSettings(devices=[])), "--device") == "none"


def test_prompts_are_kept_where_the_binary_can_and_where_the_user_says() -> None:
    folder = Path("/cache/prompts")
    assert "--slot-save-path" not in composed(prompt_cache=folder)
    able = NEW | {"--slot-save-path"}
    assert value(composed(prompt_cache=folder, flags=able), "--slot-save-path") == str(folder)
    own = ServerSettings(extra_args=["--slot-save-path", "/mine"])
    assert value(composed(prompt_cache=folder, flags=able, server=own), "--slot-save-path") == "/mine"


def test_a_port_comes_with_the_guards_that_browsers_need() -> None:
    argv = composed(tcp=Tcp("127.0.0.1", 8080))
    assert (value(argv, "--host"), value(argv, "--port")) == (f"{SOCKET},127.0.0.1", "8080")
    assert value(argv, "--cors-origins") == "localhost"
    assert "--no-ui" in argv


def test_an_older_binary_is_spoken_to_in_its_own_words() -> None:
    argv = composed("--load-mode", "none", flags=OLD, tcp=Tcp("127.0.0.1", 1), server=ServerSettings(prio=2))
    assert {flag for flag in argv if flag.startswith("-")} <= OLD
    assert value(argv, "-lv") == "4"
    assert "--no-webui" in argv
    assert "--no-mmap" in argv
    assert "--load-mode" not in composed("--load-mode", "auto", flags=OLD)
    assert value(composed("--no-mmap"), "--load-mode") == "none"


def test_a_plan_that_the_binary_cannot_carry_out_is_an_error() -> None:
    with pytest.raises(R1tuiError, match="has no --n-cpu-moe") as caught:
        composed("--n-cpu-moe", "10", flags=OLD)
    assert "r1tui build" in caught.value.remedy


@pytest.mark.parametrize(
    ("extra", "flag", "expected"),
    [
        (["--temp", "0.1"], "--temp", "0.1"),
        (["-c", "4096"], "-c", "4096"),
        (["-ngl", "5"], "-ngl", "5"),
        (["-s", "-1"], "-s", "-1"),
        (["--top-k", "40"], "--top-k", "40"),
        (["--ctx-size=4096"], "--ctx-size", "4096"),
        (["--ctx-size 4096"], "--ctx-size", "4096"),
        (["--ctx_size", "4096"], "--ctx-size", "4096"),
        (["-lm", "mlock"], "-lm", "mlock"),
    ],
)
def test_extra_arguments_replace_ours_and_the_plans_whatever_their_spelling(
    extra: list[str], flag: str, expected: str
) -> None:
    plan = ["--ctx-size", "8192", "--n-gpu-layers", "62", "--load-mode", "none"]
    argv = composed(*plan, server=ServerSettings(extra_args=extra), sampling=R1_VALUES)
    assert value(argv, flag) == expected
    pairs = [("--ctx-size", "-c"), ("--n-gpu-layers", "-ngl"), ("--seed", "-s"), ("--load-mode", "-lm")]
    for one, other in pairs:
        assert len({one, other} & set(argv)) == 1


def test_a_variants_arguments_replace_the_global_ones_and_opposites_each_other() -> None:
    argv = composed("--no-repack", server=ServerSettings(extra_args=["--top-k", "1"]), extra_args=["--top-k", "2"])
    assert value(argv, "--top-k") == "2"
    argv = composed("--no-repack", extra_args=["--repack"])
    assert "--repack" in argv
    assert "--no-repack" not in argv
    argv = composed(extra_args=["--no-host"])  # bypasses a buffer type, and has nothing to do with --host
    assert value(argv, "--host") == str(SOCKET)


def test_an_unknown_extra_argument_is_named_with_the_nearest_known() -> None:
    with pytest.raises(UsageError, match="does not know --ctx-sise") as caught:
        with_extra("--ctx-sise", "1")
    assert "--ctx-size" in caught.value.remedy


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--api-key", "s3cret"], "Every user of this machine can read"),
        (["--api-key=s3cret"], "Every user of this machine can read"),
        (["--hf-token", "s3cret"], "HF_TOKEN"),
        (["-hft", "s3cret"], "HF_TOKEN"),
        (["--host", "::"], "--tcp"),
        (["-m", "other.gguf"], "--model FILE"),
        (["--log-file", "x"], "writes the server's log itself"),
    ],
)
def test_arguments_that_are_not_the_users_to_give(arguments: list[str], remedy: str) -> None:
    with pytest.raises(UsageError, match="is not allowed") as caught:
        with_extra(*arguments)
    assert remedy in caught.value.remedy
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("arguments", [["4096"], ["--lora 'unclosed"]])
def test_arguments_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="extra_args"):
        with_extra(*arguments)


@given(st.lists(st.text(max_size=20), max_size=5))
def test_any_extra_arguments_are_composed_or_refused(arguments: list[str]) -> None:
    with suppress(UsageError):
        assert value(with_extra(*arguments), "--host") == str(SOCKET)


def test_a_folder_with_a_comma_is_refused() -> None:
    with pytest.raises(UsageError, match="comma"):
        compose(
            Path("/s"), Capabilities("", None, NEW), Path("/m"), [],
            server=ServerSettings(), sampling=SamplingSettings(), socket=Path("/a,b/server.sock"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", Tcp("127.0.0.1", 8080)),
        ("127.8.9.1:0", Tcp("127.8.9.1", 0)),
        ("localhost:1", Tcp("127.0.0.1", 1)),
        ("[::1]:65535", Tcp("::1", 65535)),
    ],
)
def test_loopback_addresses(text: str, expected: Tcp) -> None:
    assert parse_tcp(text) == expected
    assert parse_tcp(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:٣", "a b:1x"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="not HOST:PORT"):
        parse_tcp(text)


@pytest.mark.parametrize(
    "text", ["0.0.0.0:8080", "[::]:8080", "192.168.1.2:1", "example.org:80", "127.0.0.1.evil.org:80"]
)
def test_only_this_machine_may_connect(text: str) -> None:
    with pytest.raises(UsageError, match="loopback") as caught:
        parse_tcp(text)
    assert "ssh -L" in caught.value.remedy


@given(st.text(max_size=40))
def test_any_address_is_loopback_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert ip_address(parse_tcp(text).host).is_loopback


def test_port_0_becomes_a_free_one() -> None:
    assert with_free_port(Tcp("127.0.0.1", 7)) == Tcp("127.0.0.1", 7)
    chosen = {with_free_port(Tcp("127.0.0.1", 0)).port for _ in range(50)}
    assert max(chosen) < 32_768  # from there on an outgoing connection may take it before the server does
    assert len(chosen) > 1


def test_an_address_that_this_machine_does_not_have_has_no_free_port() -> None:
    with pytest.raises(R1tuiError, match=r"2001:db8::1 has no free port"):
        with_free_port(Tcp("2001:db8::1", 0))


def test_the_line_that_makes_the_port_reachable_from_elsewhere() -> None:
    assert ssh_line(Tcp("127.0.0.1", 8080), "me", "box") == "ssh -N -L 8080:127.0.0.1:8080 me@box"
    assert ssh_line(Tcp("::1", 8080), "me", "box") == "ssh -N -L 8080:[::1]:8080 me@box"
    assert ssh_line(Tcp("127.0.0.1", 1)).startswith("ssh -N -L 1:127.0.0.1:1 ")


def test_a_script_quotes_everything_and_holds_no_key(tmp_path: Path) -> None:
    argv = ["/opt/my server", "--model", "/m/it's.gguf", "--temp", "0.6", "--no-ui"]
    script = as_script(argv, tmp_path / "by hand.sock", tmp_path / "key")
    assert script.splitlines()[-4:] == [
        "exec '/opt/my server' \\",
        "  --model '/m/it'\"'\"'s.gguf' \\",
        "  --temp 0.6 \\",
        "  --no-ui",
    ]
    subprocess.run(["/bin/sh", "-n"], input=script, text=True, check=True)


def test_a_script_sets_what_the_plan_wants_unless_the_user_has_set_it(tmp_path: Path) -> None:
    name = "GGML_OP_OFFLOAD_MIN_BATCH"
    script = as_script(["/usr/bin/env"], tmp_path / "by-hand.sock", env={name: "256"})
    for users, expected in (({}, "256"), ({name: "64"}, "64")):
        env = {"PATH": os.environ["PATH"], **users}
        ran = subprocess.run(["/bin/sh"], input=script, text=True, check=True, env=env, capture_output=True)
        assert f"{name}={expected}" in ran.stdout.splitlines()


@pytest.fixture
def script_server(llama_server: Path, tiny_r1: TinyModel, tmp_path: Path) -> Iterator[tuple[Path, Tcp, Path]]:
    """A server that the printed script runs, in an environment full of traps: its socket, port and key file."""
    path, key_file = tmp_path / "by hand" / "x.sock", tmp_path / "key"
    tcp = with_free_port(parse_tcp("127.0.0.1:0"))
    argv = compose(
        llama_server,
        capabilities_of(llama_server),
        tiny_r1(),
        ["--ctx-size", "1024"],
        server=ServerSettings(),
        sampling=SamplingSettings(),
        socket=path,
        tcp=tcp,
    )
    env = {**os.environ, "LLAMA_ARG_API_PREFIX": "/trap", "LLAMA_API_KEY": "trap", "LLAMA_ARG_THREADS": "x"}
    env |= {"AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": "1"}
    script = as_script(argv, path, key_file)
    with subprocess.Popen(["/bin/sh", "-c", script], env=env, stderr=subprocess.DEVNULL) as server:
        known = identify(server.pid)
        assert known is not None
        yield path, tcp, key_file
        stop(known)


def test_the_script_runs_the_same_server(script_server: tuple[Path, Tcp, Path]) -> None:
    path, tcp, key_file = script_server
    until(path.exists)

    def healthy() -> bool:
        return call(SocketConnection(path), "GET", "/health")[0] == 200

    until(healthy)
    key = key_file.read_text().strip()
    assert key_file.stat().st_mode & 0o077 == 0
    outside = http.client.HTTPConnection(str(tcp), timeout=60)
    assert call(outside, "GET", "/props")[0] == 401
    code, body = call(outside, "GET", "/props", key=key)
    assert code == 200
    assert json.loads(body)["default_generation_settings"]["n_ctx"] == 1024
