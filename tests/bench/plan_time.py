"""How long `r1tui plan` takes: `python -m tests.bench.plan_time [--models FOLDER]`, the engine built beforehand.

Without an engine, and with one and two RPC workers that stand in for GPUs, for R1 as sparse files and for every GGUF of
the folder. Seconds are the best of three starts: on the clock, and of processor time (what the clock would show on an
idle machine).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from tests import sparse_r1
from tests.engine_figures import running_worker
from tests.tools.engine import engine_for_tests

TIMES = 3
WITHOUT_S, R1_S, OTHERS_S = 1.0, 3.0, 10.0


@dataclass(frozen=True)
class Took:
    """One command's best time, and what it may take."""

    what: str
    clock_s: float
    processor_s: float
    most_s: float
    source: str
    """Who gave the figures: the estimate, or the engine."""


def time_plan(what: str, home: Path, arguments: Sequence[str], most_s: float) -> Took:
    """Run the command a few times."""
    env = {**os.environ, "R1TUI_HOME": str(home)}
    command = [sys.executable, "-m", "r1tui", "plan", *arguments, "--json"]
    found = []
    for _ in range(TIMES):
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), monotonic()
        ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        after, clock_s = resource.getrusage(resource.RUSAGE_CHILDREN), monotonic() - began_s
        processor_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        found.append((clock_s, processor_s))
        if ran.returncode:
            print(f"{what}: {ran.stderr.strip()[-200:]}")
            break
    source = json.loads(ran.stdout or "{}").get("source", "")
    return Took(what, min(one[0] for one in found), min(one[1] for one in found), most_s, source)


def measure(folder: Path, models: Sequence[Path]) -> Iterator[Took]:
    """Every case."""
    bare, built = folder / "bare", folder / "built"
    for home in (bare, built):
        (home / "config").mkdir(parents=True)
    server = engine_for_tests(print)
    (built / "config" / "config.yaml").write_text(f"engine: {{source: {server}}}\n")
    env = {**os.environ, "R1TUI_HOME": str(built)}
    subprocess.run([sys.executable, "-m", "r1tui", "build"], env=env, check=True, capture_output=True)
    r1 = {f"R1 {name}": sparse_r1.build(folder / f"{name}.gguf", mla=name == "MLA") for name in ("legacy", "MLA")}
    for name, path in r1.items():
        for vram in ("0", "24", "80,80", "24,24,24,24"):
            asked = ("--model", str(path), "--vram", vram, "--ram", "256")
            yield time_plan(f"{name}, {vram} GiB, no engine", bare, asked, WITHOUT_S)
    yield time_plan("all models compared, no engine", bare, ("--compare", "--vram", "24", "--ram", "256"), OTHERS_S)
    with ExitStack() as stack:
        workers = [stack.enter_context(running_worker(server)) for _ in range(2)]
        for count in (1, 2):
            rpc = ("--rpc", ",".join(workers[:count]))
            for name, path in [*r1.items(), *((path.stem, path) for path in models)]:
                most_s = R1_S if name in r1 else OTHERS_S
                yield time_plan(f"{name}, {count} workers", built, ("--model", str(path), *rpc), most_s)


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, help="a folder with GGUF files to plan too")
    options = parser.parse_args()
    models = sorted(options.models.glob("*.gguf")) if options.models else []
    with tempfile.TemporaryDirectory(prefix="plan") as folder:
        for took in measure(Path(folder), models):
            mark = "" if took.processor_s <= took.most_s else "  TOO LONG"
            print(f"{took.what:40} {took.clock_s:6.2f} s on the clock, {took.processor_s:6.2f} s of processor, "
                  f"{took.most_s:g} s at most  {took.source}{mark}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
