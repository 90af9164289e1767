"""What the instruments show, as groups of rows: the same in the chat's first line, beside it, and on a whole screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.text import duration, rough, size
from r1tui.tui.widgets.card_rows import OURS, card, vram, work
from r1tui.tui.widgets.figures import SPAN, Figures
from r1tui.tui.widgets.gauges import Ink, curve, digits, one_line
from r1tui.tui.widgets.instrument_layout import (
    AXIS,
    COLUMN,
    EMPTY,
    Curve,
    Group,
    InstrumentRow,
    NamedCurve,
    Page,
    Row,
    bar_row,
    columns_of,
    facts_row,
    gists,
    levels_row,
    named_row,
    text_row,
    words_row,
)
from r1tui.tui.widgets.quantities import (
    alarm,
    beside,
    of_total,
    per_second,
    percent,
    round_top,
    seconds,
    share_of,
    tps,
    whole_gib,
)
from r1tui.tui.widgets.server_state import state

if TYPE_CHECKING:
    from r1tui.messages import PlanSummary, Status

SPEED = "$accent"
LITTLE_BYTES_PER_S = 16 << 20
"""What is read now and then anyway, and is not to look like much."""
TALL_ENOUGH, ROOMY = 36, 45
"""Rows of a screen where the machine stands beside the speed's curve, and where all does if there is one card."""
ANY_HEIGHT = 1 << 16
FEW = 2
"""Processes that are named beside the chat."""


def line(figures: Figures, width: int, ink: Ink) -> Content:
    """All on one line; what matters least goes first where it is too long."""
    return gists(
        [_server(figures, ink), vram(figures, ink), _speed(figures, ink), _answer(figures), *_machine(figures)], width
    )


def page(figures: Figures, width: int, height: int, ink: Ink) -> list[Content]:
    """All in rows: one column beside the chat, with cards and the rest in columns on a whole screen."""
    drawn = Page(width, ink)
    columns = columns_of(width)
    speed, answer = _speed(figures, ink), _answer(figures)
    cards = figures.sample.gpus or () if figures.sample else ()
    machine, held = _machine(figures, is_wide=columns > 1)[0], _processes(figures, ink, None if columns > 1 else FEW)
    rest = [machine, _process(figures, ink), held]
    if width > COLUMN:
        rest.append(_facts(figures, ink))
    drawn.add(_server(figures, ink))
    drawn.add(vram(figures, ink, is_wide=columns > 1))
    if columns == 1:
        uses = [
            NamedCurve(Curve(2, figures.courses[f"gpu {gpu.index}"].means, 100, OURS), f"GPU {gpu.index}", work(gpu))
            for gpu in cards
            if not gpu.problem
        ]
        for group in (Group([*speed.rows, *answer.rows]), Group([*uses, *rest[0].rows]), *rest[1:]):
            drawn.add(group)
        return drawn.fitted(height)
    number, course, axis = speed.rows
    groups = [card(figures, gpu, ink, is_only=len(cards) == 1) for gpu in cards]
    left, curves = [Group([number, *answer.rows])], [Group([course])]
    if height >= TALL_ENOUGH:
        left.append(rest.pop(0))
        if height >= ROOMY and len(cards) <= 1:  # the curves below each other, on one axis
            left, curves, groups, rest = [*left, *rest], [*curves, *groups], [], []
    drawn.add(_joined(*left), Group([*_joined(*curves).rows, axis]))
    if len(cards) == 1:
        groups, rest = [], groups + rest
    drawn.add(*groups)
    drawn.add(*rest)
    return drawn.fitted(height)


def _joined(first: Group, *more: Group) -> Group:
    """One group of all, with an empty row between two."""
    return Group([*first.rows, *(row for group in more if group.rows for row in (EMPTY, *group.rows))])


def _server(figures: Figures, ink: Ink) -> Group:
    status = figures.status
    uptime = duration(figures.uptime_s) if figures.uptime_s is not None else ""
    shown = state(figures)
    rows = [text_row(0, shown, Content.styled(uptime, ink.muted), is_whole=True)]
    if figures.slow_link:
        shown += Content.styled("  slow link", ink.muted)
        rows.append(text_row(1, Content.styled("slow link", ink.muted)))
    if status is not None and status.restarts:
        times = "once" if status.restarts == 1 else f"{status.restarts} times"
        rows.append(text_row(1, Content.styled(f"restarted {times}", "$warning")))
    if figures.plan:
        rows.append(words_row(3, one_line(figures.plan.placement)))
    return Group(rows, shown)


def _speed(figures: Figures, ink: Ink) -> Group:
    """Tokens per second, large, and their course."""
    speed, plan, values = figures.speed, figures.plan, figures.speed_course.means
    shown_tps = speed.average_tps if speed.now_tps is None else speed.now_tps
    number = "–" if shown_tps is None else tps(shown_tps)
    style = SPEED if speed.now_tps is not None else ink.muted
    expected = f"plan {rough(*plan.tps.answer)}" if plan and any(plan.tps.answer) else ""
    said = [
        Content.styled("tok/s", f"bold {SPEED}"),
        Content("" if speed.average_tps is None else f"average {tps(speed.average_tps)}"),
        Content.styled(expected, ink.muted),
    ]
    large = digits(number) if shown_tps is not None else ["   ", "╺━╸", "   "]
    drawn = values if any(values) else ()
    rows = [Content.assemble((figure, style), "   ", words) for figure, words in zip(large, said, strict=True)]
    top = round_top(max([shown_tps or 0.0, *figures.speed_course.peaks]))  # the axis holds what the headline says
    gist = None
    if shown_tps is not None:
        (course,) = curve(values, 4, 1, top, ink)
        gist = Content.assemble((f"{number:>5}", f"bold {style}"), " tok/s ", (course, SPEED))
    return Group([InstrumentRow(0, lambda _width, _ink: rows), Curve(4, drawn, top, SPEED), _time_axis()], gist)


def _time_axis() -> InstrumentRow:
    """How long ago the beginning of the curves is."""

    def draw(width: int, ink: Ink) -> list[Content]:
        ago = f"{duration((width - AXIS - 1) * ink.marks * SPAN)} ago "
        rule = "─" * (width - AXIS - len(ago) - 6)
        return [Content.assemble((ago, ink.muted), (rule, ink.quiet), (" now", ink.muted))]

    return InstrumentRow(6, draw)


def _answer(figures: Figures) -> Group:
    speed, used, most = figures.speed, figures.context_used, figures.context_size
    share = share_of(used, most)
    context = "–" if used is None else f"{used:,}"
    context += f" / {most:,}" if most else "" if used is None else f" token{'s' * (used != 1)}"
    reused = "–" if speed.reused is None else " / ".join(f"{tokens:,}" for tokens in speed.reused)
    rows = [
        facts_row(
            2,
            ("first token", "–" if speed.first_token_s is None else seconds(speed.first_token_s), ""),
            ("prompt", "–" if speed.prompt_tps is None else f"{tps(speed.prompt_tps)} tok/s", ""),
        ),
        facts_row(7, ("prompt reused", reused, "")),
        bar_row(1, "context", context, share, alarm(share, "$foreground")),
    ]
    if used is None or (share is None and not used):
        return Group(rows)
    gist = f"context {used:,} tokens" if share is None else f"context {percent(100 * share).strip()}"
    return Group(rows, Content.styled(gist, alarm(share, "")))


def _machine(figures: Figures, *, is_wide: bool = False) -> list[Group]:
    """CPU, memory and disk; on a whole screen each core too."""
    sample, courses = figures.sample, figures.courses
    if sample is None:
        return [Group()]
    used, total = sample.memory_used_bytes, sample.memory_total_bytes
    share = share_of(used, total)
    rows: list[Row] = [
        NamedCurve(Curve(3, courses["cpu"].means, 100), "CPU", percent(sample.cpu_percent)),
        bar_row(3, "memory", of_total(used, total), share, alarm(share, "")),
        bar_row(7, "page cache", size(sample.page_cache_bytes), None),
    ]
    if is_wide and sample.cores_percent:
        rows.append(levels_row(7, "cores", sample.cores_percent))
    if sample.server is None or sample.server.read_bytes_per_s is None:
        rows += _disk(figures)
    gist = Content.styled(f"memory {whole_gib(used, total)}", alarm(share, ""))
    busy = [] if sample.cpu_percent is None else [Group(gist=Content(f"CPU {percent(sample.cpu_percent)}"))]
    return [Group(rows, gist), *busy]


def _process(figures: Figures, ink: Ink) -> Group:
    sample = figures.sample
    server = sample.server if sample else None
    if sample is None or server is None:
        return Group()
    mapped, own = server.mapped_bytes, server.anonymous_bytes
    whole = size(server.rss_bytes)
    rows: list[Row] = [text_row(4, Content.styled("llama-server", ink.muted), Content(whole))]
    if own is not None and mapped is not None:
        said = f"{beside(whole, mapped)} mapped, {beside(whole, own)} private"
        rows.append(text_row(6, Content(""), Content.styled(said, ink.muted)))
    if mapped is not None and (weights := figures.mapped_weights_bytes):
        here = min(mapped, weights)
        rows.append(bar_row(4, "weights", of_total(here, weights), here / weights))
        part = "of those on the CPU in RAM" if sample.gpus else "of them in RAM"
        rows.append(text_row(6, Content(""), Content.styled(part, ink.muted)))
    rows.append(NamedCurve(Curve(4, figures.courses["server cpu"].means, 100), "its CPU", percent(server.cpu_percent)))
    return Group(rows + (_disk(figures) if server.read_bytes_per_s is not None else []))


def _disk(figures: Figures) -> list[Row]:
    """The rate of reading."""
    rate = figures.disk_bytes_per_s
    if rate is None:
        return []
    values = figures.courses["disk"].means
    return [NamedCurve(Curve(4, values, max([LITTLE_BYTES_PER_S, *values])), "disk", per_second(rate))]


def _processes(figures: Figures, ink: Ink, most: int | None) -> Group:
    """Who holds VRAM, the largest first, and how many more there are."""
    held: dict[tuple[str, int], int] = {}
    for gpu in figures.sample.gpus or () if figures.sample else ():
        for process in gpu.processes:
            key = one_line(process.name) or "process", process.pid
            held[key] = held.get(key, 0) + (process.held_bytes or 0)
    if not held:
        return Group()
    largest = sorted(held.items(), key=lambda item: (-item[1], item[0]))
    left = len(largest) - len(largest[:most])
    head = Content.styled("VRAM by process", ink.muted)
    rows = [text_row(5, head, Content.styled(f"{left} more" if left else "", ink.muted))]
    return Group(
        rows
        + [
            text_row(
                5, Content.assemble(name, (f"  {pid}", ink.muted)), Content(size(held_bytes) if held_bytes else "–")
            )
            for (name, pid), held_bytes in largest[:most]
        ]
    )


def processes(figures: Figures, width: int, ink: Ink) -> list[Content]:
    """Everything that holds VRAM, one row each, below what all cards have; one row where nothing is known."""
    sample = figures.sample
    if sample is None or sample.awaits_gpus:
        return [Content("The driver has not answered yet.")]
    if sample.gpus is None:
        found = "No NVIDIA GPU found" if sample.gpus_age_s is None else "No GPU any more"
        return [Content(one_line(f"{found}: {sample.gpus_reason or 'the driver lists none'}."))]
    if not any(gpu.processes for gpu in sample.gpus):
        return [Content("The driver lists no GPU processes.")]
    drawn = Page(width, ink)
    for group in (vram(figures, ink, is_wide=len(sample.gpus) == 1), _processes(figures, ink, None)):
        drawn.add(group)
    return drawn.fitted(ANY_HEIGHT)


def _facts(figures: Figures, ink: Ink) -> Group:
    """Rows of the server's settings, and the reason of its last restart."""
    status, plan = figures.status, figures.plan
    if status is None:
        return Group()
    rows = []
    if plan and (said := [(label, value, "") for label, value in _plan_facts(plan) if value]):
        rows = [text_row(8, Content.styled("Plan", ink.muted)), facts_row(8, *said)]
    rows += [named_row(8, label, one_line(value)) for label, value in _server_facts(status) if value]
    rows += [words_row(8, one_line(f"{ending.cause} {ending.next}"), 3) for ending in status.endings[-3:]]
    return Group(rows)


def _plan_facts(plan: PlanSummary) -> list[tuple[str, str]]:
    caches = (plan.cache_type_k, plan.cache_type_v)
    return [
        ("KV cache", one_line(f"K {caches[0]}, V {caches[1]}") if all(caches) else ""),
        ("threads", str(plan.threads or "")),
        ("prompt batch", str(plan.ubatch_size or "")),
        ("prompt", f"{rough(*plan.tps.prompt)} tok/s" if any(plan.tps.prompt) else ""),
    ]


def _server_facts(status: Status) -> list[tuple[str, str]]:
    pids = [f"{name}{pid}" for pid, name in ((status.pid, ""), (status.supervisor_pid, "supervisor ")) if pid]
    return [
        ("processes", ", ".join(pids)),
        ("model file", status.model or ""),
        ("endpoint", status.endpoint or ""),
        ("port", status.tcp or ""),
        ("log", status.log or ""),
    ]
