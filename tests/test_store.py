"""Conversations on disk: what comes back, whose they are, and that nothing broken or foreign is in the way."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.chat.answer import Answer
from r1tui.chat.changes import Changes, Grow, Tracker
from r1tui.chat.conversation import Conversation, Turn
from r1tui.chat.database import NAME, UPGRADES, VERSION
from r1tui.chat.listing import MARKS
from r1tui.chat.store import KEPT_DELETED_S, GoneError, Store
from r1tui.errors import R1tuiError
from r1tui.events import Content, Failed, Finished, Reasoning, StreamEvent
from r1tui.locks import locked

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
    return Conversation(conversation_id, [Turn(question, Answer.past(answer))])


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


def kept(store: Store, conversation: Conversation) -> Conversation:
    """The conversation as another day's r1tui has it."""
    store.write([whole(conversation)])
    store.let_go([conversation.id])
    opened = store.open(conversation.id)
    assert opened is not None
    assert opened.open_in is None
    return opened.conversation


def rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / NAME)) as connection:
        return connection.execute(statement).fetchall()


def test_what_was_said_comes_back(store: Store) -> None:
    turns = [
        Turn("whole?", answered(Reasoning("Hm"), Content("日本 🦙"), FINISHED), "1-a", asked_s=12.5, model="tiny"),
        Turn("failed?", answered(Content("Half"), Failed("It ended.", "Ask again.")), "1-b"),
        Turn("cut?", answered(Content("Ha"), Finished("length", 5, 0, 4, 10.0, 5.0, None)), "1-c"),
    ]
    found = kept(store, Conversation("c1", turns, "A title"))
    assert (found.id, found.title) == ("c1", "A title")
    first, failed, cut = found.turns
    assert (first.answer.state, first.answer.content.text, first.answer.thinking.text) == ("done", "日本 🦙", "Hm")
    assert (first.answer.thinking_tokens, first.answer.tokens, first.answer.finished) == (2, 4, FINISHED)
    assert (first.answer_id, first.asked_s, first.model) == ("1-a", 12.5, "tiny")
    assert (failed.answer.state, failed.answer.cause, failed.answer.remedy) == ("failed", "It ended.", "Ask again.")
    assert cut.answer.is_cut
    assert found.messages()[:2] == [("user", "whole?"), ("assistant", "日本 🦙")]


def test_all_branches_come_back_and_the_shown_one_is_shown(store: Store) -> None:
    conversation = Conversation("c1")
    first, old = conversation.ask("1"), conversation.ask("2")
    conversation.ask("3")
    conversation.ask_instead(old, "two")
    for turn in conversation.every:
        turn.answer.apply(FINISHED)
    conversation.show(old)
    found = kept(store, conversation)
    assert [turn.question for turn in found.turns] == ["1", "2", "3"]
    assert [turn.question for turn in found.branches(found.turns[1])] == ["2", "two"]
    assert found.every[0].question == first.question


TEXT = st.text(max_size=20)
ENDS = st.one_of(
    st.builds(Failed, TEXT, TEXT),
    st.builds(Finished, st.sampled_from(["stop", "length", "cancelled"]), *[st.integers(0, 9)] * 3, st.just(1.0),
              st.just(2.0), st.none()),
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), TEXT),
        st.tuples(st.just("branch"), st.integers(0, 99)),
        st.tuples(st.just("show"), st.integers(0, 99)),
        st.tuples(st.just("remove"), st.integers(0, 99)),
        st.tuples(st.just("think"), TEXT),
        st.tuples(st.just("say"), TEXT),
        st.tuples(st.just("end"), ENDS),
        st.tuples(st.just("again"), TEXT),
        st.tuples(st.just("title"), TEXT),
        st.tuples(st.just("save"), st.none()),
    ),
    max_size=30,
)


def step(conversation: Conversation, kind: str, value: object) -> None:
    """Do one thing that a user, or a stream, does to a conversation."""
    turns, every = conversation.turns, conversation.every
    match kind, value:
        case "ask", str(text):
            conversation.ask(text, f"id {len(every)}")
        case "branch", int(n) if turns:
            conversation.ask_instead(turns[n % len(turns)], f"branch {n}", f"id {n} {len(every)}")
        case "show", int(n) if every:
            conversation.show(every[n % len(every)])
        case "remove", int(n) if every:
            conversation.remove(every[n % len(every)])
        case "think", str(text) if turns:
            turns[-1].answer.apply(Reasoning(text))
        case "say", str(text) if turns:
            turns[-1].answer.apply(Content(text))
        case "end", (Failed() | Finished()) as end if turns:
            turns[-1].answer.apply(end)
        case "again", str(text) if turns:
            turns[-1].answer, turns[-1].answer_id = Answer(), text
        case "title", str(text):
            conversation.title = text


def shape(conversation: Conversation) -> object:
    """All of a conversation that must come back; an answer that runs is one that r1tui's end cut."""
    numbers = {turn: n for n, turn in enumerate(conversation.every)}
    exchanges = [
        (
            numbers[turn.parent] if turn.parent else None, turn.asked_s, turn.answer.is_cut,
            "failed" if turn.answer.running else turn.answer.state, turn.answer.tokens, turn.answer.thinking_tokens,
            *map(printable, (turn.question, turn.answer.content.text, turn.answer.thinking.text, turn.answer_id)),
        )
        for turn in conversation.every
    ]  # fmt: skip
    return printable(conversation.title), [numbers[turn] for turn in conversation.turns], exchanges


def printable(text: str) -> str:
    return text.encode(errors="replace").decode()


@given(STEPS)
def test_whatever_happens_to_a_conversation_and_whenever_it_is_saved_it_comes_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    conversation = Conversation("c")
    tracker = Tracker(conversation)
    with Store(tmp_path_factory.mktemp("store") / "conversations") as store:
        for kind, value in [*steps, ("save", None)]:
            step(conversation, kind, value)
            if kind == "save" and (changes := tracker.changes()) is not None:
                store.write([changes])
        found = store.open("c")
    if found is None:
        assert not conversation.every
    else:
        assert shape(found.conversation) == shape(conversation)


def test_of_a_running_answer_only_what_is_new_is_written(store: Store, folder: Path) -> None:
    conversation = said("c1")
    answer = conversation.ask("more?", "1-a").answer
    tracker = Tracker(conversation)
    store.write([changes for changes in [tracker.changes()] if changes])
    assert tracker.changes() is None
    for word in ("one ", "two "):
        answer.apply(Content(word))
        changes = tracker.changes()
        assert changes is not None
        [grown] = changes.exchanges
        assert isinstance(grown, Grow)
        assert grown.answer == word
        store.write([changes])
    assert rows(folder, "SELECT answer FROM pieces") == [("one ",), ("two ",)]
    answer.apply(FINISHED)
    store.write([changes for changes in [tracker.changes()] if changes])
    assert rows(folder, "SELECT count(*) FROM pieces") == [(0,)]
    assert rows(folder, "SELECT answer FROM exchanges") == [("so",), ("one two ",)]


def half_answered(store: Store) -> None:
    """An answer that was continued once, and is in the middle again, of an r1tui that was killed."""
    conversation = said("c1", "go on?", "")
    turn = conversation.turns[0]
    turn.answer, turn.answer_id = answered(Reasoning("Hm"), Content("be"), Failed("It ended.")), "first"
    tracker = Tracker(conversation)
    store.write([changes for changes in [tracker.changes()] if changes])
    turn.answer_id, turn.answer.state = "second", "waiting"
    store.write([changes for changes in [tracker.changes()] if changes])
    turn.answer.apply(Content("fore"))
    store.write([changes for changes in [tracker.changes()] if changes])
    store.let_go(["c1"])


def test_a_running_answer_without_a_record_has_failed_with_all_that_had_come(store: Store) -> None:
    half_answered(store)
    opened = store.open("c1")
    assert opened is not None
    [turn] = opened.conversation.turns
    assert (turn.answer.state, turn.answer.content.text, turn.answer.thinking.text) == ("failed", "before", "Hm")
    assert "r1tui ended" in turn.answer.cause
    changes = opened.tracker.changes()
    assert changes is not None
    store.write([changes])
    assert [one.id for one in store.search("before")] == ["c1"], "it is found from now on"


def test_a_running_answer_with_a_record_has_what_it_had_before_its_request(folder: Path) -> None:
    with Store(folder, recorded="second".__eq__) as store:
        half_answered(store)
        opened = store.open("c1")
        assert opened is not None
        [turn] = opened.conversation.turns
        assert (turn.answer.state, turn.answer.content.text, turn.answer_id) == ("waiting", "be", "second")
        assert opened.conversation.running
        turn.answer.apply(Content("hind"))
        changes = opened.tracker.changes()
        assert changes is not None
        store.write([changes])
        turn.answer.apply(Content("sight"))
        store.write([changes for changes in [opened.tracker.changes()] if changes])
        store.let_go(["c1"])
        again = store.open("c1")
        assert again is not None
        assert again.conversation.turns[0].answer.content.text == "be", "the record's text is never there twice"


def test_files_are_private(store: Store, folder: Path) -> None:
    store.write([whole(said("c1", "secret"))])
    assert folder.stat().st_mode & 0o077 == 0
    files = list(folder.glob(f"{NAME}*"))
    assert len(files) == 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_nothing_is_there_at_first_and_reading_makes_nothing(store: Store, folder: Path) -> None:
    assert store.last() is None
    assert store.newest() == store.search("x") == []
    assert store.open("c") is None
    assert not folder.exists()


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


def running(conversation_id: str) -> Conversation:
    return Conversation(conversation_id, [Turn("a", answered(Content("so far")), "1-a")])


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

    def lose(self: Store, conversation_id: str) -> int | None:
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
    [turn] = opened.conversation.turns
    assert (turn.answer.state, turn.answer.content.text) == ("failed", "so far")
    assert "another r1tui" in turn.answer.cause
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
    flappy = Conversation("flappy", [Turn("Write Flappy Bird.", Answer.past(code, "hidden thought"))])
    umlaut = Conversation("umlaut", [Turn("日本語", Answer.past("Über alles, zu 100% <sure>"))], "Renamed")
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
    [found] = store.search("birds")
    assert found.passage == ""
    store.rename("c1", "Fish")
    assert store.search("birds") == []
    assert [one.name for one in store.search("fish")] == ["Fish"]


def test_the_index_follows_every_change(store: Store, folder: Path) -> None:
    conversation = said("c1", "gone", "words")
    turn = conversation.ask("kept")
    tracker = Tracker(conversation)
    store.write([changes for changes in [tracker.changes()] if changes])
    conversation.remove(conversation.every[0])
    turn.question = "changed"
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
    with closing(sqlite3.connect(folder / NAME)) as connection, connection:
        connection.execute("UPDATE conversations SET deleted_s = deleted_s - ?", (KEPT_DELETED_S,))
    assert store.newest(deleted=True) == []
    assert rows(folder, "SELECT count(*) FROM exchanges") == [(2,)]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"{" * 5000),
    "cut": lambda path: os.truncate(path, 4096 + 100),
    "another's": lambda path: closing_execute(path, "CREATE TABLE conversations (x)"),
}


def closing_execute(path: Path, statement: str) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_told_set_aside_and_never_overwritten(
    store: Store, folder: Path, told: list[R1tuiError], damage: str
) -> None:
    kept(store, said("c1", "x" * 10_000))
    store.close()
    DAMAGES[damage](folder / NAME)
    before = (folder / NAME).read_bytes()
    store.write([whole(said("c2"))])
    [error] = told
    [aside] = folder.glob("conversations.damaged-*.db")
    assert str(aside) in error.cause
    assert error.remedy
    assert aside.read_bytes()[100:] == before[100:], "but for SQLite's header"
    assert [one.id for one in store.newest()] == ["c2"]
    told.clear()
    store.close()
    (folder / NAME).write_bytes(b"again" * 1000)
    assert store.newest() == []
    assert len(list(folder.glob("conversations.damaged-*.db"))) == 2
    assert aside.read_bytes()[100:] == before[100:]


def test_damage_in_the_middle_is_found_later_and_set_aside_too(
    store: Store, other: Store, folder: Path, told: list[R1tuiError]
) -> None:
    for number in range(20):
        store.write([whole(said(f"c{number}", "why?", "word " * 2000))])
    store.close()
    data = (folder / NAME).read_bytes()
    pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    overflow = [set(page[4:40]) <= set(b"word ") for page in pages]
    assert sum(overflow) > 20
    (folder / NAME).write_bytes(
        b"".join(b"\xff" * 4096 if o else page for page, o in zip(pages, overflow, strict=True))
    )
    assert len(other.newest()) == len(store.newest()) == 20
    assert store.open("c19") is None
    assert len(told) == 1
    assert len(list(folder.glob("conversations.damaged-*.db"))) == 1
    store.write([whole(said("new"))])
    assert [one.id for one in store.newest()] == ["new"]
    assert [one.id for one in other.newest()] == ["new"], "the other r1tui is in the new one too"


def test_what_grows_while_its_database_is_set_aside_is_asked_for_whole(store: Store, folder: Path) -> None:
    conversation = running("c1")
    tracker = Tracker(conversation)
    store.write([changes for changes in [tracker.changes()] if changes])
    for path in folder.glob(f"{NAME}*"):
        path.replace(path.with_name(f"aside{path.name}"))
    conversation.turns[0].answer.apply(Content(", and on"))
    changes = tracker.changes()
    assert changes is not None
    with pytest.raises(GoneError):
        store.write([changes])
    tracker.forget()
    store.write([changes for changes in [tracker.changes()] if changes])
    assert rows(folder, "SELECT answer FROM exchanges") == [("so far, and on",)]


def test_a_damaged_index_is_made_anew(store: Store, folder: Path, told: list[R1tuiError]) -> None:
    store.write([whole(said("c1", "a bird?"))])
    store.close()
    with closing(sqlite3.connect(folder / NAME)) as connection, connection:
        connection.execute("UPDATE words_data SET block = x'00' WHERE id > 1")
    assert [one.id for one in store.search("bird")] == ["c1"]
    assert told == []


def test_a_newer_database_is_left_as_it_is_and_another_is_used_beside_it(
    store: Store, folder: Path, told: list[R1tuiError]
) -> None:
    kept(store, said("c1"))
    store.close()
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = (folder / NAME).read_bytes()
    kept(store, said("c2"))
    assert "newer r1tui" in told[0].cause
    assert [one.id for one in store.newest()] == ["c2"]
    store.close()
    assert (folder / NAME).read_bytes() == before
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION}")  # as if this r1tui were the newer one
    assert {one.id for one in store.newest()} == {"c1", "c2"}, "what was kept beside it is in it now"
    store.close()
    assert {one.id for one in store.newest()} == {"c1", "c2"}


def test_a_database_of_the_first_version_goes_to_the_newest(store: Store, folder: Path) -> None:
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / NAME)) as connection, connection:
        connection.executescript(
            """
            CREATE TABLE conversations (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
                title TEXT NOT NULL DEFAULT '', server TEXT NOT NULL DEFAULT '', created_s REAL NOT NULL,
                updated_s REAL NOT NULL, opened_s REAL NOT NULL, deleted_s REAL, shown INTEGER);
            CREATE TABLE exchanges (key INTEGER PRIMARY KEY,
                conversation INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
                number INTEGER NOT NULL, parent INTEGER, asked_s REAL NOT NULL, state TEXT NOT NULL,
                answer_before INTEGER NOT NULL DEFAULT 0, thinking_before INTEGER NOT NULL DEFAULT 0,
                tokens INTEGER NOT NULL DEFAULT 0, thinking_tokens INTEGER NOT NULL DEFAULT 0, thinking_s REAL,
                cause TEXT NOT NULL DEFAULT '', remedy TEXT NOT NULL DEFAULT '', answer_id TEXT NOT NULL DEFAULT '',
                inside_thinking INTEGER NOT NULL DEFAULT 0, model TEXT NOT NULL DEFAULT '', figures TEXT,
                question TEXT NOT NULL, answer TEXT NOT NULL DEFAULT '', thinking TEXT NOT NULL DEFAULT '',
                UNIQUE (conversation, number));
            CREATE TABLE pieces (key INTEGER PRIMARY KEY,
                exchange INTEGER NOT NULL REFERENCES exchanges (key) ON DELETE CASCADE, answer TEXT NOT NULL,
                thinking TEXT NOT NULL, tokens INTEGER NOT NULL, thinking_tokens INTEGER NOT NULL, thinking_s REAL);
            INSERT INTO conversations VALUES (7, 'old', 'Old', '', 1.0, 2.0, 2.0, NULL, 0);
            INSERT INTO exchanges (conversation, number, asked_s, question, state, answer)
                VALUES (7, 0, 1.0, 'a heron?', 'done', 'a bird');
            PRAGMA user_version = 1;
            """
        )
    assert [one.id for one in store.search("heron")] == ["old"]
    assert [one.id for one in store.search("old")] == ["old"]
    opened = store.open("old")
    assert opened is not None
    assert opened.conversation.turns[0].answer.content.text == "a bird"
    assert rows(folder, "PRAGMA user_version") == [(len(UPGRADES),)]


JSON = b'{"id": "%b", "turns": [{"question": "old?", "content": "words", "thinking_tokens": 3}], "version": 1}'


def test_files_of_the_first_version_are_taken_over_once(store: Store, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in (b"one", b"two", b"held"):
        (folder / f"{name.decode()}.json").write_bytes(JSON % name)
    os.utime(folder / "one.json", (1e9, 1e9))
    broken = {"broken": b"{", "renamed": JSON % b"other", "newer": (JSON % b"newer").replace(b"1}", b"9}")}
    for other_name, content in broken.items():
        (folder / f"{other_name}.json").write_bytes(content)
    with locked(folder / "held.lock", "The conversation of an older r1tui"):
        assert [one.id for one in store.newest()] == ["two", "one"]
    assert {path.stem for path in folder.glob("*.json")} == {"held", *broken}
    opened = store.open("one")
    assert opened is not None
    assert (opened.updated_s, opened.conversation.turns[0].answer.thinking_tokens) == (1e9, 3)
    store.delete("one")
    store.close()
    assert [one.id for one in store.newest()] == ["held", "two"]


def test_two_make_the_database_at_once(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.test_store import Store, said, whole\n"
        "with Store(Path(sys.argv[1])) as store:\n"
        "    for n in range(20): store.write([whole(said(f'{sys.argv[2]}-{n}'))])"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, folder, name]) for name in "abcd"]
    assert [one.wait(120) for one in started] == [0, 0, 0, 0]
    with Store(folder) as store:
        assert len(store.newest()) == 80


WRITER = """
import sys
from pathlib import Path
from r1tui.chat.changes import Tracker
from r1tui.chat.conversation import Conversation
from r1tui.chat.store import Store
from r1tui.events import Content

conversation = Conversation("c")
tracker = Tracker(conversation)
store = Store(Path(sys.argv[1]))
answer = conversation.ask("count").answer
number = 0
while True:
    store.write([tracker.changes()])
    print(number, flush=True)
    number += 1
    answer.apply(Content(f"{number} "))
"""


def test_what_was_written_survives_a_kill_and_the_database_is_sound(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE)
    assert process.stdout is not None
    while process.stdout.readline() != b"300\n":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split(b"\n")
    process.wait()
    written = int(next((line for line in reversed(rest) if line), b"300"))
    with Store(folder) as store:
        opened = store.open("c")
    assert opened is not None
    numbers = opened.conversation.turns[0].answer.content.text.split()
    assert numbers == [str(n + 1) for n in range(len(numbers))]
    assert len(numbers) >= written
    assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
