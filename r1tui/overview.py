"""The list of models as one chooses from it: size, place on disk, verdict for this machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1tui.catalog import Catalog, Variant
from r1tui.config import Config
from r1tui.engine import current_devices, find_engine
from r1tui.errors import R1tuiError
from r1tui.gguf import read_header
from r1tui.hardware import detect_machine
from r1tui.hub import find_model
from r1tui.paths import Paths
from r1tui.plan import PlanRequest, Verdict, make_plan, verdict_by_size
from r1tui.planning import plan_devices, plan_request


@dataclass(frozen=True)
class Entry:
    """One model. The verdict is the plan's for one on disk (`exact`), else from its size alone; None: unknown."""

    variant: Variant
    path: Path | None
    size_gib: float | None
    verdict: Verdict | None
    problem: str = ""
    """Why the file on disk cannot be used."""

    @property
    def exact(self) -> bool:
        """Whether the verdict rests on the file itself."""
        return self.path is not None and not self.problem

    def to_json(self) -> dict[str, Any]:
        """An element of `r1tui variants --json`."""
        return {
            "name": self.variant.name,
            "title": self.variant.title,
            "size_gib": round(self.size_gib, 2) if self.size_gib is not None else None,
            "on_disk": self.path is not None,
            "path": str(self.path) if self.path else None,
            "verdict": self.verdict,
            "exact": self.exact,
            "problem": self.problem,
        }


def overview(catalog: Catalog, config: Config, paths: Paths) -> Iterator[Entry]:
    """Every model of the catalog, looked at one by one. Reads headers, no weights; asks no network."""
    engine = find_engine(config.engine, paths)
    devices = plan_devices(current_devices(engine, config.server.rpc), config.server.devices) if engine else ()
    request = plan_request(config.plan, config.server, detect_machine(), devices, engine)
    for variant in catalog:
        yield _entry(variant, request, config, paths)


def _entry(variant: Variant, request: PlanRequest, config: Config, paths: Paths) -> Entry:
    path = find_model(variant, paths, config)
    guess = verdict_by_size(variant.size_gib, request) if variant.size_gib is not None else None
    if path is None:
        return Entry(variant, None, variant.size_gib, guess)
    try:
        header = read_header(path)
    except R1tuiError as error:
        return Entry(variant, path, variant.size_gib, guess, error.cause)
    return Entry(variant, path, header.size_bytes / 2**30, make_plan(header, request).verdict)
