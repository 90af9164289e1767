"""A llama-server without a supervisor, for tests of what the engine itself does and of what speaks to it."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import httpx2

SMALL = ("-c", "512", "--parallel", "1", "--fit", "off", "-t", "1")
LONG = (*SMALL, "-c", "65536")
"""For answers without an end: 512 tokens are there in a fifth of a second."""


@contextmanager
def serving(server: Path, model: Path, folder: Path, arguments: Sequence[str] = SMALL) -> Iterator[httpx2.Client]:
    """A client of a llama-server that runs for the block, its socket in `folder`."""
    with bare_server(server, model, folder, arguments) as (socket, _), _client(socket) as client:
        yield client


@contextmanager
def bare_server(
    server: Path, model: Path, folder: Path, arguments: Sequence[str] = SMALL
) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """The socket and the process of a llama-server that is ready, for the block."""
    socket = folder / "s.sock"
    command: list[str | Path] = [server, "-m", model, "--host", socket, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with _client(socket) as client:
            while not _is_ready(client):
                assert process.poll() is None, "llama-server ended while loading"
                sleep(0.02)
        yield socket, process
    finally:
        process.kill()
        process.wait(timeout=60)
        socket.unlink(missing_ok=True)


def _client(socket: Path) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=str(socket))
    return httpx2.Client(transport=transport, base_url="http://tiny", timeout=60, trust_env=False)


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.TransportError:
        return False
