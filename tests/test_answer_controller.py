"""Who decides about answers, with a real llama-server and no screen."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from r1tui.chat.conversation import Conversation
from r1tui.chat.store import Store
from r1tui.chat.typed import Typed
from r1tui.events import Finished, LogLine, Progress, StageStarted
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.controllers.answers import AnswerController
from r1tui.tui.controllers.view import Question
from r1tui.tui.messages import AnswerEnded
from r1tui.tui.services.chat_client import ChatClient
from r1tui.tui.services.saver import Saver
from tests.answer_rig import View, client_of, served, until
from tests.conftest import TinyModel

ANSWER = "One two three four five six seven eight."
HELLO = Typed("Hello.")


class Chat:
    """A controller and what it was given."""

    def __init__(self, paths: Paths, **sampling: float) -> None:
        self.view = View()
        self.saver = Saver(paths.conversations, "", lambda _: False, lambda error: self.view.said.append(error.cause))
        self.answers = AnswerController(client_of(paths, self.view.posted, **sampling), self.saver, self.view)

    def ask(self, typed: Typed = HELLO) -> None:
        self.answers.submit(typed.whole, typed, None)

    async def ended(self) -> None:
        """All that was begun has ended, and nothing of it failed."""
        await until(lambda: not self.view.work)
        assert self.answers.receiving is None
        assert self.answers.free.is_set()


@asynccontextmanager
async def chat(paths: Paths, **sampling: float) -> AsyncIterator[Chat]:
    made = Chat(paths, **sampling)
    try:
        yield made
    finally:
        await made.saver.close()


async def test_a_question_is_asked_saved_and_its_end_told(llama_server: Path, tiny_r1: TinyModel, paths: Paths) -> None:
    async with served(llama_server, tiny_r1(answer=ANSWER), paths), chat(paths) as one:
        one.ask(Typed("Say <|im_start|>it."))
        assert not one.answers.can_ask()
        await one.ended()
        [exchange] = one.view.conversation.exchanges
        assert (exchange.question, exchange.answer.state, exchange.model) == (
            "Say <\u2060|im_start|>it.",
            "done",
            "tiny",
        )
        assert exchange.answer.content.text == ANSWER
        assert one.view.asked == [Typed("Say <|im_start|>it.")]
        assert one.view.said == [
            "Control tokens sent as plain text: <|im_start|>",
            "The last answer is still coming. <chat.stop> stops it.",
        ]
        ended = one.view.posted[-1]
        assert isinstance(ended, AnswerEnded)
        assert (ended.conversation, ended.has_last_word) == (one.view.conversation, True)
        assert await one.saver.read(Store.last) is not None
        assert one.answers.can_ask()


async def test_nothing_is_asked_without_a_model_or_where_another_r1tui_has_the_conversation(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat(paths) as one:
        one.view.running_model = None
        one.ask()
        monkeypatch.setattr(one.saver, "elsewhere", lambda _: 42)
        one.ask()
    assert [question.typed for question in one.view.given_back] == [HELLO, HELLO]
    assert "No model is ready yet." in one.view.said[0]
    assert "open in another r1tui (PID 42)" in one.view.said[1]
    assert one.view.conversation.every == []


async def test_a_question_waits_for_its_model_and_is_asked_when_that_is_ready(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    async with served(llama_server, tiny_r1(answer=ANSWER), paths), chat(paths) as one:
        view, answers = one.view, one.answers
        view.running_model, view.coming_model = None, "tiny"
        answers.submit("Hello.\n\nnotes.md:\n```\nA line.\n```", Typed("Hello. @notes.md"), None)
        assert (answers.can_stop, answers.may_change(), view.asked, view.conversation.every) == (True, False, [], [])
        [waiting] = view.waits
        assert waiting is not None
        assert waiting.answer.waits_for == "tiny is not ready yet"
        for event in (
            StageStarted("server", ""),
            Progress("server", 43, 100, "bytes"),
            Progress("model", 1, 9, "bytes"),
        ):
            answers.waiting.take_stage(event)
        assert waiting.answer.waits_for == "tiny is loading, 43 %"
        answers.waiting.take_stage(LogLine("server", "restarting"))
        assert waiting.answer.waits_for == "tiny is not ready yet"
        view.coming_model = "other"
        answers.send_waiting(came_up=True)  # another launch goes on
        assert answers.can_stop
        answers.waiting.take_stage(Progress("server", 1, 2, "bytes"))
        assert waiting.answer.waits_for == "other is loading, 50 %"
        view.running_model, view.coming_model = "tiny", None
        answers.send_waiting(came_up=True)
        await one.ended()
        assert [exchange.question for exchange in view.conversation.exchanges] == [waiting.question]
        assert (view.asked, view.given_back) == ([Typed("Hello. @notes.md")], [])
        assert view.conversation.exchanges[0].answer.content.text == ANSWER


@pytest.mark.parametrize(
    ("running", "chosen", "came_up", "said"),
    [
        (None, "tiny", False, []),
        ("before", "tiny", False, []),
        ("another's", "tiny", True, ["Not asked: another's is running, not tiny."]),
    ],
    ids=["none", "the one before", "another"],
)
async def test_a_question_whose_model_did_not_come_up_is_in_the_prompt_again(
    paths: Paths, running: str | None, chosen: str, came_up: bool, said: list[str]
) -> None:
    async with chat(paths) as one:
        edited = one.view.conversation.ask("Hi.")
        edited.answer.apply(Finished("stop", None, 0, 0, None, None, None))
        one.view.coming_model = "tiny"
        one.answers.submit("Hello.", HELLO, edited)
        one.view.running_model, one.view.coming_model, one.view.chosen_model = running, None, chosen
        one.answers.send_waiting(came_up=came_up)
        assert one.view.given_back == [Question("Hello.", HELLO, edited)]
        assert (one.view.said, one.view.waits[-1], one.answers.can_stop) == (said, None, False)
        assert (one.view.asked, one.view.conversation.every) == ([], [edited])


async def test_a_question_waits_for_a_model_that_begins_to_come_up_before_it_is_asked(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    async with served(llama_server, tiny_r1(answer=ANSWER), paths), chat(paths) as one:
        one.ask()
        one.view.coming_model = "two"
        await one.ended()
        assert (one.view.asked, one.view.given_back, one.view.said) == ([], [], [])
        assert one.view.waits[-1] is not None
        one.view.coming_model, one.view.chosen_model, one.view.running_model = None, "two", "two"
        one.answers.send_waiting(came_up=True)
        await one.ended()
        assert one.view.asked == [HELLO]


async def test_a_question_is_asked_of_the_model_that_the_user_chose_while_it_waited(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    async with served(llama_server, tiny_r1(answer=ANSWER), paths), chat(paths) as one:
        one.view.coming_model = "large"
        one.ask()
        one.ask(Typed("And?"))
        assert one.view.given_back == [Question("And?", Typed("And?"))]
        assert one.view.said == ["A question is waiting; <chat.stop> takes it back. Your question is still here."]
        one.view.running_model, one.view.coming_model, one.view.chosen_model = "tiny", None, "tiny"
        one.answers.send_waiting(came_up=True)
        await one.ended()
        assert [exchange.question for exchange in one.view.conversation.every] == ["Hello."]


async def test_an_answer_is_stopped_gone_on_with_and_asked_for_anew(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    model = tiny_r1(answer="on and on ", loop=True, reachable=True)
    async with served(llama_server, model, paths, context_tokens=65536), chat(paths) as one:
        one.ask()
        await until(lambda: one.view.conversation.exchanges and one.view.conversation.exchanges[0].answer.content)
        [exchange] = one.view.conversation.exchanges
        assert one.answers.is_shown
        one.answers.stop()
        await one.ended()
        assert exchange.answer.state == "stopped"
        assert one.answers.can("go_on")
        before = len(exchange.answer.content.text)
        one.answers.do("go_on")
        await until(lambda: len(exchange.answer.content.text) > before + 20)
        one.answers.stop()
        await one.ended()
        one.answers.ask_anew(exchange)
        await until(lambda: one.view.conversation.exchanges[0] is not exchange and one.answers.is_shown)
        await until(lambda: one.view.conversation.exchanges[0].answer.content)
        one.answers.stop()
        await one.ended()
        assert len(one.view.conversation.branches(exchange)) == 2


async def test_the_answer_of_a_conversation_that_was_left_goes_on(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    async with served(llama_server, tiny_r1(loop=True), paths, context_tokens=65536), chat(paths) as one:
        one.ask()
        left, other = one.view.conversation, Conversation("other")
        await until(lambda: left.exchanges and left.exchanges[0].answer.content)
        answer = left.exchanges[0].answer
        one.view.conversation = other
        assert (one.answers.is_shown, one.answers.left_conversation) == (False, left)
        one.ask(Typed("And?"))
        assert one.view.said[-1].startswith("The answer in “Hello.” is still coming.")
        before = answer.content.text
        await until(lambda: len(answer.content.text) > len(before))
        one.view.conversation = left
        one.answers.stop()
        await one.ended()
    assert (answer.state, other.every) == ("stopped", [])


@pytest.mark.parametrize("is_counted", [True, False], ids=["counted before", "refused by the server"])
async def test_what_has_no_room_is_in_the_prompt_again(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, monkeypatch: pytest.MonkeyPatch, is_counted: bool
) -> None:
    long = Typed("a " * 300)
    async with served(llama_server, tiny_r1(), paths, context_tokens=512), chat(paths) as one:
        if not is_counted:

            async def unknown(*_: object) -> None:
                """Nothing is known of the room."""

            monkeypatch.setattr(ChatClient, "room", unknown)
        one.ask(long)
        await one.ended()
    assert [question.typed for question in one.view.given_back] == [long]
    assert any("the context holds 512" in said for said in one.view.said)
    assert one.view.asked == one.view.refused == ([] if is_counted else [long])
    assert one.view.conversation.every == []


async def test_a_question_that_is_stopped_before_it_is_asked_is_in_the_prompt_again(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("r1tui.tui.services.chat_client.ROOM_S", 3600.0)
    async with served(llama_server, tiny_r1(), paths), chat(paths) as one:
        pid = supervisor.status(paths).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # it does not say how much the context holds
        await until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "T")
        one.ask()
        await until(lambda: one.answers.can_stop)
        one.answers.stop()
        await one.ended()
        os.kill(pid, signal.SIGCONT)
        assert [question.typed for question in one.view.given_back] == [HELLO]
        assert (one.view.asked, one.view.conversation.every, one.answers.can_stop) == ([], [], False)
        one.ask()
        await one.ended()
        assert [exchange.answer.state for exchange in one.view.conversation.exchanges] == ["done"]


@pytest.mark.parametrize("choice", ["send", "new", None])
async def test_where_there_is_little_room_the_user_decides(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths, choice: str | None
) -> None:
    async with served(llama_server, tiny_r1(answer="Yes."), paths, context_tokens=512), chat(paths) as one:
        one.view.choice = choice
        one.ask(Typed("a " * 220))
        await one.ended()
        shown = one.view.conversation
        assert shown.id == ("new" if choice == "new" else "c")
        assert [exchange.answer.state for exchange in shown.exchanges] == ([] if choice is None else ["done"])
        assert len(one.view.given_back) == (choice is None)
