"""What is typed and not sent, at the end of one screen and the start of the next."""

import asyncio
import gc
import os
from contextlib import suppress
from pathlib import Path

import pytest

from r1tui.chat.prompt_files import PromptHistory
from r1tui.chat.typed import Typed
from r1tui.tui.services import composing
from tests.screen_rig import StillApp
from tests.test_input import prompt, shut
from tests.tui_rig import opened, until


async def test_keys_just_before_the_end_leave_no_work_that_never_began(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        prompt(app).insert("see @")
        app.chat.composer._changed()
        app.chat.composer._cursor_moved()
        app.workers.cancel_all()
    gc.collect()
    assert [str(one.message) for one in recwarn if "never awaited" in str(one.message)] == []


async def test_a_question_that_was_sent_is_no_draft_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await until(pilot, lambda: app.chat.composer.is_settled)
        monkeypatch.setattr(composing, "DRAFT_S", 3600.0)
        await pilot.press(*"hello")
        await until(pilot, lambda: any(app.paths.prompt.glob("draft-*.json")))
        await pilot.press("enter")
        await until(pilot, lambda: not any(app.paths.prompt.glob("draft-*.json")))
        assert prompt(app).recall.entries == [Typed("hello")]


async def test_a_draft_comes_back_at_the_next_start_and_a_sent_one_does_not(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"half", "ctrl+j", *"done")
    again = StillApp(tmp_path)
    async with opened(again) as pilot:
        await until(pilot, lambda: prompt(again).text == "half\ndone")
        prompt(again).clear()
    last = StillApp(tmp_path)
    async with opened(last) as pilot:
        await until(pilot, lambda: last.chat.composer.is_settled)
        assert prompt(last).text == ""


async def test_a_question_that_is_refused_is_no_history_and_stays_in_the_prompt(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"why", "enter")
        await until(pilot, lambda: prompt(app).text == "why")
        await until(pilot, lambda: any(app.paths.prompt.glob("draft-*.json")))
        assert prompt(app).recall.entries == []
        assert PromptHistory(app.paths.prompt).entries() == []
        prompt(app).clear()
        await pilot.press("up")
        assert prompt(app).text == ""


async def test_a_question_on_its_way_is_still_a_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = StillApp(tmp_path)
    counted = asyncio.Event()

    async def counts(*_: object) -> None:
        await counted.wait()

    async with opened(app) as pilot:
        await until(pilot, lambda: app.chat.composer.is_settled)
        monkeypatch.setattr(app.services.session.chat, "room", counts)
        await pilot.press(*"why", "enter")
        await until(pilot, lambda: app.chat.answers.is_weighing)
        await pilot.press(*"next")
        assert app.chat.composer.draft.text == "why\nnext"
        counted.set()
        await until(pilot, lambda: len(app.chat.conversation.exchanges) == 1)
        assert app.chat.composer.draft.text == "next"
        assert [one.text for one in prompt(app).recall.entries] == ["why"]


async def test_a_file_whose_read_hangs_gives_the_question_back_and_leaving_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setattr("r1tui.chat.attachments.stat.S_ISREG", lambda mode: True)  # as where a disk hangs after that
    monkeypatch.setattr("r1tui.tui.widgets.composer.READ_S", 0.2)
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await until(pilot, lambda: app.chat.composer.is_settled)
        prompt(app).have(Typed(f"see @{fifo}"))
        await pilot.press("escape", "enter")
        assert app.chat.composer.draft.text == f"see @{fifo}"
        await until(pilot, lambda: prompt(app).text == f"see @{fifo}")
        assert app.chat.composer.draft.text == f"see @{fifo}"
        monkeypatch.setattr("r1tui.tui.widgets.composer.READ_S", 3600.0)
        await pilot.press("enter")
        assert prompt(app).text == ""
    monkeypatch.undo()
    again = StillApp(tmp_path)
    async with opened(again) as pilot:
        await until(pilot, lambda: prompt(again).text == f"see @{fifo}")
    with suppress(OSError):
        while True:  # let the threads go, which this loop's end would wait for
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            await asyncio.sleep(0.01)
