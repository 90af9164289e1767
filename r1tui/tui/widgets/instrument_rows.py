"""What the instruments show, as groups of rows: a pure function of the figures, the room and the theme's ink."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.text import duration, rough
from r1tui.tui.widgets.figures import SPAN, Figures
from r1tui.tui.widgets.gauges import Ink, elided, one_line, sides
from r1tui.tui.widgets.instrument_sheet import LABEL, WIDE, Group, Sheet
from r1tui.tui.widgets.quantities import alarm, gib, of_gib, per_second, percent, seconds, share_of, tps, whole_gib

if TYPE_CHECKING:
    from r1tui.machine.nvml import GpuUse
    from r1tui.messages import PlanSummary, Status

TALL = (5, 4, 3, 2)
"""Rows of a course beside the chat, where there is room: more would be all that is seen."""
OVER_PLAN_BYTES = 1 << 29
"""What a GPU may hold beyond the plan before it is marked: CUDA's own context, and some luck."""
LITTLE_BYTES_PER_S = 16 << 20
"""What is read now and then anyway, and is not to look like much."""
STATE_STYLES = {
    "ready": "$success", "sleeping": "$secondary", "starting": "$warning", "loading": "$warning",
    "restarting": "$warning", "stopping": "$warning", "failed": "$error", "hangs": "$error",
}  # fmt: skip


def groups(figures: Figures, sheet: Sheet) -> list[Group]:
    """All groups that have something to say: server, answer, one for each GPU, machine, llama-server's process."""
    sections = [_server(figures, sheet), _answer(figures, sheet), *_gpus(figures, sheet), _machine(figures, sheet)]
    facts = _facts(figures, sheet) if sheet.facts else []
    return [group for group in (*sections, _process(figures, sheet), facts) if group]


def panel(figures: Figures, width: int, height: int, ink: Ink) -> Group:
    """The panel beside the chat, with as much of everything as there is room for."""
    rows: Group = []
    for spaced, sheet in _sheets(width, ink):
        rows = stacked(groups(figures, sheet), spaced=spaced)
        if len(rows) <= height:
            break
    return rows[:height]


def _sheets(width: int, ink: Ink) -> Iterator[tuple[bool, Sheet]]:
    """From most to least; only a wide panel has tall courses and facts."""
    if width >= WIDE:
        yield from ((True, Sheet(width, ink, tall=tall, facts=True)) for tall in TALL)
        yield True, Sheet(width, ink, tall=2)
        yield True, Sheet(width, ink, facts=True)
    yield from less(Sheet(width, ink))


def less(sheet: Sheet) -> Iterator[tuple[bool, Sheet]]:
    """With little room there are first no empty rows, then no courses, then no details of GPUs."""
    yield True, sheet
    if sheet.width >= WIDE:
        yield True, replace(sheet, joined=True)
    yield from ((spaced, replace(sheet, detail=detail)) for spaced, detail in ((False, 2), (True, 1), (False, 1)))
    yield False, replace(sheet, detail=0, facts=False)


def stacked(sections: Sequence[Group], *, spaced: bool) -> Group:
    """The groups one below the other."""
    rows: Group = []
    for group in sections:
        if rows and spaced:
            rows.append(Content(""))
        rows += group
    return rows


def state(figures: Figures) -> Content:
    """What the server is doing, and which model it has."""
    status = figures.status
    if status is None:
        return Content("● no server")
    word = "hangs" if status.hangs else status.state
    style = STATE_STYLES.get(word, "")
    name = one_line(status.variant or "")
    return Content.assemble(("●", style), " ", (word, f"bold {style}".strip()), f" {name}" if name else "")


def _server(figures: Figures, sheet: Sheet) -> Group:
    status = figures.status
    uptime = duration(figures.uptime_s) if figures.uptime_s is not None else ""
    rows = [sides(state(figures), Content.styled(uptime, sheet.ink.muted), sheet.width)]
    if figures.slow_link:
        rows.append(Content.styled("slow link: drawn seldom", sheet.ink.muted))
    if status is not None and status.restarts:
        times = "once" if status.restarts == 1 else f"{status.restarts} times"
        rows.append(Content.styled(f"restarted {times}", "$warning"))
    return rows + (sheet.words(figures.plan.placement) if figures.plan else [])


def _answer(figures: Figures, sheet: Sheet) -> Group:
    speed = figures.speed
    used, size = figures.context_used, figures.context_size
    share = share_of(used, size)
    context = " / ".join(["–" if used is None else f"{used:,}", *([f"{size:,}"] if size else [])])
    reused = "–" if speed.reused is None else " / ".join(f"{tokens:,}" for tokens in speed.reused)
    return [
        sheet.row("answer", "" if speed.now_tps is None else _rate(speed.now_tps), value_style=sheet.ink.strong),
        *sheet.chart(speed.history, style="$accent"),
        *sheet.beside(
            ("average", _rate(speed.average_tps), ""),
            ("prompt", _rate(speed.prompt_tps), ""),
            ("first token", "–" if speed.first_token_s is None else seconds(speed.first_token_s), ""),
        ),
        *([sheet.row("prompt reused", reused)] if sheet.detail >= 2 else []),
        sheet.row("context", context, sheet.bar(share, alarm(share, "$accent"))),
    ]


def _rate(tokens_per_s: float | None) -> str:
    return "–" if tokens_per_s is None else f"{tps(tokens_per_s)} tok/s"


def _gpus(figures: Figures, sheet: Sheet) -> list[Group]:
    sample = figures.sample
    if sample is None:
        return []
    if sample.gpus is None:  # a GPU that was there and is not any more is news, that there is none is not
        lost = sample.gpus_age_s is not None
        return [[Content.styled(one_line(sample.gpus_reason or ""), "$warning") if lost else Content("no GPU")]]
    cards = [_gpu(figures, gpu, sheet) for gpu in sample.gpus]
    return cards if sheet.detail and not sheet.joined else [[row for card in cards for row in card]]


def _gpu(figures: Figures, gpu: GpuUse, sheet: Sheet) -> Group:
    ink, share = sheet.ink, share_of(gpu.used_bytes, gpu.total_bytes)
    if gpu.problem:
        return [Content.assemble(f"GPU {gpu.index}", (f"  {one_line(gpu.problem)}", "$error"))]
    if not sheet.detail:
        words = f"{whole_gib(gpu.used_bytes, gpu.total_bytes)} {percent(gpu.busy_percent)}"
        return [sheet.row(f"GPU {gpu.index}", words, sheet.bar(share))]
    memory, use = (figures.courses[f"gpu {gpu.index} {name}"].means for name in ("memory", "use"))
    own = share_of(gpu.own_bytes, gpu.total_bytes)
    gauge = sheet.bar(share) if own is None or share is None else sheet.split(own, share - own)
    amount, busy = of_gib(gpu.used_bytes, gpu.total_bytes), _hundredth(gpu.busy_percent)
    return [
        Content.assemble((f"GPU {gpu.index}", ink.strong), (f"  {one_line(gpu.name)}", ink.muted)),
        *sheet.course("memory", amount, gauge, memory, top=gpu.total_bytes, minor=True),
        *_against_the_plan(figures, gpu, sheet),
        *sheet.course("use", _gpu_words(gpu), sheet.bar(busy, "$secondary"), use, top=100, style="$secondary"),
    ]


def _against_the_plan(figures: Figures, gpu: GpuUse, sheet: Sheet) -> Group:
    """Who holds what of the GPU's memory, and what the plan had meant."""
    planned, own = figures.planned_bytes(gpu), gpu.own_bytes
    meant = "" if planned is None else f"{gib(planned)} GiB planned"
    if gpu.total_bytes is None or gpu.used_bytes is None:
        return [sheet.row("", meant)] if meant else []
    free = f"{gib(gpu.total_bytes - gpu.used_bytes)} free"
    if own is None:
        return [sheet.row("", f"{meant}, {free}" if meant else free)]
    over = planned is not None and own > planned + OVER_PLAN_BYTES
    ours = f"{gib(own)} of {meant}" if meant else f"{gib(own)} GiB"
    others = f"{gib(max(gpu.used_bytes - own, 0))} GiB, {free}"
    return sheet.beside(("ours", ours, "$warning" if over else ""), ("others", others, ""))


def _machine(figures: Figures, sheet: Sheet) -> Group:
    sample = figures.sample
    if sample is None:
        return []
    used, total = sample.memory_used_bytes, sample.memory_total_bytes
    share, cpu = share_of(used, total), sheet.bar(_hundredth(sample.cpu_percent), "$secondary")
    style, courses = alarm(share, "$primary"), figures.courses
    memory = sheet.bar(share, style)
    span = f"the last {duration(sheet.width * SPAN)}" if sheet.tall else ""
    rows = [
        sides(Content.styled("Machine", sheet.ink.strong), Content.styled(span, sheet.ink.muted), sheet.width),
        *sheet.course(
            "memory", of_gib(used, total), memory, courses["memory"].means, top=total, style=style, minor=True
        ),
        sheet.row("page cache", f"{gib(sample.page_cache_bytes)} GiB"),
        *sheet.course("CPU", percent(sample.cpu_percent), cpu, courses["cpu"].means, top=100, style="$secondary"),
    ]
    if sample.server is None or sample.server.read_bytes_per_s is None:
        rows += _disk(figures, sheet)
    return rows


def _process(figures: Figures, sheet: Sheet) -> Group:
    sample = figures.sample
    server = sample.server if sample else None
    if sample is None or server is None:
        return []
    share, mapped = share_of(server.rss_bytes, sample.memory_total_bytes), server.mapped_bytes
    rows = [
        Content.styled("llama-server", sheet.ink.strong),
        sheet.row("memory", f"{gib(server.rss_bytes)} GiB", sheet.bar(share)),
    ]
    if server.anonymous_bytes is not None and mapped is not None:
        kinds = f"{gib(mapped)} mapped, {gib(server.anonymous_bytes)} own"
        rows.append(sheet.row("", kinds, value_style=sheet.ink.muted))
    if mapped is not None and (whole := figures.mapped_weights_bytes):
        here = min(mapped, whole)
        rows.append(sheet.row("model", of_gib(here, whole), sheet.bar(here / whole, "$success")))
        if sheet.detail >= 2:
            part = "of its part on the CPU" if sample.gpus else "of it"
            rows.append(sheet.row("", f"{part} in memory", value_style=sheet.ink.muted))
    cpu, course = sheet.bar(_hundredth(server.cpu_percent), "$secondary"), figures.courses["server cpu"].means
    rows += sheet.course("CPU", percent(server.cpu_percent), cpu, course, top=100, style="$secondary", minor=True)
    return rows + (_disk(figures, sheet) if server.read_bytes_per_s is not None else [])


def _disk(figures: Figures, sheet: Sheet) -> Group:
    """The rate of reading; its course where anything was read."""
    rate = figures.disk_bytes_per_s
    if rate is None:
        return []
    course = figures.courses["disk"].means
    top = max([LITTLE_BYTES_PER_S, *course])
    return sheet.course("disk", per_second(rate), None, course if any(course) else (), top=top, style="$accent")


def _hundredth(value: float | None) -> float | None:
    return None if value is None else value / 100


def _gpu_words(gpu: GpuUse) -> str:
    parts = [
        percent(gpu.busy_percent),
        "" if gpu.temperature_c is None else f"{gpu.temperature_c}°C",
        "" if gpu.power_w is None else f"{gpu.power_w:3.0f} W",
    ]
    return " ".join(part for part in parts if part)


def _facts(figures: Figures, sheet: Sheet) -> Group:
    """What the server was started with, and why it was started again."""
    status = figures.status
    if status is None:
        return []
    rows = [Content.styled("Plan", sheet.ink.strong)] if figures.plan else []
    said = [(label, value, "") for label, value in _plan_rows(figures.plan) if value] if figures.plan else []
    rows += [row for at in range(0, len(said), 2) for row in sheet.beside(*said[at : at + 2])]
    rows += [
        sheet.row(label, elided(one_line(value), sheet.width - LABEL - 2))
        for label, value in _server_rows(status)
        if value
    ]
    for ending in status.endings[-3:]:
        rows += sheet.words(f"{ending.cause} {ending.next}", 3)
    return rows


def _plan_rows(plan: PlanSummary) -> list[tuple[str, str]]:
    caches = (plan.cache_type_k, plan.cache_type_v)
    speeds = (("prompt", plan.tps.prompt), ("answer", plan.tps.answer))
    return [
        ("verdict", one_line(plan.verdict)),
        ("KV cache", one_line(f"K {caches[0]}, V {caches[1]}") if all(caches) else ""),
        ("threads", str(plan.threads or "")),
        ("prompt batch", str(plan.ubatch_size or "")),
        *((kind, f"{rough(*tps)} tok/s") for kind, tps in speeds if any(tps)),
    ]


def _server_rows(status: Status) -> list[tuple[str, str]]:
    pids = [f"{pid} {name}" for pid, name in ((status.pid, "server"), (status.supervisor_pid, "supervisor")) if pid]
    return [
        ("processes", ", ".join(pids)),
        ("model file", status.model or ""),
        ("endpoint", status.endpoint or ""),
        ("port", status.tcp or ""),
        ("log", status.log or ""),
    ]
