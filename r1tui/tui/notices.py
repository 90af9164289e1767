"""Notices to the user: the newest is shown, as long as it takes to read, errors until they are over; all are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time
from typing import Literal

Severity = Literal["information", "warning", "error"]
SIGNS: dict[Severity, str] = {"information": "·", "warning": "!", "error": "✗"}
KEPT = 200
SHORTEST_S, LONGEST_S = 4.0, 20.0
S_PER_CHARACTER = 0.07
"""Slow readers manage 14 characters a second."""


@dataclass(eq=False)
class ScreenNotice:
    """One notice."""

    text: str
    severity: Severity
    topic: str
    """What it tells of, by which it is known to be over; none: nobody says so."""
    told_s: float
    """Unix time."""
    waits: bool = True
    """True until it has been read, dismissed, or is over."""
    ends_s: float | None = None
    """By the clock; None for an error, and before it was seen."""

    @property
    def reading_s(self) -> float:
        """Seconds that it takes to read."""
        return min(SHORTEST_S + S_PER_CHARACTER * len(self.text), LONGEST_S)


class Notices:
    """The last notices, and which of them wait to be read. The time of one begins when it is seen for the first time:
    what is told while nobody can see it is not lost."""

    def __init__(self, clock: Callable[[], float] = monotonic, now: Callable[[], float] = time) -> None:
        self.kept: deque[ScreenNotice] = deque(maxlen=KEPT)
        """All of them, the oldest first."""
        self._clock = clock
        self._now = now

    @property
    def waiting(self) -> list[ScreenNotice]:
        """Those that are not over, the newest first."""
        return [one for one in reversed(list(self.kept)) if one.waits]

    def tell(self, text: str, severity: Severity = "information", topic: str = "") -> None:
        """Add a notice, in place of what waits with the same text, or of the same topic."""
        for one in self.waiting:
            one.waits = not (one.text == text or (topic and one.topic == topic))
        self.kept.append(ScreenNotice(text, severity, topic, self._now()))

    def end(self, topic: str) -> bool:
        """End what waits and tells of this; true if there was anything."""
        over = [one for one in self.waiting if topic and one.topic == topic]
        for one in over:
            one.waits = False
        return bool(over)

    def dismiss(self) -> None:
        """End the newest."""
        for one in self.waiting[:1]:
            one.waits = False

    def look(self) -> float | None:
        """The newest is seen now, and what was seen for long enough is over. Return the seconds until another is over;
        None: none will be by itself."""
        now_s = self._clock()
        for one in self.waiting:
            one.waits = one.ends_s is None or one.ends_s > now_s
        waiting = self.waiting
        if waiting and waiting[0].ends_s is None and waiting[0].severity != "error":
            waiting[0].ends_s = now_s + waiting[0].reading_s
        return min((one.ends_s - now_s for one in waiting if one.ends_s is not None), default=None)
