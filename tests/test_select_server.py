"""Asking anew over the real server: edited questions, other answers to the same one, and what a failure leaves."""

from pathlib import Path

import pytest

from r1tui.catalog.variants import variant_of_file
from r1tui.chat.answer import Answer
from r1tui.config import Config, SamplingSettings
from r1tui.events import Content, Failed
from r1tui.server.client import Beginning, ChatRequest
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.services import chat_client
from r1tui.tui.widgets.prompt import Prompt
from tests.bare_server import bare_server
from tests.conftest import TinyModel
from tests.tui_rig import ANSWER, answers, ask, config, opened, ready, until

__all__ = ["config"]


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The seed of each request."""
    found: list[int | None] = []

    def request(messages: object, sampling: SamplingSettings, beginning: Beginning | None) -> ChatRequest:
        found.append(sampling.seed)
        return ChatRequest(messages, sampling, beginning)  # type: ignore[arg-type]

    monkeypatch.setattr(chat_client, "ChatRequest", request)
    return found


async def test_an_edited_question_and_the_same_one_again_are_branches_and_the_first_answer_stays(
    paths: Paths, config: Config, tiny_r1: TinyModel, seeds: list[int | None]
) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(answer=ANSWER)))
    async with opened(app) as pilot:
        await ready(app, pilot)
        conversation, prompt = app.chat.conversation, app.chat.query_one(Prompt)

        def settled() -> bool:
            return not app.services.session.answering and all(not one.running for one in answers(app))

        for question in ("one", "two"):
            await ask(app, pilot, question)
            await until(pilot, settled)
        await pilot.press(*"draft", "ctrl+y", "home", "e", "!", "enter")
        await until(pilot, lambda: [exchange.question for exchange in conversation.exchanges] == ["one!"])
        await until(pilot, settled)
        assert conversation.exchanges[0].answer.content.text == ANSWER
        assert prompt.text == "draft"
        assert prompt.has_focus
        await pilot.press("ctrl+y", "r")
        await until(pilot, lambda: len(conversation.every) == 4 and settled())
        assert [exchange.question for exchange in conversation.exchanges] == ["one!"]
        assert [exchange.question for exchange in conversation.branches(conversation.exchanges[0])] == [
            "one",
            "one!",
            "one!",
        ]
        await pilot.press("ctrl+y", "right")
        assert [exchange.question for exchange in conversation.exchanges] == ["one", "two"]
        assert seeds[:3] == [None] * 3  # the server's own
        assert seeds[3] is not None


async def test_asking_again_replaces_an_empty_failed_answer_and_keeps_one_that_has_text(
    paths: Paths, config: Config, tiny_r1: TinyModel, tmp_path: Path, seeds: list[int | None]
) -> None:
    with bare_server(Path(config.engine.source), tiny_r1(answer=ANSWER), tmp_path) as (socket, _):
        app = R1App(paths, config, attach=Endpoint.parse(f"unix:{socket}"))
        async with opened(app) as pilot:
            conversation = app.chat.conversation

            async def again(answer: Answer, *keys: str) -> None:
                conversation.exchanges[-1].answer = answer
                await pilot.press(*keys)
                await until(pilot, lambda: answers(app) != [answer] and answers(app)[-1].state == "done")
                await until(pilot, lambda: not app.services.session.answering)

            first = await ask(app, pilot, "hi")
            await until(pilot, lambda: first.state == "done" and not app.services.session.answering)
            with_text, empty = Answer(), Answer()
            with_text.apply(Content("Half an"))
            for answer in (with_text, empty):
                answer.apply(Failed("It broke.", "Ask again."))
            await again(with_text, "ctrl+y", "r")
            assert [exchange.answer.content.text for exchange in conversation.every] == ["Half an", ANSWER]
            await again(empty, "f8")
            assert [exchange.answer.content.text for exchange in conversation.every] == ["Half an", ANSWER]
            assert conversation.exchanges == conversation.every[1:]
            assert [seed is None for seed in seeds] == [True, False, True]
