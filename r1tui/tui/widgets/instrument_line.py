"""The instruments on one line, for narrow terminals: the gist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import Ink, sparkline
from r1tui.tui.widgets.instrument_rows import state
from r1tui.tui.widgets.quantities import alarm, percent, share_of, tps, whole_gib

if TYPE_CHECKING:
    from r1tui.machine.telemetry import Sample


def line(figures: Figures, width: int, ink: Ink) -> Content:
    """All on one line; what matters least goes first where it is too long."""
    speed = figures.speed
    shown_tps = speed.average_tps if speed.now_tps is None else speed.now_tps
    parts = [state(figures)]
    if figures.slow_link:
        parts.append(Content.styled("slow link", ink.muted))
    if shown_tps is not None:
        parts.append(Content.assemble(f"{tps(shown_tps):>5} tok/s ", (sparkline(speed.history, 6), "$accent")))
    if figures.context_used is not None:
        share = share_of(figures.context_used, figures.context_size)
        used = f"{figures.context_used:,}" if share is None else f"{share:3.0%}"
        parts.append(Content.styled(f"context {used}", alarm(share, "")))
    if figures.sample is not None:
        sample = figures.sample
        parts.append(Content(_gpus(sample)))
        memory = sample.memory_used_bytes, sample.memory_total_bytes
        parts.append(Content.styled(f"memory {whole_gib(*memory)}", alarm(share_of(*memory), "")))
        if sample.cpu_percent is not None:
            parts.append(Content(f"CPU {percent(sample.cpu_percent)}"))
    separator = Content.styled(" │ ", ink.muted)
    shown = parts[0].truncate(width, ellipsis=True)
    for part in parts[1:]:
        longer = Content("").join([shown, separator, part])
        if longer.cell_length <= width:
            shown = longer
    return shown


def _gpus(sample: Sample) -> str:
    if not sample.gpus:
        return "no GPU"
    used = [gpu.used_bytes for gpu in sample.gpus if gpu.used_bytes is not None]
    total = [gpu.total_bytes for gpu in sample.gpus if gpu.total_bytes is not None]
    busy = [gpu.busy_percent for gpu in sample.gpus if gpu.busy_percent is not None]
    name = "GPU" if len(sample.gpus) == 1 else f"{len(sample.gpus)} GPUs"
    memory = whole_gib(sum(used), sum(total)) if used and total else ""
    return " ".join(part for part in (name, memory, percent(max(busy)) if busy else "") if part)
