"""The planner against the engine: `python -m tests.bench.plan_grid [--every N] [--json FILE] [--verdicts] [NAME…]`.

ggml-rpc-servers stand in for GPUs, and sparse files of full dimensions for the models: R1, older and MLA, and 35
others of today. Each layout is measured by the planner's formulas and asked of `llama-fit-params -fitp on`; the table
shows the largest differences in MiB. A layout that the engine refuses (different types of K and V in an MLA file) is
counted and left out. With `--verdicts`: what each model would do on the machines that people have.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from r1tui.config import CacheType, EngineSettings, PlanSettings
from r1tui.engine.make import build_engine
from r1tui.gguf import Header, read_header
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.layout import MIB, ModelLayout, Share
from r1tui.plan.memory import Model
from r1tui.system.paths import Paths
from tests import sparse_catalog, sparse_models, sparse_r1
from tests.engine_figures import breakdown, running_worker

CONTEXTS = (8192, 32768, 131072)
CACHE_TYPES: tuple[CacheType, ...] = ("f16", "q8_0", "q4_0")
MOST_DEVICES = 3
TOLERANCE_MIB, TOLERANCE_SHARE = 64, 0.10
GIB = 1024
MACHINES: dict[str, tuple[tuple[int, ...], int]] = {
    "12+64": ((12,), 64), "24+128": ((24,), 128), "48+256": ((48,), 256), "80+256": ((80,), 256),
    "2x80+512": ((80, 80), 512), "4x24+256": ((24,) * 4, 256), "119 unified": ((119,), 119), "0+64": ((), 64),
    "0+128": ((), 128), "0+256": ((), 256),
}  # fmt: skip
"""GiB of each GPU, and of the host."""
R1 = ("r1-legacy", "r1-mla")
NAMES = (*R1, *(name for name in sparse_catalog.MODELS if name not in R1))


def build(path: Path, name: str) -> Path:
    """Write the sparse model of this name."""
    return sparse_r1.build(path, mla=name == R1[1]) if name in R1 else sparse_models.build(path, name)


@dataclass(frozen=True)
class Point:
    """One layout, and what we and the engine say each of its devices, and last the host, hold: weights, KV, compute."""

    name: str
    layout: ModelLayout
    ours: list[tuple[float, float, float]]
    theirs: list[list[int]]

    def worst_mib(self, column: int) -> float:
        """The largest difference of one column (0 weights, 1 KV, 2 compute)."""
        return max(abs(mine[column] - its[column]) for mine, its in zip(self.ours, self.theirs, strict=True))

    @property
    def exact(self) -> bool:
        """Whether weights and cache are within 1 MiB everywhere."""
        return self.worst_mib(0) <= 1 and self.worst_mib(1) <= 1

    @property
    def compute_within(self) -> bool:
        """Whether every compute buffer is within 64 MiB or 10 %."""
        pairs = [(mine[2], its[2]) for mine, its in zip(self.ours, self.theirs, strict=True)]
        return all(abs(mine - its) <= max(TOLERANCE_MIB, TOLERANCE_SHARE * its) for mine, its in pairs)


def layouts(header: Header) -> Iterator[ModelLayout]:
    """Context by cache types by devices, with all layers, half of them, and all but the experts of half or of all."""
    everything = header.n_layers + 1
    placements = [(everything, 0), (everything // 2, 0)]
    placements += [(everything, header.n_layers // 2), (everything, header.n_layers)] if header.n_experts else []
    for context, cache, devices in itertools.product(CONTEXTS, CACHE_TYPES, range(1, MOST_DEVICES + 1)):
        for layers, held in placements if cache == "f16" else placements[:1]:
            split = (*(layers // devices,) * (devices - 1), layers - layers // devices * (devices - 1))
            for ubatch in (512, 2048) if (devices, cache) == (1, "f16") else (512,):
                yield ModelLayout(layers, held, split, context, cache, cache, flash_attention=True, ubatch_size=ubatch)


def in_mib(share: Share) -> tuple[float, float, float]:
    """Weights, KV, compute."""
    return share.weights_bytes / MIB, share.kv_bytes / MIB, share.compute_bytes / MIB


def measure(server: Path, names: list[str], every: int) -> Iterator[Point | None]:
    """Every so-manieth layout of each model; None for one that the engine refuses."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grid")))
        workers = [stack.enter_context(running_worker(server)) for _ in range(MOST_DEVICES)]
        for name in names:
            path = build(folder / f"{name}.gguf", name)
            header = read_header(path)
            for layout in itertools.islice(layouts(header), 0, None, every):
                usage = Model(header, ("rpc",) * len(layout.split)).measure(layout)
                try:
                    theirs = breakdown(server, path, workers[: len(layout.split)], layout)
                except subprocess.CalledProcessError:
                    yield None
                    continue
                yield Point(name, layout, [in_mib(share) for share in usage.parts], theirs)
            path.unlink()


def plan_for(header: Header, machine: str) -> Plan:
    """The plan for one of the machines, by formulas alone."""
    gpus_gib, ram_gib = MACHINES[machine]
    devices = tuple(
        Device(f"CUDA{n}", "cuda", gib * GIB, gib * GIB, unified=machine.endswith("unified"))
        for n, gib in enumerate(gpus_gib)
    )
    return make_plan(header, PlanRequest(ram_gib * GIB, ram_gib * GIB, 16, PlanSettings(), devices))


def verdicts(names: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """For each model what would run where on each of the machines."""
    with tempfile.TemporaryDirectory(prefix="grid") as folder:
        for name in names:
            header = read_header(build(Path(folder, f"{name}.gguf"), name))
            made = {machine: plan_for(header, machine) for machine in MACHINES}
            yield name, {machine: f"{one.verdict} {one.ctx_size // 1024}k" for machine, one in made.items()}


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], help="only these models")
    parser.add_argument("--every", type=int, default=1, help="take only every so-manieth layout")
    parser.add_argument("--json", type=Path, help="write every point to this file too")
    parser.add_argument("--verdicts", action="store_true", help="the verdicts, without the engine")
    options = parser.parse_args()
    names = options.names or list(NAMES)
    if options.verdicts:
        print(f"{'model':<20}" + "".join(f"{machine:>13}" for machine in MACHINES))
        for name, said in verdicts(names):
            print(f"{name:<20}" + "".join(f"{said[machine]:>13}" for machine in MACHINES), flush=True)
        return
    server = build_engine(EngineSettings(), Paths.from_environment(), print).server
    found = list(measure(server, names, options.every))
    points = [point for point in found if point is not None]
    if options.json:
        options.json.write_text("\n".join(json.dumps(asdict(point)) for point in points))
    columns = "".join(f"{column:>9}" for column in ("points", "weights", "KV", "compute", "exact"))
    print(f"{'model':<20}{columns}  compute within 64 MiB or 10 %")
    for name in (*names, ""):
        of = [point for point in points if name in ("", point.name)]
        worst = "".join(f"{max((one.worst_mib(column) for one in of), default=0):>9.1f}" for column in range(3))
        exact, within = sum(one.exact for one in of), sum(one.compute_within for one in of)
        print(f"{name or 'all':<20}{len(of):>9}{worst}{exact:>9}  {within}")
    print(f"{len(found) - len(points)} more that the engine refuses.")


if __name__ == "__main__":
    main()
