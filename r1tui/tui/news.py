"""What the screen says when the server's state has changed, where the instruments' one word is not enough."""

from dataclasses import dataclass
from typing import Literal

from r1tui.messages import Status
from r1tui.tui.remedies import say


@dataclass(frozen=True)
class News:
    """A notice: its title, its text, how bad it is."""

    title: str
    text: str
    severity: Literal["information", "warning", "error"]


def server_news(before: Status | None, now: Status) -> News | None:
    """What is to be said of the change; None for one that speaks for itself. `before` is None at the first look."""
    what = f"{now.cause or ''} {say(now.remedies)}".strip()
    if now.hangs:
        return News("The server hangs", what, "error")
    if now.stray:
        return News("A server runs that r1tui knows nothing of", what, "error")
    if before is None:
        return None
    if now.state == "failed":
        return News("The server ended", f"{now.cause} <chat.start> starts it again.", "error")
    if now.state == "restarting":
        return News("The server ended", what or "It is started again.", "warning")
    if before.state == "sleeping" and now.state == "ready":
        return News("", "The model is loaded again.", "information")
    return None
