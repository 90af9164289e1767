"""A llama-server without a keeper, for tests of what speaks to one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import httpx2


@contextmanager
def raw_server(
    server: Path, model: Path, folder: Path, *arguments: str
) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """The socket and the process of a llama-server that is ready, for the block."""
    socket = folder / "s.sock"
    command: list[str | Path] = [server, "-m", model, "--host", socket, "-c", "2048", "--parallel", "1", "--fit", "off", "-t", "1"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(socket):
            assert process.poll() is None, "llama-server ended while loading"
            sleep(0.02)
        yield socket, process
    finally:
        process.kill()
        process.wait(timeout=30)
        socket.unlink(missing_ok=True)


def answers(socket: Path) -> bool:
    """Whether the server at the socket has loaded its model."""
    transport = httpx2.HTTPTransport(uds=str(socket))
    with httpx2.Client(transport=transport, base_url="http://tiny", trust_env=False) as client:
        try:
            return client.get("/health").status_code == 200
        except httpx2.TransportError:
            return False
