"""Tokens per second as one watches them: now, on average, and their recent history, out of the server's counters."""

from collections import deque
from collections.abc import Callable
from time import monotonic

from r1tui.events import Finished, Timings

WINDOW_S = 2.0
WINDOW_TOKENS = 4
HISTORY = 60


class SpeedMeter:
    """Follows the timings of one answer after the other. None is what is not known yet."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()
        self._recorded_s: float | None = None
        self.now_tps: float | None = None
        """Over the last two seconds, or more where tokens come slowly; None while no answer is coming."""
        self.average_tps: float | None = None
        """Of the answer that is coming or came last."""
        self.prompt_tps: float | None = None
        self.context_used: int | None = None
        """Tokens of the prompt and the answer."""
        self.history: deque[float] = deque(maxlen=HISTORY)
        """The speeds of the last seconds in which tokens came, oldest first."""

    def add(self, timings: Timings | Finished) -> None:
        """Take the server's counters as of now."""
        self.average_tps = timings.tps or self.average_tps
        self.prompt_tps = timings.prompt_tps or self.prompt_tps
        self.context_used = timings.prompt_tokens + timings.completion_tokens
        if isinstance(timings, Finished):
            self.end()
            return
        now = self._clock()
        if self._points and timings.completion_tokens < self._points[-1][1]:
            self._points.clear()  # another answer
        self._points.append((now, timings.completion_tokens))
        while len(self._points) > 2 and self._enough(self._points[1]):
            self._points.popleft()
        first_s, first_tokens = self._points[0]
        if now - first_s < WINDOW_S / 4:
            self.now_tps = timings.tps or None
        else:
            self.now_tps = (timings.completion_tokens - first_tokens) / (now - first_s)
        if self.now_tps is not None and (self._recorded_s is None or now - self._recorded_s >= 1.0):
            self._recorded_s = now
            self.history.append(self.now_tps)

    def end(self) -> None:
        """No answer is coming any more."""
        self._points.clear()
        self.now_tps = None

    def _enough(self, start: tuple[float, int]) -> bool:
        """Whether the time since that point is enough to tell a speed."""
        now_s, tokens = self._points[-1]
        return now_s - start[0] >= WINDOW_S and tokens - start[1] >= WINDOW_TOKENS
