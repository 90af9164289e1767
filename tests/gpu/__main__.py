"""Measures: `python -m tests.gpu [--engine FOLDER] [--out FOLDER] [--budget SECONDS] [--only pool,full] [--smoke]`.

Without --engine, r1tui's own recipe builds one, or takes the one that is built. Exit status 1 where a section failed.
"""

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from r1tui.config import EngineSettings
from r1tui.engine.make import build_engine
from r1tui.errors import R1tuiError
from r1tui.system.paths import Paths
from tests.gpu.memory import facts, grid, oom, pool
from tests.gpu.program import program, shared, small
from tests.gpu.rig import Rig
from tests.gpu.speed import full, graphs, hybrid, jit, nvml

SECTIONS: dict[str, Callable[[Rig], None]] = {
    section.__name__: section
    for section in (facts, program, pool, full, oom, hybrid, grid, shared, nvml, graphs, small, jit)
}
LEAST_S = 30


def measure(rig: Rig, names: list[str]) -> None:
    """Run the sections in turn, as long as there is time; one that fails does not end the others."""
    for name in names:
        if rig.left_s() < LEAST_S:
            rig.say("no time for", name)
            continue
        rig.say("==", name)
        try:
            SECTIONS[name](rig)
        except Exception as error:
            rig.say(name, "failed:", repr(error)[:300])
            rig.record("failed", section=name, error=traceback.format_exc())
            rig.failed.append(name)
    rig.say("done")


def main() -> int:
    """Read the arguments, find the engine, measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", type=Path, help="the folder of llama-server and llama-fit-params")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="for report.txt and log.jsonl")
    parser.add_argument("--work", type=Path, help="for models and logs (1 GB); else a folder that is removed")
    parser.add_argument("--budget", type=float, default=560, metavar="SECONDS")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS), metavar="NAME,NAME")
    parser.add_argument("--smoke", action="store_true", help="as little as shows that it runs, without a card")
    asked = parser.parse_args()
    if unknown := [name for name in asked.only if name not in SECTIONS]:
        parser.error(f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}")
    try:
        engine = asked.engine or build_engine(EngineSettings(), Paths.from_environment(), print).server.parent
    except R1tuiError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    with tempfile.TemporaryDirectory(prefix="r1tui-gpu-") as folder:
        rig = Rig(engine, asked.out, asked.work or Path(folder), asked.budget, asked.smoke, os.environ)
        if not rig.card.is_here and not asked.smoke:
            print(f"There is no NVIDIA GPU ({rig.card.missing}); --smoke runs without one.", file=sys.stderr)
            return 1
        measure(rig, asked.only)
    return 1 if rig.failed else 0


if __name__ == "__main__":
    sys.exit(main())
