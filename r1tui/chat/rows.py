"""Conversations out of the rows of the database, and their changes into them.

What has changed is worked out where a conversation is changed, and is cheap enough for that: of a running answer just
the new text.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from time import time
from typing import Any, NamedTuple, TypeVar

import msgspec

from r1tui.chat.answer import RUNNING, Answer, Base, Pieces
from r1tui.chat.conversation import Conversation, Exchange, path_to
from r1tui.chat.database import text_of, time_of
from r1tui.events import Finished
from r1tui.messages import decode
from r1tui.remedies import Advice, read

LEFT = "r1tui quit during this answer; its end may be missing."
T = TypeVar("T")
NamedRow = dict[str, Any]
_KEY = "SELECT key FROM conversations WHERE id = ?"
_TEXTS = frozenset(("question", "answer", "thinking", "state", "cause", "remedy", "cut", "answer_id", "model"))
ColumnValue = str | int | float | None
_log = logging.getLogger(__name__)
Recorded = Callable[[str], bool]
"""True if the answer with this id has a record, which has all of it from its request on."""


@dataclass(frozen=True)
class ExchangeChange:
    """A changed exchange: its columns; of a running answer that `grows` its new text alone; no columns: it is gone."""

    number: int
    columns: dict[str, ColumnValue]
    grows: bool = False
    words: int = 0
    """How many words of the question and the answer are new."""


@dataclass(frozen=True)
class Changes:
    """The changes of one conversation."""

    id: str
    title: str
    shown: int | None
    """The number of the exchange at which the shown path ends."""
    whole: bool
    """True if this is all of it, and not only what is new."""
    exchanges: list[ExchangeChange]

    @property
    def words(self) -> int:
        """Number of new words in questions and answers."""
        return sum(one.words for one in self.exchanges)


class _Written(NamedTuple):
    """The saved part of an exchange."""

    columns: dict[str, ColumnValue]
    texts: tuple[Pieces, Pieces]
    answer_count: int
    thinking_count: int


@dataclass
class Tracker:
    """Knows what was written of a conversation. A conversation that was loaded comes with its exchanges' numbers."""

    conversation: Conversation
    numbers: dict[Exchange, int] = field(default_factory=dict)
    _written: dict[Exchange, _Written] = field(default_factory=dict)
    _head: tuple[str, int | None] | None = None

    def is_loaded(self, but: Iterable[Exchange] = ()) -> None:
        """All of it is on disk as it is now, `but` these."""
        self.changes()
        for exchange in but:
            if (written := self._written.get(exchange)) is not None:
                self._written[exchange] = written._replace(columns={})

    def forget(self) -> None:
        """Take everything as unsaved."""
        self._written, self._head = {}, None

    def changes(self) -> Changes | None:
        """Changes since the last call; None if there are none. An empty conversation has none."""
        conversation, known = self.conversation, self._written
        whole = self._head is None
        gone = known.keys() - set(conversation.every)
        changed = [ExchangeChange(self.numbers[exchange], {}) for exchange in gone]
        for exchange in gone:
            del known[exchange]
        for exchange in conversation.every:
            if exchange not in self.numbers:
                self.numbers[exchange] = max(self.numbers.values(), default=-1) + 1
        order = [self.numbers[exchange] for exchange in conversation.every]
        if any(after <= before for before, after in pairwise(order)):  # something was put between others
            self.numbers = {exchange: number for number, exchange in enumerate(conversation.every)}
            known.update({exchange: written._replace(columns={}) for exchange, written in known.items()})
            whole, changed, self._head = True, [], None
        changed += [change for exchange in conversation.every if (change := self._change(exchange)) is not None]
        shown = self.numbers[conversation.exchanges[-1]] if conversation.exchanges else None
        head = (conversation.title, shown)
        if (not changed and head == self._head) or (whole and not conversation.every):
            return None
        self._head = head
        return Changes(conversation.id, _storable(conversation.title), shown, whole, changed)

    def _change(self, exchange: Exchange) -> ExchangeChange | None:
        answer, number, columns = exchange.answer, self.numbers[exchange], self._columns(exchange)
        if answer.running and answer.has_less_than_saved:  # what is on disk stays until it is all here again
            return ExchangeChange(number, columns | _grown(answer, *answer.saved)) if self._head is None else None
        texts = (answer.content, answer.thinking)
        fixed = columns | {"state": answer.running or answer.state}
        written = self._written.get(exchange)
        if written is not None and written.texts != texts:
            written = None
        new_answer, answer_count = answer.content.since(written.answer_count if written else 0)
        new_thinking, thinking_count = answer.thinking.since(written.thinking_count if written else 0)
        now = _Written(fixed, texts, answer_count, thinking_count)
        if now == written:
            return None
        self._written[exchange] = now
        words = sum(len(text.split()) for text in (new_answer, new_thinking, "" if written else exchange.question))
        if written is not None and written.columns == fixed and answer.running:
            return ExchangeChange(number, _grown(answer, new_answer, new_thinking), grows=True, words=words)
        return ExchangeChange(number, columns | _grown(answer, answer.content.text, answer.thinking.text), words=words)

    def _columns(self, exchange: Exchange) -> dict[str, ColumnValue]:
        """All but the text of its answer, and the figures that come with it."""
        answer = exchange.answer
        columns: dict[str, ColumnValue] = {
            "parent": self.numbers.get(exchange.parent) if exchange.parent is not None else None,
            "asked_s": exchange.asked_s,
            "question": _storable(exchange.question),
            "state": answer.state,
            "base": msgspec.json.encode(answer.base).decode() if answer.base is not None else None,
            "cut": answer.cut,
            "cause": _storable(answer.cause),
            "remedy": _storable(answer.remedy),
            "answer_id": _storable(exchange.answer_id),
            "inside_thinking": exchange.inside_thinking,
            "model": _storable(exchange.model),
            "figures": msgspec.json.encode(answer.finished).decode() if answer.finished is not None else None,
        }
        return columns


def _grown(answer: Answer, text: str, thinking: str) -> dict[str, ColumnValue]:
    return {
        "answer": _storable(text),
        "thinking": _storable(thinking),
        "tokens": answer.tokens,
        "thinking_tokens": answer.thinking_tokens,
        "thinking_s": answer.thinking_s,
    }


def _storable(text: str) -> str:
    """The text, whatever of it no UTF-8 can say replaced by as many question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


@dataclass
class Loaded:
    """A conversation loaded from disk."""

    conversation: Conversation
    created_s: float
    updated_s: float
    tracker: Tracker
    """For what will change of it."""
    open_in: int | None = None
    """The process of another r1tui that holds it."""


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
    conversation = Conversation(
        conversation_id, path_to(exchanges.get(shown)), text_of(title), list(exchanges.values())
    )
    tracker = Tracker(conversation, {exchange: number for number, exchange in exchanges.items()})
    tracker.is_loaded(but=unsettled)
    return Loaded(conversation, time_of(created_s), time_of(updated_s), tracker, open_in)


def write(connection: sqlite3.Connection, changes: Changes, server: str) -> bool:
    """Bring the rows up to date, in a transaction of the caller's; False when they lack what is not in `changes`."""
    now_s = time()
    if not changes.whole and not connection.execute(_KEY, (changes.id,)).fetchone():
        return False
    connection.execute(
        "INSERT INTO conversations (id, title, created_s, updated_s, opened_s) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET title = excluded.title WHERE title != excluded.title",
        (changes.id, changes.title, now_s, now_s, now_s),
    )
    (key,) = connection.execute(_KEY, (changes.id,)).fetchone()
    if changes.whole:
        connection.execute("DELETE FROM exchanges WHERE conversation = ?", (key,))
    for change in changes.exchanges:
        _write(connection, key, change)
    connection.execute("UPDATE conversations SET shown = ? WHERE key = ?", (changes.shown, key))
    if changes.exchanges:
        changed = "UPDATE conversations SET updated_s = ?, opened_s = ?, server = ?, deleted_s = NULL WHERE key = ?"
        connection.execute(changed, (now_s, now_s, server, key))
    return True


def _write(connection: sqlite3.Connection, conversation: int | None, change: ExchangeChange) -> None:
    at, values = (conversation, change.number), change.columns.values()
    names, marks = ", ".join(change.columns), ", ".join("?" * len(values))
    where = "conversation = ? AND number = ?"
    if not values:
        connection.execute(f"DELETE FROM exchanges WHERE {where}", at)  # noqa: S608  our names, here and below
    elif change.grows:
        connection.execute(
            f"INSERT INTO pieces ({names}, exchange) SELECT {marks}, key FROM exchanges WHERE {where}",  # noqa: S608
            (*values, *at),
        )
    else:
        news = ", ".join(f"{name} = excluded.{name}" for name in change.columns)
        connection.execute(
            f"INSERT INTO exchanges (conversation, number, {names}) VALUES (?, ?, {marks})"  # noqa: S608
            f" ON CONFLICT (conversation, number) DO UPDATE SET {news}",
            (*at, *values),
        )
        connection.execute(f"DELETE FROM pieces WHERE exchange = (SELECT key FROM exchanges WHERE {where})", at)  # noqa: S608


def _exchange(
    connection: sqlite3.Connection,
    row: NamedRow,
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
        answer.remedies = (Advice("Open the conversation again to see the rest."),)
    elif running and recorded is not None:
        answer.state, answer.cause = "stopped", LEFT
    answer.finished = _json(row["figures"], Finished)
    return exchange


def _json(text: object, kind: type[T]) -> T | None:
    """Decode a column's JSON; None if it is empty or damaged: the words are worth more than that."""
    if text is None:
        return None
    try:
        return decode(text_of(text), kind)
    except msgspec.DecodeError:
        _log.warning("a damaged column of the conversations' database was skipped")
        return None


def _past(row: NamedRow, pieces: list[NamedRow]) -> Answer:
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


def _pieces(connection: sqlite3.Connection, exchange: int) -> list[NamedRow]:
    return _named(connection, "SELECT * FROM pieces WHERE exchange = ? ORDER BY key", exchange)


def _named(connection: sqlite3.Connection, statement: str, key: int) -> list[NamedRow]:
    """The rows by their columns' names; a text is one, whatever a damaged row has in its place."""
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    found = cursor.execute(statement, (key,)).fetchall()
    return [{name: text_of(row[name]) if name in _TEXTS else row[name] for name in row.keys()} for row in found]  # noqa: SIM118
