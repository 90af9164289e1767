"""`r1tui plan --compare`: all variants and strategies for this machine in one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.cli.context import format_table
from r1tui.config import Config, Strategy
from r1tui.errors import R1tuiError
from r1tui.messages import NO_SPEED, Range
from r1tui.plan import Plan, PlanRequest, make_plan
from r1tui.planning.kept import AUTO, ModelSettings
from r1tui.planning.overrides import for_variant
from r1tui.planning.sketched import plan_sketched, sketch_of
from r1tui.planning.subject import find_subject
from r1tui.system.paths import Paths
from r1tui.text import rough, size

STRATEGIES: tuple[Strategy, ...] = ("experts", "layers", "rule")


@dataclass(frozen=True)
class ComparedPlan:
    """One variant by one strategy; without a plan where nothing is known of the model, and then `problem` says why."""

    variant: Variant
    strategy: str
    plan: Plan | None
    problem: str = ""
    sketched: bool = False
    """True if it is planned by its size, without its header."""

    def to_json(self, price_per_hour: float | None = None) -> dict[str, Any]:
        """An element of `plan --compare --json`."""
        figures = msgspec.to_builtins(self.plan.summary(self.variant.name)) if self.plan else {}
        row: dict[str, Any] = {
            "variant": self.variant.name,
            "strategy": self.strategy,
            "verdict": self.plan.verdict if self.plan else "?",
            "problem": self.problem,
        }
        row |= {key: value for key, value in figures.items() if key not in ("model", "argv")}
        row["cost_per_1000_tokens"] = cost_of(self.plan, price_per_hour)
        return row | ({"source": "size"} if self.sketched else {})


def cost_of(plan: Plan | None, price_per_hour: float | None) -> Range | None:
    """Of 1,000 tokens of answers, in the price's currency; None without a price or a known speed."""
    low, high = plan.speed.answer if plan else NO_SPEED.answer
    if price_per_hour is None or not low:
        return None
    return Range(*(float(f"{price_per_hour / 3600 * 1000 / tps:.2g}") for tps in (high, low)))


def compare(
    variants: Iterable[Variant], request: PlanRequest, config: Config, paths: Paths, given: ModelSettings
) -> list[ComparedPlan]:
    """A row for each variant and strategy that makes a difference; asks no network. Settings kept for a model, which
    would make the strategies alike, do not count."""
    rows: list[ComparedPlan] = []
    for variant in variants:
        try:
            subject = find_subject(variant, paths, config)
        except R1tuiError as error:
            rows.append(ComparedPlan(variant, "", None, error.cause))
            continue
        header = subject.header if subject else sketch_of(variant, paths)
        if header is None:
            rows.append(ComparedPlan(variant, "", None, UNKNOWN))
            continue
        all_of_them = STRATEGIES if header.n_experts else STRATEGIES[1:]
        wanted = (request.settings.strategy,) if request.settings.strategy != "auto" else all_of_them
        ruled = for_variant(request, config, variant, AUTO, given)
        for strategy in wanted if request.devices else ("auto",):
            asked = replace(ruled, settings=msgspec.structs.replace(ruled.settings, strategy=strategy))
            made = make_plan(header, asked) if subject else plan_sketched(header, variant, asked)
            rows.append(ComparedPlan(variant, strategy, made, sketched=subject is None))
    return rows


UNKNOWN = "size unknown; `r1tui variants --refresh` asks the hub"


def compared(rows: Sequence[ComparedPlan], price_per_hour: float | None = None) -> list[str]:
    """The rows as a table for a person, with what answers cost where an hour has a price."""
    table = [
        ("variant", "strategy", "verdict", "layers", "experts on CPU", "context", "GPU", "host", "tokens/s", "prompt"),
        *(_cells(row) for row in rows),
    ]
    if price_per_hour is not None:
        costs = [cost_of(row.plan, price_per_hour) for row in rows]
        column = ["1,000 tokens cost", *(rough(*cost) if cost else "unknown" for cost in costs)]
        table = [(*cells, cost) for cells, cost in zip(table, column, strict=True)]
    lines = format_table(table)
    if any(row.sketched for row in rows):
        lines.append(
            "~: estimated from size and published dimensions; `r1tui plan VARIANT` reads the model's header (a few MB)."
        )
    return lines


def _cells(row: ComparedPlan) -> tuple[str, ...]:
    plan = row.plan
    if plan is None:
        return (row.variant.name, row.strategy, "?", *("",) * 6, row.problem)
    return (
        row.variant.name,
        row.strategy,
        f"~{plan.verdict}" if row.sketched else plan.verdict,
        str(plan.n_gpu_layers or 0),
        str(plan.n_cpu_moe or 0),
        f"{plan.ctx_size:,}",
        size(plan.on_devices_mib * 2**20),
        size(plan.in_ram_mib * 2**20) + (f" + {size(plan.disk_mib * 2**20)} on disk" if plan.disk_mib else ""),
        _speed(plan, plan.speed.answer),
        _speed(plan, plan.speed.prompt),
    )


def _speed(plan: Plan, tps: Range) -> str:
    """Tokens per second; a dash for what cannot start."""
    return "-" if not plan.can_start else rough(*tps) if any(tps) else "unknown"
