"""`r1tui plan --compare`: all variants and strategies for this machine in one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.cli.context import format_table
from r1tui.config import Config, Strategy
from r1tui.errors import R1tuiError
from r1tui.plan import Plan, PlanRequest, is_known, make_plan, verdict_by_size
from r1tui.planning.overrides import for_variant
from r1tui.planning.subject import find_subject
from r1tui.system.paths import Paths
from r1tui.text import rough

STRATEGIES: tuple[Strategy, ...] = ("experts", "layers", "rule")


@dataclass(frozen=True)
class ComparedPlan:
    """One variant by one strategy; without a plan where only the model's size is known."""

    variant: Variant
    strategy: str
    plan: Plan | None
    verdict: str
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """An element of `plan --compare --json`."""
        figures = msgspec.to_builtins(self.plan.summary(self.variant.name)) if self.plan else {}
        row = {
            "variant": self.variant.name,
            "strategy": self.strategy,
            "verdict": self.verdict,
            "problem": self.problem,
        }
        return row | {key: value for key, value in figures.items() if key not in ("model", "argv")}


def compare(variants: Iterable[Variant], request: PlanRequest, config: Config, paths: Paths) -> list[ComparedPlan]:
    """A row for each variant and strategy that makes a difference; asks no network."""
    rows: list[ComparedPlan] = []
    for variant in variants:
        try:
            subject = find_subject(variant, paths, config)
        except R1tuiError as error:
            rows.append(ComparedPlan(variant, "", None, "?", error.cause))
            continue
        if subject is None or not is_known(subject.header):
            guess = verdict_by_size(variant.size_gib, request) if variant.size_gib is not None else "?"
            rows.append(ComparedPlan(variant, "", None, guess))
            continue
        all_of_them = STRATEGIES if subject.header.n_experts else STRATEGIES[1:]
        wanted = (request.settings.strategy,) if request.settings.strategy != "auto" else all_of_them
        ruled = for_variant(request, config, variant)
        for strategy in wanted if request.devices else ("auto",):
            settings = msgspec.structs.replace(request.settings, strategy=strategy)
            plan = make_plan(subject.header, replace(ruled, settings=settings))
            rows.append(ComparedPlan(variant, strategy, plan, plan.verdict))
    return rows


def compared(rows: Sequence[ComparedPlan]) -> list[str]:
    header = ("variant", "strategy", "verdict", "layers", "experts on CPU", "context", "GPU", "host", "tokens/s")
    table = [header, *(_cells(row) for row in rows)]
    lines = format_table(table)
    if any(row.plan is None and not row.problem for row in rows):
        lines.append("~: by its size alone; `r1tui plan VARIANT` fetches the header of one that is not here, a few MB.")
    return lines


def _cells(row: ComparedPlan) -> tuple[str, ...]:
    plan = row.plan
    if plan is None:
        return (row.variant.name, row.strategy, f"~{row.verdict}", *("",) * 5, row.problem)
    return (
        row.variant.name,
        row.strategy,
        row.verdict,
        str(plan.n_gpu_layers or 0),
        str(plan.n_cpu_moe or 0),
        f"{plan.ctx_size:,}",
        f"{plan.on_devices_mib / 1024:.1f} GiB",
        f"{plan.host.planned_mib / 1024:.1f} GiB",
        rough(*plan.speed.answer) if plan.can_start else "",
    )
