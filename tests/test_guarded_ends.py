"""What nobody expected, where it ends the screen or nobody waits for it: one line says so, nothing is lost."""

import asyncio
import gc
import threading
from collections.abc import Callable

import msgspec
import pytest
from textual import events

from r1tui.tui.app import R1App
from r1tui.tui.guarded import FatalError
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.services import composing
from tests.guarded_rig import SurpriseError, app, fail, fail_async, logged
from tests.screen_rig import StillApp
from tests.tui_rig import notices, opened, until

__all__ = ["app"]


async def test_quitting_ends_the_screen_also_when_it_fails(app: StillApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1tui.tui.app.R1App._may_leave", fail_async)
    async with opened(app) as pilot:
        app.chat.composer.prompt.insert("a draft")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)
    assert app.return_code == 1
    assert "Quitting ended unexpectedly" in logged(app)


async def test_a_start_that_fails_ends_the_screen_with_its_cause(
    app: StillApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatScreen, "complete", fail_async)
    async with app.run_test() as pilot:
        await until(pilot, lambda: not app.is_running)
    assert app.return_code == 1
    assert app.failure is not None
    assert app.failure.cause == "The start ended with an unexpected error (SurpriseError)."
    assert "The start ended unexpectedly" in logged(app)


@pytest.mark.parametrize("where", ["a handler", "a timer", "a callback", "an action of the app"])
async def test_a_handler_that_fails_ends_the_screen_with_one_line_and_nothing_is_lost(
    where: str, app: StillApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def end() -> None:
        async with opened(app) as pilot:
            await until(pilot, lambda: app.chat.composer.is_settled)
            monkeypatch.setattr(composing, "DRAFT_S", 3600.0)  # what follows is saved at the end only
            app.chat.composer.prompt.insert("typed ")
            app.show_chat()
            await app.services.saved.save(app.chat.conversation)
            app.chat.conversation.ask("Not saved yet?")
            app.chat.composer.prompt.insert("and not sent")
            monkeypatch.setattr(ChatScreen, "on_paste", fail)
            monkeypatch.setattr(R1App, "action_keys", fail)
            begin: dict[str, Callable[[], object]] = {
                "a handler": lambda: app.chat.post_message(events.Paste("x")),
                "an action of the app": lambda: app.simulate_key("f1"),
                "a timer": lambda: app.chat.set_timer(0.001, fail),
                "a callback": lambda: app.chat.call_later(fail),
            }
            begin[where]()
            await until(pilot, lambda: app.return_code == 1)

    with pytest.raises(FatalError) as ended:
        await end()
    assert isinstance(ended.value.__cause__, SurpriseError)
    assert app.return_code == 1
    assert str(ended.value) == (
        f"The screen ended with an unexpected error (SurpriseError).\nDetails: {app.paths.own_log}"
    )
    assert capsys.readouterr().err.strip() == ""  # the command prints it
    assert "The screen ended unexpectedly\n" in logged(app)
    (draft,) = app.paths.prompt.glob("draft-*.json")
    assert msgspec.json.decode(draft.read_bytes())["text"] == "typed and not sent"
    again = StillApp(app.paths.state.parent)
    async with opened(again):
        assert [exchange.question for exchange in again.chat.conversation.exchanges][-1] == "Not saved yet?"


async def test_what_nobody_waits_for_is_said_too(app: StillApp) -> None:
    async def fails() -> None:
        raise SurpriseError

    loop = asyncio.get_running_loop()
    async with opened(app) as pilot:
        tasks = [loop.create_task(fails())]
        await until(pilot, tasks[0].done)
        tasks.clear()
        gc.collect()
        await until(pilot, lambda: len(notices(app)) == 1)
        loop.call_later(0.001, fail)
        await until(pilot, lambda: logged(app).count("Something ended unexpectedly") == 2)
        assert app.is_running


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_what_a_thread_raises_is_said_too(app: StillApp) -> None:
    async with opened(app) as pilot:
        threading.Thread(target=fail, name="reader").start()
        line = "The thread reader ended with an unexpected error (SurpriseError)."
        await until(pilot, lambda: any(line in one for one in notices(app)))
        assert app.is_running
