"""Who decides which conversation is shown, with real conversations on disk, a real llama-server and no screen."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation
from r1tui.chat.database import NAME
from r1tui.chat.listing import ConversationSummary
from r1tui.chat.store import Store
from r1tui.chat.typed import Typed
from r1tui.system.paths import Paths
from r1tui.tui.controllers.answers import AnswerController
from r1tui.tui.controllers.conversations import ConversationController
from r1tui.tui.messages import AnswerEnded
from r1tui.tui.services.saver import Saver
from tests.answer_rig import View, client_of, served, until
from tests.conftest import TinyModel
from tests.store_rig import running, said, whole

HELLO = Typed("Hello.")


class Chat:
    """The controllers of one chat, and what they were given."""

    def __init__(self, paths: Paths) -> None:
        self.view = View()
        self.left = 0
        """How often the server's prompt cache was to be kept."""
        self.saver = Saver(paths.conversations, "", lambda _: True, self.view.show_error)
        client = client_of(paths, self.view.posted)
        client.leave_conversation = self._leave  # type: ignore[method-assign]
        self.answers = AnswerController(client, self.saver, self.view)
        self.conversations = ConversationController(self.saver, self.answers, client, self.view)
        self.view.conversation = self.conversations.shown

    async def _leave(self) -> None:
        self.left += 1

    async def settled(self) -> None:
        await until(lambda: not self.view.work)


@asynccontextmanager
async def chat(paths: Paths) -> AsyncIterator[Chat]:
    one = Chat(paths)
    try:
        yield one
        await one.settled()
    finally:
        await one.saver.close()


@pytest.fixture
def kept(paths: Paths) -> Paths:
    """Where two conversations are on disk, `c2` the newer one."""
    with Store(paths.conversations) as store:
        store.write([whole(said("c1")), whole(said("c2"))])
    return paths


async def test_the_last_conversation_is_gone_on_with(kept: Paths) -> None:
    async with chat(kept) as one:
        await one.conversations.open_last()
        assert one.conversations.shown is one.view.conversation
        assert one.view.conversation.id == "c2"


async def test_without_any_an_empty_one_is_shown(paths: Paths) -> None:
    async with chat(paths) as one:
        await one.conversations.open_last()
        assert (one.view.conversation.every, one.view.said) == ([], [])


async def test_where_none_can_be_read_it_says_why_and_an_empty_one_is_shown(paths: Paths) -> None:
    paths.conversations.mkdir(parents=True)
    (paths.conversations / NAME).mkdir()
    async with chat(paths) as one:
        await one.conversations.open_last()
        assert one.view.said
        assert one.view.conversation.every == []


async def test_another_is_opened_and_the_one_before_let_go(kept: Paths) -> None:
    async with chat(kept) as one:
        await one.conversations.open_last()
        await one.conversations.open("c1")
        await one.settled()
        assert (one.view.conversation.id, one.left, one.view.said) == ("c1", 2, [])
        shown = one.view.conversation
        await one.conversations.open("c1")
        assert one.view.conversation is shown
        with Store(kept.conversations) as other:
            assert (opened := other.open("c2")) is not None
            assert opened.open_in is None
            assert (opened := other.open("c1")) is not None
            assert opened.open_in == os.getpid()


async def test_one_that_is_gone_or_open_elsewhere_says_so(kept: Paths) -> None:
    with Store(kept.conversations) as other:
        other.open("c1")
        async with chat(kept) as one:
            await one.conversations.open("never")
            await one.conversations.open("c1")
            assert one.view.said == [
                "That conversation no longer exists.",
                f"Open in another r1tui (PID {os.getpid()}); read-only here.",
            ]
            assert one.view.conversation.id == "c1"
            assert one.answers.why_not_now() is not None


async def test_the_branch_of_a_passage_is_not_shown_while_a_question_waits_at_the_end_of_another(paths: Paths) -> None:
    conversation = said("c1", "Which bird?", "A grey heron.")
    conversation.ask("Or an egret?").answer = Answer.past("It is white.")
    conversation.ask_instead(conversation.every[1], "Or a stork?").answer = Answer.past("It is large.")
    with Store(paths.conversations) as store:
        store.write([whole(conversation)])
    found = ConversationSummary("c1", "", 0.0, 0.0, 3, passage="It is white.", found_at=1)
    async with chat(paths) as one:
        await one.conversations.open_last()
        one.view.running_model, one.view.coming_model = None, "tiny"
        one.answers.submit("And a crane?", Typed("And a crane?"), None)
        one.conversations.begin_open(found)
        await one.settled()
        assert [exchange.question for exchange in one.view.conversation.exchanges][-1] == "Or a stork?"
        one.answers.take_back()
        one.conversations.begin_open(found)
        await one.settled()
        assert [exchange.question for exchange in one.view.conversation.exchanges][-1] == "Or an egret?"
        assert one.view.said == [
            "The passage is in another branch, which cannot be shown now.",
            "Or an egret?: It is white.",
        ]


async def test_a_new_one_is_begun_where_something_was_said(kept: Paths) -> None:
    async with chat(kept) as one:
        empty = one.conversations.shown
        one.conversations.begin_new()
        assert one.conversations.shown is empty
        await one.conversations.open_last()
        one.conversations.begin_new()
        assert one.view.conversation.id not in ("c1", "c2", empty.id)
        assert one.view.conversation.every == []


async def test_one_that_is_deleted_is_shown_no_more(kept: Paths) -> None:
    async with chat(kept) as one:
        await one.conversations.open_last()
        one.conversations.leave("c1")
        assert one.view.conversation.id == "c2"
        one.conversations.leave("c2")
        assert one.view.conversation.every == []


async def test_the_answer_of_one_that_was_left_comes_is_told_and_saved(
    llama_server: Path, tiny_r1: TinyModel, paths: Paths
) -> None:
    model = tiny_r1(answer="on and on ", loop=True, reachable=True)
    with Store(paths.conversations) as store:
        store.write([whole(running("waits"))])
    async with served(llama_server, model, paths, context_tokens=65536), chat(paths) as one:
        asked = one.conversations.shown
        one.answers.submit(HELLO.whole, HELLO, None)
        await until(lambda: asked.exchanges and asked.exchanges[0].answer.content)
        one.conversations.leave(asked.id)
        assert one.conversations.shown is asked  # its answer comes
        one.conversations.begin_new()
        new = one.conversations.shown
        assert one.left == 0  # the server is at it
        assert (one.conversations.open_here(asked.id), one.conversations.open_here(new.id)) == (asked, new)
        assert (one.conversations.is_answering(asked.id), one.conversations.is_answering(new.id)) == (True, False)
        await one.conversations.open("waits")
        assert one.view.said == ["It opens when “Hello.” has finished."]
        await one.conversations.open(asked.id)
        assert one.conversations.shown is asked
        one.conversations.show(new)
        one.answers.stop()
        await until(lambda: any(isinstance(message, AnswerEnded) for message in one.view.posted))
        one.conversations.answer_ended(asked)
        await one.settled()
        assert one.view.said[-1] == "“Hello.” has finished."
        assert one.conversations.open_here(asked.id) is None
        with Store(paths.conversations) as other:
            assert (opened := other.open(asked.id)) is not None
            assert opened.open_in is None
            assert opened.conversation.exchanges[0].answer.content.text == asked.exchanges[0].answer.content.text


async def test_an_answer_that_a_conversation_waits_for_is_read_on_when_it_is_shown(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(paths.conversations) as store:
        store.write([whole(running("waits"))])
    async with chat(paths) as one:
        read = []
        monkeypatch.setattr(one.answers, "read_on", lambda: read.append(one.view.conversation.id))
        await one.conversations.open("waits")
        one.conversations.answer_ended(Conversation("other"))
        await one.settled()
    assert read == ["waits", "waits"]
