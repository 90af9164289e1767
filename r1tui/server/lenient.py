"""Reads what OpenAI-style servers really send: null, missing or odd fields, content in parts, errors of any shape."""

import json
import math
from typing import Any, TypeVar

import msgspec

from r1tui.server.wire import Choice, Chunk, ChunkProgress, ChunkTimings, Delta, ServerError, Usage

_decoder = msgspec.json.Decoder(Chunk)
_ERROR_KEYS = ("message", "detail", "error", "msg", "error_description", "title", "reason")
_LONGEST_WORDS = 400
_MOST_DEPTH = 6
S = TypeVar("S", bound=msgspec.Struct)


def read_chunk(payload: bytes) -> Chunk | None:
    """The chunk that an event's payload means; None when it is no JSON object."""
    try:
        chunk = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    else:
        if chunk != _NOTHING and (chunk.error is None or chunk.error.message):
            return chunk
    said = foreign_json(payload)
    return _chunk(said, "delta") if isinstance(said, dict) else None


def read_whole_answer(body: bytes) -> Chunk | None:
    """A whole chat completion as one chunk, from a server that does not stream; None when it is none."""
    said = foreign_json(body)
    return _chunk(said, "message") if isinstance(said, dict) else None


def read_error(body: bytes, status: int) -> ServerError:
    """The error in a response's body, whatever its shape: JSON of any kind, plain text, a web page."""
    said = foreign_json(body)
    if said is None:
        return ServerError("" if looks_like_html(body) else _shortened(body.decode(errors="replace")), status=status)
    return msgspec.structs.replace(_error(said), status=status)


def looks_like_html(body: bytes) -> bool:
    """Whether this is a web page."""
    start = body[:512].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body")) or (start[:1] == b"<" and b"<html" in start)


def foreign_json(body: bytes) -> Any:
    """The JSON of a body, with U+FFFD for bytes and surrogates that are no text; None for what is no JSON."""
    try:
        return json.loads(body.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def sound_text(text: str) -> str:
    """The text with U+FFFD in place of halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _chunk(said: dict[str, Any], answer_key: str) -> Chunk:
    choices = said.get("choices")
    listed = choices if isinstance(choices, list) else []
    error = said.get("error") or (said if choices is None and _words(said) else None)
    identity = said.get("id")
    return Chunk(
        id=sound_text(str(identity)) if isinstance(identity, str | int) else "",
        choices=[_choice(one, answer_key) for one in listed if isinstance(one, dict)],
        timings=_known(ChunkTimings, said.get("timings")),
        prompt_progress=_known(ChunkProgress, said.get("prompt_progress")),
        usage=_known(Usage, said.get("usage")),
        error=_error(error) if error else None,
    )


def _choice(said: dict[str, Any], answer_key: str) -> Choice:
    delta, reason, text = said.get(answer_key), said.get("finish_reason"), said.get("text")
    fields = delta if isinstance(delta, dict) else {}
    content, in_parts = _answer_and_thinking(fields.get("content"))
    named = next((one for key in ("reasoning_content", "reasoning") if (one := fields.get(key))), None)
    thinking = "".join(_answer_and_thinking(named)) or in_parts
    return Choice(
        Delta(content, thinking or None),
        sound_text(text) if isinstance(text, str) else None,
        reason if isinstance(reason, str) else None,
    )


def _answer_and_thinking(content: object, depth: int = 0) -> tuple[str, str]:
    """The text of content that may be a list of parts, some of them thinking."""
    if isinstance(content, str):
        return sound_text(content), ""
    answer = thinking = ""
    for part in content if isinstance(content, list) and depth < _MOST_DEPTH else []:
        if isinstance(part, dict):
            kind = str(part.get("type", "text"))
            said = part.get("thinking") or part.get("reasoning") or part.get("text") or part.get("content")
            inner = _answer_and_thinking(said, depth + 1)
            thinks = "thinking" in kind or "reasoning" in kind
            answer, thinking = answer + ("" if thinks else inner[0]), thinking + (inner[0] if thinks else "") + inner[1]
        elif isinstance(part, str):
            answer += sound_text(part)
    return answer, thinking


def _error(said: object) -> ServerError:
    """The error of an `error` object, text or list."""
    inner = said["error"] if isinstance(said, dict) and isinstance(said.get("error"), dict) else said
    known = _known(ServerError, inner) or ServerError()
    return msgspec.structs.replace(known, message=_shortened(_words(said)), status=None)


def _words(said: object, depth: int = 0) -> str:
    """What an error says for people, wherever it says it."""
    if isinstance(said, str):
        return said
    if depth >= _MOST_DEPTH:
        return ""
    if isinstance(said, dict):
        return next((words for key in _ERROR_KEYS if (words := _words(said.get(key), depth + 1))), "")
    if isinstance(said, list):
        return "; ".join(words for one in said[:3] if (words := _words(one, depth + 1)))
    return ""


def _shortened(words: str) -> str:
    line = " ".join(sound_text(words).split())
    return line if len(line) <= _LONGEST_WORDS else line[: _LONGEST_WORDS - 1] + "…"


def _known(kind: type[S], said: object) -> S | None:
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
