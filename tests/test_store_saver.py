"""What becomes of what cannot be written for a while: a full disk, in the hands of the screen's saver."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from r1tui.chat.conversation import Conversation
from r1tui.chat.database import NAME
from r1tui.chat.export import Unsaved
from r1tui.chat.rows import Changes
from r1tui.chat.store import Store
from r1tui.errors import R1tuiError
from r1tui.events import Content
from r1tui.tui.services.saver import Saver
from tests.store_rig import FINISHED, folder, told

__all__ = ["folder", "told"]


class Disk:
    """Whether there is room."""

    is_full = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk, write = Disk(), Store.write

    def maybe(self: Store, changes: Iterable[Changes]) -> None:
        if disk.is_full:
            raise OSError(28, "No space left on device")
        write(self, changes)

    monkeypatch.setattr(Store, "write", maybe)
    monkeypatch.setattr("r1tui.tui.services.saver.RETRY_S", 0.05)
    return disk


@asynccontextmanager
async def saving(folder: Path, told: list[R1tuiError]) -> AsyncIterator[Saver]:
    def hear(unsaved: Unsaved | None) -> None:
        if unsaved is not None:
            told.append(unsaved.why)

    saver = Saver(folder, "", lambda _: False, told.append, unsaved=hear)
    try:
        yield saver
    finally:
        await saver.close()


def say(conversation: Conversation, question: str) -> None:
    answer = conversation.ask(question).answer
    answer.apply(Content("so"))
    answer.apply(FINISHED)


def questions(folder: Path, conversation_id: str) -> list[str]:
    """What is on disk of it."""
    with Store(folder) as store:
        if all(one.id != conversation_id for one in store.newest()):
            return []
        return [exchange.question for exchange in store.look(conversation_id).conversation.exchanges]


async def until(fact: Callable[[], bool]) -> None:
    deadline_s = monotonic() + 60
    while not fact():
        assert monotonic() < deadline_s, "it did not happen"
        await asyncio.sleep(0.02)


async def test_what_cannot_be_written_is_told_while_it_is_so_and_written_when_it_can_be(
    folder: Path, disk: Disk
) -> None:
    conversation, heard = Conversation("c1"), list[Unsaved | None]()
    saver = Saver(folder, "", lambda _: False, lambda _: None, unsaved=heard.append)
    try:
        exchange = conversation.ask("lost?")
        exchange.answer.apply(Content("one "))
        await saver.save(conversation)
        disk.is_full = True
        for word in ("two ", "three"):
            exchange.answer.apply(Content(word))
            await saver.save(conversation)
        await until(lambda: heard[-1:] != [] and heard[-1] is not None and heard[-1].words == 2)
        assert heard[-1] is not None
        assert "full" in heard[-1].why.cause
        assert heard[-1].conversations == (conversation,)
        assert await saver.flush() is not None
        disk.is_full = False
        await until(lambda: heard[-1] is None)
        await until(lambda: questions(folder, "c1") == ["lost?"])
        await until(lambda: kept_answer(folder) == "one two three")
        assert await saver.flush() is None
    finally:
        assert await saver.close() is None


async def test_a_disk_that_hangs_is_told_and_holds_up_nobody_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, write = threading.Event(), Store.write

    def hang(self: Store, changes: Iterable[Changes]) -> None:
        answers.wait()
        write(self, changes)

    monkeypatch.setattr(Store, "write", hang)
    monkeypatch.setattr("r1tui.tui.services.saver.PATIENCE_S", 0.1)
    conversation, heard = Conversation("c1"), list[Unsaved | None]()
    saver = Saver(folder, "", lambda _: False, lambda _: None, unsaved=heard.append)
    say(conversation, "lost?")
    await saver.save(conversation)
    await until(lambda: heard != [])
    unsaved = saver.flush_at_once()
    assert unsaved is not None
    assert unsaved.why.cause == "The disk does not answer."
    answers.set()
    await until(lambda: heard[-1] is None)
    assert await saver.close() is None
    assert questions(folder, "c1") == ["lost?"]


async def test_a_disk_that_hangs_while_it_is_read_is_told_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1tui.tui.services.saver.PATIENCE_S", 0.1)
    answers, heard = threading.Event(), list[Unsaved | None]()
    conversation = Conversation("c1")
    saver = Saver(folder, "", lambda _: False, lambda _: None, unsaved=heard.append)
    reading = asyncio.create_task(saver.read(lambda _: answers.wait()))
    await asyncio.sleep(0)
    say(conversation, "lost?")
    await saver.save(conversation)
    await until(lambda: heard != [])
    assert heard[-1] is not None
    assert heard[-1].why.cause == "The disk does not answer."
    answers.set()
    assert await reading
    await until(lambda: heard[-1] is None)
    await until(lambda: questions(folder, "c1") == ["lost?"])
    await saver.close()


async def test_an_error_that_nobody_foresaw_keeps_what_waits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, fails = Store.write, [True]

    def fail(self: Store, changes: Iterable[Changes]) -> None:
        if fails:
            raise KeyError("x")
        write(self, changes)

    monkeypatch.setattr(Store, "write", fail)
    monkeypatch.setattr("r1tui.tui.services.saver.RETRY_S", 0.05)
    conversation, heard = Conversation("c1"), list[Unsaved | None]()
    saver = Saver(folder, "", lambda _: False, lambda _: None, unsaved=heard.append)
    say(conversation, "lost?")
    await saver.save(conversation)
    await until(lambda: heard != [])
    fails.clear()
    await until(lambda: heard[-1] is None)
    assert await saver.close() is None
    assert questions(folder, "c1") == ["lost?"]


def kept_answer(folder: Path) -> str:
    with Store(folder) as store:
        return store.look("c1").conversation.exchanges[0].answer.content.text


async def test_a_conversation_is_opened_again_only_when_what_was_said_there_is_written(
    folder: Path, told: list[R1tuiError], disk: Disk
) -> None:
    first, second = Conversation("c1"), Conversation("c2")
    async with saving(folder, told) as saver:
        for conversation in (first, second):
            say(conversation, "kept?")
            await saver.save(conversation)
        disk.is_full = True
        say(first, "lost?")
        await saver.save(first)
        saver.keep_only([second])
        with pytest.raises(R1tuiError, match="not saved yet"):
            await saver.open("c1")
        with pytest.raises(R1tuiError, match="not saved yet"):
            await saver.written("c1", lambda store: store.delete("c1"))
        with Store(folder) as other:
            found = other.open("c1")
            assert found is not None
            assert found.open_in is not None, "it is held until all of it is written"
        disk.is_full = False
        opened = await saver.open("c1")
        assert opened is not None
        assert [exchange.question for exchange in opened.conversation.exchanges] == ["kept?", "lost?"]
        say(opened.conversation, "and?")
        await saver.save(opened.conversation)
        assert questions(folder, "c1") == ["kept?", "lost?", "and?"]


async def test_a_conversation_that_was_left_on_a_full_disk_is_anybodys_once_it_is_written(
    folder: Path, told: list[R1tuiError], disk: Disk
) -> None:
    conversation = Conversation("c1")
    async with saving(folder, told) as saver:
        disk.is_full = True
        say(conversation, "lost?")
        await saver.save(conversation)
        saver.keep_only([])
        disk.is_full = False
        await until(lambda: questions(folder, "c1") == ["lost?"])
        await until(lambda: is_free(folder, "c1"))


def is_free(folder: Path, conversation_id: str) -> bool:
    with Store(folder) as other:
        found = other.open(conversation_id)
    return found is not None and found.open_in is None


async def test_what_waits_of_a_conversation_that_was_left_goes_to_a_new_database_too(
    folder: Path, told: list[R1tuiError], disk: Disk
) -> None:
    left, shown = Conversation("c1"), Conversation("c2")
    async with saving(folder, told) as saver:
        for conversation in (left, shown):
            say(conversation, "first?")
            await saver.save(conversation)
        disk.is_full = True
        for conversation in (shown, left):
            say(conversation, "second?")
            await saver.save(conversation)
        saver.keep_only([shown])
        for path in folder.glob(f"{NAME}*"):
            path.replace(path.with_name(f"aside-{path.name}"))
        disk.is_full = False
        for conversation_id in ("c2", "c1"):
            await until(lambda one=conversation_id: questions(folder, one) == ["first?", "second?"])  # type: ignore[misc]
