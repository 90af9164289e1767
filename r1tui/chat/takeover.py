"""Takes over conversations that other versions of r1tui left beside the database: JSON files, one each, of the first
one, and the database that an older one kept beside a newer one's."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import msgspec

from r1tui.chat import rows
from r1tui.chat.answer import Answer, State
from r1tui.chat.changes import Tracker
from r1tui.chat.conversation import Conversation, Turn
from r1tui.chat.database import NAME, Database, Tell
from r1tui.errors import R1tuiError
from r1tui.files import decode_foreign, read_bytes


class SavedTurn(msgspec.Struct, frozen=True):
    """A question and what its answer was, in a JSON file."""

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


class SavedConversation(msgspec.Struct, frozen=True):
    """The content of a JSON file."""

    id: str
    turns: list[SavedTurn]
    version: int = 1


def has_files(folder: Path) -> bool:
    """Whether there is a database, or anything to take over."""
    return (folder / NAME).exists() or any(folder.glob("[!.]*.json"))


def take_over(database: Database, folder: Path, is_held: Callable[[str], bool], tell: Tell) -> None:
    """Put into the database what is not there; a file goes when its conversation is safely in it.

    One that an older r1tui, still running, holds comes later; one that cannot be understood stays.
    """
    for path in folder.glob("[!.]*.json"):
        if is_held(path.stem):
            continue
        try:
            saved = decode_foreign(read_bytes(path), SavedConversation)
        except (OSError, msgspec.DecodeError):
            continue
        if saved.version == 1 and f"{saved.id}.json" == path.name:
            changed_s = path.stat().st_mtime
            if _insert(database, _conversation(saved, changed_s), changed_s, changed_s, ""):
                path.unlink(missing_ok=True)
    for path in folder.glob(f"{Path(NAME).stem}-v*.db"):
        if path != database.path and database.path.name == NAME:
            _take_database(database, path, is_held, tell)


def _take_database(database: Database, path: Path, is_held: Callable[[str], bool], tell: Tell) -> None:
    """All conversations of a database that was kept beside a newer one, which this version can read now."""
    loaded: list[tuple[rows.Loaded | None, str]] = []
    try:
        other = Database(path)
        with closing(other):  # whose errors must not be taken for those of the one that is in use
            known = "SELECT id, server FROM conversations WHERE deleted_s IS NULL"
            for conversation_id, server in other.connection.execute(known).fetchall():
                if is_held(conversation_id):
                    return
                loaded.append((rows.load(other.connection, conversation_id, lambda _: False), server))
    except (R1tuiError, sqlite3.Error, msgspec.MsgspecError) as error:
        tell(R1tuiError(f"{path} cannot be read: {error}", "It is left as it is."))
        return
    for one, server in loaded:
        if one is not None:
            _insert(database, one.conversation, one.created_s, one.updated_s, server)
    names = (path.with_suffix(f".taken{f'-{number}' if number else ''}") for number in count())
    path.replace(next(name for name in names if not name.exists()))


def _insert(database: Database, conversation: Conversation, created_s: float, updated_s: float, server: str) -> bool:
    """Add a conversation unless there is one with its id; whether it was added, or was empty."""
    changes = Tracker(conversation).changes()
    if changes is None:
        return True
    with database.transaction() as connection:
        if connection.execute("SELECT 1 FROM conversations WHERE id = ?", (conversation.id,)).fetchone():
            return False
        rows.write(connection, changes, server)
        dated = "UPDATE conversations SET created_s = ?, updated_s = ?, opened_s = ? WHERE id = ?"
        connection.execute(dated, (created_s, updated_s, updated_s, conversation.id))
    return True


def _conversation(saved: SavedConversation, changed_s: float) -> Conversation:
    return Conversation(saved.id, [_turn(turn, changed_s) for turn in saved.turns])


def _turn(saved: SavedTurn, asked_s: float) -> Turn:
    answer = Answer.past(
        saved.content, saved.thinking, thinking_tokens=saved.thinking_tokens, thinking_s=saved.thinking_s,
        state=saved.state,
    )  # fmt: skip
    answer.cause, answer.remedy = saved.cause, saved.remedy
    return Turn(saved.question, answer, saved.answer_id, saved.inside_thinking, asked_s=asked_s)
