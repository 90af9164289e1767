"""A conversation as a file for other programs: Markdown of what is shown, or JSON of everything.

The keys of the JSON object, which are public: `version` (1), `id`, `title` (the name if it has none), `created` and
`updated` (ISO 8601, UTC), `shown` (the numbers of the exchanges of the shown path) and `exchanges`, each with `number`
(in the order in which they were asked), `parent` (the number of the one that it follows, or null), `asked`, `question`,
`state` (`done`, `stopped`, `failed`, or what a running answer does), `answer`, `thinking`, `tokens`, `thinking_tokens`,
`thinking_s`, `cause`, `remedy`, `model`, and `figures` (null, or the keys of `chat --json`'s last line).
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.rows import Loaded
from r1tui.errors import R1tuiError, os_error
from r1tui.system.paths import component
from r1tui.text import duration, one_line, plain, safe_json, without_controls

SUFFIXES = {"markdown": ".md", "json": ".json"}
_LONGEST_NAME = 60
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def as_object(loaded: Loaded) -> dict[str, Any]:
    """All branches, with all that is known; see above for the keys."""
    conversation = loaded.conversation
    numbers = {exchange: number for number, exchange in enumerate(conversation.every)}
    return {
        "version": 1,
        "id": conversation.id,
        "title": conversation.name,
        "created": iso_date(loaded.created_s),
        "updated": iso_date(loaded.updated_s),
        "shown": [numbers[exchange] for exchange in conversation.exchanges],
        "exchanges": [_exchange(exchange, numbers) for exchange in conversation.every],
    }


def as_markdown(conversation: Conversation, *, thinking: bool = False) -> str:
    """The shown questions and answers under headings, with the thinking as quotes if it is wanted."""
    parts = [f"# {one_line(conversation.name) or 'Conversation'}"]
    for exchange in conversation.exchanges:
        parts += ["## Question", _closed(exchange.question), "## Answer"]
        if thinking and exchange.answer.has_thoughts:
            quoted = "\n".join(f"> {line}".rstrip() for line in exchange.answer.thinking.text.strip().splitlines())
            parts.append(f"> *{_thought(exchange)}*\n>\n{quoted}")
        parts += [_closed(exchange.answer.content.text), _ending(exchange)]
    return without_controls("\n\n".join(part for part in parts if part)) + "\n"


def written_as(loaded: Loaded, kind: str, *, thinking: bool = False) -> str:
    """The text of a file of this kind, `markdown` or `json`."""
    if kind == "json":
        return safe_json(json.dumps(as_object(loaded), ensure_ascii=False, indent=2)) + "\n"
    return as_markdown(loaded.conversation, thinking=thinking)


def file_name(name: str, kind: str) -> str:
    """A name for the file of a conversation that is called so."""
    words = re.sub(r"[^\w]+", "-", plain(name))[:_LONGEST_NAME].strip("-_")
    return component((words or "conversation") + SUFFIXES[kind])


def write_file(path: Path, text: str, *, replace: bool = False) -> bool:
    """Write the file; False, and nothing done, when there is one and it is not to be replaced. Raises R1tuiError."""
    try:
        with path.open("w" if replace else "x", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise os_error(error, path) from error
    except ValueError as error:  # a NUL in the name
        raise R1tuiError(f"{path!s} is not a valid file name.", "Choose another.") from error
    return True


def iso_date(time_s: float) -> str:
    """A Unix time in ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def _exchange(exchange: Exchange, numbers: dict[Exchange, int]) -> dict[str, Any]:
    answer = exchange.answer
    return {
        "number": numbers[exchange],
        "parent": numbers.get(exchange.parent) if exchange.parent is not None else None,
        "asked": iso_date(exchange.asked_s),
        "question": exchange.question,
        "state": answer.state,
        "answer": answer.content.text,
        "thinking": answer.thinking.text,
        "tokens": answer.tokens,
        "thinking_tokens": answer.thinking_tokens,
        "thinking_s": answer.thinking_s,
        "cause": answer.cause,
        "remedy": answer.remedy,
        "model": exchange.model,
        "figures": msgspec.structs.asdict(answer.finished) if answer.finished is not None else None,
    }


def _thought(exchange: Exchange) -> str:
    answer = exchange.answer
    tokens = f"{answer.thinking_tokens:,} tokens" if answer.thinking_tokens else ""
    seconds = duration(answer.thinking_s) if answer.thinking_s is not None else ""
    return ", ".join(filter(None, ("Thinking", tokens, seconds)))


def _ending(exchange: Exchange) -> str:
    answer = exchange.answer
    if answer.state == "failed":
        return f"*{one_line(answer.cause)}*" if answer.cause else "*Failed.*"
    if answer.state == "stopped":
        return "*Stopped here.*"
    return "*Cut off here.*" if answer.is_cut else "*Still running.*" if answer.running else ""


def _closed(text: str) -> str:
    """The text with an end to code that it leaves open, so that what follows is no code."""
    opened = ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if match is None:
            continue
        mark, rest = match[1], match[2]
        if not opened:
            opened = mark if mark[0] == "~" or "`" not in rest else ""
        elif mark[0] == opened[0] and len(mark) >= len(opened) and not rest.strip():
            opened = ""
    return f"{text}\n{opened}" if opened else text
