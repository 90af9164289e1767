"""A question that is edited in the prompt, what was put aside for it, and files that are slow to read."""

import threading
from pathlib import Path

import pytest

from r1tui.chat.attachments import as_asked, with_files
from r1tui.chat.conversation import Exchange
from r1tui.chat.typed import Typed
from r1tui.tui.app import R1App
from r1tui.tui.services.composing import Scales
from tests.screen_rig import StillApp
from tests.test_input import prompt, shut
from tests.tui_rig import opened, until


async def test_a_question_is_held_aside_while_another_text_is_edited(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"draft")
        app.chat.composer.begin_edit(Exchange("question two"), 2)
        assert prompt(app).text == "question two"
        assert str(prompt(app).border_title).startswith("Editing question 2:")
        assert app.chat.composer.draft == Typed("draft")
        await pilot.press("enter")
        await until(pilot, lambda: "draft" in prompt(app).text)
        assert prompt(app).border_title is None


async def test_an_edited_question_whose_file_cannot_be_read_is_edited_on(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a\0b")
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"draft")
        text = f"see @{tmp_path}/data"
        app.chat.composer.begin_edit(Exchange("see "), 2)
        prompt(app).insert(f"@{tmp_path}/data")
        said = len(app.notices.kept)
        prompt(app).action_submit()
        await until(pilot, lambda: len(app.notices.kept) > said)
        assert prompt(app).text == text
        assert app.chat.composer.draft == Typed(f"draft\n{text}")
        assert str(prompt(app).border_title).startswith("Editing question 2:")
        app.chat.composer.leave_edit()
        assert prompt(app).text == "draft"
        assert prompt(app).border_title is None


async def test_what_an_edit_has_changed_is_in_the_draft_below_what_was_put_aside(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"draft")
        app.chat.composer.begin_edit(Exchange("question two"), 2)
        await pilot.press(*" more")
        assert app.chat.composer.draft == Typed("draft\nquestion two more")
        app.chat.composer.leave_edit()
        assert app.chat.composer.draft == Typed("draft")


class SlowDisk:
    """Files whose read takes until it may end, and what is sent meanwhile, with the exchange that it is instead of."""

    def __init__(self, app: R1App, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads, self.may_end = threading.Event(), threading.Event()
        self.sent: list[tuple[str, Exchange | None]] = []
        monkeypatch.setattr("r1tui.tui.widgets.composer.with_files", self.read)
        monkeypatch.setattr(
            app.chat.answers, "submit", lambda _, typed, exchange: self.sent.append((typed.text, exchange))
        )

    def read(self, typed: Typed) -> str:
        self.reads.set()
        self.may_end.wait(120)
        return typed.whole


async def test_a_question_that_is_no_longer_edited_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        disk = SlowDisk(app, monkeypatch)
        app.chat.composer.begin_edit(Exchange("see @slow"), 2)
        prompt(app).action_submit()
        await until(pilot, disk.reads.is_set)
        app.chat.composer.leave_edit()
        prompt(app).have(Typed("see @another"))
        prompt(app).action_submit()
        disk.may_end.set()
        await until(pilot, lambda: bool(disk.sent))
        await until(pilot, lambda: not any(worker.node is app.chat.composer for worker in app.workers))
        assert disk.sent == [("see @another", None)]


async def test_a_question_of_its_own_may_be_sent_while_the_files_of_an_edited_one_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, edited = StillApp(tmp_path), Exchange("see @slow")
    async with opened(app) as pilot:
        await shut(app, pilot)
        disk = SlowDisk(app, monkeypatch)
        app.chat.composer.begin_edit(edited, 2)
        prompt(app).action_submit()
        await until(pilot, disk.reads.is_set)
        await pilot.press(*"own", "enter")
        await until(pilot, lambda: disk.sent == [("own", None)])
        disk.may_end.set()
        await until(pilot, lambda: disk.sent[1:] == [("see @slow", edited)])
        assert app.chat.composer.edited is None


async def test_what_is_on_its_way_is_not_put_aside_for_an_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        disk = SlowDisk(app, monkeypatch)
        prompt(app).have(Typed("see @slow"))
        prompt(app).action_submit()
        await until(pilot, disk.reads.is_set)
        await pilot.press(*"draft")
        app.chat.composer.begin_edit(Exchange("question two"), 2)
        assert app.chat.composer.draft.text == "see @slow\ndraft"
        app.chat.composer.leave_edit()
        assert prompt(app).text == "draft"
        disk.may_end.set()
        await until(pilot, lambda: disk.sent == [("see @slow", None)])


async def test_an_edited_question_whose_exchange_is_gone_while_its_files_are_read_is_in_the_prompt_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        disk = SlowDisk(app, monkeypatch)
        await pilot.press(*"draft")
        app.chat.composer.begin_edit(Exchange("see it"), 2, Typed("see @slow, "))
        prompt(app).action_submit()
        await until(pilot, disk.reads.is_set)
        app.chat.composer.leave_edit_unless_of([])
        assert prompt(app).text == "see @slow, \ndraft"
        disk.may_end.set()
        await until(pilot, lambda: app.chat.composer.draft.text == "see @slow, \ndraft")
        assert disk.sent == []


async def test_a_file_of_an_edited_question_is_weighed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.py").write_text("print(1)\n")
    Path("notes.md").write_text("more\n")

    async def count(text: str) -> int:
        return len(text)

    asked = as_asked(with_files(Typed("what does @app.py do")))
    edited = Typed(f"{asked.text} and @notes.md", asked.pieces, asked.pasted)
    assert [one.name for one in await Scales(count).weigh(edited)] == ["app.py", "notes.md"]
