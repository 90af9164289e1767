"""What the instruments show, as groups of rows: a pure function of the figures, the room and the theme's ink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.text import duration, plan_in_words
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import Ink, bar, one_line, sides, sparkline, split_bar
from r1tui.tui.widgets.quantities import alarm, gib, of_gib, per_second, percent, seconds, share_of, tps, whole_gib

if TYPE_CHECKING:
    from r1tui.nvml import GpuUse

LABEL, VALUE = 9, 16
WIDE = 56
"""From here on a row has room for its figure's course beside the bar."""
OVER_PLAN_BYTES = 1 << 29
"""What a GPU may hold beyond the plan before it is marked: CUDA's own context, and some luck."""
LITTLE_BYTES_PER_S = 16 << 20
"""What is read now and then anyway, and is not to look like much."""
STATE_STYLES = {
    "ready": "$success", "sleeping": "$secondary", "starting": "$warning", "loading": "$warning",
    "restarting": "$warning", "stopping": "$warning", "failed": "$error", "hangs": "$error",
}  # fmt: skip

Group = list[Content]


@dataclass(frozen=True)
class Sheet:
    """What the rows are written on: how wide, in which ink, and in how much detail (0, the gist, to 2)."""

    width: int
    ink: Ink
    detail: int = 2

    @property
    def _bar_width(self) -> int:
        room = self.width - LABEL - VALUE - 1
        return room if self.width < WIDE else room // 2

    def bar(self, share: float | None, style: str = "$primary") -> Content | None:
        """A bar as long as all others of this sheet; None where there is no share."""
        return None if share is None else bar(share, self._bar_width, self.ink, style)

    def split(self, ours: float, others: float) -> Content:
        """The same of two shares."""
        return split_bar(ours, others, self._bar_width, self.ink)

    def row(self, label: str, value: str, gauge: Content | None = None, value_style: str = "") -> Content:
        """Label, a gauge where there is one, and the value at the right; the columns stay where they are."""
        shown = Content.styled(value, value_style)
        if gauge is None:
            return sides(Content.styled(label, self.ink.muted), shown, self.width)
        return sides(Content.assemble((label.ljust(LABEL), self.ink.muted), gauge), shown, self.width)

    def course(
        self,
        label: str,
        value: str,
        gauge: Content | None,
        course: Sequence[float],
        *,
        top: float | None = None,
        style: str = "$primary",
    ) -> Group:
        """A row with the figure's course, up to `top`: beside the bar, or below it where that is too narrow."""
        if self.width >= WIDE:
            room = self.width - LABEL - VALUE - 2 - self._bar_width
            line = Content.styled(sparkline(course, room, top), style)
            left = Content(" " * self._bar_width) if gauge is None else gauge
            return [self.row(label, value, Content(" ").join([left, line]))]
        row = self.row(label, value, gauge)
        if self.detail < 2 or not course:
            return [row]
        return [row, Content.styled(sparkline(course, self.width, top), style)]

    def words(self, text: str, most_rows: int = 2) -> Group:
        """Muted words, wrapped."""
        return list(Content.styled(one_line(text), self.ink.muted).wrap(self.width)[:most_rows]) if text else []


def groups(figures: Figures, sheet: Sheet) -> list[Group]:
    """All groups that have something to say: server, answer, one for each GPU, machine, llama-server's process."""
    sections = [_server(figures, sheet), _answer(figures, sheet), *_gpus(figures, sheet)]
    return [group for group in (*sections, _machine(figures, sheet), _process(figures, sheet)) if group]


def panel(figures: Figures, width: int, height: int, ink: Ink) -> Group:
    """The panel beside the chat; with little room it loses first its empty rows, then courses, then details of GPUs."""
    rows: Group = []
    for spaced, detail in ((True, 2), (False, 2), (True, 1), (False, 1), (False, 0)):
        rows = stacked(groups(figures, Sheet(width, ink, detail)), spaced=spaced)
        if len(rows) <= height:
            break
    return rows[:height]


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
    uptime = duration(status.uptime_s) if status and status.uptime_s is not None else ""
    rows = [sides(state(figures), Content.styled(uptime, sheet.ink.muted), sheet.width)]
    if status is not None and status.restarts:
        times = "once" if status.restarts == 1 else f"{status.restarts} times"
        rows.append(Content.styled(f"restarted {times}", "$warning"))
    return rows + (sheet.words(plan_in_words(figures.plan)) if figures.plan else [])


def _answer(figures: Figures, sheet: Sheet) -> Group:
    speed = figures.speed
    used, size = speed.context_used, figures.context_size
    share = share_of(used, size)
    context = " / ".join(["–" if used is None else f"{used:,}", *([f"{size:,}"] if size else [])])
    return [
        sheet.row("answer", "" if speed.now_tps is None else _rate(speed.now_tps), value_style=sheet.ink.strong),
        Content.styled(sparkline(speed.history, sheet.width), "$accent"),
        sheet.row("average", _rate(speed.average_tps)),
        sheet.row("prompt", _rate(speed.prompt_tps)),
        sheet.row("first token", "–" if speed.first_token_s is None else seconds(speed.first_token_s)),
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
    return cards if sheet.detail else [[row for card in cards for row in card]]


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
        *sheet.course("memory", amount, gauge, memory if sheet.width >= WIDE else (), top=gpu.total_bytes),
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
    return [
        sheet.row("ours", ours, value_style="$warning" if over else ""),
        sheet.row("others", f"{gib(max(gpu.used_bytes - own, 0))} GiB, {free}"),
    ]


def _machine(figures: Figures, sheet: Sheet) -> Group:
    sample = figures.sample
    if sample is None:
        return []
    used, total = sample.memory_used_bytes, sample.memory_total_bytes
    share, courses = share_of(used, total), figures.courses
    style, course = alarm(share, "$primary"), courses["memory"].means if sheet.width >= WIDE else ()
    cpu = sheet.bar(_hundredth(sample.cpu_percent), "$secondary")
    rows = [
        Content.styled("Machine", sheet.ink.strong),
        *sheet.course("memory", of_gib(used, total), sheet.bar(share, style), course, top=total, style=style),
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
    course = figures.courses["server cpu"].means if sheet.width >= WIDE else ()
    cpu = sheet.bar(_hundredth(server.cpu_percent), "$secondary")
    rows += sheet.course("CPU", percent(server.cpu_percent), cpu, course, top=100, style="$secondary")
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
