"""Lists conversations, newest first, and finds those that have some words."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from r1tui.chat.answer import RUNNING
from r1tui.chat.conversation import name_of
from r1tui.chat.database import text_of, time_of
from r1tui.text import one_line

NAME_CHARS = 200
PASSAGE_TOKENS = 16
MARKS = ("\ufdd0", "\ufdd1")
"""Marks before and after each found word in a passage: characters that no text may have."""
_BESIDE_CHARS = 60

_ROWS = f"""
SELECT c.key, c.id, c.title, c.created_s, c.updated_s, c.deleted_s, l.state, l.answer_id,
    (SELECT substr(trim(question, char(9, 10, 13, 32)), 1, {NAME_CHARS}) FROM exchanges
        WHERE conversation = c.key ORDER BY number LIMIT 1),
    (SELECT count(*) FROM exchanges WHERE conversation = c.key),
    CASE WHEN l.parent IS NOT NULL THEN substr(trim(l.question, char(9, 10, 13, 32)), 1, {NAME_CHARS}) END
FROM conversations c LEFT JOIN exchanges l ON l.conversation = c.key AND l.number = c.shown WHERE
"""  # noqa: S608  our own words
_HERE = "c.deleted_s IS NULL AND EXISTS (SELECT 1 FROM exchanges WHERE conversation = c.key)"
_NEWEST_FIRST = "ORDER BY c.updated_s DESC, c.key DESC"


@dataclass(frozen=True)
class ConversationSummary:
    """Summary of a conversation for lists. Times are Unix times."""

    id: str
    name: str
    created_s: float
    updated_s: float
    exchanges: int
    """Number of exchanges in all branches."""
    running: bool = False
    """True if its last answer had not ended when it was last written."""
    answer_id: str = ""
    """Of its last answer."""
    open_in: int | None = None
    """The process of another r1tui that has it open."""
    last_question: str = ""
    """Its beginning; empty where the first is the last. It tells those of one name apart."""
    passage: str = ""
    """Passage with the found words, each in MARKS; empty if they are in the title."""
    deleted_s: float | None = None


def newest(connection: sqlite3.Connection, limit: int, offset: int, *, deleted: bool) -> list[ConversationSummary]:
    """The conversations that changed last, or that were deleted last."""
    wanted = "c.deleted_s IS NOT NULL ORDER BY c.deleted_s DESC" if deleted else f"{_HERE} {_NEWEST_FIRST}"
    return [_summary(row) for row in connection.execute(f"{_ROWS} {wanted} LIMIT ? OFFSET ?", (limit, offset))]


def found(connection: sqlite3.Connection, text: str, limit: int) -> list[ConversationSummary]:
    """The newest conversations in whose title, or in one of whose exchanges, all words of the text are.

    The last word may be the beginning of one. What is no word (`->`, a part of one, Chinese) is looked for as it stands
    where the words are nowhere.
    """
    hits = _hits_of_words(connection, text, limit) or _hits_of_text(connection, text.strip(), limit)
    rows = connection.execute(f"{_ROWS} c.key IN ({_marks(hits)}) {_NEWEST_FIRST}", list(hits))
    return [_summary(row, hits[row[0]]) for row in rows]


def _hits_of_words(connection: sqlite3.Connection, text: str, limit: int) -> dict[int, str]:
    """Conversations -> passages."""
    # A query of FTS5 in which nothing means anything but the words.
    words = [word.replace('"', '""') for word in text.replace("\0", " ").split()]
    if not words:
        return {}
    match = " ".join(f'"{word}"' for word in words) + "*"
    rows = connection.execute(
        "SELECT c.key, words.rowid FROM words JOIN exchanges e ON e.key = words.rowid"  # noqa: S608
        f" JOIN conversations c ON c.key = e.conversation WHERE words MATCH ? AND c.deleted_s IS NULL {_NEWEST_FIRST},"
        " e.number",
        (match,),
    )
    first: dict[int, int] = {}
    for key, exchange in rows:
        first.setdefault(key, exchange)
        if len(first) > limit:
            break
    titles = connection.execute(
        "SELECT c.key FROM titles JOIN conversations c ON c.key = titles.rowid"  # noqa: S608
        f" WHERE titles MATCH ? AND {_HERE} {_NEWEST_FIRST} LIMIT ?",
        (match, limit),
    )
    exchanges = list(first.values())[:limit]
    snippets = connection.execute(  # asking for each of them alone would look up the words as often
        f"SELECT rowid, CASE WHEN rowid IN ({_marks(exchanges)})"  # noqa: S608
        f" THEN snippet(words, -1, ?, ?, '…', {PASSAGE_TOKENS}) END FROM words WHERE words MATCH ?",
        (*exchanges, *MARKS, match),
    )
    passages = {rowid: one_line(snippet) for rowid, snippet in snippets if snippet is not None}
    in_text = {key: passages[exchange] for key, exchange in first.items() if exchange in passages}
    return in_text | {key: "" for (key,) in titles}


def _hits_of_text(connection: sqlite3.Connection, text: str, limit: int) -> dict[int, str]:
    if not text:
        return {}
    like = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = connection.execute(
        "SELECT c.key, e.question, e.answer FROM exchanges e JOIN conversations c ON c.key = e.conversation"  # noqa: S608
        " WHERE c.deleted_s IS NULL AND (e.question LIKE ?1 ESCAPE '\\' OR e.answer LIKE ?1 ESCAPE '\\')"
        f" {_NEWEST_FIRST}, e.number",
        (like,),
    )
    hits: dict[int, str] = {}
    for key, question, answer in rows:
        if len(hits) >= limit:
            break
        if key not in hits:
            hits[key] = _around(text_of(question), text) or _around(text_of(answer), text)
    return hits


def _around(whole: str, text: str) -> str:
    """The text and what stands beside it; empty when it is not there."""
    at = whole.casefold().find(text.casefold())
    if at < 0:
        return ""
    start, end = max(at - _BESIDE_CHARS // 2, 0), at + len(text)
    before, after = whole[start:at], whole[end : end + _BESIDE_CHARS]
    passage = f"{'…' if start else ''}{before}{MARKS[0]}{whole[at:end]}{MARKS[1]}{after}"
    return one_line(passage + ("…" if end + _BESIDE_CHARS < len(whole) else ""))


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _summary(row: tuple[Any, ...], passage: str = "") -> ConversationSummary:
    _, id_, title, created_s, updated_s, deleted_s, state, answer_id, question, exchanges, last = row
    return ConversationSummary(
        text_of(id_),
        name_of(text_of(title), text_of(question)),
        time_of(created_s),
        time_of(updated_s),
        exchanges,
        state in RUNNING,
        text_of(answer_id),
        last_question=one_line(text_of(last)),
        passage=passage,
        deleted_s=None if deleted_s is None else time_of(deleted_s),
    )
