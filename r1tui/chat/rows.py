"""A conversation out of the rows of the database, and its changes into them."""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any, TypeVar

import msgspec

from r1tui.chat.answer import RUNNING, Answer, Base
from r1tui.chat.changes import Changes, Drop, Grow, Put, Tracker
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.database import text_of, time_of
from r1tui.events import Finished
from r1tui.messages import decode
from r1tui.remedies import Advice, read

LEFT = "r1tui ended during this answer; its end may be missing."
T = TypeVar("T")
Row = dict[str, Any]
_TEXTS = frozenset(
    ("question", "answer", "thinking", "state", "cause", "remedy", "cut", "answer_id", "model"),
)
_log = logging.getLogger(__name__)
Recorded = Callable[[str], bool]
"""Whether the answer with this id has a record, which has all of it from its request on."""


@dataclass
class Loaded:
    """A conversation loaded from disk."""

    conversation: Conversation
    created_s: float
    updated_s: float
    tracker: Tracker = field(init=False)
    """For what will change of it."""


def load(
    connection: sqlite3.Connection, conversation_id: str, recorded: Recorded | None = None, open_in: int | None = None
) -> Loaded | None:
    """The conversation with this id; None when there is none.

    An answer that was running goes on where it has a record: it has then what it had before its request. Without one
    it was stopped, with all that was written of it; for a reader, while another process (`open_in`) has it, it has
    failed. Without `recorded`, it is as it was written.
    """
    row = connection.execute(
        "SELECT key, title, shown, created_s, updated_s FROM conversations WHERE id = ? AND deleted_s IS NULL",
        (conversation_id,),
    ).fetchone()
    if row is None:
        return None
    key, title, shown, created_s, updated_s = row
    exchanges: dict[int, Exchange] = {}
    unsettled: list[Exchange] = []
    for one in _named(connection, "SELECT * FROM exchanges WHERE conversation = ? ORDER BY number", key):
        exchange = _exchange(connection, one, exchanges.get(one["parent"]), recorded, open_in)
        exchanges[one["number"]] = exchange
        if one["state"] in RUNNING:
            unsettled.append(exchange)
    conversation = Conversation(conversation_id, _path(exchanges.get(shown)), text_of(title), list(exchanges.values()))
    loaded = Loaded(conversation, time_of(created_s), time_of(updated_s))
    loaded.tracker = Tracker(conversation, {exchange: number for number, exchange in exchanges.items()})
    loaded.tracker.is_loaded(but=unsettled)
    return loaded


def write(connection: sqlite3.Connection, changes: Changes, server: str) -> bool:
    """Bring the rows up to date, in a transaction of the caller's; False when they lack what is not in `changes`."""
    now_s = time()
    found = connection.execute("SELECT key, title FROM conversations WHERE id = ?", (changes.id,)).fetchone()
    if found is None and not changes.whole:
        return False
    if found is None:
        made = "INSERT INTO conversations (id, title, created_s, updated_s, opened_s) VALUES (?, ?, ?, ?, ?)"
        key = connection.execute(made, (changes.id, changes.title, now_s, now_s, now_s)).lastrowid
    else:
        key = found[0]
        if found[1] != changes.title:
            connection.execute("UPDATE conversations SET title = ? WHERE key = ?", (changes.title, key))
        if changes.whole:
            connection.execute("DELETE FROM exchanges WHERE conversation = ?", (key,))
    for change in changes.exchanges:
        _write(connection, key, change)
    connection.execute("UPDATE conversations SET shown = ? WHERE key = ?", (changes.shown, key))
    if changes.exchanges:
        changed = "UPDATE conversations SET updated_s = ?, opened_s = ?, server = ?, deleted_s = NULL WHERE key = ?"
        connection.execute(changed, (now_s, now_s, server, key))
    return True


def _write(connection: sqlite3.Connection, conversation: int | None, change: Put | Grow | Drop) -> None:
    at = (conversation, change.number)
    match change:
        case Put(_, columns):
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            news = ", ".join(f"{name} = excluded.{name}" for name in columns)
            connection.execute(
                f"INSERT INTO exchanges (conversation, number, {names}) VALUES (?, ?, {marks})"  # noqa: S608  our names
                f" ON CONFLICT (conversation, number) DO UPDATE SET {news}",
                (*at, *columns.values()),
            )
            wanted = "SELECT key FROM exchanges WHERE conversation = ? AND number = ?"
            connection.execute(f"DELETE FROM pieces WHERE exchange = ({wanted})", at)  # noqa: S608
        case Grow():
            connection.execute(
                "INSERT INTO pieces (exchange, answer, thinking, tokens, thinking_tokens, thinking_s)"
                " SELECT key, ?, ?, ?, ?, ? FROM exchanges WHERE conversation = ? AND number = ?",
                (change.answer, change.thinking, change.tokens, change.thinking_tokens, change.thinking_s, *at),
            )
        case Drop():
            connection.execute("DELETE FROM exchanges WHERE conversation = ? AND number = ?", at)


def _exchange(
    connection: sqlite3.Connection,
    row: Row,
    parent: Exchange | None,
    recorded: Recorded | None,
    open_in: int | None,
) -> Exchange:
    exchange = Exchange(
        row["question"],
        answer_id=row["answer_id"],
        inside_thinking=bool(row["inside_thinking"]),
        parent=parent,
        asked_s=time_of(row["asked_s"]),
        model=row["model"],
    )
    base = _json(row["base"], Base)
    running = row["state"] in RUNNING
    if running and recorded is not None and open_in is None and recorded(exchange.answer_id):
        exchange.answer = Answer.resumed(row["answer"], row["thinking"], base) if base is not None else Answer()
        before = _past(row, _pieces(connection, row["key"]))
        exchange.answer.saved = (before.content.text, before.thinking.text)
        return exchange
    answer = exchange.answer = _past(row, _pieces(connection, row["key"]) if running else [])
    answer.base, answer.cause, answer.remedies = base, row["cause"], read(row["remedy"])
    if running and recorded is not None and open_in is not None:
        answer.state, answer.cause = "failed", f"This answer is running in another r1tui (PID {open_in})."
        answer.remedies = (Advice("Open the conversation again to see more of it."),)
    elif running and recorded is not None:
        answer.state, answer.cause = "stopped", LEFT
    answer.finished = _json(row["figures"], Finished)
    return exchange


def _json(text: object, kind: type[T]) -> T | None:
    """What a column has in JSON; None where it has nothing, or is damaged: the words are worth more than that."""
    if text is None:
        return None
    try:
        return decode(text_of(text), kind)
    except msgspec.DecodeError:
        _log.warning("a damaged column of the conversations' database was left out")
        return None


def _past(row: Row, pieces: list[Row]) -> Answer:
    newest = pieces[-1] if pieces else row
    return Answer.past(
        row["answer"] + "".join(piece["answer"] for piece in pieces),
        row["thinking"] + "".join(piece["thinking"] for piece in pieces),
        thinking_tokens=_count(newest["thinking_tokens"]),
        thinking_s=None if newest["thinking_s"] is None else time_of(newest["thinking_s"]),
        tokens=_count(newest["tokens"]),
        state=row["state"],
        cut=row["cut"],
    )


def _count(value: object) -> int:
    """A column's number; 0 where it is damaged."""
    return value if isinstance(value, int) else 0


def _pieces(connection: sqlite3.Connection, exchange: int) -> list[Row]:
    return _named(connection, "SELECT * FROM pieces WHERE exchange = ? ORDER BY key", exchange)


def _named(connection: sqlite3.Connection, statement: str, key: int) -> list[Row]:
    """The rows by their columns' names; a text is one, whatever a damaged row has in its place."""
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    found = cursor.execute(statement, (key,)).fetchall()
    return [{name: text_of(row[name]) if name in _TEXTS else row[name] for name in row.keys()} for row in found]  # noqa: SIM118


def _path(end: Exchange | None) -> list[Exchange]:
    path: list[Exchange] = []
    while end is not None:
        path.insert(0, end)
        end = end.parent
    return path
