"""The screen and an answer that waits, thinks, is cut off, goes on, or has no room."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest

from r1tui.catalog.variants import variant_of_file
from r1tui.chat.prompt_files import PromptHistory
from r1tui.config import Config, PlanSettings, SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.server.client import ServerClient
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.palette import actions, run
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.transcript import Transcript
from tests.conftest import TinyModel
from tests.supervisor_rig import SocketConnection, call, open_stream
from tests.tui_rig import answers, ask, config, opened, ready, until

__all__ = ["config"]
THINK = "Hm, 日本 and 🦙.\n"
LONG = {"plan": PlanSettings(ctx_size=65536)}
"""Room for more than is made while the machine is busy otherwise."""
LONG_THINK = "on and on it goes, "
ANSWER = "One two three four five six seven eight nine ten eleven twelve."


@pytest.fixture
def model(tiny_r1: TinyModel) -> Path:
    """One whose answer is of a few words and goes on where it was cut."""
    return tiny_r1(think=THINK, answer=ANSWER, reachable=True)


@pytest.fixture
def endless(tiny_r1: TinyModel) -> Path:
    """One whose answer never ends, and goes on where it was cut."""
    return tiny_r1(think=THINK, answer="one two three four ", loop=True, reachable=True)


@pytest.fixture
def thinker(tiny_r1: TinyModel) -> Path:
    """One that thinks until it is told not to."""
    return tiny_r1(think=LONG_THINK, answer="Enough.", loop_think=True, reachable=True)


def app_with(paths: Paths, config: Config, model: Path, **sections: object) -> R1App:
    return R1App(paths, msgspec.structs.replace(config, **sections), variant=variant_of_file(model))


def shown(app: R1App) -> str:
    """What the transcript shows."""
    transcript = app.chat.query_one(Transcript)
    return "\n".join(transcript.render_line(y).text.rstrip() for y in range(transcript.size.height))


def hear(app: R1App, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the app will notify of."""
    said: list[str] = []
    monkeypatch.setattr(app, "notify", lambda text, **_: said.append(text))
    return said


async def test_esc_ends_a_question_that_waits_behind_another_s_answer_at_once(
    paths: Paths, config: Config, endless: Path
) -> None:
    app = app_with(paths, config, endless, **LONG)
    async with opened(app) as pilot:
        await ready(app, pilot)
        stream = open_stream(paths.server_socket, "of another tool")
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.waits_for))
        await pilot.press("escape")
        await until(pilot, lambda: not answers(app) and not app.services.session.answering)
        stream.close()
        connection = SocketConnection(paths.server_socket)
        assert call(connection, "DELETE", "/v1/stream?conv_id=of+another+tool")[0] == 204
        await until(pilot, lambda: b'"is_processing":true' not in call(connection, "GET", "/slots")[1])
        assert answer.content.text == ""
        await until(pilot, lambda: supervisor.status(paths).answers == [])
        await pilot.press("enter")  # it is in the prompt again
        await until(pilot, lambda: bool(answers(app)) and bool(answers(app)[-1].content))
        assert [exchange.question for exchange in app.chat.conversation.every] == ["hi"]


async def test_a_server_that_is_stopped_in_the_middle_of_an_answer_reads_as_stopped(
    paths: Paths, config: Config, endless: Path
) -> None:
    app = app_with(paths, config, endless, **LONG)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: "one two" in answer.content.text)
        await asyncio.to_thread(supervisor.stop, paths)
        await until(pilot, lambda: not answer.running)
        assert (answer.state, answer.cause) == ("stopped", "The server was stopped.")
        await until(pilot, lambda: "The server was stopped." in shown(app))


async def test_a_stopped_answer_goes_on_in_its_exchange_with_a_key(paths: Paths, config: Config, endless: Path) -> None:
    app = app_with(paths, config, endless, **LONG)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.content))
        await pilot.press("escape")
        await until(pilot, lambda: answer.state == "stopped" and not app.services.session.answering)
        before, tokens = answer.content.text, answer.tokens
        await pilot.press("f8")
        await until(pilot, lambda: len(answer.content.text) > len(before) + 100)
        await pilot.press("escape")
        await until(pilot, lambda: not app.services.session.answering)
        assert answers(app) == [answer]
        assert answer.content.text.startswith(before)
        assert ("one two three four " * 20_000).startswith(answer.content.text)
        assert answer.tokens > tokens
        assert answer.thinking.text == THINK


async def test_an_answer_cut_at_the_token_limit_goes_on_until_it_is_whole(
    paths: Paths, config: Config, model: Path
) -> None:
    app = app_with(paths, config, model, sampling=SamplingSettings(max_tokens=4))
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        for _ in range(20):
            await until(pilot, lambda: not app.services.session.answering and not answer.running)
            if not answer.cut:
                break
            assert answer.cut == "limit"
            await until(pilot, lambda: "F8 continues it" in shown(app))
            await pilot.press("f8")
        assert (answer.state, answer.content.text, answer.thinking.text) == ("done", ANSWER, THINK)
        await until(pilot, lambda: ANSWER in shown(app) and "Cut off" not in shown(app))


async def test_the_rest_of_an_answer_is_read_on_by_the_next_screen(paths: Paths, config: Config, endless: Path) -> None:
    app = app_with(paths, config, endless, **LONG)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.content))
        await pilot.press("escape")
        await until(pilot, lambda: answer.state == "stopped" and not app.services.session.answering)
        before = answer.content.text
        await pilot.press("f8")
        await until(pilot, lambda: len(answer.content.text) > len(before) + 20)
    app = R1App(paths, config)
    async with opened(app) as pilot:
        [answer] = answers(app)
        await until(pilot, lambda: len(answer.content.text) > len(before) + 200)
        await pilot.press("escape")
        await until(pilot, lambda: answer.state == "stopped" and not app.services.session.answering)
        assert ("one two three four " * 20_000).startswith(answer.content.text)
        assert answer.thinking.text == THINK


async def test_a_key_ends_the_thinking_and_is_the_prompt_s_own_at_other_times(
    paths: Paths, config: Config, thinker: Path
) -> None:
    app = app_with(paths, config, thinker, **LONG)
    async with opened(app) as pilot:
        await ready(app, pilot)
        prompt = app.chat.query_one(Prompt)
        prompt.text = "abc"
        prompt.move_cursor((0, 0))
        await pilot.press("ctrl+d")
        assert prompt.text == "bc"
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "thinking")
        await pilot.press("ctrl+d")
        await until(pilot, lambda: answer.state == "done")
        assert answer.content.text == "Enough."


async def test_a_thinking_that_is_read_on_ends_with_the_key_too(paths: Paths, config: Config, thinker: Path) -> None:
    app = app_with(paths, config, thinker, **LONG)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "thinking")
    app = R1App(paths, config)
    async with opened(app) as pilot:
        [answer] = answers(app)
        await until(pilot, lambda: answer.state == "thinking" and app.chat.models.ready)
        await pilot.press("ctrl+d")
        await until(pilot, lambda: answer.state == "done")
        assert answer.content.text == "Enough."


async def test_a_thinking_that_cannot_be_ended_is_told(
    paths: Paths, config: Config, thinker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with(paths, config, thinker, **LONG)
    said = hear(app, monkeypatch)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "thinking")
        answer.completion_id = "of another life"
        await pilot.press("ctrl+d")
        await until(pilot, lambda: any("could not be ended" in text for text in said))
        assert answer.state == "thinking"
        await pilot.press("escape")
        await until(pilot, lambda: not app.services.session.answering)


SMALL = PlanSettings(ctx_size=512)


async def test_a_question_that_leaves_little_room_is_asked_about_first(
    paths: Paths, config: Config, model: Path
) -> None:
    app = app_with(paths, config, model, plan=SMALL)
    question = "a " * 220
    async with opened(app) as pilot:
        await ready(app, pilot)
        app.chat.query_one(Prompt).text = question
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.chat.query_one(Prompt).text.strip() == question.strip())
        assert answers(app) == []
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("s")
        await until(pilot, lambda: bool(answers(app)) and answers(app)[0].state == "done")
        assert answers(app)[0].content.text == ANSWER


async def test_a_question_for_which_there_is_little_room_left_can_have_a_new_chat(
    paths: Paths, config: Config, model: Path
) -> None:
    app = app_with(paths, config, model, plan=SMALL)
    async with opened(app) as pilot:
        await ready(app, pilot)
        first = await ask(app, pilot, "a " * 150)
        await until(pilot, lambda: first.state == "done" and not app.services.session.answering)
        old = app.chat.conversation
        app.chat.query_one(Prompt).text = "b " * 50
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("n")
        await until(pilot, lambda: app.chat.conversation is not old and bool(answers(app)))
        await until(pilot, lambda: answers(app)[0].state == "done")
        assert len(answers(app)) == len(old.exchanges) == 1


async def test_little_room_is_asked_about_before_an_answer_goes_on_and_before_its_question_is_asked_anew(
    paths: Paths, config: Config, model: Path
) -> None:
    app = app_with(paths, config, model, plan=SMALL, sampling=SamplingSettings(max_tokens=12))

    def is_asked() -> bool:
        return isinstance(app.screen, AskScreen)

    async with opened(app) as pilot:
        await ready(app, pilot)
        prompt, conversation = app.chat.query_one(Prompt), app.chat.conversation
        prompt.text = "a " * 220
        await pilot.press("enter")
        await until(pilot, is_asked)
        await pilot.press("s")
        await until(
            pilot, lambda: bool(answers(app)) and answers(app)[0].cut == "limit" and not app.services.session.answering
        )
        answer = answers(app)[0]
        text, tokens = answer.content.text, answer.tokens
        for keys in (["f8"], ["ctrl+y", "r"]):
            await pilot.press(*keys)
            await until(pilot, is_asked)
            await pilot.press("escape")
            await until(pilot, lambda: not is_asked() and app.chat.answers.why_not_now() is None)
            assert (answers(app), answer.content.text, answer.cut, prompt.text) == ([answer], text, "limit", "")
        await pilot.press("f8")
        await until(pilot, is_asked)
        await pilot.press("g")
        await until(pilot, lambda: answer.tokens > tokens and not answer.running and not app.services.session.answering)
        assert answer.content.text.startswith(text)
        await pilot.press("ctrl+y", "r")
        await until(pilot, is_asked)
        await pilot.press("s")
        await until(pilot, lambda: len(conversation.every) == 2 and not conversation.exchanges[0].answer.running)
        assert conversation.branches(conversation.exchanges[0])[0].answer is answer


@pytest.mark.parametrize("counted", [True, False], ids=["counted before", "refused by the server"])
async def test_a_question_for_which_there_is_no_room_is_in_the_prompt_again_with_the_figures(
    paths: Paths, config: Config, model: Path, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    app = app_with(paths, config, model, plan=SMALL)
    said = hear(app, monkeypatch)
    question = "a " * 300
    async with opened(app) as pilot:
        await ready(app, pilot)
        if not counted:

            async def unknown(_: object) -> None:
                """Nothing is known of the room."""

            monkeypatch.setattr(app.services.session.chat, "room", unknown)
        app.chat.query_one(Prompt).text = question
        await pilot.press("enter")
        await until(pilot, lambda: any("the context holds 512" in text for text in said))
        await until(pilot, lambda: not app.services.session.answering)
        assert "604 tokens" in next(text for text in said if "holds" in text)
        assert app.chat.query_one(Prompt).text.strip() == question.strip()
        assert app.chat.conversation.every == []
        assert isinstance(app.screen, ChatScreen)
        await until(pilot, lambda: app.chat.composer.prompt.recall.entries == [])
        assert PromptHistory(paths.prompt).entries() == []  # as if it had not been asked


async def test_a_full_context_is_told_from_the_token_limit_and_the_conversation_goes_on(
    paths: Paths, config: Config, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with(paths, config, tiny_r1(think=LONG_THINK, loop_think=True, answer="Yes."), plan=SMALL)
    said = hear(app, monkeypatch)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: not answer.running and not app.services.session.answering)
        assert (answer.state, answer.cut) == ("done", "context")
        await until(pilot, lambda: "the context is full" in shown(app))
        thinking = answer.thinking.text
        await pilot.press("f8")
        await until(pilot, lambda: any("the context holds 512" in text for text in said))
        await until(pilot, lambda: not app.services.session.answering)
        assert (answer.state, answer.cut, answer.thinking.text) == ("done", "context", thinking)
        second = await ask(app, pilot, "and now?")
        await until(pilot, lambda: second.state == "done")
        assert second.thinking.text.startswith(LONG_THINK)
        assert second.finished is not None
        assert (second.finished.prompt_tokens or 99) < 50, "thinking is not sent again"


async def test_a_failed_answer_names_keys(paths: Paths, config: Config, endless: Path) -> None:
    app = app_with(paths, config, endless, **LONG)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.content))
        pid = supervisor.status(paths).pid
        assert pid is not None

        os.kill(pid, signal.SIGKILL)
        await until(pilot, lambda: answer.state == "failed")
        await until(pilot, lambda: "F6 (the log)" in shown(app))
        assert "`" not in shown(app)
        assert "F6" not in answer.remedy  # which is saved and exported, and outlives the keys


async def test_an_answer_that_cannot_go_on_stays_what_it_was_and_is_asked_again_from_the_palette(
    paths: Paths, config: Config, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with(paths, config, model, sampling=SamplingSettings(max_tokens=12))
    said = hear(app, monkeypatch)
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: not app.services.session.answering and answer.cut == "limit")
        text = answer.content.text
        assert text

        async def refuses(*_: object, **__: object) -> str:
            raise R1tuiError("It is not known how.", "Ask again.")

        with monkeypatch.context() as patch:
            patch.setattr(ServerClient, "_target_and_body", refuses)
            await pilot.press("f8")
            await until(pilot, lambda: any("It is not known how." in text for text in said))
            await until(pilot, lambda: not app.services.session.answering)
        assert (answer.state, answer.cut, answer.content.text) == ("done", "limit", text)
        [again] = [one for one in actions(app.screen) if one.command.title == "Ask again"]
        await run(app, again)
        await until(pilot, lambda: answers(app)[-1] is not answer and not app.services.session.answering)
        conversation = app.chat.conversation
        assert [exchange.answer for exchange in conversation.branches(conversation.exchanges[-1])] == [
            answer,
            answers(app)[-1],
        ]
