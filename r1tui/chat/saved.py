"""Conversations on disk, one small private file each, so that the next r1tui is where the last one was.

A file is replaced whole when a question is asked and when its answer has ended; what comes between is the answer's
record, which the keeper writes. A conversation belongs to one r1tui at a time, by a lock that its end releases.
"""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import msgspec

from r1tui.chat.answer import RUNNING, Answer, Base, Cut, State
from r1tui.chat.conversation import Conversation, Turn
from r1tui.errors import R1tuiError
from r1tui.locks import holder, locked
from r1tui.paths import private_folder, write_private

VERSION = 1
MOST_FILES = 50


class SavedTurn(msgspec.Struct, frozen=True):
    """A question and what its answer was when this was written."""

    question: str
    state: State = "done"
    content: str = ""
    thinking: str = ""
    thinking_tokens: int = 0
    thinking_s: float | None = None
    cause: str = ""
    remedy: str = ""
    answer_id: str = ""
    inside_thinking: bool = False
    tokens: int = 0
    cut: Cut = ""
    base: Base | None = None


class SavedConversation(msgspec.Struct, frozen=True):
    """The content of a file."""

    id: str
    turns: list[SavedTurn]
    version: int = VERSION


class ConversationFiles:
    """The conversations of a folder, one of them held."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = ExitStack()

    def last(self) -> Conversation | None:
        """The newest conversation, held from now on; None while another r1tui holds it.

        Beside another r1tui only one whose answer is running is taken up: its own was killed.
        """
        others = False
        with suppress(OSError):
            for path in self._newest():
                if holder(_lock(path)) is not None:
                    others = True
                elif (found := _read(path)) is not None and (not others or found.running) and self._hold(path):
                    return found
        return None

    def save(self, conversation: Conversation) -> None:
        """Write it, and hold it if it is new. Raises R1tuiError and OSError."""
        private_folder(self._folder)
        path = self._folder / f"{conversation.id}.json"
        if not path.exists():
            self.let_go()
            self._hold(path)
            for old in self._newest()[MOST_FILES - 1 :]:
                if holder(_lock(old)) is None:
                    old.unlink(missing_ok=True)
        write_private(path, msgspec.json.encode(_saved(conversation)))

    def let_go(self) -> None:
        """Leave the held conversation to whoever comes next."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def _hold(self, path: Path) -> bool:
        if holder(_lock(path)) is not None:
            return False
        try:
            self._held.enter_context(locked(_lock(path), "The conversation"))
        except R1tuiError:
            return False
        return True

    def _newest(self) -> list[Path]:
        paths = self._folder.glob("[!.]*.json")
        return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _read(path: Path) -> Conversation | None:
    """The conversation of a file; None for what is none, or another r1tui's."""
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedConversation)
    except (OSError, msgspec.DecodeError):
        return None
    if saved.version != VERSION or f"{saved.id}.json" != path.name:
        return None
    turns = [Turn(turn.question, _answer(turn), turn.answer_id, turn.inside_thinking) for turn in saved.turns]
    return Conversation(saved.id, turns)


def _answer(turn: SavedTurn) -> Answer:
    if turn.state in RUNNING:  # its record tells the rest
        return Answer.resumed(turn.content, turn.thinking, turn.base) if turn.base else Answer()
    answer = Answer.past(
        turn.content,
        turn.thinking,
        thinking_tokens=turn.thinking_tokens,
        thinking_s=turn.thinking_s,
        tokens=turn.tokens,
        state=turn.state,
        cut=turn.cut,
    )
    answer.cause, answer.remedy, answer.base = turn.cause, turn.remedy, turn.base
    return answer


def _saved(conversation: Conversation) -> SavedConversation:
    turns = [
        SavedTurn(
            turn.question,
            turn.answer.state,
            turn.answer.content.text,
            turn.answer.thinking.text,
            turn.answer.thinking_tokens,
            turn.answer.thinking_s,
            turn.answer.cause,
            turn.answer.remedy,
            turn.answer_id,
            turn.inside_thinking,
            turn.answer.tokens,
            turn.answer.cut,
            turn.answer.base,
        )
        for turn in conversation.turns
    ]
    return SavedConversation(conversation.id, turns)
