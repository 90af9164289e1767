"""What the tests of the store share: stores of two r1tui in one folder, conversations, what is in the database."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.database import KEPT_DELETED_S, NAME
from r1tui.chat.rows import Changes, Tracker
from r1tui.chat.store import Store
from r1tui.errors import R1tuiError
from r1tui.events import Content, Finished, StreamEvent

FINISHED = Finished("stop", 5, 2, 4, 10.0, 5.0, 100.0)


def answered(*events: StreamEvent) -> Answer:
    answer = Answer()
    for event in events:
        answer.apply(event)
    return answer


def whole(conversation: Conversation) -> Changes:
    changes = Tracker(conversation).changes()
    assert changes is not None
    return changes


def said(conversation_id: str, question: str = "why?", answer: str = "so") -> Conversation:
    return Conversation(conversation_id, [Exchange(question, Answer.past(answer))])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "conversations"


@pytest.fixture
def told() -> list[R1tuiError]:
    return []


@pytest.fixture
def store(folder: Path, told: list[R1tuiError]) -> Iterator[Store]:
    with Store(folder, tell=told.append) as store:
        yield store


@pytest.fixture
def other(folder: Path) -> Iterator[Store]:
    """The store of another r1tui."""
    with Store(folder) as store:
        yield store


def let_deletions_age(folder: Path) -> None:
    """What was deleted was so as long ago as can be undone."""
    with closing(sqlite3.connect(folder / NAME)) as connection, connection:
        connection.execute(
            "UPDATE conversations SET deleted_own_s = coalesce(deleted_own_s, 0) - ?", (KEPT_DELETED_S + 1,)
        )


def kept(store: Store, conversation: Conversation) -> Conversation:
    """The conversation as another day's r1tui has it."""
    store.write([whole(conversation)])
    store.let_go([conversation.id])
    opened = store.open(conversation.id)
    assert opened is not None
    assert opened.open_in is None
    return opened.conversation


def running(conversation_id: str) -> Conversation:
    return Conversation(conversation_id, [Exchange("a", answered(Content("so far")), "1-a")])


def rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / NAME)) as connection:
        return connection.execute(statement).fetchall()
