"""Questions and drafts on their way to the disk, which refuses them for a while; without a screen."""

import asyncio
from pathlib import Path

import pytest

from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.chat.typed import Recall, Typed
from r1tui.errors import R1tuiError
from r1tui.tui.services import composing
from r1tui.tui.services.composing import DRAFT, HISTORY, DraftSaver, HistorySaver
from tests.answer_rig import until


class Desk:
    """A prompt without a screen, and what is said of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed = Typed()
        self.recall = Recall()
        self.said: list[tuple[str, bool]] = []
        """What could not be saved, and was."""
        self.history = HistorySaver(folder, self.recall, self.hear)
        self.drafts = DraftSaver(folder, lambda: self.typed, self.hear)

    def hear(self, name: str, why: R1tuiError | None) -> None:
        if (name, why is None) not in self.said[-1:]:
            self.said.append((name, why is None))

    def put(self, typed: Typed) -> None:
        self.typed = Typed(typed.text + self.typed.text)

    def on_disk(self) -> list[str]:
        """The questions that the next r1tui would have."""
        return [one.text for one in PromptHistory(self.folder).entries()]

    def left(self) -> str | None:
        """The draft that the next r1tui would have."""
        found = Drafts(self.folder).take()
        return found.text if found is not None else None


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(composing, "DRAFT_S", 0.01)
    monkeypatch.setattr(composing, "RETRY_S", 0.01)
    return Desk(tmp_path / "prompt")


def refuse(desk: Desk) -> None:
    """A file where the folder should be: nothing can be written."""
    desk.folder.write_text("")


def relent(desk: Desk) -> None:
    desk.folder.unlink()


async def test_a_question_is_walked_through_at_once_and_written_once_when_the_disk_takes_it(desk: Desk) -> None:
    refuse(desk)
    one, two = (asyncio.create_task(desk.history.add(Typed(text))) for text in ("one", "two"))
    await until(lambda: desk.said == [(HISTORY, False)])
    assert [entry.text for entry in desk.recall.entries] == ["one", "two"]
    relent(desk)
    await asyncio.gather(one, two)
    assert desk.said == [(HISTORY, False), (HISTORY, True)]
    assert desk.on_disk() == ["one", "two"]
    assert [entry.text for entry in desk.recall.entries] == ["one", "two"]


async def test_a_question_that_is_refused_is_never_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise R1tuiError("The disk is full.")

    await desk.history.add(Typed("before"))
    with monkeypatch.context() as patch:
        patch.setattr(PromptHistory, "add", refuses)
        adding = asyncio.create_task(desk.history.add(why := Typed("why?")))
        await until(lambda: (HISTORY, False) in desk.said)
        forgetting = asyncio.create_task(desk.history.forget(why))
        await asyncio.sleep(0)
    await asyncio.gather(adding, forgetting)
    assert desk.on_disk() == ["before"]
    await desk.history.add(again := Typed("again?"))
    await desk.history.forget(again)
    assert desk.on_disk() == ["before"]
    assert [entry.text for entry in desk.recall.entries] == ["before"]


async def test_the_history_has_what_another_r1tui_asked_meanwhile(desk: Desk) -> None:
    await desk.history.add(Typed("mine"))
    PromptHistory(desk.folder).add(Typed("theirs"))
    await desk.history.add(Typed("mine too"))
    assert [entry.text for entry in desk.recall.entries] == ["mine", "theirs", "mine too"]


async def test_a_draft_is_followed_until_it_changes_no_more(desk: Desk) -> None:
    await desk.drafts.take(desk.put)
    desk.typed = Typed("half")
    following = asyncio.create_task(desk.drafts.follow())
    await until(lambda: any(desk.folder.glob("draft-*.json")))
    desk.typed = Typed("half done")
    await following
    assert desk.drafts.is_settled
    desk.typed = Typed("half done!")
    desk.drafts.leave()
    assert desk.left() == "half done!"


async def test_a_draft_that_the_disk_refuses_is_said_and_tried_until_it_is_there(desk: Desk) -> None:
    await desk.drafts.take(desk.put)
    refuse(desk)
    desk.typed = Typed("precious")
    following = asyncio.create_task(desk.drafts.follow())
    await until(lambda: desk.said == [(DRAFT, False)])
    assert not await desk.drafts.save()
    relent(desk)
    await following
    assert desk.said == [(DRAFT, False), (DRAFT, True)]
    desk.drafts.leave()
    assert desk.left() == "precious"


async def test_nothing_takes_the_place_of_a_draft_that_is_not_read_yet(desk: Desk) -> None:
    Drafts(desk.folder).save(Typed("of before "))
    desk.typed = Typed("new")
    assert not await desk.drafts.save()
    desk.drafts.leave()
    again = Desk(desk.folder)
    again.typed = Typed("new")
    await again.drafts.take(again.put)
    assert again.typed == Typed("of before new")
    await again.drafts.follow()
    again.drafts.leave()
    assert desk.left() == "of before new"
