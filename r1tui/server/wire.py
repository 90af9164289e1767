"""The parts of llama-server's JSON that r1tui reads, and what other OpenAI-style servers send in their place."""

import json
import math
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import msgspec

from r1tui.server.sse import BOM, DONE, EventSplitter
from r1tui.text import shortened

STOPPED_ERROR, SERVER_STOPPED_ERROR = "r1tui_stopped", "r1tui_server_stopped"
"""The types of errors that are ours, in a record: the answer was stopped, or its server in order."""
ENDED_ERROR, LOST_ERROR, UNRECORDED_ERROR = "r1tui_server_ended", "r1tui_lost", "r1tui_unrecorded"
"""As above: the server ended by itself, the rest was lost, the rest could not be recorded."""
TOO_LONG_ERROR = "exceed_context_size_error"
"""llama-server's own: the prompt does not fit the context."""
_ERROR_KEYS = ("message", "detail", "error", "errors", "msg", "error_description", "title", "reason", "description")
_THINKING_KEYS = (
    "reasoning_content", "reasoning", "thinking", "thinking_content", "reasoning_text", "thought", "thoughts",
    "reasoning_details",
)  # fmt: skip
_TEXT_KEYS = ("thinking", "reasoning", "text", "content", "refusal", "value")
_LONGEST_WORDS = 400
_MOST_DEPTH = 6
S = TypeVar("S", bound=msgspec.Struct)


class NextToken(msgspec.Struct, frozen=True):
    """How far the answer in a slot is."""

    n_decoded: int = 0


class Slot(msgspec.Struct, frozen=True):
    """One place for an answer, as `/slots` shows it."""

    is_processing: bool = False
    """True if an answer is being computed in it."""
    id_task: int | None = None
    n_prompt_tokens: int = 0
    """In its cache, answers included."""
    next_token: list[NextToken] | NextToken = NextToken()
    """A list in newer servers."""

    @property
    def tokens(self) -> int:
        """Tokens of the answer so far."""
        parts = [self.next_token] if isinstance(self.next_token, NextToken) else self.next_token
        return sum(part.n_decoded for part in parts)


class Delta(msgspec.Struct, frozen=True):
    """A piece of an answer. Fields of other servers are None: `read_chunk` puts their text into ours."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: None = None
    thinking: None = None
    thinking_content: None = None
    reasoning_text: None = None
    thought: None = None
    thoughts: None = None
    reasoning_details: None = None
    refusal: None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    """The one choice of a chunk."""

    delta: Delta = Delta()
    message: None = None
    """Another server's, in place of `delta`."""
    text: str | None = None
    """Of a completion that is no chat."""
    finish_reason: str | None = None
    index: int = 0
    """Index of the answer; r1tui asks for one."""
    error: None = None
    """Another server's, which belongs to the chunk."""


Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Rate = Annotated[float, msgspec.Meta(ge=0)]


class ChunkTimings(msgspec.Struct, frozen=True):
    """Counters of the request so far; speeds in tokens per second, null before the first token."""

    prompt_n: Count = 0
    prompt_ms: Rate | None = None
    """From when the server took the question to its first token."""
    cache_n: Count = 0
    prompt_per_second: Rate | None = None
    predicted_n: Count = 0
    predicted_per_second: Rate | None = None


class ChunkProgress(msgspec.Struct, frozen=True):
    total: int = 0
    cache: int = 0
    processed: int = 0
    time_ms: float = 0.0


class TokenDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: Count | None = None


class TokenUsage(msgspec.Struct, frozen=True):
    """Token counts of the whole request; None where the server does not give them."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    completion_tokens_details: TokenDetails | None = None


class ServerError(msgspec.Struct, frozen=True):
    """An `error` object, in a response's body or inside a stream."""

    message: str = ""
    type: str = ""
    code: int | str | None = None
    status: int | None = None
    """Of the HTTP response."""
    wait_s: int | None = None
    """After how many seconds to ask again, where the server says."""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class Gap(msgspec.Struct, frozen=True):
    """A gap in a record: missing bytes of the stream, which continues at an offset."""

    missing_bytes: int = 0
    resumes_at: int = 0


class Chunk(msgspec.Struct, frozen=True):
    """One event of a streamed completion, or one of ours in its record."""

    id: str = ""
    choices: list[ChunkChoice] = []
    timings: ChunkTimings | None = None
    prompt_progress: ChunkProgress | None = None
    usage: TokenUsage | None = None
    error: ServerError | None = None
    r1tui_gap: Gap | None = None


class GenerationSettings(msgspec.Struct, frozen=True):
    """The settings of a request that names none."""

    n_ctx: int | None = None


class Props(msgspec.Struct, frozen=True):
    """A server's answer to `/props`."""

    role: str = ""
    """`router` where it stands for several models, and has none of its own."""
    model_path: str = ""
    chat_template: str = ""
    default_generation_settings: GenerationSettings = GenerationSettings()

    @property
    def context_tokens(self) -> int | None:
        """Tokens in the context; None if not reported, as by a router of several models."""
        return self.default_generation_settings.n_ctx or None

    @property
    def model(self) -> str:
        """The model's path; empty for a router, which has none."""
        return "" if self.role == "router" else self.model_path

    @property
    def has_thinking_switch(self) -> bool:
        """True if the model's template can be told not to think."""
        return "enable_thinking" in self.chat_template


class RenderedPrompt(msgspec.Struct, frozen=True):
    """The prompt that a template makes of messages."""

    prompt: str


class Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


class InputTokens(msgspec.Struct, frozen=True):
    input_tokens: int


class Done(msgspec.Struct, frozen=True):
    """The result of a command to a running answer."""

    success: bool = False
    message: str = "no"


def read_chunk(payload: bytes) -> Chunk | None:
    """The chunk that an event's payload means, without anything where it is JSON of another kind; None when it is no
    JSON."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        chunk = _decoder.decode(payload)
        if chunk != _NOTHING and (chunk.error is None or chunk.error.message):
            return chunk
    said = foreign_json(payload)
    if isinstance(said, dict):
        return _chunk(said)
    return _NOTHING if is_json(payload) else None


def read_whole_answer(body: bytes) -> Chunk | None:
    """A whole chat completion as one chunk, from a server that does not stream; None when it is none."""
    said = foreign_json(body)
    return _chunk(said) if isinstance(said, dict) else None


def is_whole_event(payload: bytes) -> bool:
    """True if nothing is missing in a payload: JSON, the word that ends a stream, or such lines."""
    return is_done(payload) or is_json(payload) or all(is_done(line) or is_json(line) for line in payload.splitlines())


def is_done(payload: bytes) -> bool:
    """True if the payload says that the stream is at its end."""
    return payload.strip().strip(b'"').upper() == DONE


def read_error(body: bytes, status: int | None = None) -> ServerError:
    """The error in a body, whatever its shape: JSON of any kind, plain text, a web page."""
    said = foreign_json(body)
    if said is None:
        said = next((inner for one in EventSplitter().all(body) if (inner := foreign_json(one)) is not None), None)
    if said is None:
        return ServerError(
            "" if looks_like_html(body) else shortened(body.decode(errors="replace"), _LONGEST_WORDS), status=status
        )
    return msgspec.structs.replace(_error(said), status=status)


def looks_like_html(body: bytes) -> bool:
    start = body[:512].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body")) or (start[:1] == b"<" and b"<html" in start)


def foreign_json(body: bytes) -> Any:
    """The JSON of a body, with U+FFFD for bytes and surrogates that are no text; None for what is no JSON."""
    try:
        text = body.removeprefix(BOM).decode(errors="replace")
        said = json.loads(text, strict=False)
        if "\\ud" not in text.lower():
            return said
        return json.loads(_sound_text(json.dumps(said, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return None


def is_json(body: bytes) -> bool:
    return foreign_json(body) is not None or body.strip() == b"null"


def _sound_text(text: str) -> str:
    """The text with U+FFFD in place of halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _chunk(said: dict[str, Any]) -> Chunk:
    choices = said.get("choices")
    listed = [one for one in (choices if isinstance(choices, list) else [choices]) if isinstance(one, dict)]
    identity = said.get("id")
    return Chunk(
        id=str(identity) if isinstance(identity, str | int) else "",
        choices=[_choice(one) for one in listed],
        timings=known(ChunkTimings, said.get("timings")),
        prompt_progress=known(ChunkProgress, said.get("prompt_progress")),
        usage=known(TokenUsage, said.get("usage")),
        error=_error_in(said, listed),
    )


def _error_in(said: dict[str, Any], choices: list[dict[str, Any]]) -> ServerError | None:
    """The error that a chunk is, or has beside its choices or in one."""
    inner = said.get("error") or next((words for one in choices if (words := one.get("error"))), None)
    if inner and (_words(inner) or not choices):
        return _error(inner if _words(inner) else said)
    return _error(said) if not choices and "choices" not in said and _words(said) else None


def _choice(said: dict[str, Any]) -> ChunkChoice:
    reason, text, index = (said.get(key) for key in ("finish_reason", "text", "index"))
    content = thinking = ""
    for given in (said.get("delta"), said.get("message")):  # a delta that says nothing may stand beside a message
        fields = {"content": given} if isinstance(given, str) else given
        if isinstance(fields, dict) and not (content or thinking):
            content, in_parts = _answer_and_thinking(fields.get("content") or fields.get("refusal"))
            named = next((one for key in _THINKING_KEYS if (one := fields.get(key))), None)
            thinking = "".join(_answer_and_thinking(named)) or in_parts
    return ChunkChoice(
        Delta(content, thinking or None),
        text=text if isinstance(text, str) else None,
        finish_reason=reason if isinstance(reason, str) else None,
        index=index if isinstance(index, int) else 0,
    )


def _answer_and_thinking(content: object, depth: int = 0) -> tuple[str, str]:
    """The text of content that may be a list of parts, some of them thinking."""
    if isinstance(content, str):
        return content, ""
    answer = thinking = ""
    parts = [content] if isinstance(content, dict) else content if isinstance(content, list) else []
    for part in parts if depth < _MOST_DEPTH else []:
        if isinstance(part, dict):
            kind = str(part.get("type", "text"))
            said = next((one for key in _TEXT_KEYS if (one := part.get(key))), None)
            inner = _answer_and_thinking(said, depth + 1)
            thinks = "thinking" in kind or "reasoning" in kind
            answer, thinking = answer + ("" if thinks else inner[0]), thinking + (inner[0] if thinks else "") + inner[1]
        elif isinstance(part, str):
            answer += part
    return answer, thinking


def _error(said: object) -> ServerError:
    inner = said["error"] if isinstance(said, dict) and isinstance(said.get("error"), dict) else said
    fields = known(ServerError, inner) or ServerError()
    words = _words(said) or (json.dumps(said, ensure_ascii=False) if said else "")
    return msgspec.structs.replace(fields, message=shortened(words, _LONGEST_WORDS), status=None)


def _words(said: object, depth: int = 0) -> str:
    """An error's message for people, from any of its fields."""
    if isinstance(said, str):
        return said
    if depth >= _MOST_DEPTH:
        return ""
    if isinstance(said, dict):
        lower = {str(key).lower(): value for key, value in said.items()}
        return next((words for key in _ERROR_KEYS if (words := _words(lower.get(key), depth + 1))), "")
    if isinstance(said, list):
        return "; ".join(words for one in said[:3] if (words := _words(one, depth + 1)))
    return ""


def known(kind: type[S], said: object) -> S | None:
    """The struct with those fields that are what they should be; None where there is no object."""
    if not isinstance(said, dict):
        return None
    good: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = said.get(field.name)
        if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            with suppress(msgspec.ValidationError, RecursionError, UnicodeEncodeError):
                good[field.name] = msgspec.convert(value, field.type, strict=False)
    return kind(**good)


_NOTHING = Chunk()
_decoder = msgspec.json.Decoder(Chunk)
