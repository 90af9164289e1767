"""What becomes of conversations when the database is damaged, newer, older, full, or its writer is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from r1tui.chat.database import NAME, UPGRADES, VERSION
from r1tui.chat.export import written_as
from r1tui.chat.rows import Tracker
from r1tui.chat.store import GoneError, Store
from r1tui.errors import R1tuiError
from r1tui.events import Content
from tests.store_rig import folder, kept, other, rows, running, said, store, told, whole

__all__ = ["folder", "other", "store", "told"]


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


@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_what_is_no_file_in_a_database_s_place_is_told_at_once(
    store: Store, folder: Path, put: Callable[[Path], object], suffix: str
) -> None:
    kept(store, said("c1"))
    store.close()
    place = folder / f"{NAME}{suffix}"
    place.unlink(missing_ok=True)
    put(place)
    with pytest.raises(OSError, match="Not a regular file") as caught:
        store.newest()
    assert caught.value.filename == str(place)


def damage_words(path: Path) -> None:
    """Overwrite the pages that have nothing but the words of long answers."""
    data = path.read_bytes()
    pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    overflow = [set(page[4:40]) <= set(b"word ") for page in pages]
    assert any(overflow)
    path.write_bytes(b"".join(b"\xff" * 4096 if o else page for page, o in zip(pages, overflow, strict=True)))


def test_damage_in_the_middle_is_found_later_and_set_aside_too(
    store: Store, other: Store, folder: Path, told: list[R1tuiError]
) -> None:
    for number in range(20):
        store.write([whole(said(f"c{number}", "why?", "word " * 2000))])
    store.close()
    damage_words(folder / NAME)
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
    conversation.exchanges[0].answer.apply(Content(", and on"))
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


def test_a_newer_database_is_left_as_it_is(store: Store, folder: Path) -> None:
    kept(store, said("c1"))
    store.close()
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = (folder / NAME).read_bytes()
    with pytest.raises(R1tuiError, match="newer r1tui") as raised:
        store.write([whole(said("c2"))])
    assert "Update r1tui" in raised.value.remedy
    with pytest.raises(R1tuiError, match="newer r1tui"):
        store.newest()
    assert (folder / NAME).read_bytes() == before
    assert [path.name for path in folder.glob("*.db")] == [NAME]


@pytest.mark.parametrize("name", ["conversations-v2.db", "c3.json"])
def test_conversations_of_another_version_are_named_and_stay(
    store: Store, folder: Path, told: list[R1tuiError], name: str
) -> None:
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"theirs")
    store.write([whole(said("c1"))])
    [error] = told
    assert str(folder / name) in error.cause
    assert ("rename" in error.remedy) == name.endswith(".db")
    assert (folder / name).read_bytes() == b"theirs"


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
                base TEXT, cut TEXT NOT NULL DEFAULT '',
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
    assert opened.conversation.exchanges[0].answer.content.text == "a bird"
    assert rows(folder, "PRAGMA user_version") == [(len(UPGRADES),)]


def test_two_make_the_database_at_once(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from r1tui.chat.store import Store; from tests.store_rig import said, whole\n"
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
from r1tui.chat.rows import Tracker
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
    numbers = opened.conversation.exchanges[0].answer.content.text.split()
    assert numbers == [str(n + 1) for n in range(len(numbers))]
    assert len(numbers) >= written
    assert rows(folder, "PRAGMA integrity_check") == [("ok",)]


def test_a_full_disk_is_told_and_nothing_that_was_written_is_lost(store: Store) -> None:
    store.write([whole(said("c1"))])
    connection = store._now(writes=False).connection
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0] + 2}")
    changes = whole(said("c2", "why?", "word " * 20_000))
    with pytest.raises(R1tuiError, match="is full"):
        store.write([changes])
    assert [one.id for one in store.newest()] == ["c1"]
    connection.execute("PRAGMA max_page_count = 1000000")
    store.write([changes])
    assert [one.id for one in store.newest()] == ["c2", "c1"]


BAD_TEXT = "CAST(x'77ff68793f' AS TEXT)"
DAMAGED_ROWS = [
    "UPDATE exchanges SET question = BAD_TEXT",
    "UPDATE exchanges SET answer = BAD_TEXT, thinking = BAD_TEXT",
    "UPDATE exchanges SET cause = BAD_TEXT, remedy = BAD_TEXT, model = BAD_TEXT, cut = BAD_TEXT",
    "UPDATE conversations SET title = BAD_TEXT",
    "UPDATE conversations SET server = BAD_TEXT",
    "UPDATE exchanges SET figures = BAD_TEXT, base = '{'",
    "UPDATE exchanges SET figures = '[]', base = 'null'",
    "UPDATE exchanges SET asked_s = 9e99, tokens = 'x', thinking_tokens = 'x', thinking_s = 'x'",
    "UPDATE conversations SET created_s = -9e99, updated_s = 'x'",
]


@pytest.mark.parametrize("change", DAMAGED_ROWS)
def test_a_damaged_row_is_shown_as_far_as_it_can_be_and_hides_no_other(
    store: Store, folder: Path, told: list[R1tuiError], change: str
) -> None:
    for number in range(3):
        store.write([whole(said(f"c{number}", "why not?", "so it is"))])
    store.close()
    with closing(sqlite3.connect(folder / NAME)) as connection, connection:
        key = "conversation" if "exchanges" in change else "key"
        connection.execute(f"{change.replace('BAD_TEXT', BAD_TEXT)} WHERE {key} = 2")
    assert {one.id for one in store.newest()} == {"c0", "c1", "c2"}
    assert {"c0", "c2"} <= {one.id for one in store.search("why")}
    for kind in ("json", "markdown"):
        assert "so it is" in written_as(store.look("c0"), kind)
        shown = written_as(store.look("c1"), kind)
        if "question" in change or "answer" in change or "title" in change:
            assert "w\ufffdhy?" in shown
    opened = store.open("c1")
    assert opened is not None
    opened.conversation.exchanges[0].question += " more"
    store.write([whole(opened.conversation)])
    store.rename("c1", "new")
    assert store.look("c1").conversation.exchanges[0].question.endswith(" more")
    assert told == []


def test_a_byte_changed_anywhere_in_a_database_is_told_in_words_at_worst(folder: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "sound") as sound:
        for number in range(3):
            sound.write([whole(said(f"c{number}", f"why {number}?", "so it is " * 20))])
    data = (tmp_path / "sound" / NAME).read_bytes()
    folder.mkdir()
    positions = [at for at in range(100, len(data)) if data[at]]
    for at in positions[:: max(1, len(positions) // 150)]:
        for path in folder.iterdir():
            path.unlink()
        (folder / NAME).write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        with suppress(R1tuiError), Store(folder) as store:
            for work in (store.newest, lambda: store.search("why"), lambda: written_as(store.look("c1"), "json")):
                with suppress(R1tuiError):
                    work()
            store.write([whole(said("new"))])
