"""Whose context the instruments show: that of the conversation that is shown, as its last answer knew."""

from pathlib import Path

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation
from r1tui.config import Config
from r1tui.events import Failed, Finished
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from tests.bench.replay import Replay, Script
from tests.screen_rig import StillApp
from tests.tui_rig import answers, ask, opened, until


async def on_token(_: int) -> None: ...


def used(app: R1App) -> int | None:
    return app.chat.instruments.figures.context_used


async def test_another_conversation_s_answer_does_not_fill_the_context_of_the_one_that_is_shown(
    paths: Paths, tmp_path: Path
) -> None:
    server = await Replay(Script(n_thinking=40, n_answer=100_000, tps=200.0), on_token).serve(tmp_path / "s.sock")
    app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{tmp_path}/s.sock"))
    async with server, opened(app) as pilot:
        answer = await ask(app, pilot, "hi")
        first = app.chat.conversation
        await until(pilot, lambda: bool(used(app)) and used(app) == answer.context_tokens)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: used(app) == 0)
        before = answer.tokens
        await until(pilot, lambda: answer.tokens > before + 40)
        assert used(app) == 0
        assert app.chat.instruments.figures.speed.now_tps is not None  # the speed is the server's, whoever asked
        await app.chat.conversations.open(first.id)
        assert (used(app) or 0) > before


async def test_the_context_is_that_of_the_branch_that_is_shown(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        conversation = Conversation("c")
        for question, count in (("a", 100), ("b", 1000)):
            conversation.ask(question).answer.apply(Finished("stop", count, 0, 0, 1.0, 1.0, 1.0))
        app.chat.conversations.show(conversation)
        assert used(app) == 1000
        await pilot.press("ctrl+y", "d")
        await until(pilot, lambda: used(app) == 100)
        await pilot.press("u")
        await until(pilot, lambda: used(app) == 1000)


async def test_the_context_is_known_after_a_restart(paths: Paths, tmp_path: Path) -> None:
    server = await Replay(Script(n_thinking=4, n_answer=20, tps=1000.0), on_token).serve(tmp_path / "s.sock")
    attach = Endpoint.parse(f"unix:{tmp_path}/s.sock")
    async with server:
        app = R1App(paths, Config(), attach=attach)
        async with opened(app) as pilot:
            await ask(app, pilot, "hi")
            await until(pilot, lambda: not answers(app)[-1].running and not app.services.session.answering)
            count = used(app)
        assert count
        again = R1App(paths, Config(), attach=attach)
        async with opened(again):
            assert [exchange.question for exchange in again.chat.conversation.exchanges] == ["hi"]
            assert used(again) == count


def test_an_answer_that_nobody_counted_leaves_what_was_known_before() -> None:
    conversation = Conversation("c")
    known = [conversation.context_tokens]
    conversation.ask("a").answer = Answer.past("A")
    known.append(conversation.context_tokens)
    for event in (
        Finished("stop", 100, 0, 50, 1.0, 1.0, 1.0),
        Failed("No."),
        Finished("cancelled", 0, 0, 0, 0.0, 0.0, None),
    ):
        conversation.ask("b").answer.apply(event)
        known.append(conversation.context_tokens)
    assert known == [0, None, 150, 150, 150]
