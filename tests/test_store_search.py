"""Conversations listed and searched, deleted and brought back."""

from pathlib import Path
from time import time

import pytest

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.listing import MARKS, without_marks
from r1tui.chat.rows import Tracker
from r1tui.chat.store import Store
from r1tui.errors import R1tuiError
from tests.store_rig import folder, kept, let_deletions_age, other, rows, said, store, told, whole

__all__ = ["folder", "other", "store", "told"]


def test_they_are_listed_newest_first_by_title_or_first_question(store: Store) -> None:
    kept(store, said("c1", "\n  How?\nExactly."))
    conversation = said("c2")
    conversation.title = "Reasons"
    conversation.ask("and?")
    kept(store, conversation)
    assert [(one.id, one.name, one.exchanges) for one in store.newest()] == [("c2", "Reasons", 2), ("c1", "How?", 1)]
    assert [one.id for one in store.newest(1, 1)] == ["c1"]
    assert all(abs(one.updated_s - time()) < 60 for one in store.newest())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flap", ["flappy"]),
        ("FLAPPY bird", ["flappy"]),
        ("bird flappy", ["flappy"]),
        ("bird heron", []),
        ("pygame.init", ["flappy"]),
        ("pygame init", ["flappy"]),
        ("max_speed", ["flappy"]),
        ("uber", ["umlaut"]),
        ("ÜBER", ["umlaut"]),
        ("renamed", ["umlaut"]),
        ("->", ["flappy"]),
        ("本", ["umlaut"]),
        ("rawBir", ["flappy"]),
        ("100%", ["umlaut"]),
        ("hidden", []),
        ('"', []),
        ('" OR "bird', []),
        ("bird*", ["flappy"]),
        ("NEAR(bird)", []),
        ("answer:bird", []),
        ("^bird", ["flappy"]),
        ("-bird +(", ["flappy"]),
        ("a\0b", []),
        ("", []),
        ("  ", []),
    ],
)  # fmt: skip
def test_words_are_found_and_nothing_that_is_typed_is_a_command(store: Store, text: str, found: list[str]) -> None:
    code = "def drawBird() -> None:\n    pygame.init()\n    max_speed = 3"
    flappy = Conversation("flappy", [Exchange("Write Flappy Bird.", Answer.past(code, "hidden thought"))])
    umlaut = Conversation("umlaut", [Exchange("日本語", Answer.past("Über alles, zu 100% <sure>"))], "Renamed")
    store.write([whole(flappy), whole(umlaut)])
    assert [one.id for one in store.search(text)] == found


def test_a_search_shows_where_it_was_found(store: Store) -> None:
    filler = "and so it goes on. " * 200
    conversation = said("c1", "a bird?", f"{filler}\n\nThe heron\nis a bird of water. {filler}")
    conversation.title = "Birds of water"
    store.write([whole(conversation), whole(said("c2", "nothing", filler))])
    [found] = store.search("hero")
    assert f"The {MARKS[0]}heron{MARKS[1]} is a bird of water." in found.passage
    assert len(found.passage) < 300
    [found] = store.search("eron")  # no word begins so
    assert f"The h{MARKS[0]}eron{MARKS[1]} is" in found.passage
    store.write([whole(said("c3", "ß", "Straße, Maß: a -> b"))])
    assert f"a {MARKS[0]}->{MARKS[1]} b" in store.search("->")[0].passage  # a letter that is two in another case
    [found] = store.search("birds")
    assert found.passage == ""
    assert found.found_at == 0
    store.rename("c1", "Fish")
    assert store.search("birds") == []
    assert [one.name for one in store.search("fish")] == ["Fish"]


def test_the_index_follows_every_change(store: Store, folder: Path) -> None:
    conversation = said("c1", "gone", "words")
    exchange = conversation.ask("kept")
    tracker = Tracker(conversation)
    store.write([changes for changes in [tracker.changes()] if changes])
    conversation.remove(conversation.every[0])
    exchange.question = "changed"
    store.write([changes for changes in [tracker.changes()] if changes])
    assert store.search("gone") == store.search("words") == store.search("kept") == []
    assert [one.id for one in store.search("changed")] == ["c1"]
    for index in ("titles", "words"):
        rows(folder, f"INSERT INTO {index} ({index}) VALUES ('integrity-check')")  # noqa: S608


def test_a_deleted_conversation_comes_back_until_it_is_purged(store: Store, folder: Path) -> None:
    for name in ("c1", "c2", "c3"):
        kept(store, said(name, f"why {name}?"))
    store.delete("c1")
    store.delete("c2")
    assert [one.id for one in store.newest()] == ["c3"]
    assert store.search("c1") == []
    assert store.open("c2") is None
    assert [one.id for one in store.newest(deleted=True)] == ["c2", "c1"]
    with pytest.raises(R1tuiError, match="no conversation c1"):
        store.delete("c1")
    assert store.restore() == "c2"
    assert store.search("c2")
    assert store.restore("c1") == "c1"
    with pytest.raises(R1tuiError):
        store.restore()
    store.delete("c3")
    store.close()
    purged: list[str] = []
    with Store(folder, purged=purged.extend) as early:
        assert [one.id for one in early.newest(deleted=True)] == ["c3"]
    assert purged == []
    let_deletions_age(folder)
    with Store(folder, purged=purged.extend) as late:
        assert late.newest(deleted=True) == []
    assert purged == ["c3"]
    assert rows(folder, "SELECT count(*) FROM exchanges") == [(2,)]


def test_a_passage_begins_at_a_word_and_has_no_marks_of_markdown(store: Store) -> None:
    code = "```python\nfor n in 2**3, f(**kw): print(n)\n```\n"
    answer = f"{'Words before it. ' * 20}\n# Head\n{code}And a **heron** or *two*, `they` said a * b.\n{'After. ' * 50}"
    conversation = said("c1", "first?", "nothing")
    conversation.ask("second?").answer = Answer.past(answer)
    store.write([whole(conversation)])
    [by_word] = store.search("heron")
    [by_part] = store.search("eron")
    assert f"And a {MARKS[0]}heron{MARKS[1]} or two, they said a * b" in by_word.passage
    assert f"And a h{MARKS[0]}eron{MARKS[1]} or two, they said a * b" in by_part.passage
    for found in (by_word, by_part):
        assert found.found_at == 1
        words = without_marks(found.passage).strip("….").split()
        assert "```" not in words
        plain = " ".join(
            answer.replace("```python", "")
            .replace("# Head", "Head")
            .replace("`", "")
            .replace("**heron**", "heron")
            .replace("*two*", "two")
            .split()
        )
        assert f" {' '.join(words)}" in plain
    assert "Head for n in 2**3, f(**kw): print(n) And a" in without_marks(store.search("kw")[0].passage)
