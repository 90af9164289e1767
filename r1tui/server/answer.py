"""Turns the payloads of a streamed chat completion into events: one reader for live, resumed and recorded streams."""

from collections.abc import Iterator
from time import monotonic

import msgspec

from r1tui.events import (
    Begun,
    Content,
    Failed,
    Finished,
    PromptProgress,
    Reasoning,
    ServerStopped,
    StreamEvent,
    Timings,
    TooLong,
)
from r1tui.files import decode_foreign
from r1tui.server import wire
from r1tui.server.think import ThinkSplitter
from r1tui.server.wire import Chunk, ChunkTimings, Gap, ServerError
from r1tui.text import size

GAP_TEXT = "\n\n[About {} are missing here: they were made while nobody recorded them.]\n\n"
SERVER_STOPPED = ("The server was stopped.", "Start it, and ask again.")
_decoder = msgspec.json.Decoder(Chunk)


class AnswerReader:
    """Reads one answer. `inside_thinking` says that the prompt ended in `<think>`, or in the thinking of an answer
    whose beginning is known, so that this one `goes_on`."""

    def __init__(self, *, inside_thinking: bool = False, goes_on: bool = False) -> None:
        self.done = False
        """Whether Finished or Failed was yielded."""
        self._goes_on = goes_on
        self._splitter = ThinkSplitter(inside=inside_thinking, goes_on=goes_on)
        self._told_id = False
        self._started_s = monotonic()
        self._first_token_s: float | None = None
        self._timings = ChunkTimings()
        self._reasoning_tokens = 0
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self._finish_reason: str | None = None
        self._missing: Gap | None = None

    def read(self, payload: bytes) -> Iterator[StreamEvent]:
        """The events of one server-sent event's payload."""
        if self.done:
            return
        if payload.strip() == b"[DONE]":
            yield from self._finish()
            return
        try:
            chunk = decode_foreign(payload, _decoder)
        except msgspec.DecodeError as error:
            yield self._fail(f"The server sent something that is no answer: {error}.", "See `r1tui logs`.")
            return
        if chunk.error and chunk.error.type == wire.STOPPED_ERROR:
            yield from self.cancel()
            return
        if chunk.error:
            yield from self._splitter.finish()
            yield self._failure(chunk.error)
            return
        yield from self._read_chunk(chunk)

    def refuse(self, error: ServerError) -> Iterator[StreamEvent]:
        """End an answer that the server did not begin, or not go on with."""
        if not self.done:
            yield from self._splitter.finish()
            yield self._failure(error)

    def fail(self, cause: str, remedy: str) -> Iterator[StreamEvent]:
        """End an answer whose stream broke off: what was held back, then Failed; nothing if it was already done."""
        if not self.done:
            yield from self._splitter.finish()
            yield self._fail(cause, remedy)

    def cancel(self) -> Iterator[StreamEvent]:
        """End an answer that the user stopped."""
        if not self.done:
            self._finish_reason = "cancelled"
            yield from self._finish()

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
        for choice in chunk.choices:
            if choice.delta.reasoning_content:
                yield from self._token(Reasoning(choice.delta.reasoning_content))
            for piece in self._splitter.feed(choice.delta.content or choice.text or ""):
                yield from self._token(piece)
            self._finish_reason = choice.finish_reason or self._finish_reason
        if chunk.timings and chunk.timings.predicted_n:
            seen_timings = chunk.timings
            yield Timings(
                prompt_tokens=seen_timings.prompt_n + seen_timings.cache_n,
                cached_tokens=seen_timings.cache_n,
                prompt_tps=seen_timings.prompt_per_second or 0.0,
                completion_tokens=seen_timings.predicted_n,
                tps=seen_timings.predicted_per_second or 0.0,
            )

    def _tell_gap(self, gap: Gap, after: Chunk) -> Iterator[StreamEvent]:
        """Say in the answer, where it belongs, how much of it is missing: in tokens where the server counts them."""
        self._missing = None
        tokens = after.timings.predicted_n - self._timings.predicted_n - 1 if after.timings else 0
        about = f"{tokens:,} tokens" if tokens > 0 else size(gap.missing_bytes)
        text = GAP_TEXT.format(about)
        if any(choice.delta.reasoning_content for choice in after.choices):
            yield from self._token(Reasoning(text))
        else:
            for piece in self._splitter.feed(text):
                yield from self._token(piece)

    def _token(self, piece: Reasoning | Content) -> Iterator[Reasoning | Content]:
        if isinstance(piece, Reasoning):
            if self._first_token_s is None and not self._goes_on:
                piece = Reasoning(piece.text.lstrip("\n"))  # of the template's `<think>\n`
            if not piece.text:
                return
            self._reasoning_tokens = self._timings.predicted_n
        if self._first_token_s is None:
            self._first_token_s = monotonic()
        yield piece

    def _finish(self) -> Iterator[StreamEvent]:
        yield from self._splitter.finish()
        self.done = True
        seen = self._timings
        ttft_ms = (self._first_token_s - self._started_s) * 1000 if self._first_token_s is not None else None
        yield Finished(
            finish_reason=self._finish_reason or "stop",
            prompt_tokens=seen.prompt_n + seen.cache_n if self._prompt_tokens is None else self._prompt_tokens,
            reasoning_tokens=self._reasoning_tokens,
            completion_tokens=seen.predicted_n if self._completion_tokens is None else self._completion_tokens,
            prompt_tps=seen.prompt_per_second or 0.0,
            tps=seen.predicted_per_second or 0.0,
            ttft_ms=ttft_ms,
        )

    def _failure(self, error: ServerError) -> Failed:
        self.done = True
        said = explain(error)
        if error.type == wire.SERVER_STOPPED_ERROR:
            return ServerStopped(*said)
        if error.type == wire.TOO_LONG_ERROR:
            return TooLong(*said, prompt_tokens=error.n_prompt_tokens or 0, context_tokens=error.n_ctx or 0)
        return Failed(*said)

    def _fail(self, cause: str, remedy: str) -> Failed:
        self.done = True
        return Failed(cause, remedy)


def explain(error: ServerError) -> tuple[str, str]:
    """Cause and remedy of an error that llama-server reports."""
    match error.type:
        case wire.TOO_LONG_ERROR:
            return (
                f"The conversation has {error.n_prompt_tokens} tokens and the context holds {error.n_ctx}.",
                "Start a new conversation, or set a larger plan.ctx_size and start the server again.",
            )
        case "authentication_error":
            return "The server wants another key.", "Set LLAMA_API_KEY to the key that it was started with."
        case "unavailable_error":
            return "The model is still loading.", "Wait until `r1tui status` says ready."
        case wire.SERVER_STOPPED_ERROR:
            return SERVER_STOPPED
        case wire.ENDED_ERROR:
            return "llama-server ended in the middle of the answer.", "`r1tui logs` shows why; ask again."
        case wire.LOST_ERROR:
            return "A part of the answer was lost while no keeper recorded it.", "Ask again."
        case wire.UNRECORDED_ERROR:
            return "The rest of the answer could not be recorded, by an error in r1tui.", "Its log says why; ask again."
        case _:
            return f"The server refused: {error.message or error.type or 'no reason given'}.", "See `r1tui logs`."
