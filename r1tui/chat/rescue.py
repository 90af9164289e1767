"""Conversations that their own disk has no room for, as files in another place; private, and found again later."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import localtime, strftime, time

from r1tui.chat.conversation import Conversation
from r1tui.chat.export import SUFFIXES, written_as
from r1tui.chat.rows import Loaded, Tracker
from r1tui.errors import R1tuiError, os_error
from r1tui.system.files import write_new

PREFIX = "r1tui-unsaved"
_MEMORY = Path("/dev/shm")  # noqa: S108  each file there is made for its owner alone
"""Where there is room when no disk has any; gone with the machine's next start."""


@dataclass(frozen=True)
class Unsaved:
    """What a person wrote or was shown that is not on disk although it should be."""

    why: R1tuiError
    words: int = 0
    conversations: tuple[Conversation, ...] = ()
    draft: str = ""
    """What stands in the prompt, where that could not be kept."""

    @property
    def said(self) -> str:
        words = "1 word" if self.words == 1 else f"{self.words:,} words"
        if not self.draft:
            return words
        return f"{words} and the draft" if self.words else "the draft"


def places() -> list[Path]:
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
    refusal = R1tuiError("There is no other place.", "Make room.")
    for folder in places() if folders is None else folders:
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


def left_behind() -> list[Path]:
    """The Markdown files and drafts of this user that `rescue` once wrote to its own places, the oldest first."""
    found: list[Path] = []
    for folder in places():
        with suppress(OSError):
            texts = [path for path in folder.glob(f"{PREFIX}-*") if path.suffix != SUFFIXES["json"]]
            found += [path for path in texts if path.lstat().st_uid == os.getuid()]
    return sorted(dict.fromkeys(found), key=lambda path: path.name)


def _texts(unsaved: Unsaved) -> Iterator[tuple[str, str, str]]:
    """Of each file the first part of its name, its suffix, and its text."""
    stamp = f"{PREFIX}-{strftime('%Y-%m-%d-%H%M%S', localtime())}"
    for conversation in unsaved.conversations:
        began_s = min((exchange.asked_s for exchange in conversation.every), default=time())
        for kind, suffix in SUFFIXES.items():
            yield (
                stamp,
                suffix,
                written_as(Loaded(conversation, began_s, time(), Tracker(conversation)), kind, thinking=True),
            )
    if unsaved.draft:
        yield f"{stamp}-draft", ".txt", unsaved.draft


def _write_new(folder: Path, name: str, suffix: str, text: str) -> Path:
    for number in count(1):
        path = folder / f"{name}{f'-{number}' if number > 1 else ''}{suffix}"
        try:
            write_new(path, text.encode(errors="replace"))
        except FileExistsError:
            continue
        return path
    raise AssertionError  # count() has no end
