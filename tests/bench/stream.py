"""What streaming costs: CPU and terminal bytes per token, flatness, memory, and the time to the first screen.

`python -m tests.bench.stream` streams 1,200 tokens (half of them thinking) at 50 a second into the transcript in a
120×40 terminal. `--tui` measures the whole r1tui instead; `--thinking 32000 --answer 0 --tps 800` shows flatness, and
`--tui --keys` how soon a key that is pressed meanwhile is echoed (which costs CPU of its own). `--ui "slow_link: true"`
gives the whole r1tui other settings of the config's section ui.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import count
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
TARGET_ECHO_MS = 50
STARTS = 9
KEY_EVERY_S = 0.7
SETTLE_S = 0.6


@dataclass
class Measured:
    """Samples at every tenth of the answer, and the echoes of the keys that were pressed meanwhile."""

    n_tokens: int
    echoes_s: list[float] = field(default_factory=list)
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


async def measure(script: Script, *, tui: bool, unfold: bool, keys: bool, ui: str) -> Measured:
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
        (Path(folder) / "config").mkdir()
        (Path(folder) / "config" / "config.yaml").write_text(f"ui: {{{ui}}}\n")
        terminal = Terminal(_command(Path(folder), tui=tui, unfold=unfold))
        pressing: asyncio.Task[None] | None = None
        try:
            await terminal.wait_for(PLACEHOLDER if tui else QUESTION)
            if tui:
                await asyncio.sleep(2)
                terminal.type(QUESTION)
                await asyncio.sleep(0.5)
                terminal.type("\r")
            if keys:
                pressing = asyncio.create_task(_press_keys(terminal, measured))
            await asyncio.wait_for(ended.wait(), 60 + script.n_tokens / script.tps * 2)
            await asyncio.sleep(SETTLE_S)
            sample()
            measured.peak_mib = terminal.peak_mib()
        finally:
            if pressing:
                pressing.cancel()
            terminal.close()
            server.close()
    return measured


async def _press_keys(terminal: Terminal, measured: Measured) -> None:
    for code in count(0x100):  # letters that the answer does not have
        await asyncio.sleep(KEY_EVERY_S)
        measured.echoes_s.append(await terminal.echo(chr(code)))


async def starts(*, tui: bool) -> tuple[float, float]:
    """How many times as long as an empty Textual app its first screen takes, and how many seconds that one's takes.

    The two start in turn, so that what else the machine does at the time meets both.
    """
    pairs = []
    with tempfile.TemporaryDirectory(prefix="r1") as folder:
        command = _command(Path(folder), tui=tui)
        for _ in range(STARTS):
            empty_s = await _first_screen([sys.executable, "-m", "tests.bench.empty"], "empty")
            pairs.append((await _first_screen(command, PLACEHOLDER if tui else QUESTION), empty_s))
    return median(one / empty for one, empty in pairs), median(empty for _, empty in pairs)


async def _first_screen(command: list[str], text: str) -> float:
    terminal = Terminal(command)
    try:
        return await terminal.wait_for(text)
    finally:
        terminal.close()


def _command(folder: Path, *, tui: bool, unfold: bool = False) -> list[str]:
    """What is measured, at the folder's socket."""
    socket = folder / "s.sock"
    if tui:
        return ["env", f"R1TUI_HOME={folder}", sys.executable, "-m", "r1tui", "--attach", f"unix:{socket}"]
    return [sys.executable, "-m", "tests.bench.chat", str(socket), *(["--unfold"] if unfold else [])]


async def run(options: argparse.Namespace) -> None:
    """Measure and print the table."""
    script = Script(options.thinking, options.answer, options.tps)
    kinds = {"tui": options.tui, "unfold": options.unfold, "keys": options.keys}
    runs = [await measure(script, **kinds, ui=options.ui) for _ in range(options.runs)]
    start, empty_s = await starts(tui=options.tui)
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
    if echoes_s := [echo_s for one in runs for echo_s in one.echoes_s]:
        shown = f"{median(echoes_s) * 1000:.0f}, worst of {len(echoes_s)} {max(echoes_s) * 1000:.0f} ms"
        lines.append(("echo of a key, median", shown, f"{TARGET_ECHO_MS} ms"))
    for name, value, target in lines:
        print(f"{name:<42}{value:>26}{target:>10}")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--thinking", type=int, default=600, help="tokens of thinking")
    parser.add_argument("--answer", type=int, default=600, help="tokens of Markdown")
    parser.add_argument("--tps", type=float, default=50.0, help="tokens per second")
    parser.add_argument("--runs", type=int, default=1, help="the table shows the median")
    parser.add_argument("--unfold", action="store_true", help="show the thinking while it runs")
    parser.add_argument("--keys", action="store_true", help="press keys meanwhile and time their echo; needs --tui")
    parser.add_argument("--tui", action="store_true", help="measure the whole r1tui")
    parser.add_argument("--ui", default="", help="settings of the section ui, as in `slow_link: true, theme: r1-light`")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
