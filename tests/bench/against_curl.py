"""What the screen takes from the model: `python -m tests.bench.against_curl` asks the demo model the same question on
all cores through r1tui in a terminal and through curl, in turn, on one server.

Tokens per second are llama-server's own count of each answer. While curl asks, the screen is stopped (SIGSTOP), so that
it takes nothing from the other side. The model and the engine must be here: `r1tui build`, `r1tui download demo`.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import monotonic

import msgspec

from r1tui.config import Config, SamplingSettings, ServerSettings
from r1tui.server.client import ChatRequest, Message
from r1tui.server.wire import Chunk
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from tests.bench.terminal import Terminal, cpu_ms

QUESTION = "Tell me a long story about a lighthouse keeper and the sea."
PLACEHOLDER = "Enter sends"
NEW_CHAT = "\x0e"
TARGET = 0.95
POLL_S = 0.25
PATIENCE_S = 300.0
ASK_AGAIN_S = 10.0


@contextmanager
def home(max_tokens: int) -> Iterator[Paths]:
    """Folders of their own with the user's engine and models, and the demo model's server in them."""
    user = Paths.from_environment()
    with tempfile.TemporaryDirectory(prefix="r1") as folder:
        os.environ["R1TUI_HOME"] = folder
        paths = Paths.from_environment()
        paths.cache.symlink_to(user.cache)
        paths.data.symlink_to(user.data)
        paths.config_file.parent.mkdir()
        settings = Config(sampling=SamplingSettings(max_tokens=max_tokens), server=ServerSettings(kv_cache_gib=0))
        paths.config_file.write_bytes(msgspec.json.encode(settings))
        try:
            subprocess.run([sys.executable, "-m", "r1tui", "serve", "demo", "--detach"], check=True)
            yield paths
        finally:
            supervisor.stop(paths)


def last_chunk(stream: bytes) -> Chunk | None:
    """The newest chunk with counters of an answer that is whole; None while it is not."""
    events = [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event.startswith(b"data: ")]
    if not events or events[-1] != b"[DONE]":
        return None
    chunks = [msgspec.json.decode(event, type=Chunk) for event in events[:-1]]
    return next(chunk for chunk in reversed(chunks) if chunk.timings)


def speed(chunk: Chunk) -> tuple[float, int]:
    """Tokens per second, and how many they were."""
    assert chunk.timings
    return chunk.timings.predicted_per_second or 0.0, chunk.timings.predicted_n


async def through_curl(paths: Paths, body: Path) -> tuple[float, int]:
    """One answer, written to a file."""
    with tempfile.NamedTemporaryFile() as answer:
        command = ["curl", "-sSN", "--unix-socket", str(paths.server_socket), "-o", answer.name]
        command += ["-H", "Content-Type: application/json", "-d", f"@{body}", "http://localhost/v1/chat/completions"]
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0
        chunk = last_chunk(Path(answer.name).read_bytes())
    assert chunk
    return speed(chunk)


async def through_screen(paths: Paths, terminal: Terminal) -> tuple[float, int]:
    """One answer, in a new chat."""
    before = set(paths.answers.glob("*.sse"))
    terminal.type(NEW_CHAT)
    await asyncio.sleep(1.0)
    terminal.type(QUESTION)
    await asyncio.sleep(1.0)
    began_s = 0.0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if not set(paths.answers.glob("*.sse")) - before and monotonic() - began_s > ASK_AGAIN_S:
                terminal.type("\r")  # a busy machine may not be ready for the first one
                began_s = monotonic()
            await asyncio.sleep(POLL_S)
            for record in set(paths.answers.glob("*.sse")) - before:
                with suppress(StopIteration):
                    if chunk := last_chunk(record.read_bytes()):
                        return speed(chunk)


async def compare(rounds: int, max_tokens: int) -> None:
    """Ask in turn and print the table."""
    with home(max_tokens) as paths:
        body = paths.run / "body.json"
        asked = ChatRequest([Message("user", QUESTION)], SamplingSettings(max_tokens=max_tokens))
        body.write_bytes(msgspec.json.encode(asked.body(raw_reasoning=False)))
        await through_curl(paths, body)  # what is done once is done
        terminal = Terminal([sys.executable, "-m", "r1tui", "--variant", "demo"])
        ratios: list[float] = []
        try:
            await terminal.wait_for(PLACEHOLDER)
            await asyncio.sleep(3.0)
            await through_screen(paths, terminal)
            keeper_pid = supervisor.status(paths).supervisor_pid or 0
            heads = f"{'round':>5}{'curl tok/s':>12}{'r1tui tok/s':>13}{'ratio':>8}{'tokens':>8}{'load':>7}"
            print(f"{heads}{'screen ms':>11}{'keeper ms':>11}  (CPU per token)")
            for number in range(1, rounds + 1):
                os.kill(terminal.pid, signal.SIGSTOP)
                curl_tps, _ = await through_curl(paths, body)
                os.kill(terminal.pid, signal.SIGCONT)
                await asyncio.sleep(1.0)  # it catches up
                before_ms = terminal.cpu_ms(), cpu_ms(keeper_pid)
                tps, tokens = await through_screen(paths, terminal)
                screen_ms, keeper_ms = (
                    (now - then) / tokens
                    for now, then in zip((terminal.cpu_ms(), cpu_ms(keeper_pid)), before_ms, strict=True)
                )
                ratios.append(tps / curl_tps)
                load = os.getloadavg()[0]
                figures = f"{number:>5}{curl_tps:>12.1f}{tps:>13.1f}{ratios[-1]:>8.3f}{tokens:>8}{load:>7.1f}"
                print(f"{figures}{screen_ms:>11.2f}{keeper_ms:>11.2f}", flush=True)
        finally:
            terminal.close()
    print(f"median of {rounds}: {median(ratios):.3f}, target {TARGET}")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=400, help="the longest answer")
    given = parser.parse_args()
    asyncio.run(compare(given.rounds, given.tokens))


if __name__ == "__main__":
    main()
