"""What the instruments show, as rows of text: a pure function of the figures, the room and the theme's ink."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.text import duration, plan_in_words
from r1tui.tui.widgets.gauges import Ink, bar, one_line, sides, sparkline
from r1tui.tui.widgets.speed import SpeedMeter

if TYPE_CHECKING:
    from r1tui.keeper.state import Status
    from r1tui.nvml import GpuUse
    from r1tui.telemetry import Sample

GIB = 1 << 30
LABEL, VALUE = 9, 16
NEARLY_FULL, FULL = 0.9, 0.97
STATE_STYLES = {
    "ready": "$success", "sleeping": "$secondary", "starting": "$warning", "loading": "$warning",
    "restarting": "$warning", "stopping": "$warning", "failed": "$error", "hangs": "$error",
}  # fmt: skip


@dataclass
class Figures:
    """Everything that the instruments know."""

    sample: Sample | None = None
    status: Status | None = None
    speed: SpeedMeter = field(default_factory=SpeedMeter)
    context_size: int | None = None


def panel(figures: Figures, width: int, height: int, ink: Ink) -> list[Content]:
    """The panel beside the chat; with little room it loses first its empty rows, then the details of the GPUs."""
    for spaced, detailed in ((True, True), (False, True), (False, False)):
        groups = [_server(figures, width, ink), _speed(figures, width, ink), _gpus(figures, width, ink, detailed)]
        groups += [_machine(figures, width, ink), _process(figures, width, ink)]
        rows: list[Content] = []
        for group in groups:
            if rows and group and spaced:
                rows.append(Content(""))
            rows += group
        if len(rows) <= height:
            break
    return rows[:height]


def line(figures: Figures, width: int, ink: Ink) -> Content:
    """All on one line; what matters least goes first where it is too long."""
    speed = figures.speed
    tps = speed.average_tps if speed.now_tps is None else speed.now_tps
    parts = [_state(figures)]
    if tps is not None:
        parts.append(Content.assemble(f"{_tps(tps):>5} tok/s ", (sparkline(speed.history, 6), "$accent")))
    if speed.context_used is not None:
        share = _share(speed.context_used, figures.context_size)
        used = f"{speed.context_used:,}" if share is None else f"{share:3.0%}"
        parts.append(Content.styled(f"context {used}", _alarm(share, "")))
    if figures.sample is not None:
        sample = figures.sample
        parts.append(Content(_gpu_line(sample)))
        memory = sample.memory_used_bytes, sample.memory_total_bytes
        parts.append(Content.styled(f"memory {_whole_gib(*memory)}", _alarm(_share(*memory), "")))
        if sample.cpu_percent is not None:
            parts.append(Content(f"CPU {sample.cpu_percent:3.0f} %"))
    separator = Content.styled(" │ ", ink.muted)
    shown = parts[0].truncate(width, ellipsis=True)
    for part in parts[1:]:
        longer = Content("").join([shown, separator, part])
        if longer.cell_length <= width:
            shown = longer
    return shown


def _state(figures: Figures) -> Content:
    status = figures.status
    if status is None:
        return Content("● no server")
    state = "hangs" if status.hangs else status.state
    style = STATE_STYLES.get(state, "")
    name = one_line(status.variant or "")
    return Content.assemble(("●", style), " ", (state, f"bold {style}".strip()), f" {name}" if name else "")


def _server(figures: Figures, width: int, ink: Ink) -> list[Content]:
    status = figures.status
    uptime = duration(status.uptime_s) if status and status.uptime_s is not None else ""
    rows = [sides(_state(figures), Content.styled(uptime, ink.muted), width)]
    if status is not None and status.restarts:
        times = "once" if status.restarts == 1 else f"{status.restarts} times"
        rows.append(Content.styled(f"restarted {times}", "$warning"))
    if status is not None and status.plan:
        rows += Content.styled(one_line(plan_in_words(status.plan)), ink.muted).wrap(width)[:2]
    return rows


def _speed(figures: Figures, width: int, ink: Ink) -> list[Content]:
    speed = figures.speed
    used, size = speed.context_used, figures.context_size
    share = _share(used, size)
    context = "–" if used is None else f"{used:,} / {size:,}" if size else f"{used:,}"
    if used is None and size:
        share, context = 0.0, f"0 / {size:,}"
    return [
        _row("answer", "" if speed.now_tps is None else f"{_tps(speed.now_tps)} tok/s", width, ink, strong=True),
        Content.styled(sparkline(speed.history, width), "$accent"),
        _row("average", "–" if speed.average_tps is None else f"{_tps(speed.average_tps)} tok/s", width, ink),
        _row("prompt", "–" if speed.prompt_tps is None else f"{_tps(speed.prompt_tps)} tok/s", width, ink),
        _row("context", context, width, ink, share=share, style=_alarm(share, "$accent")),
    ]


def _gpus(figures: Figures, width: int, ink: Ink, detailed: bool) -> list[Content]:
    sample = figures.sample
    if sample is None:
        return []
    if sample.gpus is None:  # a GPU that was there and is not any more is news, that there is none is not
        lost = sample.gpus_age_s is not None
        return [Content.styled(one_line(sample.gpus_reason or ""), "$warning") if lost else Content("no GPU")]
    rows = []
    for gpu in sample.gpus:
        share = _share(gpu.used_bytes, gpu.total_bytes)
        if gpu.problem:
            rows.append(Content.assemble(f"GPU {gpu.index}", (f"  {one_line(gpu.problem)}", "$error")))
        elif detailed:
            rows.append(Content.assemble((f"GPU {gpu.index}", ink.strong), (f"  {one_line(gpu.name)}", ink.muted)))
            rows.append(_row("memory", _of_gib(gpu.used_bytes, gpu.total_bytes), width, ink, share=share))
            busy = None if gpu.busy_percent is None else gpu.busy_percent / 100
            rows.append(_row("use", _gpu_words(gpu), width, ink, share=busy, style="$secondary"))
        else:
            words = f"{_whole_gib(gpu.used_bytes, gpu.total_bytes)} {_percent(gpu.busy_percent)}"
            rows.append(_row(f"GPU {gpu.index}", words, width, ink, share=share))
    return rows


def _machine(figures: Figures, width: int, ink: Ink) -> list[Content]:
    sample = figures.sample
    if sample is None:
        return []
    used, total = sample.memory_used_bytes, sample.memory_total_bytes
    share = _share(used, total)
    cpu = None if sample.cpu_percent is None else sample.cpu_percent / 100
    return [
        Content.styled("Machine", ink.strong),
        _row("memory", _of_gib(used, total), width, ink, share=share, style=_alarm(share, "$primary")),
        _row("cache", f"{_gib(sample.page_cache_bytes)} GiB", width, ink),
        _row("CPU", _percent(sample.cpu_percent), width, ink, share=cpu, style="$secondary"),
    ]


def _process(figures: Figures, width: int, ink: Ink) -> list[Content]:
    sample = figures.sample
    server = sample.server if sample else None
    if sample is None or server is None:
        return []
    share = _share(server.rss_bytes, sample.memory_total_bytes)
    rows = [
        Content.styled("llama-server", ink.strong),
        _row("memory", f"{_gib(server.rss_bytes)} GiB", width, ink, share=share),
    ]
    if server.anonymous_bytes is not None and server.mapped_bytes is not None:
        kinds = f"{_gib(server.mapped_bytes)} mapped, {_gib(server.anonymous_bytes)} own"
        rows.append(_row("", kinds, width, ink, muted=True))
    cpu = None if server.cpu_percent is None else server.cpu_percent / 100
    rows.append(_row("CPU", _percent(server.cpu_percent), width, ink, share=cpu, style="$secondary"))
    return rows


def _row(
    label: str,
    value: str,
    width: int,
    ink: Ink,
    *,
    share: float | None = None,
    style: str = "$primary",
    strong: bool = False,
    muted: bool = False,
) -> Content:
    """Label, a bar where there is a share, and the value at the right; the columns stay where they are."""
    shown = Content.styled(value, ink.strong if strong else ink.muted if muted else "")
    if share is None:
        return sides(Content.styled(label, ink.muted), shown, width)
    gauge = bar(share, width - LABEL - VALUE - 1, ink, style)
    return sides(Content.assemble((label.ljust(LABEL), ink.muted), gauge), shown, width)


def _gpu_line(sample: Sample) -> str:
    if not sample.gpus:
        return "no GPU"
    used = [gpu.used_bytes for gpu in sample.gpus if gpu.used_bytes is not None]
    total = [gpu.total_bytes for gpu in sample.gpus if gpu.total_bytes is not None]
    busy = [gpu.busy_percent for gpu in sample.gpus if gpu.busy_percent is not None]
    name = "GPU" if len(sample.gpus) == 1 else f"{len(sample.gpus)} GPUs"
    memory = _whole_gib(sum(used), sum(total)) if used and total else ""
    return " ".join(part for part in (name, memory, _percent(max(busy)) if busy else "") if part)


def _gpu_words(gpu: GpuUse) -> str:
    parts = [
        _percent(gpu.busy_percent),
        "" if gpu.temperature_c is None else f"{gpu.temperature_c}°C",
        "" if gpu.power_w is None else f"{gpu.power_w:3.0f} W",
    ]
    return " ".join(part for part in parts if part)


def _of_gib(used: int | None, total: int | None) -> str:
    return "–" if used is None or total is None else f"{_gib(used)} / {_gib(total)} GiB"


def _whole_gib(used: int | None, total: int | None) -> str:
    return "–" if used is None or total is None else f"{used / GIB:.0f}/{total / GIB:.0f} GiB"


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:.1f}"


def _tps(tps: float) -> str:
    return f"{tps:.2f}" if tps < 10 else f"{tps:.1f}" if tps < 100 else f"{tps:,.0f}"


def _percent(percent: float | None) -> str:
    return "–" if percent is None else f"{percent:3.0f} %"


def _share(used: int | None, total: int | None) -> float | None:
    return used / total if used is not None and total else None


def _alarm(share: float | None, style: str) -> str:
    """The style, or that of a warning where hardly anything is left."""
    if share is None or share < NEARLY_FULL:
        return style
    return "$warning" if share < FULL else "$error"
