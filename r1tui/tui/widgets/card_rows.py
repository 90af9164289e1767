"""Rows of the instruments for the cards: the memory of all of them, and each card's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.text import size
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import Ink, one_line, stacked_bar
from r1tui.tui.widgets.instrument_layout import Curve, Group, InstrumentRow, bar_row, facts_row, stack_row, text_row
from r1tui.tui.widgets.quantities import beside, of_total, percent, whole_gib

if TYPE_CHECKING:
    from r1tui.machine.nvml import GpuUse

OURS, OTHERS = "$primary", "$secondary"
OVER_PLAN_BYTES = 1 << 29
"""What a GPU may hold beyond the plan before it is marked: CUDA's own context, and some luck."""


def vram(figures: Figures, ink: Ink, *, is_wide: bool = False) -> Group:
    """All cards' memory: ours, others', free; and each card's where there are several without columns of their own."""
    sample = figures.sample
    if sample is None:
        return Group()
    if sample.awaits_gpus:
        return Group([text_row(0, Content.assemble(("VRAM", ink.strong), ("  asking the driver…", ink.muted)))])
    if sample.gpus is None:  # a GPU that was there and is not any more is news, that there is none is not
        lost = sample.gpus_age_s is not None
        said = Content.styled(one_line(sample.gpus_reason or ""), "$warning") if lost else Content("no GPU")
        return Group([text_row(0, said)], said if not lost else Content.styled("GPU lost", "$warning"))
    cards = [gpu for gpu in sample.gpus if not gpu.problem]
    problems = [
        text_row(0, Content.assemble(f"GPU {gpu.index}", (f"  {one_line(gpu.problem)}", "$error")))
        for gpu in sample.gpus
        if gpu.problem
    ]
    used, total = _sum([gpu.used_bytes for gpu in cards]), _sum([gpu.total_bytes for gpu in cards])
    names = {_short(gpu) for gpu in cards}
    name = ", ".join(sorted(names)) if len(cards) == 1 else f"{len(cards)} × {names.pop()}" if len(names) == 1 else ""
    head = Content.assemble(("VRAM", ink.strong), (f"  {name}" if name else f"  {len(cards)} GPUs", ink.muted))
    rows = [
        text_row(0, head, Content.styled(of_total(used, total), ink.strong)),
        *_stack(cards),
        *_shares(figures, cards),
    ]
    if len(cards) > 1 and not is_wide:
        for gpu in cards:
            label, amount = f"GPU {gpu.index}", of_total(gpu.used_bytes, gpu.total_bytes)
            rows += _stack([gpu], 1, label, amount) or [bar_row(1, label, amount, None)]
    gauge = Content("")
    if used is not None and total:
        gauge = stacked_bar(*_parts(cards, used, total), 6, ink) + " "
    return Group(rows + problems, Content.assemble("VRAM ", gauge, whole_gib(used, total)))


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _short(gpu: GpuUse) -> str:
    return one_line(gpu.name).removeprefix("NVIDIA ").removeprefix("GeForce ")


def _parts(cards: Sequence[GpuUse], used: int, total: int) -> tuple[tuple[float, str], tuple[float, str]]:
    """Shares of ours and of others; all is ours where the driver does not tell whose it is."""
    own = _sum([gpu.own_bytes for gpu in cards])
    ours = used if own is None else min(own, used)
    return (ours / total, OURS), ((used - ours) / total, OTHERS)


def _stack(cards: Sequence[GpuUse], rank: int = 0, label: str = "", value: str = "") -> list[InstrumentRow]:
    used, total = _sum([gpu.used_bytes for gpu in cards]), _sum([gpu.total_bytes for gpu in cards])
    return [stack_row(rank, *_parts(cards, used, total), label, value)] if used is not None and total else []


def _shares(figures: Figures, cards: Sequence[GpuUse], rank: int = 2) -> list[InstrumentRow]:
    """Who holds what of the cards' memory, and what the plan had meant."""
    planned, own = _sum([figures.planned_bytes(gpu) for gpu in cards]), _sum([gpu.own_bytes for gpu in cards])
    used, total = _sum([gpu.used_bytes for gpu in cards]), _sum([gpu.total_bytes for gpu in cards])
    left = None if used is None or total is None else total - used
    if own is None or used is None:
        plan = "" if planned is None else f"plan {size(planned)}"
        said = [plan, "" if left is None else f"{beside(plan, left)} free"]
        return [facts_row(rank, ("", ", ".join(filter(None, said)), ""))] if any(said) else []
    over = planned is not None and own > planned + OVER_PLAN_BYTES * len(cards)
    ours, others = size(own), size(max(used - own, 0))
    ours += "" if planned is None else f", plan {beside(ours, planned)}"
    others += "" if left is None else f", {beside(others, left)} free"
    return [
        facts_row(
            rank,
            (Content.assemble(("█", OURS), " ours"), ours, "$warning" if over else ""),
            (Content.assemble(("▒", OTHERS), " others"), others, ""),
        )
    ]


def card(figures: Figures, gpu: GpuUse, ink: Ink, *, is_only: bool) -> Group:
    """One of the columns of cards."""
    name = Content.assemble((f"GPU {gpu.index}", ink.strong), (f"  {_short(gpu)}", ink.muted))
    if gpu.problem:
        return Group([text_row(0, name), text_row(0, Content.styled(one_line(gpu.problem), "$error"))])
    use = figures.courses[f"gpu {gpu.index}"].means
    memory = [*_stack([gpu], 1), *_shares(figures, [gpu], 6)]
    amount = Content("") if is_only else Content(of_total(gpu.used_bytes, gpu.total_bytes))
    return Group(
        [
            text_row(0, name, amount),
            *([] if is_only else memory),
            text_row(2, Content.styled("use", ink.muted), Content(work(gpu))),
            Curve(4, use, 100, OURS),
            *_clocks(gpu, ink),
        ]
    )


def _clocks(gpu: GpuUse, ink: Ink) -> list[InstrumentRow]:
    """Clocks, link and fan, quietly."""
    link = "" if gpu.pcie_link is None else "gen {} × {}".format(*gpu.pcie_link)
    facts = (
        ("clock", "" if gpu.clock_mhz is None else f"{gpu.clock_mhz:,} MHz"),
        ("memory clock", "" if gpu.memory_clock_mhz is None else f"{gpu.memory_clock_mhz:,} MHz"),
        ("PCIe", link),
        ("fan", percent(gpu.fan_percent) if gpu.fan_percent is not None else ""),
    )
    said = [(label, value, ink.muted) for label, value in facts if value]
    return [facts_row(7, *said)] if said else []


def work(gpu: GpuUse) -> str:
    """Its use, power and temperature."""
    parts = [
        percent(gpu.busy_percent),
        "" if gpu.power_w is None else f"{gpu.power_w:3.0f} W",
        "" if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
    ]
    return " ".join(part for part in parts if part)
