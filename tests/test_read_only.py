"""A home that cannot be written: what is there is read all the same, by every command that reads, and by the screen."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from r1tui.chat.database import NAME
from r1tui.chat.store import Store
from r1tui.errors import R1tuiError
from r1tui.system.paths import Paths
from tests.conftest import TinyModel
from tests.ptys import Terminal
from tests.small_disk import SmallDisk, small_disk
from tests.store_rig import said, whole
from tests.test_unsaved import answering


@pytest.fixture
def home(paths: Paths) -> Iterator[SmallDisk]:
    """A home on a disk of its own, with conversations."""
    with small_disk(paths.state.parent) as disk:
        with Store(paths.conversations) as store:
            store.write([whole(said("c1", "why?", "so that it is"))])
            store.write([whole(said("c2", "what?", "that"))])
        yield disk


def with_log(folder: Path) -> None:
    """The newest conversation stands in the database's log alone, as after a kill; nobody has its index."""
    code = (
        "import os, sys; from pathlib import Path; from r1tui.chat.store import Store; "
        "from tests.store_rig import said, whole; store = Store(Path(sys.argv[1])); "
        "store.write([whole(said('c3', 'late?', 'in the log'))]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)
    (folder / f"{NAME}-shm").unlink()
    assert (folder / f"{NAME}-wal").stat().st_size


@pytest.mark.parametrize("has_log", [True, False])
def test_conversations_are_read_from_a_read_only_disk_and_writing_says_why_not(
    home: SmallDisk, paths: Paths, *, has_log: bool
) -> None:
    if has_log:
        with_log(paths.conversations)
    home.make_read_only()
    with Store(paths.conversations) as store:
        wanted = ["c3", "c2", "c1"] if has_log else ["c2", "c1"]
        assert [one.id for one in store.newest()] == wanted
        assert [one.id for one in store.search("so that")] == ["c1"]
        assert store.look(wanted[0]).conversation.exchanges
        opened = store.last()
        assert opened is not None
        assert (opened.conversation.id, opened.open_in) == (wanted[0], None)
        for write in (lambda: store.delete("c1"), lambda: store.rename("c1", "x"), lambda: store.restore("c1")):
            with pytest.raises(R1tuiError, match="Read-only"):
                write()
        with pytest.raises(OSError, match="Read-only"):
            store.write([whole(said("c4"))])


def test_an_older_database_is_read_from_a_read_only_disk(home: SmallDisk, paths: Paths) -> None:
    with closing(sqlite3.connect(paths.conversations / NAME)) as connection, connection:
        connection.executescript(
            "DROP TABLE calendar; ALTER TABLE conversations DROP COLUMN deleted_own_s; PRAGMA user_version = 2"
        )
    home.make_read_only()
    with Store(paths.conversations) as store:
        assert [one.id for one in store.newest()] == ["c2", "c1"]


def test_conversations_are_read_from_a_disk_without_any_room_and_written_when_there_is_some(
    home: SmallDisk, paths: Paths
) -> None:
    home.fill()
    with Store(paths.conversations) as store:
        assert [one.id for one in store.newest()] == ["c2", "c1"]
        with pytest.raises(R1tuiError, match="is full"):
            store.rename("c1", "new")
        home.empty()
        store.write([whole(said("c3"))])
        assert [one.id for one in store.newest()] == ["c3", "c2", "c1"]


def test_conversations_are_read_from_a_disk_without_inodes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=8m,nr_inodes=12") as disk:
        folder = disk.folder / "conversations"
        with Store(folder) as store:
            store.write([whole(said("c1"))])
        for number in range(20):
            try:
                (disk.folder / str(number)).touch()
            except OSError:
                break
        with Store(folder) as store:
            assert [one.id for one in store.newest()] == ["c1"]


def r1tui(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "r1tui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_every_command_that_reads_works_on_a_read_only_home(
    home: SmallDisk, paths: Paths, tiny_r1: TinyModel, empty_home: Path
) -> None:
    model = str(tiny_r1())
    home.make_read_only()
    before = sorted(os.walk(home.folder))
    for arguments in (
        ("chats",), ("chats", "list"), ("chats", "search", "why"), ("chats", "show", "last"), ("chats", "export", "c1"),
        ("status",), ("status", "--json"), ("stop",), ("variants",), ("variants", "--json"), ("inspect", model),
        ("plan", "--model", model), ("plan", "--model", model, "--json"),
    ):  # fmt: skip
        ran = r1tui(*arguments)
        assert ran.returncode == 0, f"{arguments}: {ran.stderr}"
        assert "Traceback" not in ran.stderr
    doctor = r1tui("doctor", "--json")
    assert json.loads(doctor.stdout)
    assert "Traceback" not in doctor.stderr
    for arguments in (("chats", "rename", "c1", "x"), ("chats", "delete", "c1"), ("build",), ("download", "demo")):
        ran = r1tui(*arguments)
        assert ran.returncode == 1, arguments
        assert "Read-only" in ran.stderr, arguments
        assert "Traceback" not in ran.stderr
    assert sorted(os.walk(home.folder)) == before


def test_the_screen_goes_on_on_a_read_only_home(
    home: SmallDisk, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    socket = tmp_path / "s"
    home.make_read_only()
    with answering(socket) as server, Terminal("--attach", f"unix:{socket}", columns=140) as terminal:
        server.may_go_on.set()
        terminal.wait_for("New chat")
        terminal.type("hello")
        terminal.wait_for("Not saved: the draft")
        terminal.type("\r")
        terminal.wait_for("THE-END")
        until_said = "words. r1tui keeps trying"
        terminal.wait_for(until_said)
        terminal.type("\x11")
        terminal.wait_for("Quit and lose")
        terminal.type("l")
        assert terminal.ended() == 0
