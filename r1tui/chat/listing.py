"""Lists conversations, newest first, and finds those that have some words."""

import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from r1tui.chat.answer import RUNNING
from r1tui.chat.conversation import name_of
from r1tui.chat.database import text_of, time_of
from r1tui.text import one_line

NAME_CHARS = 200
PASSAGE_TOKENS = 16
MARKS = ("\ufdd0", "\ufdd1")
"""Marks before and after each found word in a passage: characters that no text may have."""
_BESIDE_CHARS = 60
_HIT = re.compile(f"{MARKS[0]}(.*?){MARKS[1]}", re.DOTALL)
_IN_WORD = rf"[\w{''.join(MARKS)}]"
_MARKDOWN = re.compile(
    rf"""^[ ]{{0,3}}(?:`{{3,}}|~{{3,}})[^\n{"".join(MARKS)}]*$  # fences
    | `+ | ~{{3,}}                                      # code
    | ^[ ]{{0,3}}(?:\#{{1,6}}[ ]+|>[ ]?)                   # headings and quotes
    | (?<![\w({MARKS[1]})*])[*]{{1,3}}(?={_IN_WORD})       # emphasis, from its beginning
    | (?<=[^\s*])[*]{{1,3}}(?![\w*({MARKS[0]}])           # to its end
    """,
    re.VERBOSE | re.MULTILINE,
)

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


class _Hit(NamedTuple):
    passage: str = ""
    exchange: int | None = None
    """Its key; None where the title has the words."""


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
    found_at: int = 0
    """Number of exchanges, of all branches, that were asked before the one with the passage."""
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
    places = _places(connection, [hit.exchange for hit in hits.values() if hit.exchange is not None])
    return [_summary(row, hits[row[0]].passage, places.get(hits[row[0]].exchange, 0)) for row in rows]


def found_words(passage: str) -> list[str]:
    """The words of a passage that are in MARKS."""
    return list(dict.fromkeys(_HIT.findall(passage)))


def _places(connection: sqlite3.Connection, exchanges: list[int]) -> dict[int | None, int]:
    """For each of these, the number of exchanges of its conversation that were asked before it."""
    before = "SELECT count(*) FROM exchanges b WHERE b.conversation = e.conversation AND b.number < e.number"
    rows = connection.execute(
        f"SELECT e.key, ({before}) FROM exchanges e WHERE e.key IN ({_marks(exchanges)})",  # noqa: S608
        exchanges,
    )
    return dict(rows.fetchall())


def without_marks(passage: str) -> str:
    """A passage as plain text."""
    return passage.replace(MARKS[0], "").replace(MARKS[1], "")


def _hits_of_words(connection: sqlite3.Connection, text: str, limit: int) -> dict[int, _Hit]:
    """Conversations -> hits."""
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
    passages = {rowid: _readable(snippet) for rowid, snippet in snippets if snippet is not None}
    in_text = {key: _Hit(passages[exchange], exchange) for key, exchange in first.items() if exchange in passages}
    return in_text | {key: _Hit() for (key,) in titles}


def _hits_of_text(connection: sqlite3.Connection, text: str, limit: int) -> dict[int, _Hit]:
    if not text:
        return {}
    like = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = connection.execute(
        "SELECT c.key, e.key, e.question, e.answer FROM exchanges e JOIN conversations c ON c.key = e.conversation"  # noqa: S608
        " WHERE c.deleted_s IS NULL AND (e.question LIKE ?1 ESCAPE '\\' OR e.answer LIKE ?1 ESCAPE '\\')"
        f" {_NEWEST_FIRST}, e.number",
        (like,),
    )
    hits: dict[int, _Hit] = {}
    for key, exchange, question, answer in rows:
        if len(hits) >= limit:
            break
        if key not in hits:
            hits[key] = _Hit(_around(text_of(question), text) or _around(text_of(answer), text), exchange)
    return hits


def _around(whole: str, text: str) -> str:
    """The text and what stands beside it; empty when it is not there."""
    if (hit := re.search(re.escape(text), whole, re.IGNORECASE)) is None:
        return ""
    at, end = hit.span()
    start = max(at - _BESIDE_CHARS // 2, 0)
    before, after = from_word(whole[start:at], is_cut=start > 0), whole[end : end + _BESIDE_CHARS]
    if end + _BESIDE_CHARS < len(whole):
        after = f"{after.rpartition(' ')[0] or after}…"
    return _readable(f"{'…' if start else ''}{before}{MARKS[0]}{whole[at:end]}{MARKS[1]}{after}")


def from_word(text: str, *, is_cut: bool = True) -> str:
    """A text whose beginning is cut off, from its first whole word on; one without spaces as it is."""
    word = re.search(r"\s+", text) if is_cut else None
    return text[word.end() :] if word is not None else text


def _readable(passage: str) -> str:
    """On one line, without the marks of Markdown."""
    return one_line(_MARKDOWN.sub("", passage))


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _summary(row: tuple[Any, ...], passage: str = "", found_at: int = 0) -> ConversationSummary:
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
        found_at=found_at,
        deleted_s=None if deleted_s is None else time_of(deleted_s),
    )
