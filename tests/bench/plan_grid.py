"""The planner against the engine over a whole grid: `python -m tests.bench.plan_grid [--every N] [--json FILE]`.

ggml-rpc-servers stand in for GPUs, and sparse files of full dimensions for the models: R1, older and MLA, and its
distills. Each point is planned and asked of `llama-fit-params -fitp on`; the table shows the largest differences in
MiB. A point that the engine refuses (a quantised V without flash attention, different types of K and V in an MLA file)
is counted and left out.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from r1tui.config import CacheType, EngineSettings
from r1tui.engine.make import build_engine
from r1tui.gguf import read_header
from r1tui.plan.memory import MIB, Model, ModelLayout, Share
from r1tui.system.paths import Paths
from tests import sparse_dense, sparse_r1
from tests.engine_figures import breakdown, running_worker

N_GPU_LAYERS = (0, 1, 7, 33, 61, 62)
N_CPU_MOE = (0, 10, 58)
CONTEXTS = (2048, 8192, 32768)
CACHE_TYPES: tuple[CacheType, ...] = ("f16", "q8_0", "q4_0")
SPLITS = ((3, 7), (31, 31), (61, 1), (20, 20, 22))
TOLERANCE_MIB, TOLERANCE_SHARE = 64, 0.10


@dataclass(frozen=True)
class Point:
    """One layout, and what we and the engine say each of its devices, and last the host, hold: weights, KV, compute."""

    file: str
    layout: ModelLayout
    ours: list[tuple[float, float, float]]
    theirs: list[list[int]]

    def worst_mib(self, column: int) -> float:
        """The largest difference of one column (0 weights, 1 KV, 2 compute)."""
        return max(abs(mine[column] - its[column]) for mine, its in zip(self.ours, self.theirs, strict=True))

    @property
    def compute_within(self) -> bool:
        """Whether every compute buffer is within 64 MiB or 10 %."""
        pairs = [(mine[2], its[2]) for mine, its in zip(self.ours, self.theirs, strict=True)]
        return all(abs(mine - its) <= max(TOLERANCE_MIB, TOLERANCE_SHARE * its) for mine, its in pairs)


def layouts() -> Iterator[ModelLayout]:
    """The grid of R1: one device; several, with everything offloaded or not; larger batches."""
    for layers, held, context, cache, flash in itertools.product(
        N_GPU_LAYERS, N_CPU_MOE, CONTEXTS, CACHE_TYPES, (True, False)
    ):
        yield ModelLayout(layers, held, (layers,), context, cache, cache, flash_attention=flash, ubatch_size=512)
    for split, held, context, flash in itertools.product(SPLITS, (0, 10), CONTEXTS, (True, False)):
        yield ModelLayout(62, held, split, context, "f16", "f16", flash_attention=flash, ubatch_size=512)
    for split, held in itertools.product(SPLITS[:2], (0, 10)):
        yield ModelLayout(62, held, split, 8192, "f16", "f16", flash_attention=True, ubatch_size=2048)
    for layers, held, context, flash in itertools.product((33, 62), (0, 59), CONTEXTS, (True, False)):
        single = ModelLayout(layers, held, (layers,), context, "f16", "f16", flash_attention=flash, ubatch_size=512)
        yield replace(single, kv_on_host=True)
    for layers, held, ubatch in itertools.product((7, 62), (0, 58), (1024, 4096)):
        yield ModelLayout(layers, held, (layers,), 8192, "f16", "f16", flash_attention=True, ubatch_size=ubatch)


def dense_layouts(n_layers: int) -> Iterator[ModelLayout]:
    """The grid of a dense model."""
    half = n_layers // 2
    for split, context, flash in itertools.product(
        ((0,), (1,), (half,), (n_layers,), (n_layers + 1,), (half, n_layers + 1 - half)), CONTEXTS, (True, False)
    ):
        yield ModelLayout(sum(split), 0, split, context, "f16", "f16", flash_attention=flash, ubatch_size=512)


def in_mib(share: Share) -> tuple[float, float, float]:
    """Weights, KV, compute."""
    return share.weights_bytes / MIB, share.kv_bytes / MIB, share.compute_bytes / MIB


def measure(server: Path, every: int) -> Iterator[Point | None]:
    """Every so-manieth point of the grid; None for one that the engine refuses."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="r1")))
        workers = [stack.enter_context(running_worker(server)) for _ in range(3)]
        models = {name: sparse_r1.build(folder / f"{name}.gguf", mla=name == "mla") for name in ("legacy", "mla")}
        models |= {name: sparse_dense.build(folder / f"{name}.gguf", name) for name in sparse_dense.DISTILLS}
        for name, path in models.items():
            header = read_header(path)
            grid = dense_layouts(header.n_layers) if name in sparse_dense.DISTILLS else layouts()
            for layout in itertools.islice(grid, 0, None, every):
                n_devices = len(layout.split)
                usage = Model(header, ("rpc",) * n_devices).measure(layout)
                try:
                    theirs = breakdown(server, path, workers[:n_devices], layout)
                except subprocess.CalledProcessError:
                    yield None
                    continue
                yield Point(name, layout, [in_mib(share) for share in (*usage.devices, usage.host)], theirs)


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="take only every so-manieth point")
    parser.add_argument("--json", type=Path, help="write every point to this file too")
    options = parser.parse_args()
    server = build_engine(EngineSettings(), Paths.from_environment(), print).server
    found = list(measure(server, options.every))
    points = [point for point in found if point is not None]
    if options.json:
        options.json.write_text("\n".join(json.dumps(asdict(point)) for point in points))
    columns = ("file", "flash", "devices", "points", "weights", "KV", "compute", "within 64 MiB or 10 %")
    print(f"{columns[0]:<11}{columns[1]:<7}" + "".join(f"{column:>10}" for column in columns[2:7]) + f"  {columns[7]}")
    kinds = sorted({(p.file, p.layout.flash_attention, len(p.layout.split)) for p in points})
    for file, flash, n_devices in kinds:
        of = [p for p in points if (p.file, p.layout.flash_attention, len(p.layout.split)) == (file, flash, n_devices)]
        worst = "".join(f"{max(p.worst_mib(column) for p in of):>10.1f}" for column in range(3))
        within = sum(p.compute_within for p in of)
        print(f"{file:<11}{'on' if flash else 'off':<7}{n_devices:>10}{len(of):>10}{worst}  {within} of {len(of)}")
    print(f"{len(points)} points, {len(found) - len(points)} more that the engine refuses.")


if __name__ == "__main__":
    main()
