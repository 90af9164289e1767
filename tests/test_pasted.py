"""Pasted text attaches no file by itself; the same name typed or chosen by hand does."""

from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from r1tui.chat.conversation import Exchange
from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.chat.typed import Typed
from r1tui.tui.app import R1App
from r1tui.tui.controllers.answers import AnswerController
from r1tui.tui.widgets.prompt import Prompt
from tests.screen_rig import StillApp
from tests.tui_rig import opened, until

BLOCK = "\n\nAttached file: app.py\n\n```py\npass\n```"


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent, from a folder that has a file."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "app.py").write_text("pass\n")
    monkeypatch.chdir(here)
    found: list[str] = []

    def submitted(controller: AnswerController, text: str, typed: Typed, _: Exchange | None) -> None:
        controller._view.note_asked(typed)
        found.append(text)

    monkeypatch.setattr(AnswerController, "submit", submitted)
    return found


async def send(pilot: Pilot[None], sent: list[str]) -> str:
    """Press Enter; what is sent then."""
    count = len(sent)
    await pilot.press("enter")
    await until(pilot, lambda: len(sent) > count)
    return sent[-1]


async def begun(app: R1App, pilot: Pilot[None]) -> Prompt:
    """The prompt, once drafts are kept."""
    await until(pilot, lambda: app.chat.composer.is_settled)
    return app.chat.composer.prompt


async def test_a_pasted_mention_is_text_and_one_that_is_typed_is_a_file(tmp_path: Path, sent: list[str]) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        prompt = await begun(app, pilot)
        prompt.on_paste(events.Paste("see @app.py"))
        await until(pilot, lambda: "pasted text, not attached" in (prompt.border_subtitle or ""))
        await pilot.press(".")
        assert await send(pilot, sent) == "see @app.py."
        await until(pilot, lambda: prompt.border_subtitle is None)

        prompt.on_paste(events.Paste("see @app.py"))
        await pilot.press(*" and @app.py ")  # the space closes the list, which would take Enter
        await until(pilot, lambda: "tokens" in (prompt.border_subtitle or ""))
        assert await send(pilot, sent) == "see @app.py and @app.py" + BLOCK

        prompt.on_paste(events.Paste("see @app.py"))
        await pilot.press("ctrl+u", *"see @app.py ")
        assert await send(pilot, sent) == "see @app.py" + BLOCK

        await pilot.press("@")
        prompt.on_paste(events.Paste("app.py "))
        assert await send(pilot, sent) == "@app.py" + BLOCK


async def test_a_file_that_was_named_by_hand_is_attached_though_a_pasted_text_names_it_too(
    tmp_path: Path, sent: list[str]
) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        prompt = await begun(app, pilot)
        await pilot.press(*"@app.py ")
        prompt.on_paste(events.Paste("says: open @app.py failed"))
        assert (await send(pilot, sent)).endswith(BLOCK)


@pytest.mark.usefixtures("sent")
async def test_the_border_says_when_a_pasted_name_becomes_one_that_is_attached(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        prompt = await begun(app, pilot)
        prompt.on_paste(events.Paste("@app.py"))
        await until(pilot, lambda: "not attached" in (prompt.border_subtitle or ""))
        prompt.complete("@app.py ")
        await until(pilot, lambda: "tokens" in (prompt.border_subtitle or ""))


async def test_a_pasted_mention_whose_file_is_chosen_from_the_list_is_attached(tmp_path: Path, sent: list[str]) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        prompt = await begun(app, pilot)
        prompt.on_paste(events.Paste("see @app.py, "))
        await pilot.press("ctrl+f", "a")
        await until(pilot, lambda: app.chat.composer.completion.is_open)
        await pilot.press("tab")
        await until(pilot, lambda: prompt.text == "see @app.py, @app.py ")
        assert (await send(pilot, sent)).endswith(BLOCK)


async def test_a_pasted_mention_attaches_nothing_from_a_draft_or_the_history_or_an_edited_question_either(
    tmp_path: Path, sent: list[str]
) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        prompt = await begun(app, pilot)
        prompt.on_paste(events.Paste("see @app.py"))
    again = StillApp(tmp_path)
    async with opened(again) as pilot:
        prompt = await begun(again, pilot)
        assert prompt.text == "see @app.py"
        PromptHistory(again.paths.prompt).add(prompt.typed)
        assert await send(pilot, sent) == "see @app.py"
        again.chat.composer.begin_edit(Exchange("see @app.py"), 1)
        assert await send(pilot, sent) == "see @app.py"
    assert Drafts(again.paths.prompt).take() is None
    third = StillApp(tmp_path)
    async with opened(third) as pilot:
        prompt = await begun(third, pilot)
        await pilot.press("up")
        assert prompt.text == "see @app.py"
        assert await send(pilot, sent) == "see @app.py"
