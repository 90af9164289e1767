"""Tokens per second as one watches them, now and on average, and how far an answer is, out of its events."""

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Literal

from r1tui.events import (
    FEWEST_TELLING_TOKENS,
    Content,
    ContentWasThinking,
    Finished,
    PromptProgress,
    Reasoning,
    StreamEvent,
    Timings,
    Waits,
    telling_tps,
)

Phase = Literal["", "reading the prompt", "thinking", "answering"]
WINDOW_S = 2.0
MISSED_TOKENS = 5
"""An answer stands still if it was silent for two windows, in which at its speed more tokens would have come."""


class SpeedMeter:
    """Follows the events of one answer after the other. None is what is not known yet."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()
        self._asked_s: float | None = None
        self._is_ours = False
        """True if the answer was asked for here: the record of another's tells nothing of its first token."""
        self.now_tps: float | None = None
        """Over the last two seconds, or more where tokens come slowly; None while no answer is coming."""
        self._unsampled_tps: float | None = None
        """Speed of an answer that came and went since the last sample."""
        self.average_tps: float | None = None
        """Of the answer that is coming or came last."""
        self.prompt_tps: float | None = None
        self.first_token_s: float | None = None
        """Seconds from when the server took the question to the first token of its answer."""
        self.reused: tuple[int, int] | None = None
        """Tokens of the newest prompt that the server had in its cache and need not read, and all of its tokens."""
        self.phase: Phase = ""
        """Of the answer that is coming; empty while none is."""

    def forget(self) -> None:
        """Another server comes: no figure of the one before is its own."""
        self._points.clear()
        self.now_tps = self.average_tps = self.prompt_tps = self.first_token_s = self.reused = None

    def asked(self) -> None:
        """A question goes to the server now."""
        self.phase = "reading the prompt"
        self._asked_s, self._is_ours = self._clock(), True
        self.first_token_s = self.reused = None

    def take(self, events: Iterable[StreamEvent]) -> Timings | Finished | None:
        """Take what has come of the answer; of several counters the last one is true of all, and is returned."""
        counters: Timings | Finished | None = None
        for event in events:
            match event:
                case Timings() | Finished():
                    counters = event
                case Waits(tokens, stops=stops) if tokens is not None or stops:
                    self.phase = ""
                case PromptProgress(total, cached):
                    self.reused, self.phase = (cached, total), "reading the prompt"
                    self.prompt_tps = event.tps or self.prompt_tps
                case Reasoning() | Content() | ContentWasThinking():
                    self.phase = "thinking" if isinstance(event, Reasoning) else "answering"
                    if self._asked_s is not None:
                        self.first_token_s, self._asked_s = self._clock() - self._asked_s, None
        if counters is not None:
            self.add(counters)
        return counters

    def add(self, timings: Timings | Finished) -> None:
        """Take the server's counters as of now."""
        tps = telling_tps(timings)
        if isinstance(timings, Finished):
            self.average_tps, self.prompt_tps = tps, timings.prompt_tps
            self._unsampled_tps = tps
            if self._is_ours:
                self.first_token_s = timings.first_token_s or self.first_token_s
            self.end()
            return
        self.average_tps, self.prompt_tps = tps or self.average_tps, timings.prompt_tps or self.prompt_tps
        self.reused = timings.cached_tokens, timings.prompt_tokens
        if self._is_ours and timings.prompt_tps:  # by the server's clock, without the wait before
            self.first_token_s = (timings.prompt_tokens - timings.cached_tokens) / timings.prompt_tps
        now = self._clock()
        if self._points and timings.completion_tokens < self._points[-1][1]:
            self._points.clear()  # another answer
        self._points.append((now, timings.completion_tokens))
        while len(self._points) > 2 and self._enough(self._points[1]):
            self._points.popleft()
        first_s, first_tokens = self._points[0]
        if now - first_s < WINDOW_S / 4:
            self.now_tps = tps or None
        else:
            self.now_tps = (timings.completion_tokens - first_tokens) / (now - first_s)

    def take_sample(self) -> float | None:
        """The speed for the course of the last second: now, or of an answer that ended in it; None: there was none."""
        ended_tps, self._unsampled_tps = self._unsampled_tps, None
        if self._points and self.now_tps:
            silent_s = self._clock() - self._points[-1][0]
            if silent_s > 2 * WINDOW_S and silent_s * self.now_tps > MISSED_TOKENS:
                self._points.clear()
                self.now_tps = 0.0
        return ended_tps if self.now_tps is None else self.now_tps

    def end(self) -> None:
        """No answer is coming any more."""
        self._points.clear()
        self._asked_s, self._is_ours = None, False
        self.now_tps = None
        self.phase = ""

    def _enough(self, start: tuple[float, int]) -> bool:
        """True if the time since that point is enough to tell a speed."""
        now_s, tokens = self._points[-1]
        return now_s - start[0] >= WINDOW_S and tokens - start[1] >= FEWEST_TELLING_TOKENS
