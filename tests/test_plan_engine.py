"""The planner's weights and caches against llama.cpp's own breakdown, an RPC worker standing in for a GPU."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import sleep

import pytest

from r1tui.gguf import read_header
from r1tui.plan.memory import MIB, Layout, Model, Share
from tests import sparse_r1


@pytest.fixture(scope="module")
def worker(llama_server: Path) -> Iterator[str]:
    """HOST:PORT of a ggml-rpc-server."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command: list[str | Path] = [llama_server.with_name("ggml-rpc-server"), "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _listens(port):
            assert process.poll() is None, "ggml-rpc-server ended"
            sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("engine")
    return {name: sparse_r1.build(folder / f"{name}.gguf", mla=name == "mla") for name in ("legacy", "mla")}


def breakdown(server: Path, model: Path, worker: str, layout: Layout) -> list[list[int]]:
    """Weights, cache and compute in MiB of the device and of the host, by llama-fit-params."""
    command: list[str | Path] = [
        server.with_name("llama-fit-params"), "-m", model, "--rpc", worker, "-fitp", "on", "--no-repack",
        "-ngl", str(layout.n_gpu_layers), "-ncmoe", str(layout.n_cpu_moe), "-c", str(layout.ctx_size),
        "-ctk", layout.type_k, "-ctv", layout.type_v, "-ub", str(layout.ubatch_size),
    ]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return [[int(figure) for figure in line.split()[1:]] for line in output.splitlines()]


@pytest.mark.parametrize("name", ["legacy", "mla"])
@pytest.mark.parametrize(
    ("layers", "held", "context", "cache"),
    [(0, 0, 8192, "f16"), (7, 0, 8192, "f16"), (33, 10, 2048, "q8_0"), (62, 58, 32768, "f16"), (62, 0, 8000, "f16")],
)
def test_weights_and_cache_agree_to_one_mib(
    *,
    llama_server: Path,
    worker: str,
    models: dict[str, Path],
    name: str,
    layers: int,
    held: int,
    context: int,
    cache: str,
) -> None:
    layout = Layout(layers, held, (layers,), context, cache, cache, flash_attention=True, ubatch_size=512)  # type: ignore[arg-type]
    usage = Model(read_header(models[name]), ("rpc",)).measure(layout)
    theirs = breakdown(llama_server, models[name], worker, layout)
    for ours, (weights, kv, compute) in zip((*usage.devices, usage.host), theirs, strict=True):
        assert _mib(ours)[:2] == pytest.approx((weights, kv), abs=1)
        assert _mib(ours)[2] == pytest.approx(compute, abs=64, rel=0.1)


def _mib(share: Share) -> tuple[float, float, float]:
    return share.weights_bytes / MIB, share.kv_bytes / MIB, share.compute_bytes / MIB
