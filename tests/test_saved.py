"""Conversations on disk: what comes back, whose they are, and that nothing broken or foreign is in the way."""

import json
import os
from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Turn
from r1tui.chat.saved import MOST_FILES, ConversationFiles
from r1tui.events import Content, Failed, Finished, Reasoning
from r1tui.keeper.state import Status
from r1tui.tui.news import server_news

FINISHED = Finished("stop", 5, 2, 4, 10.0, 5.0, 100.0)


def answered(*events: Reasoning | Content | Finished | Failed) -> Answer:
    answer = Answer()
    for event in events:
        answer.apply(event)
    return answer


@pytest.fixture
def files(tmp_path: Path) -> ConversationFiles:
    return ConversationFiles(tmp_path / "conversations")


def test_what_was_said_comes_back(files: ConversationFiles) -> None:
    turns = [
        Turn("whole?", answered(Reasoning("Hm"), Content("日本 🦙"), FINISHED), "1-a"),
        Turn("failed?", answered(Content("Half"), Failed("It ended.", "Ask again.")), "1-b"),
        Turn("running?", answered(Content("so fa")), "1-c", inside_thinking=True),
    ]
    files.save(Conversation("c1", turns))
    files.let_go()
    found = files.last()
    assert found is not None
    assert found.id == "c1"
    whole, failed, running = found.turns
    assert (whole.answer.state, whole.answer.content.text, whole.answer.thinking.text) == ("done", "日本 🦙", "Hm")
    assert whole.answer.thinking_tokens == 2
    assert (failed.answer.state, failed.answer.cause, failed.answer.remedy) == ("failed", "It ended.", "Ask again.")
    assert (running.answer.state, running.answer_id, running.inside_thinking) == ("waiting", "1-c", True)
    assert running.answer.content.text == ""  # its record has it from the first byte
    assert found.running
    assert found.messages()[:2] == [("user", "whole?"), ("assistant", "日本 🦙")]


def test_an_answer_that_goes_on_comes_back_as_it_was_before_and_one_that_was_cut_as_cut(
    files: ConversationFiles,
) -> None:
    going = answered(Reasoning("Hm"), Content("one two"), Finished("length", 5, 2, 4, 10.0, 5.0, 100.0))
    going.go_on()
    going.apply(Content(" three"))
    cut = answered(Content("x"), Finished("context", 5, 0, 9, 10.0, 5.0, 100.0))
    files.save(Conversation("c1", [Turn("cut?", cut), Turn("going?", going)]))
    files.let_go()
    found = files.last()
    assert found is not None
    was_cut, goes_on = (turn.answer for turn in found.turns)
    assert (was_cut.state, was_cut.cut, was_cut.tokens, was_cut.can_go_on) == ("done", "context", 9, True)
    assert (goes_on.state, goes_on.content.text, goes_on.thinking.text) == ("waiting", "one two", "Hm")
    for event in (Content(" three"), Content(" four"), Finished("stop", 9, 0, 3, 10.0, 5.0, 100.0)):
        goes_on.apply(event)
    assert (goes_on.content.text, goes_on.tokens, goes_on.thinking_tokens) == ("one two three four", 7, 2)


def test_files_are_private(files: ConversationFiles, tmp_path: Path) -> None:
    files.save(Conversation("c1", [Turn("secret")]))
    folder = tmp_path / "conversations"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "c1.json").stat().st_mode & 0o077 == 0


def test_a_conversation_that_another_holds_is_left_alone(files: ConversationFiles, tmp_path: Path) -> None:
    files.save(Conversation("c1", [Turn("a", Answer.past("x"))]))
    other = ConversationFiles(tmp_path / "conversations")
    assert other.last() is None
    other.save(Conversation("c2", [Turn("b", Answer.past("y"))]))
    files.let_go()
    assert ConversationFiles(tmp_path / "conversations").last() is None  # c2, the newest, is held
    other.let_go()
    found = ConversationFiles(tmp_path / "conversations").last()
    assert found is not None
    assert found.id == "c2"


def test_beside_another_only_a_running_answer_is_taken_up(files: ConversationFiles, tmp_path: Path) -> None:
    killed = ConversationFiles(tmp_path / "conversations")
    killed.save(Conversation("c1", [Turn("a", answered(Content("so far")), "1-a")]))
    killed.let_go()
    files.save(Conversation("c2", [Turn("b", Answer.past("y"))]))
    found = ConversationFiles(tmp_path / "conversations").last()
    assert found is not None
    assert found.id == "c1"


@pytest.mark.parametrize("content", [b"", b"{", b'{"id": "broken", "turns": 3}', b'{"id": "other", "turns": []}',
                                     b'{"id": "broken", "turns": [], "version": 99}'])  # fmt: skip
def test_a_broken_file_is_passed_over(files: ConversationFiles, tmp_path: Path, content: bytes) -> None:
    files.save(Conversation("c1", []))
    files.let_go()
    broken = tmp_path / "conversations" / "broken.json"
    broken.write_bytes(content)
    os.utime(broken, (4e9, 4e9))
    found = files.last()
    assert found is not None
    assert found.id == "c1"


def test_nothing_is_there_at_first(files: ConversationFiles) -> None:
    assert files.last() is None


def test_they_do_not_pile_up(files: ConversationFiles, tmp_path: Path) -> None:
    for number in range(MOST_FILES + 5):
        files.save(Conversation(f"c{number}", []))
    names = {path.name for path in (tmp_path / "conversations").glob("*.json")}
    assert len(names) == MOST_FILES
    assert f"c{MOST_FILES + 4}.json" in names
    assert len(list((tmp_path / "conversations").glob("*.lock"))) == 1


def test_saving_again_replaces_the_file(files: ConversationFiles, tmp_path: Path) -> None:
    conversation = Conversation("c1", [Turn("a")])
    files.save(conversation)
    conversation.turns[0].answer = Answer.past("done")
    files.save(conversation)
    saved = json.loads((tmp_path / "conversations" / "c1.json").read_bytes())
    assert [turn["content"] for turn in saved["turns"]] == ["done"]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("ready", Status(state="failed", cause="It ended."), "It ended. Ctrl+R starts it again."),
        ("ready", Status(state="restarting", cause="It ended.", remedy="Soon."), "It ended. Soon."),
        ("ready", Status(state="ready", keeper_pid=1, cause="It hangs.", remedy="Ctrl+R."), "It hangs. Ctrl+R."),
        ("sleeping", Status(state="ready"), "The model is loaded again."),
        ("loading", Status(state="ready"), None),
        (None, Status(state="failed", cause="Yesterday."), None),
    ],
)
def test_what_the_screen_says_of_a_change(before: str | None, now: Status, said: str | None) -> None:
    news = server_news(Status(state=before) if before else None, now)  # type: ignore[arg-type]
    assert (news.text if news else None) == said
