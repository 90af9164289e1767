"""llama.cpp's own memory figures for a layout, with RPC workers standing in for GPUs."""

import resource
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import sleep

from r1tui.plan.layout import ModelLayout
from r1tui.server.command import Tcp, with_free_port


@contextmanager
def running_worker(server: Path, *, room_mib: int | None = None) -> Iterator[str]:
    """HOST:PORT of a ggml-rpc-server that runs for the block; with `room_mib` it can take so much memory, no more."""
    port = with_free_port(Tcp("127.0.0.1", 0)).port
    command: list[str | Path] = [server.with_name("ggml-rpc-server"), "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _listens(port):
            assert process.poll() is None, "ggml-rpc-server ended"
            sleep(0.02)
        if room_mib is not None:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + (room_mib << 20)
            resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def breakdown(
    server: Path, model: Path, workers: list[str], layout: ModelLayout, env: Mapping[str, str] | None = None
) -> list[list[int]]:
    """Weights, cache and compute in MiB of each device and of the host; raises CalledProcessError when it refuses."""
    command: list[str | Path] = [
        server.with_name("llama-fit-params"), "-m", model, "-fitp", "on", "--no-repack",
        *(["--rpc", ",".join(workers)] if workers else []),
        *(["-ts", ",".join(map(str, layout.split))] if workers or len(layout.split) > 1 else []),
        *(["-ot", ",".join(f"{pattern}={where}" for pattern, where in layout.overrides)] if layout.overrides else []),
        "-ngl", str(layout.n_gpu_layers), "-ncmoe", str(layout.n_cpu_moe), "-c", str(layout.ctx_size),
        "-ctk", layout.type_k, "-ctv", layout.type_v, "-fa", "on" if layout.flash_attention else "off",
        "-b", str(max(2048, layout.ubatch_size)), "-ub", str(layout.ubatch_size),
        *(["-nkvo"] if layout.kv_on_host else []),
    ]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=env).stdout
    return [[int(figure) for figure in line.split()[1:]] for line in output.splitlines()]
