"""Whose a conversation is: which one is the last, and what happens to one that another r1tui has open."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from r1tui.chat.conversation import Conversation
from r1tui.chat.store import Store
from r1tui.errors import R1tuiError
from tests.store_rig import folder, kept, other, running, said, store, told, whole

__all__ = ["folder", "other", "store", "told"]


def last(store: Store) -> Conversation | None:
    opened = store.last()
    return opened.conversation if opened else None


def test_the_last_one_is_the_one_that_was_open_last(store: Store) -> None:
    for name in ("c1", "c2"):
        kept(store, said(name))
    found = last(store)
    assert found is not None
    assert found.id == "c2"
    store.open("c1")
    store.close()
    found = last(store)
    assert found is not None
    assert found.id == "c1"


def test_what_was_asked_of_one_server_is_not_opened_with_another(store: Store, folder: Path) -> None:
    kept(store, said("c1"))
    store.close()
    with Store(folder, server="http://example.org") as elsewhere:
        assert elsewhere.last() is None
        kept(elsewhere, said("c2"))
        assert [one.id for one in elsewhere.newest()] == ["c2", "c1"]
    with Store(folder, server="http://example.org") as elsewhere:
        found = last(elsewhere)
        assert found is not None
        assert found.id == "c2"


def test_a_conversation_that_another_holds_is_left_alone(store: Store, other: Store, folder: Path) -> None:
    store.write([whole(said("c1"))])
    assert other.last() is None
    other.write([whole(said("c2"))])
    store.let_go(["c1"])
    with Store(folder) as third:
        assert third.last() is None  # c2, the newest, is held
        other.let_go(["c2"])
        found = last(third)
        assert found is not None
        assert found.id == "c2"


def test_beside_another_only_a_running_answer_is_taken_up(store: Store, other: Store, folder: Path) -> None:
    other.write([whole(running("c1"))])
    other.let_go(["c1"])
    store.write([whole(said("c2"))])
    with Store(folder) as third:
        found = last(third)
        assert found is not None
        assert found.id == "c1"


def test_one_that_another_takes_in_the_same_moment_counts_as_held(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c1", "c2"):
        kept(store, said(name))
    store.close()
    hold = Store._hold

    def lose(self: Store, conversation_id: str, *, must: bool) -> int | None:
        if self is store and conversation_id == "c2":
            assert hold(other, conversation_id) is None
        return hold(self, conversation_id)

    monkeypatch.setattr(Store, "_hold", lose)
    assert store.last() is None


def test_another_reads_what_is_open_elsewhere_and_changes_nothing_of_it(store: Store, other: Store) -> None:
    conversation = running("c1")
    store.write([whole(conversation)])
    opened = other.open("c1")
    assert opened is not None
    assert opened.open_in == os.getpid()
    [exchange] = opened.conversation.exchanges
    assert (exchange.answer.state, exchange.answer.content.text) == ("failed", "so far")
    assert "another r1tui" in exchange.answer.cause
    changes: list[Callable[[], None]] = [
        lambda: other.write([whole(conversation)]),
        lambda: other.delete("c1"),
        lambda: other.rename("c1", "mine"),
    ]
    for change in changes:
        with pytest.raises(R1tuiError, match="open in another r1tui"):
            change()
    assert [(one.id, one.open_in, one.running) for one in other.newest()] == [("c1", os.getpid(), True)]
    assert [one.open_in for one in store.newest()] == [None]
