"""Turns the payloads of a streamed chat completion into events: one reader for live, resumed and recorded streams."""

from collections.abc import Iterator
from time import monotonic

from r1tui.errors import R1tuiError
from r1tui.events import (
    Begun,
    ContentWasThinking,
    Failed,
    Finished,
    PromptProgress,
    Reasoning,
    ServerStopped,
    StreamEvent,
    Timings,
    TooLong,
)
from r1tui.remedies import AnyRemedy
from r1tui.server import wire
from r1tui.server.lenient import is_done, read_chunk, read_whole_answer
from r1tui.server.refusal import OURS, Whose, explain
from r1tui.server.think import Piece, ThinkSplitter
from r1tui.server.wire import Chunk, ChunkChoice, ChunkTimings, Gap, ServerError
from r1tui.text import size

GAP_TEXT = "\n\n[About {} are missing here: no supervisor recorded them.]\n\n"


class AnswerReader:
    """Reads one answer. `inside_thinking` says that the prompt ended in `<think>`, or in the thinking of an answer
    whose beginning is known, so that this one `goes_on`; `knows_prompt`, that this can be relied on."""

    def __init__(
        self, *, inside_thinking: bool = False, goes_on: bool = False, knows_prompt: bool = True, whose: Whose = OURS
    ) -> None:
        self.done = False
        """Whether Finished or Failed was yielded."""
        self._goes_on = goes_on
        self._whose = whose
        self._splitter = ThinkSplitter(inside=inside_thinking, goes_on=goes_on, may_lack_open=not knows_prompt)
        self._told_id = False
        self._choice: int | None = None
        """Which of a server's answers is read; None before the first."""
        self._started_s = monotonic()
        self._first_token_s: float | None = None
        self._timings: ChunkTimings | None = None
        self._has_thoughts = False
        self._reasoning_tokens: int | None = None
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self._finish_reason: str | None = None
        self._missing: Gap | None = None

    @property
    def has_end(self) -> bool:
        """Whether the server has said why the answer ended, if not yet that its stream did."""
        return self._finish_reason is not None

    def read(self, payload: bytes) -> Iterator[StreamEvent]:
        """The events of one server-sent event's payload."""
        if self.done:
            return
        if is_done(payload):
            yield from self.finish()
            return
        chunk = read_chunk(payload)
        lines = payload.splitlines()
        if chunk is None and len(lines) > 1:  # events without the blank line between them
            for line in lines:
                yield from self.read(line)
            return
        yield from self._read(chunk)

    def read_whole(self, body: bytes) -> Iterator[StreamEvent]:
        """The events of a whole answer, from a server that does not stream, or writes a chunk on each line."""
        chunk = read_whole_answer(body)
        lines = [line for line in body.splitlines() if line.strip()]
        if chunk is not None or len(lines) < 2:
            yield from self._read(chunk)
        for line in lines if chunk is None else ():
            yield from self.read(line)
        if not self.done:
            yield from self.finish()

    def _read(self, chunk: Chunk | None) -> Iterator[StreamEvent]:
        if chunk is None:
            yield self._fail(self._no_answer())
            return
        if chunk.error and chunk.error.type == wire.STOPPED_ERROR:
            yield from self.cancel()
            return
        if chunk.error:
            yield from self._splitter.finish()
            yield self._failure(chunk.error)
            return
        yield from self._read_chunk(chunk)

    def skip(self, missing_bytes: int) -> None:
        """Go on after so many bytes of the stream that nobody has any more; the answer says so."""
        self._missing = Gap(missing_bytes)

    def refuse(self, error: ServerError) -> Iterator[StreamEvent]:
        """End an answer that the server did not begin, or not go on with."""
        if not self.done:
            yield from self._splitter.finish()
            yield self._failure(error)

    def fail(self, cause: str, *remedies: str | AnyRemedy) -> Iterator[StreamEvent]:
        """End an answer whose stream broke off: what was held back, then Failed; nothing if it was already done."""
        if not self.done:
            yield from self._splitter.finish()
            yield self._fail(R1tuiError(cause, *remedies))

    def cancel(self) -> Iterator[StreamEvent]:
        """End an answer that the user stopped."""
        if not self.done:
            self._finish_reason = "cancelled"
            yield from self.finish()

    def _read_chunk(self, chunk: Chunk) -> Iterator[StreamEvent]:
        if chunk.r1tui_gap is not None:
            self._missing = chunk.r1tui_gap
            return
        if self._missing is not None and (chunk.choices or chunk.timings):
            yield from self._tell_gap(self._missing, chunk)
        if chunk.id and not self._told_id:
            self._told_id = True
            yield Begun(chunk.id)
        if chunk.prompt_progress:
            seen = chunk.prompt_progress
            yield PromptProgress(seen.total, seen.cache, seen.processed, seen.time_ms)
        if chunk.timings:
            self._timings = chunk.timings
        if chunk.usage:
            self._prompt_tokens = chunk.usage.prompt_tokens
            self._completion_tokens = chunk.usage.completion_tokens
            if (details := chunk.usage.completion_tokens_details) is not None:
                self._reasoning_tokens = details.reasoning_tokens
        for choice in chunk.choices[:1]:
            yield from self._read_choice(choice)
        if chunk.timings and chunk.timings.predicted_n:
            seen_timings = chunk.timings
            yield Timings(
                prompt_tokens=seen_timings.prompt_n + seen_timings.cache_n,
                cached_tokens=seen_timings.cache_n,
                prompt_tps=seen_timings.prompt_per_second,
                completion_tokens=seen_timings.predicted_n,
                tps=seen_timings.predicted_per_second,
            )

    def _read_choice(self, choice: ChunkChoice) -> Iterator[StreamEvent]:
        if self._choice is None:
            self._choice = choice.index
        if choice.index != self._choice:  # of an answer that nobody asked for
            return
        if thought := choice.said.thinking:
            self._splitter.is_split_already()
            yield from self._token(Reasoning(thought))
        for piece in self._splitter.feed(choice.said.text or choice.text or ""):
            yield from self._token(piece)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _tell_gap(self, gap: Gap, after: Chunk) -> Iterator[StreamEvent]:
        """Say in the answer, where it belongs, how much of it is missing: in tokens where the server counts them."""
        self._missing = None
        before = self._timings.predicted_n if self._timings else 0
        tokens = after.timings.predicted_n - before - 1 if after.timings else 0
        about = f"{tokens:,} tokens" if tokens > 0 else size(gap.missing_bytes)
        text = GAP_TEXT.format(about)
        if any(choice.delta.thinking for choice in after.choices):
            yield from self._token(Reasoning(text))
        else:
            for piece in self._splitter.feed(text):
                yield from self._token(piece)

    def _token(self, piece: Piece) -> Iterator[Piece]:
        if isinstance(piece, Reasoning):
            if self._first_token_s is None and not self._goes_on:
                piece = Reasoning(piece.text.lstrip("\n"))  # of the template's `<think>\n`
            if not piece.text:
                return
        if isinstance(piece, Reasoning | ContentWasThinking):
            self._has_thoughts = True
            if self._timings is not None:
                self._reasoning_tokens = self._timings.predicted_n
        if self._first_token_s is None:
            self._first_token_s = monotonic()
        yield piece

    def finish(self) -> Iterator[StreamEvent]:
        """End a complete answer; nothing if it was already done."""
        if self.done:
            return
        yield from self._splitter.finish()
        if (missing := self._why_no_answer()) is not None:
            yield self._fail(missing)
            return
        self.done = True
        seen = self._timings
        ttft_ms = (self._first_token_s - self._started_s) * 1000 if self._first_token_s is not None else None
        counted_prompt, counted = (seen.prompt_n + seen.cache_n, seen.predicted_n) if seen else (None, None)
        thoughts = self._reasoning_tokens if self._has_thoughts else 0
        yield Finished(
            finish_reason=self._finish_reason or "stop",
            prompt_tokens=counted_prompt if self._prompt_tokens is None else self._prompt_tokens,
            reasoning_tokens=thoughts,
            completion_tokens=counted if self._completion_tokens is None else self._completion_tokens,
            prompt_tps=seen.prompt_per_second or None if seen else None,
            tps=seen.predicted_per_second or None if seen else None,
            ttft_ms=ttft_ms,
        )

    def _no_answer(self) -> R1tuiError:
        return R1tuiError("The server sent something that is not an answer.", self._whose.log)

    def _why_no_answer(self) -> R1tuiError | None:
        """The error of an end that is none of an answer; a llama-server of ours has no such ends."""
        reason = self._finish_reason
        if self._whose.is_ours or reason == "cancelled":
            return None
        if self._choice is None:
            return self._no_answer()
        if reason == "error":
            return R1tuiError(f"{self._whose.subject} ended in the middle of the answer.", self._whose.after_break)
        if self._first_token_s is None and reason not in (None, "stop", "length"):
            return R1tuiError(
                f"The server sent no text; its reason: {reason}.", "Ask in other words, or another model."
            )
        return None

    def _failure(self, error: ServerError) -> Failed:
        self.done = True
        said = explain(error, self._whose)
        if error.type == wire.SERVER_STOPPED_ERROR:
            return ServerStopped.of(said)
        if error.type == wire.TOO_LONG_ERROR:
            prompt_tokens, context_tokens = error.n_prompt_tokens or 0, error.n_ctx or 0
            return TooLong(said.cause, "", said.remedies, prompt_tokens, context_tokens)
        return Failed.of(said)

    def _fail(self, error: R1tuiError) -> Failed:
        self.done = True
        return Failed.of(error)
