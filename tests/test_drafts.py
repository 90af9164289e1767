"""What is typed and not sent, at the end of one screen and the start of the next."""

import gc
from pathlib import Path

import pytest

from r1tui.chat.typed import Typed
from r1tui.tui.screens import input_base
from tests.screen_rig import StillApp
from tests.test_input import prompt, shut, unready
from tests.tui_rig import opened, until


async def test_keys_just_before_the_end_leave_no_work_that_never_began(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    app = unready(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        app.seat._prompt_changed()
        app.seat._cursor_moved()
        app.workers.cancel_all()
    gc.collect()
    assert [str(one.message) for one in recwarn if "never awaited" in str(one.message)] == []


async def test_a_question_that_was_sent_is_no_draft_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = unready(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        monkeypatch.setattr(input_base, "DRAFT_S", 3600.0)
        monkeypatch.setattr(app.seat, "_refuse", lambda *_: None)  # else it would be in the prompt again
        await pilot.press(*"hello")
        await until(pilot, lambda: any(app.paths.prompt.glob("draft-*.json")))
        await pilot.press("enter")
        await until(pilot, lambda: not any(app.paths.prompt.glob("draft-*.json")))
        assert prompt(app).recall.entries == [Typed("hello")]


async def test_a_draft_comes_back_at_the_next_start_and_a_sent_one_does_not(tmp_path: Path) -> None:
    app = unready(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"half", "ctrl+j", *"done")
    again = StillApp(tmp_path)
    async with opened(again) as pilot:
        await until(pilot, lambda: prompt(again).text == "half\ndone")
        prompt(again).clear()
    last = StillApp(tmp_path)
    async with opened(last) as pilot:
        await until(pilot, lambda: not last.seat._drafting)
        assert prompt(last).text == ""
