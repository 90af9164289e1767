"""What streaming costs: CPU and terminal bytes per token, flatness, memory, and the time to the first screen.

`python -m tests.bench.stream` streams 1,200 tokens (half of them thinking) at 50 a second into the transcript in a
120×40 terminal. `--tui` measures the whole r1tui instead; `--thinking 32000 --answer 0 --tps 800` shows flatness.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.replay import Replay, Script
from tests.bench.terminal import Terminal

QUESTION = "Write a Flappy Bird game, please."
PLACEHOLDER = "Enter sends"
"""In r1tui's empty prompt."""
TARGET_CPU_MS = 1.2
TARGET_BYTES = 300
TARGET_START = 1.5
SETTLE_S = 0.6


@dataclass
class Measured:
    """Samples at every tenth of the answer, and the first screen."""

    n_tokens: int
    first_screen_s: float = 0.0
    peak_mib: float = 0.0
    cpu_ms: list[float] = field(default_factory=list)
    bytes_written: list[int] = field(default_factory=list)

    @property
    def cpu_per_token_ms(self) -> float:
        """Over the whole answer."""
        return (self.cpu_ms[-1] - self.cpu_ms[0]) / self.n_tokens

    @property
    def bytes_per_token(self) -> float:
        """Over the whole answer."""
        return (self.bytes_written[-1] - self.bytes_written[0]) / self.n_tokens

    @property
    def flatness(self) -> float:
        """CPU of the last tenth against that of the second; the first one holds what is done once."""
        return (self.cpu_ms[10] - self.cpu_ms[9]) / (self.cpu_ms[2] - self.cpu_ms[1])


async def measure(script: Script, *, tui: bool, unfold: bool) -> Measured:
    """Stream the script's answer once."""
    measured = Measured(script.n_tokens)
    ended = asyncio.Event()
    terminal: Terminal | None = None

    def sample() -> None:
        assert terminal
        measured.cpu_ms.append(terminal.cpu_ms())
        measured.bytes_written.append(terminal.bytes_written)

    async def on_token(number: int) -> None:
        if number * 10 // script.n_tokens >= len(measured.cpu_ms) and len(measured.cpu_ms) < 10:
            sample()
        if number > script.n_tokens:
            ended.set()

    with tempfile.TemporaryDirectory(prefix="r1") as folder:
        socket = Path(folder) / "s.sock"
        server = await Replay(script, on_token).serve(socket)
        seat = [sys.executable, "-m", "tests.bench.seat", str(socket), *(["--unfold"] if unfold else [])]
        whole = ["env", f"R1TUI_HOME={folder}", sys.executable, "-m", "r1tui", "--attach", f"unix:{socket}"]
        terminal = Terminal(whole if tui else seat)
        try:
            measured.first_screen_s = await terminal.wait_for(PLACEHOLDER if tui else QUESTION)
            if tui:
                await asyncio.sleep(2)
                terminal.type(QUESTION)
                await asyncio.sleep(0.5)
                terminal.type("\r")
            await asyncio.wait_for(ended.wait(), 60 + script.n_tokens / script.tps * 2)
            await asyncio.sleep(SETTLE_S)
            sample()
            measured.peak_mib = terminal.peak_mib()
        finally:
            terminal.close()
            server.close()
    return measured


async def first_screen_of_empty_app() -> float:
    """Seconds until an empty Textual app shows its word."""
    terminal = Terminal([sys.executable, "-m", "tests.bench.empty"])
    try:
        return await terminal.wait_for("empty")
    finally:
        terminal.close()


async def run(options: argparse.Namespace) -> None:
    """Measure and print the table."""
    script = Script(options.thinking, options.answer, options.tps)
    runs = [await measure(script, tui=options.tui, unfold=options.unfold) for _ in range(options.runs)]
    empty_s = median([await first_screen_of_empty_app() for _ in range(3)])
    start = median(one.first_screen_s for one in runs) / empty_s
    what = "the whole r1tui" if options.tui else "the transcript alone"
    lines = [
        (f"{what}, {script.n_tokens} tokens at {script.tps:g}/s", "measured", "target"),
        ("CPU per token", f"{median(one.cpu_per_token_ms for one in runs):.2f} ms", f"{TARGET_CPU_MS} ms"),
        ("terminal bytes per token", f"{median(one.bytes_per_token for one in runs):.0f}", f"{TARGET_BYTES}"),
        ("peak memory", f"{max(one.peak_mib for one in runs):.0f} MiB", "143 MiB"),
        ("first screen against an empty app", f"{start:.2f} of {empty_s:.2f} s", f"{TARGET_START}"),
    ]
    if min(script.n_thinking, script.n_answer) < script.n_tokens / 20:  # tenths of one kind can be compared
        lines.append(("last tenth against the second", f"{median(one.flatness for one in runs):.2f}", "1.3"))
    for name, value, target in lines:
        print(f"{name:<48}{value:>18}{target:>12}")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--thinking", type=int, default=600, help="tokens of thinking")
    parser.add_argument("--answer", type=int, default=600, help="tokens of Markdown")
    parser.add_argument("--tps", type=float, default=50.0, help="tokens per second")
    parser.add_argument("--runs", type=int, default=1, help="the table shows the median")
    parser.add_argument("--unfold", action="store_true", help="show the thinking while it runs")
    parser.add_argument("--tui", action="store_true", help="measure the whole r1tui")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
