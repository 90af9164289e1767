"""What becomes of words that a full disk refuses: said while it is so, asked about at the end, saved elsewhere."""

import asyncio
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.export import PREFIX, Unsaved, find_rescued, rescue
from r1tui.chat.rows import LEFT
from r1tui.chat.store import Store
from r1tui.chat.typed import Typed
from r1tui.errors import R1tuiError
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.services.saver import Saver
from r1tui.tui.services.unsaved import UnsavedWork
from tests.bench.replay import Replay, Script
from tests.ptys import Terminal
from tests.small_disk import SmallDisk, small_disk
from tests.supervisor_rig import slowed, until
from tests.test_survival import Ready, ask, is_computing, ready, undisturbed

__all__ = ["ready"]

N_TOKENS, BEFORE = 3_000, 600


class Answer3000(Script):
    """Ends with words that stand nowhere else in it."""

    def tokens(self) -> list[str]:
        return [*super().tokens(), "\n\n```\nTHE-END"]


SCRIPT = Answer3000(0, N_TOKENS, 4_000.0)
FULL = R1tuiError("The disk is full.", "Free some disk space.")


class Answering:
    """A server with one long answer, which stops on the way until it may go on."""

    def __init__(self) -> None:
        self.is_half_way, self.may_go_on = threading.Event(), threading.Event()

    async def on_token(self, number: int) -> None:
        if number == BEFORE:
            self.is_half_way.set()
            await asyncio.to_thread(self.may_go_on.wait)


@contextmanager
def answering(socket: Path) -> Iterator[Answering]:
    server, loop = Answering(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(Replay(SCRIPT, server.on_token).serve(socket), loop).result(30)
    try:
        yield server
    finally:
        server.may_go_on.set()
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where there is room."""
    home = tmp_path / "user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(home))
    return home


@pytest.fixture
def disk(paths: Paths, home: Path) -> Iterator[SmallDisk]:
    with small_disk(paths.state) as disk:
        yield disk


@contextmanager
def filled_in_mid_answer(paths: Paths, disk: SmallDisk, columns: int = 140) -> Iterator[Terminal]:
    """The screen, with all of an answer that the disk has only the beginning of."""
    socket = paths.state.parent / "s"
    with answering(socket) as server, Terminal("--attach", f"unix:{socket}", columns=columns) as terminal:
        terminal.wait_for("New chat")
        terminal.type("hello")
        terminal.wait_for("hello")
        terminal.type("\r")
        assert server.is_half_way.wait(60)
        until(lambda: bool(kept_answer(paths)), 60)
        disk.fill()
        server.may_go_on.set()
        terminal.wait_for("THE-END")
        terminal.wait_for("Not saved: ")
        yield terminal


def kept_answer(paths: Paths) -> str:
    with Store(paths.conversations) as store:
        return "".join(store.look(one.id).conversation.exchanges[-1].answer.content.text for one in store.newest())


def whole_answer() -> str:
    return "".join(SCRIPT.tokens()).partition("</think>")[2].lstrip()


def saved_elsewhere(folder: Path) -> str:
    """The Markdown file there, which only its owner can read."""
    [path] = [path for path in folder.glob(f"{PREFIX}-*.md") if path.is_file()]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text()


def test_leaving_waits_for_room_and_then_everything_is_there(paths: Paths, disk: SmallDisk) -> None:
    def the_prompt_has_typed() -> bool:
        """What is typed before the dialog is gone is lost."""
        terminal.type("mux")
        return b"mux" in terminal.shown

    with filled_in_mid_answer(paths, disk) as terminal:
        terminal.type("\x11")
        terminal.wait_for("Quit and lose")
        terminal.type("\x1b[27u")  # Esc as of terminals that tell it from Alt, which a busy reader cannot
        until(the_prompt_has_typed)
        asked = len(terminal.shown)
        terminal.type("\x11")
        until(lambda: b"Quit and lose" in terminal.shown[asked:])
        assert kept_answer(paths) != whole_answer()
        disk.empty()
        assert terminal.ended() == 0
    assert kept_answer(paths).strip() == whole_answer().strip()
    assert find_rescued() == []


def test_the_line_names_the_key_where_the_screen_is_narrow_and_goes_when_there_is_room_again(
    paths: Paths, disk: SmallDisk
) -> None:
    with filled_in_mid_answer(paths, disk, columns=80) as terminal:
        terminal.wait_for("Ctrl+Q can save")
        disk.empty()
        until(lambda: kept_answer(paths).strip() == whole_answer().strip())
        terminal.type("\x11")
        assert terminal.ended() == 0
        assert b"Quit and lose" not in terminal.shown


def test_leaving_saves_it_in_another_folder(paths: Paths, disk: SmallDisk, home: Path) -> None:
    with filled_in_mid_answer(paths, disk) as terminal:
        terminal.type("\x11")
        terminal.wait_for("Quit and lose")
        terminal.type("f")
        terminal.wait_for("in this folder")
        terminal.type("/mine\r")
        assert terminal.ended() == 0
        until(lambda: f"is in {home / 'mine' / PREFIX}".encode() in terminal.shown)
    assert whole_answer().strip() in saved_elsewhere(home / "mine")


def test_what_is_given_up_is_not_called_kept(paths: Paths, disk: SmallDisk, home: Path) -> None:
    with filled_in_mid_answer(paths, disk) as terminal:
        terminal.type("\x11")
        terminal.wait_for("Quit and lose")
        terminal.type("l")
        assert terminal.ended() == 0
    assert list(home.glob(f"{PREFIX}*")) == []
    disk.empty()
    with Store(paths.conversations) as store:
        opened = store.open(store.newest()[0].id)
    assert opened is not None
    answer = opened.conversation.exchanges[-1].answer
    assert (answer.state, answer.cause) == ("stopped", LEFT)
    assert "may be missing" in LEFT


def end_by(number: int) -> Callable[[Terminal], int]:
    def end(terminal: Terminal) -> int:
        os.kill(terminal.pid, number)
        return terminal.ended()

    return end


@pytest.mark.parametrize("end", [end_by(signal.SIGTERM), end_by(signal.SIGHUP), Terminal.hang_up])
def test_an_end_without_a_question_saves_it_elsewhere_and_says_where(
    paths: Paths, disk: SmallDisk, home: Path, end: Callable[[Terminal], int]
) -> None:
    with filled_in_mid_answer(paths, disk) as terminal:
        end(terminal)
        if end is not Terminal.hang_up:
            until(lambda: f"is in {home / PREFIX}".encode() in terminal.shown)
    assert whole_answer().strip() in saved_elsewhere(home)
    with Terminal("--attach", f"unix:{paths.run}/none.sock", columns=140) as terminal:
        terminal.wait_for("Text that an earlier")


def test_a_draft_that_cannot_be_saved_is_said_and_saved_elsewhere(paths: Paths, disk: SmallDisk, home: Path) -> None:
    with Terminal("--attach", f"unix:{paths.run}/none.sock", columns=140) as terminal:
        terminal.wait_for("New chat")
        disk.fill()
        terminal.type("precious")
        terminal.wait_for("Not saved: the draft")
        terminal.type("\x11")
        terminal.wait_for("Quit and lose the draft")
        terminal.type("f")
        terminal.wait_for("in this folder")
        terminal.type("\r")
        assert terminal.ended() == 0
    [path] = home.glob(f"{PREFIX}*")
    assert path.read_text() == "precious"


def test_the_first_place_with_room_is_taken_and_nothing_is_left_in_the_others(tmp_path: Path) -> None:
    unsaved = Unsaved(FULL, 2, (Conversation("c", [Exchange("why?", Answer.past("so " * 40_000))]),), "and then")
    room = tmp_path / "room"
    room.mkdir()
    with small_disk(tmp_path / "full", "size=64k") as full:
        first, again = (rescue(unsaved, [full.folder, tmp_path / "gone", room]) for _ in range(2))
        assert list(full.folder.iterdir()) == []
        with pytest.raises(R1tuiError, match="full"):
            rescue(unsaved, [full.folder])
    assert {path.suffix for path in first} == {".md", ".json", ".txt"}
    assert not set(first) & set(again)
    assert {path.parent for path in [*first, *again]} == {room}


def test_quitting_with_its_server_loses_nothing_of_an_answer_that_the_disk_has_no_room_for(
    paths: Paths, disk: SmallDisk, home: Path, ready: Ready
) -> None:
    ready(3_000, on_exit="stop")
    wanted, server = undisturbed(paths), supervisor.status(paths).pid
    assert server is not None
    with Terminal(columns=140) as terminal:
        with slowed(server):  # so that there is more to come when the disk is full
            ask(terminal, paths)
            until(lambda: bool(kept_answer(paths)), 60)
            disk.fill()
        terminal.wait_for("Not saved: ")
        until(lambda: not is_computing(paths), 120)
        terminal.wait_for("Cut off at the token limit")  # the screen may be behind the server
        terminal.type("\x11")
        terminal.wait_for("Quit and lose")
        assert supervisor.status(paths).running, "who stays keeps it"
        terminal.type("f")
        terminal.wait_for("in this folder")
        terminal.type("\r")
        assert terminal.ended() == 0
    assert supervisor.status(paths).state == "stopped"
    assert wanted.strip() in saved_elsewhere(home)
    disk.empty()


async def test_a_failing_write_of_the_conversations_leaves_no_draft_half_written(paths: Paths) -> None:
    class Desk:
        draft = Typed("precious")
        is_saved = False

        async def save_draft(self) -> None:
            await asyncio.to_thread(flush_has_failed.wait, 60)
            self.is_saved = True

        def leave_draft(self) -> None:
            """Nothing is left."""

    async def flush() -> None:
        flush_has_failed.set()
        raise FULL

    flush_has_failed = threading.Event()
    desk = Desk()
    work = UnsavedWork(desk, lambda line: None)
    work.saver = Saver(paths.conversations, "", lambda _: False, lambda error: None)
    work.saver.flush = flush  # type: ignore[method-assign]
    with pytest.raises(R1tuiError, match="full"):
        await work.write()
    assert desk.is_saved
    assert asyncio.all_tasks() == {asyncio.current_task()}
