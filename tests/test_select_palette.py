"""What is done with something marked, from the palette: offered always, done with the last one where nothing is."""

from pathlib import Path

from r1tui.chat.conversation import Conversation
from r1tui.tui.palette import Action, ActionsProvider, actions, run
from tests.screen_rig import StillApp
from tests.select_rig import chat, exchange, talk
from tests.transcript_rig import settle
from tests.tui_rig import until


def named(app: StillApp, name: str) -> Action:
    (found,) = [action for action in actions(app.chat) if action.command.id == name]
    return found


async def test_what_is_done_with_something_marked_can_be_begun_while_nothing_is(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:

        async def begin(name: str) -> None:
            await run(one.app, named(one.app, name))
            await settle(one.pilot, one.transcript)

        await begin("select.delete")
        assert one.questions == ["First?"]
        assert one.bar == "Deleted. U restores it."
        await one.press("u", "escape")
        assert one.questions == ["First?", "Second?"]
        await begin("select.copy")
        assert one.app.clipboard == "No code."
        assert one.mark == ("Second?", 0)
        await one.press("escape")
        await begin("select.check")
        assert one.mark == ("First?", 2)
        await until(one.pilot, lambda: "Syntax error" in one.bar)
        await one.press("escape")
        await begin("select.up")
        assert one.mark == ("First?", 2)
        await one.press("escape")
        one.app.chat.models.ready = True
        await begin("select.edit")
        assert one.prompt.text == "Second?"


async def test_what_cannot_be_done_with_anything_marks_nothing(tmp_path: Path) -> None:
    async with chat(tmp_path, Conversation("c", [exchange("First?", "No code.")])) as one:
        for name in ("select.check", "select.thinking", "select.branch_after", "select.undo", "select.leave"):
            assert not await one.app.run_action(named(one.app, name).action, default_namespace=one.app.chat)
            assert one.mark is None
            assert one.prompt.has_focus


async def test_the_palette_says_how_to_come_to_what_needs_a_mark(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        hits = [hit async for hit in ActionsProvider(one.app.chat).search("delete exchange")]
        assert hits[0].text == "Delete question"
        assert (hits[0].help or "").endswith("(Ctrl+Y, then D: any)")
        await one.press("ctrl+y")
        hits = [hit async for hit in ActionsProvider(one.app.chat).search("delete exchange")]
        assert (hits[0].help or "").endswith("conversation. (D)")


async def test_the_palette_has_what_the_keys_do(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:

        def offered() -> dict[str, Action]:
            return {action.command.title: action for action in actions(one.app.screen)}

        wanted = {"Copy answer or code", "Check code", "Retry", "Copy the last code block"}
        assert wanted <= offered().keys()
        await one.press("ctrl+y", "home", "down")
        assert wanted <= offered().keys()
        await run(one.app, offered()["Copy answer or code"])
        assert one.app.clipboard == "import pygame\n\nprint('hi')\n"
