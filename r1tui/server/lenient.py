"""Reads what OpenAI-style servers really send: null, missing or odd fields, content in parts, errors of any shape."""

import json
import math
from typing import Any, TypeVar

import msgspec

from r1tui.server.sse import BOM, DONE, EventSplitter
from r1tui.server.wire import Chunk, ChunkChoice, ChunkProgress, ChunkTimings, Delta, ServerError, TokenUsage

_decoder = msgspec.json.Decoder(Chunk)
_ERROR_KEYS = ("message", "detail", "error", "errors", "msg", "error_description", "title", "reason", "description")
_TEXT_KEYS = ("thinking", "reasoning", "text", "content", "refusal", "value")
_LONGEST_WORDS = 400
_MOST_DEPTH = 6
S = TypeVar("S", bound=msgspec.Struct)


def read_chunk(payload: bytes) -> Chunk | None:
    """The chunk that an event's payload means, without anything where it is JSON of another kind; None when it is no
    JSON."""
    try:
        chunk = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    else:
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
    """Whether nothing is missing in a payload: JSON, the word that ends a stream, or such lines."""
    return is_done(payload) or is_json(payload) or all(is_done(line) or is_json(line) for line in payload.splitlines())


def is_done(payload: bytes) -> bool:
    """Whether the payload says that the stream is at its end."""
    return payload.strip().strip(b'"').upper() == DONE


def read_error(body: bytes, status: int | None = None) -> ServerError:
    """The error in a body, whatever its shape: JSON of any kind, plain text, a web page."""
    said = foreign_json(body)
    if said is None:
        said = next((inner for one in EventSplitter().all(body) if (inner := foreign_json(one)) is not None), None)
    if said is None:
        return ServerError("" if looks_like_html(body) else _shortened(body.decode(errors="replace")), status=status)
    return msgspec.structs.replace(_error(said), status=status)


def looks_like_html(body: bytes) -> bool:
    start = body[:512].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body")) or (start[:1] == b"<" and b"<html" in start)


def foreign_json(body: bytes) -> Any:
    """The JSON of a body, with U+FFFD for bytes and surrogates that are no text; None for what is no JSON."""
    try:
        return json.loads(body.removeprefix(BOM).decode(errors="replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def is_json(body: bytes) -> bool:
    return foreign_json(body) is not None or body.strip() == b"null"


def sound_text(text: str) -> str:
    """The text with U+FFFD in place of halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _chunk(said: dict[str, Any]) -> Chunk:
    choices = said.get("choices")
    listed = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    identity = said.get("id")
    return Chunk(
        id=sound_text(str(identity)) if isinstance(identity, str | int) else "",
        choices=[_choice(one) for one in listed],
        timings=known(ChunkTimings, said.get("timings")),
        prompt_progress=known(ChunkProgress, said.get("prompt_progress")),
        usage=known(TokenUsage, said.get("usage")),
        error=_error_in(said, has_choices=bool(listed)),
    )


def _error_in(said: dict[str, Any], *, has_choices: bool) -> ServerError | None:
    """The error that a chunk is, or has beside its choices."""
    inner = said.get("error")
    if inner and (_words(inner) or not has_choices):
        return _error(inner if _words(inner) else said)
    return _error(said) if not has_choices and "choices" not in said and _words(said) else None


def _choice(said: dict[str, Any]) -> ChunkChoice:
    delta, reason, text, index = (said.get(key) for key in ("delta", "finish_reason", "text", "index"))
    fields = delta if isinstance(delta, dict) and delta else said.get("message")
    fields = fields if isinstance(fields, dict) else {}
    content, in_parts = _answer_and_thinking(fields.get("content") or fields.get("refusal"))
    named = next((one for key in ("reasoning_content", "reasoning") if (one := fields.get(key))), None)
    thinking = "".join(_answer_and_thinking(named)) or in_parts
    return ChunkChoice(
        Delta(content, thinking or None),
        text=sound_text(text) if isinstance(text, str) else None,
        finish_reason=reason if isinstance(reason, str) else None,
        index=index if isinstance(index, int) else 0,
    )


def _answer_and_thinking(content: object, depth: int = 0) -> tuple[str, str]:
    """The text of content that may be a list of parts, some of them thinking."""
    if isinstance(content, str):
        return sound_text(content), ""
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
            answer += sound_text(part)
    return answer, thinking


def _error(said: object) -> ServerError:
    inner = said["error"] if isinstance(said, dict) and isinstance(said.get("error"), dict) else said
    fields = known(ServerError, inner) or ServerError()
    words = _words(said) or (json.dumps(said, ensure_ascii=False) if said else "")
    return msgspec.structs.replace(fields, message=_shortened(words), status=None)


def _words(said: object, depth: int = 0) -> str:
    """What an error says for people, wherever it says it."""
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


def _shortened(words: str) -> str:
    line = " ".join(sound_text(words).split())
    return line if len(line) <= _LONGEST_WORDS else line[: _LONGEST_WORDS - 1] + "…"


def known(kind: type[S], said: object) -> S | None:
    """The struct with those fields that are what they should be; None where there is no object."""
    if not isinstance(said, dict):
        return None
    good: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = said.get(field.name)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        try:
            good[field.name] = msgspec.convert(value, field.type, strict=False)
        except (msgspec.ValidationError, RecursionError):
            continue
    return kind(**good)


_NOTHING = Chunk()
