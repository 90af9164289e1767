"""The list of models as one chooses from it: size, place on disk, verdict for this machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1tui.catalog import Catalog, Variant
from r1tui.config import Config
from r1tui.engine import find_engine
from r1tui.errors import R1tuiError
from r1tui.hub import find_model
from r1tui.keeper import client as keeper
from r1tui.paths import Paths
from r1tui.plan import Plan, PlanRequest, Verdict, is_known, make_plan, verdict_by_size
from r1tui.planning import Held, find_subject, for_variant, request_here


@dataclass(frozen=True)
class Entry:
    """One model. The verdict is the plan's where its header is known (`exact`), else from its size; None: unknown."""

    variant: Variant
    path: Path | None
    size_gib: float | None
    verdict: Verdict | None
    problem: str = ""
    """Why the file on disk cannot be used."""
    plan: Plan | None = None

    @property
    def exact(self) -> bool:
        """Whether the verdict rests on the file's own header."""
        return self.plan is not None

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
    """Every model of the catalog, looked at one by one. Reads headers, no weights; asks no network.

    What our own running server holds counts as free.
    """
    engine = find_engine(config.engine, paths)
    request = request_here(config, paths, engine, Held.by(keeper.status(paths)))
    for variant in catalog:
        yield _entry(variant, request, config, paths)


def _entry(variant: Variant, request: PlanRequest, config: Config, paths: Paths) -> Entry:
    guess = verdict_by_size(variant.size_gib, request) if variant.size_gib is not None else None
    try:
        subject = find_subject(variant, paths, config)
    except R1tuiError as error:
        return Entry(variant, find_model(variant, paths, config), variant.size_gib, guess, error.cause)
    if subject is None:
        return Entry(variant, None, variant.size_gib, guess)
    path = subject.model if subject.on_disk else None
    if not is_known(subject.header):
        return Entry(variant, path, variant.size_gib, guess)
    plan = make_plan(subject.header, for_variant(request, config, variant))
    return Entry(variant, path, subject.header.size_bytes / 2**30, plan.verdict, plan=plan)
