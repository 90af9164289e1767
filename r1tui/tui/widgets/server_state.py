"""What the server is doing, in a word and a colour: for the instruments and for an empty chat."""

from textual.content import Content

from r1tui.text import percent
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import one_line

STATE_STYLES = {
    "unloaded": "$secondary", "starting": "$warning", "loading": "$warning", "restarting": "$warning",
    "stopping": "$warning", "stopped": "", "failed": "$error", "hangs": "$error",
}  # fmt: skip


def state(figures: Figures) -> Content:
    """The server's state and its model."""
    status, phase = figures.status, figures.speed.phase
    if status is None:
        return Content("● no server")
    word: str = "hangs" if status.hangs else status.state
    comes_up = figures.launching and word in ("stopped", "failed")
    if comes_up:
        word = "starting"
    elif word == "sleeping":
        word = "loading" if phase == "reading the prompt" else phase or "unloaded"
    elif word == "ready":
        word = phase or ("answering" if status.answers else "ready")
    style = STATE_STYLES.get(word, "$success")
    if word == "loading" and figures.loaded_share is not None:
        word += f" {percent(min(figures.loaded_share, 0.99))}"
    name = one_line(status.variant or "") if not comes_up else ""  # it is the last one's
    return Content.assemble(("●", style), " ", (word, f"bold {style}".strip()), f" {name}" if name else "")
