"""Turns the payloads of a streamed chat completion into events: one reader for live, resumed and recorded streams."""

import re
from collections.abc import Iterator
from time import monotonic

from r1tui.errors import R1tuiError
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
    TooLong,
)
from r1tui.remedies import AnyRemedy
from r1tui.server import wire
from r1tui.server.refusal import OURS, ServerOwner, explain
from r1tui.server.wire import (
    Chunk,
    ChunkChoice,
    ChunkTimings,
    Gap,
    ServerError,
    TokenUsage,
    is_done,
    read_chunk,
    read_whole_answer,
)
from r1tui.text import size

OPEN, CLOSE = "<think>", "</think>"
MOST_QUOTED = 100
"""After so many quoted tags none is expected to be the thinking's end."""
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
REASONS = {
    "null": "", "none": "", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "complete": "stop", "stop": "stop", "length": "length", "max_tokens": "length", "max_length": "length",
    "model_length": "length",
}  # fmt: skip
"""Other servers' words for the end of an answer, in lower case, and llama-server's; empty: it goes on."""
_CUT_SHORT = ("abort", "content_filter", "insufficient_system_resource", "network_error", "recitation", "safety",
              "sensitive", "timeout")  # fmt: skip
"""Reasons for which an answer is not whole."""
_QUOTES = ("`", '"', "'", "(", "[", "“", "‘", "«", "„")
Piece = Reasoning | Content | ContentWasThinking
GAP_TEXT = "\n\n[About {} are missing here: no supervisor recorded them.]\n\n"


class ThinkSplitter:
    """Splits streamed content at `<think>` and `</think>`, wherever the pieces are cut.

    With `inside` the prompt ended in `<think>`, so thinking comes first even without the opening tag. Tags count
    only where they open a reply and end its thinking; later ones are the answer's own words. A reply that `goes_on`
    begins in the middle of its thinking, with `inside`, or of its answer.

    With `may_lack_open` it is not known how the prompt ended: a first `</think>` with no `<think>` before it tells
    that everything up to it was thinking. One that the answer quotes, in code or in the middle of a sentence, does not.
    """

    def __init__(self, *, inside: bool, goes_on: bool = False, may_lack_open: bool = False) -> None:
        self._forced = inside
        self._may_lack_open = may_lack_open and not inside and not goes_on
        self._said: list[str] = []
        """Text passed on while a `</think>` may still decide what it was."""
        self._quoted = 0
        self._state = ("thinking" if inside else "answer") if goes_on else "start"
        self._held = ""

    def is_split_already(self) -> None:
        """The server tells thinking and answer apart itself: tags in the answer are its own words."""
        self._may_lack_open = False

    def feed(self, text: str) -> list[Piece]:
        """Return the certain text after this piece; holds back at most a partial tag and leading white space."""
        self._held += text
        out: list[Piece] = []
        if self._state == "start" and not self._decide_start():
            return out
        if self._state == "thinking":
            self._read_thinking(out)
        if self._state == "answer" and self._held:
            self._read_answer(out)
        return out

    def finish(self) -> list[Piece]:
        """Return the text still held back when the stream ended."""
        held, self._held = self._held, ""
        if not held:
            return []
        thinking = self._state == "thinking" or (self._state == "start" and self._forced)
        return [Reasoning(held) if thinking else Content(held)]

    def _decide_start(self) -> bool:
        """True if it is known by now with what the reply begins."""
        stripped = self._held.lstrip()
        if OPEN.startswith(stripped) and stripped != OPEN:
            return False
        if stripped.startswith(OPEN):
            self._held = stripped.removeprefix(OPEN)
            self._state = "thinking"
            self._may_lack_open = False
        else:
            self._state = "thinking" if self._forced else "answer"
        return True

    def _read_answer(self, out: list[Piece]) -> None:
        while self._held and self._may_lack_open:
            said, tag, rest = self._held.partition(CLOSE)
            if not tag:
                break
            self._said = ["".join([*self._said, said])]
            if _is_quoted(self._said[0]):
                self._said.append(tag)
                self._quoted += 1
                self._may_lack_open = self._quoted < MOST_QUOTED
                out.append(Content(said + tag))
            else:
                self._may_lack_open = False
                out += [*([Content(said)] if said else []), ContentWasThinking()]
            self._held = rest
        keep = _partial_tag_length(self._held) if self._may_lack_open else 0
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        if said:
            self._said.append(said)
            out.append(Content(said))

    def _read_thinking(self, out: list[Piece]) -> None:
        thought, tag, rest = self._held.partition(CLOSE)
        if tag:
            self._state = "answer"
            self._held = rest
        else:
            keep = _partial_tag_length(thought)
            thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
        if thought:
            out.append(Reasoning(thought))


def _is_quoted(before: str) -> bool:
    """True if a `</think>` after this text is a word of the answer: in code, behind `<think>`, or within a sentence."""
    in_code = len(_FENCE.findall(before)) % 2 or before.rpartition("\n")[2].count("`") % 2
    in_sentence = before[-1:] in _QUOTES or (before[-1:] == " " and before.rstrip()[-1:].isalnum())
    return bool(in_code) or in_sentence or OPEN in before


def _partial_tag_length(text: str) -> int:
    """Count the characters at the end of the text that could begin `</think>`."""
    for length in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-length:]):
            return length
    return 0


class AnswerReader:
    """Reads one answer. `inside_thinking` says that the prompt ended in `<think>`, or in the thinking of an answer
    whose beginning is known, so that this one `goes_on`; `knows_prompt`, that this can be relied on. Of one that is not
    `is_live`, but a record, the server's own times alone count."""

    def __init__(
        self,
        *,
        inside_thinking: bool = False,
        goes_on: bool = False,
        knows_prompt: bool = True,
        is_live: bool = True,
        owner: ServerOwner = OURS,
    ) -> None:
        self.done = False
        """True if Finished or Failed was yielded."""
        self._goes_on = goes_on
        self._is_live = is_live
        self._owner = owner
        self._splitter = ThinkSplitter(inside=inside_thinking, goes_on=goes_on, may_lack_open=not knows_prompt)
        self._told_id = False
        self._choice: int | None = None
        """Id of the answer that is read; None before the first."""
        self._started_s = monotonic()
        self._taken_s: float | None = None
        """Time when the server took the question; None: not known."""
        self._first_token_s: float | None = None
        self._timings: ChunkTimings | None = None
        self._has_thoughts = False
        self._reasoning_tokens: int | None = None
        self._usage = TokenUsage()
        self._finish_reason: str | None = None
        self._missing: Gap | None = None

    @property
    def has_begun(self) -> bool:
        """True if the server has sent a piece of an answer, if only an empty one."""
        return self._choice is not None

    @property
    def has_end(self) -> bool:
        """True if the server has said why the answer ended, if not yet that its stream did."""
        return self._finish_reason is not None

    def read(self, payload: bytes) -> Iterator[StreamEvent]:
        """The events of one server-sent event's payload."""
        if self.done:
            return
        if is_done(payload):
            yield from self.finish()
        else:
            yield from self._read(read_chunk(payload), payload)

    def read_whole(self, body: bytes) -> Iterator[StreamEvent]:
        """The events of a whole answer, from a server that does not stream, or writes a chunk on each line."""
        yield from self._read(read_whole_answer(body), body)
        yield from self.finish()

    def _read(self, chunk: Chunk | None, data: bytes) -> Iterator[StreamEvent]:
        lines = [line for line in data.splitlines() if line.strip()] if chunk is None else []
        if len(lines) > 1:  # events without the blank line between them
            for line in lines:
                yield from self.read(line)
        elif chunk is None:
            yield self._fail(self._no_answer())
        elif chunk.error is None:
            yield from self._read_chunk(chunk)
        elif chunk.error.type == wire.STOPPED_ERROR:
            yield from self.cancel()
        else:
            yield from self.refuse(chunk.error)

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
            self._note_taken(seen.time_ms)
            yield PromptProgress(seen.total, seen.cache, seen.processed, seen.time_ms)
        if chunk.timings:
            self._timings = chunk.timings
            self._note_taken(chunk.timings.prompt_ms)
        if chunk.usage:
            self._usage = chunk.usage
            if (details := chunk.usage.completion_tokens_details) is not None:
                self._reasoning_tokens = details.reasoning_tokens
        for choice in chunk.choices:
            yield from self._read_choice(choice)
        if (counts := chunk.timings) and counts.predicted_n:
            yield Timings(
                prompt_tokens=counts.prompt_n + counts.cache_n,
                cached_tokens=counts.cache_n,
                prompt_tps=counts.prompt_per_second,
                completion_tokens=counts.predicted_n,
                tps=counts.predicted_per_second,
            )

    def _note_taken(self, ago_ms: float | None) -> None:
        """The server took the question so long ago, by its own clock; what it says after the first token is late.

        What is read late makes it seem later: of several the earliest is true.
        """
        if self._first_token_s is None and ago_ms is not None:
            taken_s = max(monotonic() - ago_ms / 1000, self._started_s)
            self._taken_s = taken_s if self._taken_s is None else min(self._taken_s, taken_s)

    def _read_choice(self, choice: ChunkChoice) -> Iterator[StreamEvent]:
        self._choice = choice.index if self._choice is None else self._choice
        if choice.index != self._choice:  # of an answer that nobody asked for
            return
        if thought := choice.delta.reasoning_content:
            self._splitter.is_split_already()
            yield from self._token(Reasoning(thought))
        for piece in self._splitter.feed(choice.delta.content or choice.text or ""):
            yield from self._token(piece)
        if choice.finish_reason:
            self._finish_reason = REASONS.get(choice.finish_reason.lower(), choice.finish_reason) or self._finish_reason

    def _tell_gap(self, gap: Gap, after: Chunk) -> Iterator[StreamEvent]:
        """Say in the answer, where it belongs, how much of it is missing: in tokens where the server counts them."""
        self._missing = None
        before = self._timings.predicted_n if self._timings else 0
        tokens = after.timings.predicted_n - before - 1 if after.timings else 0
        about = f"{tokens:,} tokens" if tokens > 0 else size(gap.missing_bytes)
        text = GAP_TEXT.format(about)
        if any(choice.delta.reasoning_content for choice in after.choices):
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
        seen, usage = self._timings, self._usage
        counted_prompt = seen.prompt_n + seen.cache_n or None if seen else None
        counted = seen.predicted_n if seen and (seen.predicted_n or counted_prompt) else None
        yield Finished(
            finish_reason=self._finish_reason or "stop",
            prompt_tokens=counted_prompt if usage.prompt_tokens is None else usage.prompt_tokens,
            reasoning_tokens=self._reasoning_tokens if self._has_thoughts else 0,
            completion_tokens=counted if usage.completion_tokens is None else usage.completion_tokens,
            prompt_tps=seen.prompt_per_second or None if seen else None,
            tps=seen.predicted_per_second or None if seen else None,
            ttft_ms=self._since_start_ms(self._first_token_s) if self._is_live else seen.prompt_ms if seen else None,
            waited_ms=self._since_start_ms(self._taken_s) if self._is_live else None,
        )

    def _since_start_ms(self, time_s: float | None) -> float | None:
        return None if time_s is None else (time_s - self._started_s) * 1000

    def _no_answer(self) -> R1tuiError:
        return R1tuiError("The server sent an invalid answer.", self._owner.log)

    def _why_no_answer(self) -> R1tuiError | None:
        """The error of an end that is none of an answer; a llama-server of ours has no such ends."""
        reason = self._finish_reason
        if self._owner.is_ours or reason == "cancelled":
            return None
        if self._choice is None:
            return self._no_answer()
        if reason == "error":
            return R1tuiError(f"{self._owner.subject} ended in the middle of the answer.", self._owner.after_break)
        if self._first_token_s is None and reason not in (None, "stop", "length"):
            return R1tuiError(
                f"The server sent no text. Its reason: {reason}.", "Rephrase the question, or choose another model."
            )
        if reason is not None and reason.lower() in _CUT_SHORT:
            return R1tuiError(f"{self._owner.subject} ended the answer early: {reason}.", self._owner.after_break)
        return None

    def _failure(self, error: ServerError) -> Failed:
        self.done = True
        said = explain(error, self._owner)
        if error.type == wire.SERVER_STOPPED_ERROR:
            return ServerStopped.of(said)
        if error.type == wire.TOO_LONG_ERROR:
            prompt_tokens, context_tokens = error.n_prompt_tokens or 0, error.n_ctx or 0
            return TooLong(said.cause, "", said.remedies, prompt_tokens, context_tokens)
        return Failed.of(said)

    def _fail(self, error: R1tuiError) -> Failed:
        self.done = True
        return Failed.of(error)
