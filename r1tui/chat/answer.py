"""The model of an answer: text and counters that grow with the events of its stream.

Widgets read it and never change it; whoever reads the stream calls `Answer.apply`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Literal, Self, TypeVar

from r1tui.events import (
    Begun,
    Content,
    ContentWasThinking,
    Failed,
    Finished,
    PromptProgress,
    Reasoning,
    ServerStopped,
    StreamEvent,
    Timings,
    Waits,
)
from r1tui.remedies import Remedies, in_commands
from r1tui.system.lazy import asyncio

AnswerState = Literal["waiting", "reading", "thinking", "answering", "done", "stopped", "failed"]
Cut = Literal["", "limit", "context"]
"""Cause of an early end: the token limit, or the end of the context."""
CONTEXT_FULL = "context"
"""The `finish_reason` of an answer that ended where the context does; llama-server says `length` to both."""
Item = TypeVar("Item")
_BURST_S = 0.005
RUNNING: frozenset[AnswerState] = frozenset({"waiting", "reading", "thinking", "answering"})


class Pieces:
    """Text that grows piece by piece: appending costs nothing, and a reader takes up only what is new to it."""

    def __init__(self, text: str = "") -> None:
        self._pieces = [text] if text else []
        self._joined: tuple[int, str] = (0, "")

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def append(self, text: str) -> None:
        if text:
            self._pieces.append(text)

    def since(self, seen: int) -> tuple[str, int]:
        """The pieces after the first `seen`, and the number to ask with the next time."""
        count = len(self._pieces)
        return ("".join(self._pieces[seen:]) if seen < count else ""), count

    @property
    def text(self) -> str:
        """All of it; joined only when there is something new."""
        count, text = self._joined
        if new := self._pieces[count:]:  # once: another thread may append meanwhile
            text += "".join(new)
            self._joined = (count + len(new), text)
        return text


@dataclass(frozen=True)
class Base:
    """Characters, tokens and seconds of an answer when a later request continued it."""

    content_chars: int = 0
    thinking_chars: int = 0
    tokens: int = 0
    thinking_tokens: int = 0
    thinking_s: float | None = None


class Answer:
    """An answer in any state; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.state: AnswerState = "waiting"
        self.thinking = Pieces()
        self.content = Pieces()
        self.has_thoughts = False
        """True if the thinking has more than white space."""
        self.waits_for = ""
        """The reason why no answer can come yet; empty where none is known. The question can be taken back."""
        self.waited_s: float | None = None
        """Seconds without a word from the server; None where these are few."""
        self.prompt: PromptProgress | None = None
        self.timings: Timings | None = None
        self.finished: Finished | None = None
        self.cause = ""
        """Cause of a failed answer; otherwise empty, as are its `remedies`."""
        self.remedies: Remedies = ()
        self.tokens = 0
        """Tokens made so far, thinking included: the server's count, or ours where it sends none."""
        self.thinking_tokens = 0
        self.cut: Cut = ""
        """Cause of an early end; empty while it runs and when it ended by itself."""
        self.base: Base | None = None
        """State when it was last continued; None: one request made all of it."""
        self.saved = ("", "")
        """Saved extent of answer and thinking when reading of its record began; the record may have less."""
        self.completion_id = ""
        """Its id on the server while it runs."""
        self._before: tuple[AnswerState, Cut, str, Remedies] = ("stopped", "", "", ())
        """Its state, cause and remedies before it was continued."""
        self._clock = clock
        self._progress_s = 0.0
        self._thinking_from_s: float | None = None
        self._thinking_s: float | None = None

    @classmethod
    def past(
        cls,
        content: str,
        thinking: str = "",
        *,
        thinking_tokens: int = 0,
        thinking_s: float | None = None,
        tokens: int = 0,
        state: AnswerState = "done",
        cut: Cut = "",
    ) -> Self:
        """An answer as it was saved."""
        answer = cls()
        answer.content, answer.thinking = Pieces(content), Pieces(thinking)
        answer.has_thoughts = bool(thinking.strip())
        answer.thinking_tokens, answer._thinking_s = thinking_tokens, thinking_s
        answer.tokens = max(tokens, thinking_tokens)
        answer.state, answer.cut = state, cut
        return answer

    @classmethod
    def resumed(cls, content: str, thinking: str, base: Base) -> Self:
        """An answer that was being gone on with, as it was before: the record of the rest tells what came since."""
        answer = cls.past(
            content[: base.content_chars],
            thinking[: base.thinking_chars],
            thinking_tokens=base.thinking_tokens,
            thinking_s=base.thinking_s,
            tokens=base.tokens,
            state="stopped",
        )
        answer.go_on()
        return answer

    @property
    def context_tokens(self) -> int | None:
        """Tokens of its prompt and itself in the context; None if not counted."""
        counters = self.finished or self.timings
        return counters.context_tokens or None if counters else None

    @property
    def has_less_than_saved(self) -> bool:
        """True if less of it was read again than is on disk."""
        return len(self.content.text) < len(self.saved[0]) or len(self.thinking.text) < len(self.saved[1])

    @property
    def rest_is_missing(self) -> bool:
        """True if it waits for its rest, of which nothing has come."""
        base = self.base
        return (
            base is not None
            and not self.has_less_than_saved
            and (len(self.content.text) == base.content_chars and len(self.thinking.text) == base.thinking_chars)
        )

    def does_not_go_on(self, *, context_full: bool) -> None:
        """There is no rest: be what it was, or cut off by the context where that has no room."""
        ended = self._before if not context_full else ("done", "context", "", ())
        self.state, self.cut, self.cause, self.remedies = ended

    def go_on(self) -> None:
        """Wait for the rest, which another request brings: its text comes after what is here, and counts go on."""
        thinking_s = self.thinking_s
        self.base = Base(len(self.content.text), len(self.thinking.text), self.tokens, self.thinking_tokens, thinking_s)
        self._before = (self.state, self.cut, self.cause, self.remedies)
        self.state, self.cut, self.cause, self.remedies, self.completion_id = "waiting", "", "", (), ""
        self.prompt = self.timings = self.finished = None
        self.saved = ("", "")
        self._thinking_from_s, self._thinking_s = None, thinking_s

    @property
    def remedy(self) -> str:
        """The remedies in words, with commands: as they are saved."""
        return in_commands(self.remedies)

    @property
    def running(self) -> bool:
        """True if more may come."""
        return self.state in RUNNING

    @property
    def is_empty(self) -> bool:
        """True if it has neither text nor thinking."""
        return not self.content and not self.has_thoughts

    @property
    def thinking_s(self) -> float | None:
        """Seconds of its thinking so far; None if it did not think or nobody knows.

        By the server's counters where it sends them, so that a replay says what was true.
        """
        if self._thinking_from_s is not None:
            return (self._base.thinking_s or 0.0) + self._clock() - self._thinking_from_s
        return self._thinking_s

    @property
    def reading_left_s(self) -> float | None:
        """Seconds until the rest of the prompt is read; None if unknown."""
        if self.prompt is None or (tps := self.prompt.tps) is None:
            return None
        left_s = (self.prompt.total - self.prompt.processed) / tps
        return max(left_s - (self._clock() - self._progress_s), 0.0)

    @property
    def can_go_on(self) -> bool:
        """True if it ended early and has a beginning that another request can go on with."""
        ended_early = self.cut or self.state in ("stopped", "failed")
        return bool(ended_early and (self.content or self.thinking))

    @property
    def _base(self) -> Base:
        return self.base or Base()

    def apply(self, event: StreamEvent) -> None:
        """Take in the next event of the stream."""
        match event:
            case Reasoning(text):
                self._think(text)
            case Content(text):
                self._end_thinking()
                self.state = "answering"
                self.content.append(text)
                self._count()
            case ContentWasThinking():
                self._content_was_thinking()
            case Timings():
                self._count_as(event)
            case Waits():
                self._wait(event)
            case Begun(completion_id):
                self.completion_id, self.waits_for, self.waited_s = completion_id, "", None
            case PromptProgress():
                self.prompt, self._progress_s = event, self._clock()
                if self.state == "waiting":
                    self.state = "reading"
            case Finished():
                self._end()
                self.finished = event
                self.tokens = max(self.tokens, self._base.tokens + (event.completion_tokens or 0))
                thinking_tokens = self._base.thinking_tokens + (event.reasoning_tokens or 0)
                self.thinking_tokens = max(self.thinking_tokens, thinking_tokens)
                self.state = "stopped" if event.finish_reason == "cancelled" else "done"
                self.cut = _CUTS.get(event.finish_reason, "")
            case ServerStopped(cause):
                self._end()
                self.state, self.cause = "stopped", cause
            case Failed(cause):
                self._end()
                self.state, self.cause, self.remedies = "failed", cause, event.remedies

    def _wait(self, event: Waits) -> None:
        self.waited_s = event.waited_s
        if event.loads:
            self.waits_for = "the model was unloaded while idle, and is loading"
        elif event.stops:
            self.waits_for = "the server has not ended the stopped answer yet"
        elif event.tokens is not None:
            ahead = f"{event.tokens:,} token{'' if event.tokens == 1 else 's'} so far"
            self.waits_for = f"another client's answer is running, {ahead}"

    def _think(self, text: str) -> None:
        if not self.content:
            self.state = "thinking"
            if self._thinking_from_s is None:
                self._thinking_from_s = self._clock()
        self.has_thoughts = self.has_thoughts or not text.isspace()
        self.thinking.append(text)
        self._count()
        if self.timings is None:
            self.thinking_tokens = self._base.thinking_tokens + self.tokens - self._base.tokens

    def _content_was_thinking(self) -> None:
        """Turn all content so far into thinking; both texts become new objects."""
        self.thinking, self.content = Pieces(self.thinking.text + self.content.text), Pieces()
        self.saved = ("", "")  # which was sorted otherwise
        self.has_thoughts = bool(self.thinking.text.strip())
        self.thinking_tokens = self.tokens
        self.state = "thinking"

    def _count_as(self, timings: Timings) -> None:
        self.timings = timings
        self.tokens = self._base.tokens + timings.completion_tokens
        if self.state == "thinking":
            self.thinking_tokens = self._base.thinking_tokens + timings.completion_tokens
            if timings.tps:
                self._thinking_from_s = self._clock() - timings.completion_tokens / timings.tps

    def _count(self) -> None:
        if self.timings is None:
            self.tokens += 1

    def _end(self) -> None:
        """Nothing more comes: what the disk had beyond that is a part of it."""
        for pieces, saved in zip((self.content, self.thinking), self.saved, strict=True):
            if saved.startswith(text := pieces.text):
                pieces.append(saved[len(text) :])
        self.has_thoughts = self.has_thoughts or bool(self.thinking.text.strip())
        self._end_thinking()

    def _end_thinking(self) -> None:
        self._thinking_s, self._thinking_from_s = self.thinking_s, None


_CUTS: dict[str, Cut] = {"length": "limit", CONTEXT_FULL: "context"}


async def paced(items: AsyncIterator[Item], period_s: Callable[[], float]) -> AsyncGenerator[Item]:
    """The items in batches, so that each token does not wake the whole program.

    A pause of `period_s()` follows each burst: what comes meanwhile waits in the socket's buffer. An item that
    had to be waited for ends its burst; those that lie ready are passed on at once.
    """
    burst_ends_s = 0.0
    async for item in items:
        yield item
        if monotonic() >= burst_ends_s and (pause_s := period_s()):
            await asyncio.sleep(pause_s)
            burst_ends_s = monotonic() + _BURST_S
