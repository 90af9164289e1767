"""The events that flow: what a stage of a launch reports, and what an answer's stream reports.

Stage events are what `--json` writes, one object a line; the `event` key names the type.
"""

from collections.abc import Callable
from time import monotonic
from typing import Literal, Self

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import decode
from r1tui.remedies import Advice, AnyRemedy, Remedies, in_commands, settle, snake
from r1tui.text import duration, safe_json, size

Stage = Literal["engine", "model", "plan", "server"]
Unit = Literal["steps", "bytes"]
FileState = Literal["waiting", "arriving", "checking", "done"]


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=snake):
    """Base of all events; immutable."""


class StageStarted(Event, frozen=True):
    """A stage begins; `title` says in a few words what it does."""

    stage: Stage
    title: str


class Progress(Event, frozen=True):
    """Progress of a stage. `total`, `rate` (units per second) and `eta_s` are None while unknown."""

    stage: Stage
    done: int
    total: int | None
    unit: Unit
    rate: float | None = None
    eta_s: float | None = None


class FileProgress(msgspec.Struct, frozen=True):
    """Progress of one file: bytes that have arrived, or that have been read again to check them."""

    name: str
    done: int
    total: int
    state: FileState


class FilesProgress(Event, frozen=True):
    """All files of a download, as they are now; the newest one says everything."""

    stage: Stage
    files: tuple[FileProgress, ...]
    rate: float | None = None
    """Bytes per second over the last seconds."""
    average: float | None = None
    """Bytes per second since it was started."""
    eta_s: float | None = None
    retries: int = 0
    paused: str = ""
    """The reason while the download waits."""


class LogLine(Event, frozen=True):
    """A line that a stage's program wrote: text, never markup."""

    stage: Stage
    text: str


class Notice(Event, frozen=True):
    """Something about a stage that the user should know and that is no failure."""

    stage: Stage
    text: str
    """All of it, with the remedies' commands at its end."""
    remedies: Remedies = ()

    @classmethod
    def of(cls, stage: Stage, text: str, *remedies: AnyRemedy) -> Self:
        """A notice that ends with what can be done."""
        return cls(stage, f"{text} {in_commands(remedies)}".strip(), remedies)

    @property
    def parts(self) -> Remedies:
        """Its text and the remedies at its end, apart."""
        return (Advice(self.text.removesuffix(in_commands(self.remedies)).rstrip()), *self.remedies)


class StageDone(Event, frozen=True):
    """A stage ended well; `result` is what it made (a path, an endpoint), `detail` a sentence for a person."""

    stage: Stage
    result: str
    detail: str = ""


class StageFailed(Event, frozen=True):
    """A stage failed: what happened and what mends it. `exit_status` is 130 when the user cancelled it."""

    stage: Stage
    cause: str
    remedy: str = ""
    exit_status: int = 1
    remedies: Remedies = ()

    def __post_init__(self) -> None:
        settle(self)

    @classmethod
    def of(cls, stage: Stage, error: R1tuiError) -> Self:
        """The end of a stage by an error."""
        return cls(stage, error.cause, exit_status=error.exit_status, remedies=error.remedies)


StageEvent = StageStarted | Progress | FilesProgress | LogLine | Notice | StageDone | StageFailed
Emit = Callable[[StageEvent], None]


class Meter:
    """Turns counts into Progress events: at most ten a second, with a rate over the last seconds.

    `already` units were done before this run and do not count towards the rate.
    """

    WINDOW_S = 10.0

    def __init__(self, stage: Stage, unit: Unit, emit: Emit, total: int | None = None, already: int = 0) -> None:
        self._stage: Stage = stage
        self._unit: Unit = unit
        self._emit = emit
        self.total = total
        self._samples: list[tuple[float, int]] = [(monotonic(), already)]
        self._first = self._samples[0]
        self._last_emit_s = 0.0
        self.rate: float | None = None
        """Units per second over the last seconds, as of the last report."""
        self.average: float | None = None
        """Units per second since the beginning."""
        self.eta_s: float | None = None

    def update(self, done: int) -> None:
        """Report that `done` of the total are done now; emits when the last report is old enough or all is done."""
        now = monotonic()
        finished = self.total is not None and done >= self.total
        if not finished and now - self._last_emit_s < 0.1:
            return
        self._last_emit_s = now
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > self.WINDOW_S:
            self._samples.pop(0)
        self.rate = _rate(self._samples[0], (now, done))
        self.average = _rate(self._first, (now, done))
        self.eta_s = (self.total - done) / self.rate if self.rate and self.total is not None else None
        self._emit(Progress(self._stage, done, self.total, self._unit, self.rate, self.eta_s))


def _rate(start: tuple[float, int], end: tuple[float, int]) -> float | None:
    """Units per second between two samples; None where the time is too short to tell, or nothing was done."""
    seconds, units = end[0] - start[0], end[1] - start[1]
    return units / seconds if seconds > 0.5 and units > 0 else None


def describe_progress(event: Progress) -> str:
    """Progress in words: how far, and while something is left how fast and how long."""
    if event.unit == "bytes":
        shown = size(event.done) + (f" of {size(event.total)}" if event.total else "")
        rate = f", {size(event.rate)}/s" if event.rate else ""
    else:
        shown = f"{event.done}" + (f" of {event.total} steps" if event.total else " steps")
        rate = f", {event.rate:.1f}/s" if event.rate else ""
    if event.total is not None and event.done >= event.total:
        return shown
    left = f", {duration(event.eta_s)} left" if event.eta_s is not None else ""
    return shown + rate + left


class PromptProgress(Event, frozen=True):
    """Tokens of the prompt read so far; `cached` of them came from the KV cache for nothing."""

    total: int
    cached: int
    processed: int
    time_ms: float

    @property
    def tps(self) -> float | None:
        """Tokens of the prompt that are read per second; None before any was."""
        read = self.processed - self.cached
        return 1000 * read / self.time_ms if read > 0 and self.time_ms > 0 else None


class Reasoning(Event, frozen=True):
    """A piece of the model's thinking."""

    text: str


class Content(Event, frozen=True):
    """A piece of the model's answer."""

    text: str


class ContentWasThinking(Event, frozen=True):
    """All content so far was the model's thinking: it ended with `</think>`, and `<think>` had stood in the prompt."""


class Timings(Event, frozen=True):
    """The server's own counters so far, for the prompt and the answer; rates are None where it does not give them."""

    prompt_tokens: int
    cached_tokens: int
    prompt_tps: float | None
    completion_tokens: int
    tps: float | None

    @property
    def context_tokens(self) -> int | None:
        """Tokens of prompt and answer."""
        return self.prompt_tokens + self.completion_tokens


class Finished(Event, frozen=True):
    """The answer is whole; the keys but `waited_ms` are those of `chat --json`'s last line.

    Figures that the server does not give are None, as is `ttft_ms` if nothing came.
    """

    finish_reason: str
    prompt_tokens: int | None
    reasoning_tokens: int | None
    completion_tokens: int | None
    prompt_tps: float | None
    tps: float | None
    ttft_ms: float | None
    """From the question to the first token, the wait for the server's turn included."""
    waited_ms: float | None = None
    """The part of it before the server took the question; None where that is not known."""

    @property
    def first_token_s(self) -> float | None:
        """Seconds from when the server took the question, as far as that is known, to its answer's first token."""
        return None if self.ttft_ms is None else max(self.ttft_ms - (self.waited_ms or 0.0), 0.0) / 1000

    @property
    def context_tokens(self) -> int | None:
        """Tokens of prompt and answer; None where the server has not counted."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


FEWEST_TELLING_TOKENS = 4
"""The first tokens take no time by the server's clock: one alone would be hundreds of thousands a second."""


def telling_tps(counters: Timings | Finished) -> float | None:
    """Tokens per second, for people; None as well for an answer that is too short to tell."""
    return counters.tps if (counters.completion_tokens or 0) >= FEWEST_TELLING_TOKENS else None


class Failed(Event, frozen=True):
    """The answer ended early: what happened and what mends it. What came before it stands."""

    cause: str
    remedy: str = ""
    remedies: Remedies = ()

    def __post_init__(self) -> None:
        settle(self)

    @classmethod
    def of(cls, error: R1tuiError) -> Self:
        """The end of an answer by an error."""
        return cls(error.cause, remedies=error.remedies)


class ServerStopped(Failed, frozen=True):
    """The answer ended because its server was stopped in order; what came before it stands."""


class TooLong(Failed, frozen=True):
    """There is no answer, because what was asked fills the context."""

    prompt_tokens: int = 0
    context_tokens: int = 0


class Begun(Event, frozen=True):
    """The server has begun; `completion_id` is what it calls the answer while that is coming."""

    completion_id: str


class Waits(Event, frozen=True):
    """The question waits: for another client's answer, for the end of a stopped one, for a model that `loads`, or for
    an unknown reason."""

    tokens: int | None
    """Tokens so far of the other answer; None where none comes first."""
    waited_s: float = 0.0
    """Seconds in which the server has sent nothing; 0 where that is not counted."""
    loads: bool = False
    """True if the model was unloaded while idle."""
    stops: bool = False
    """True if an answer that was stopped here has not ended yet."""


StreamEvent = Waits | Begun | PromptProgress | Reasoning | Content | ContentWasThinking | Timings | Finished | Failed

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[StageEvent] = msgspec.json.Decoder(StageEvent)


def encode_event(event: StageEvent | StreamEvent) -> str:
    """One JSON line without its newline."""
    return safe_json(_encoder.encode(event).decode())


def decode_event(line: str | bytes) -> StageEvent:
    """The stage event of one JSON line; raises msgspec.DecodeError for anything else."""
    return decode(line, _decoder)
