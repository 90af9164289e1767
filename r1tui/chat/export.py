"""A conversation as a file for other programs: Markdown of what is shown, or JSON of everything.

Conversations that their own disk has no room for become such files in another place; private, and found again later.

The keys of the JSON object, which are public: `version` (1), `id`, `title` (the name if it has none), `created` and
`updated` (ISO 8601, UTC), `shown` (the numbers of the exchanges of the shown path) and `exchanges`, each with `number`
(in the order in which they were asked), `parent` (the number of the one that it follows, or null), `asked`, `question`,
`state` (`done`, `stopped`, `failed`, or what a running answer does), `answer`, `thinking`, `tokens`, `thinking_tokens`,
`thinking_s`, `cause`, `remedy`, `model`, and `figures` (null, or the keys of `chat --json`'s last line and `waited_ms`,
which of `ttft_ms` was the wait before the server took the question, or null).
"""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import localtime, strftime, time
from typing import Any

import msgspec

from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.rows import Loaded, Tracker
from r1tui.errors import R1tuiError, os_error
from r1tui.system.files import replace_file, write_new
from r1tui.system.paths import component
from r1tui.text import duration, one_line, plain, safe_json, without_controls

SUFFIXES = {"markdown": ".md", "json": ".json"}
PREFIX = "r1tui-unsaved"
_MEMORY = Path("/dev/shm")  # noqa: S108  each file there is made for its owner alone
"""Folder in memory for when no disk has space; lost at the machine's next start."""
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
    """Write the file, whole or not at all; False when there is one and it is not to be replaced. Raises R1tuiError."""
    try:
        data = text.encode(errors="replace")
        if replace:
            replace_file(path, data)
        else:
            write_new(path, data, 0o666)
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
    return "*Cut off here.*" if answer.cut else "*Unfinished when this was saved.*" if answer.running else ""


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


@dataclass(frozen=True)
class Unsaved:
    """Texts that should be on disk but could not be saved."""

    why: R1tuiError
    words: int = 0
    conversations: tuple[Conversation, ...] = ()
    draft: str = ""
    """Text of the prompt, if it could not be saved."""

    @property
    def said(self) -> str:
        words = "1 word" if self.words == 1 else f"{self.words:,} words"
        if not self.draft:
            return words
        return f"{words} and the draft" if self.words else "the draft"


def rescue_folders() -> list[Path]:
    """The folders that are tried, best first: the home folder, the temporary one, memory."""
    found = []
    with suppress(RuntimeError):
        found.append(Path.home())
    if (named := os.environ.get("TMPDIR")) is not None:
        found.append(Path(named))
    with suppress(OSError):
        found.append(Path(tempfile.gettempdir()))
    return list(dict.fromkeys([*found, _MEMORY]))


def rescue(unsaved: Unsaved, folders: Iterable[Path] | None = None) -> list[Path]:
    """Write all of these conversations, as Markdown and as JSON, and the draft, to the first folder that has room.

    Nothing that is there is replaced. Raises R1tuiError when none has.
    """
    refusal = R1tuiError("No other folder is writable.", "Free some disk space.")
    for folder in rescue_folders() if folders is None else folders:
        written: list[Path] = []
        try:
            for name, suffix, text in _texts(unsaved):
                written.append(_write_new(folder, name, suffix, text))
        except OSError as error:
            refusal = os_error(error, folder)
            for path in written:
                path.unlink(missing_ok=True)
        else:
            return written
    raise refusal


def find_rescued() -> list[Path]:
    """The Markdown files and drafts of this user that `rescue` once wrote to its own places, the oldest first."""
    found: list[Path] = []
    for folder in rescue_folders():
        with suppress(OSError):
            texts = [path for path in folder.glob(f"{PREFIX}-*") if path.suffix != SUFFIXES["json"]]
            found += [path for path in texts if path.lstat().st_uid == os.getuid()]
    return sorted(dict.fromkeys(found), key=lambda path: path.name)


def _texts(unsaved: Unsaved) -> Iterator[tuple[str, str, str]]:
    """Of each file the first part of its name, its suffix, and its text."""
    stamp = f"{PREFIX}-{strftime('%Y-%m-%d-%H%M%S', localtime())}"
    for conversation in unsaved.conversations:
        began_s = min((exchange.asked_s for exchange in conversation.every), default=time())
        loaded = Loaded(conversation, began_s, time(), Tracker(conversation))
        for kind, suffix in SUFFIXES.items():
            yield stamp, suffix, written_as(loaded, kind, thinking=True)
    if unsaved.draft:
        yield f"{stamp}-draft", ".txt", unsaved.draft


def _write_new(folder: Path, name: str, suffix: str, text: str) -> Path:
    for number in count(1):
        path = folder / f"{name}{f'-{number}' if number > 1 else ''}{suffix}"
        with suppress(FileExistsError):
            write_new(path, text.encode(errors="replace"))
            return path
    raise AssertionError  # count() has no end
