"""What a llama-server can do, read from what the real one prints."""

import subprocess
from pathlib import Path

import pytest

from r1tui.plan.capabilities import Capabilities, parse_devices, parse_flags, parse_version
from r1tui.server.command import Tcp, with_free_port


@pytest.fixture(scope="session")
def flags(llama_server: Path) -> frozenset[str]:
    return parse_flags(subprocess.run([llama_server, "--help"], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    "flag",
    ["-ngl", "--gpu-layers", "--n-gpu-layers", "--load-mode", "--no-warmup", "--no-repack", "-nkvo", "--cache-type-k",
     "--n-cpu-moe", "-ctk", "--fim-qwen-1.5b-default", "--no-ui", "--usage", "-h", "--rpc", "--flash-attn", "--prio"],
)  # fmt: skip
def test_real_flags_are_found(flags: frozenset[str], flag: str) -> None:
    assert flag in flags


@pytest.mark.parametrize("flag", ["--no-mmap", "--draft", "--draft-max", "--spec-ngram-size-n", "-1", "--default"])
def test_what_the_real_one_refuses_is_no_flag(flags: frozenset[str], flag: str) -> None:
    """`--draft` and its kin are listed only to say that they were removed."""
    assert flag not in flags


def test_every_flag_is_accepted_by_its_parser(llama_server: Path, flags: frozenset[str]) -> None:
    """A flag it does not know is `invalid argument`; one that lacks its value is something else."""
    for flag in sorted(flags)[::25]:
        argv = [str(llama_server), flag, "--r1tui-unknown", "--r1tui-unknown"]
        said = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert f"invalid argument: {flag}\n" not in said.stdout + said.stderr


def test_the_real_version(llama_server: Path) -> None:
    said = subprocess.run([llama_server, "--version"], capture_output=True, text=True, check=True)
    line, number = parse_version(said.stdout + said.stderr)
    assert number == 11434
    assert "11434" in line


def test_rpc_workers_are_devices(llama_server: Path) -> None:
    endpoint = str(with_free_port(Tcp("127.0.0.1", 0)))
    worker = subprocess.Popen(
        ["stdbuf", "-oL", llama_server.parent / "ggml-rpc-server", "-p", endpoint.partition(":")[2]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert worker.stdout is not None
        for line in worker.stdout:
            if "transport" in line:
                break
        argv = [str(llama_server), "--rpc", endpoint, "--list-devices"]
        said = subprocess.run(argv, capture_output=True, text=True, check=True)
    finally:
        worker.kill()
        worker.wait()
        if worker.stdout is not None:
            worker.stdout.close()
    (device,) = parse_devices(said.stdout)
    assert (device.name, device.description) == ("RPC0", endpoint)
    assert 0 < device.free_mib <= device.total_mib


def test_devices_with_brackets_in_their_names() -> None:
    text = (
        "Available devices:\n"
        "  CUDA0: NVIDIA H100 80GB HBM3 (81559 MiB, 80951 MiB free)\n"
        "  Vulkan0: AMD Radeon RX 7900 XTX (RADV NAVI31) (24560 MiB, 24000 MiB free)\n"
    )
    assert [(d.name, d.description, d.total_mib, d.free_mib) for d in parse_devices(text)] == [
        ("CUDA0", "NVIDIA H100 80GB HBM3", 81559, 80951),
        ("Vulkan0", "AMD Radeon RX 7900 XTX (RADV NAVI31)", 24560, 24000),
    ]
    assert parse_devices("Available devices:\n  (none)\n") == ()


@pytest.mark.parametrize(
    ("text", "version", "number"),
    [
        (
            "version: 0.6.0-dev (build 11434, commit unknown)\nbuilt with GNU",
            "0.6.0-dev (build 11434, commit unknown)",
            11434,
        ),
        ("version: 4719 (d7b31a9d)\nbuilt with cc", "4719 (d7b31a9d)", 4719),
        ("version: unknown", "unknown", None),
        ("nothing of the kind", "", None),
    ],
)
def test_versions_new_and_old(text: str, version: str, number: int | None) -> None:
    assert parse_version(text) == (version, number)


def test_capabilities_answer_by_flag() -> None:
    capabilities = Capabilities("1", 1, frozenset({"--load-mode"}))
    assert capabilities.accepts("--load-mode")
    assert not capabilities.accepts("--no-mmap")
