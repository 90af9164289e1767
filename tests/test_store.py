"""Conversations on disk: what comes back, and for how long."""

from pathlib import Path
from time import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.database import NAME
from r1tui.chat.rows import Tracker
from r1tui.chat.store import Store
from r1tui.events import Content, Failed, Finished, Reasoning
from tests.store_rig import FINISHED, answered, folder, kept, other, rows, running, said, store, told, whole

DAY_S = 86400.0
__all__ = ["folder", "other", "store", "told"]


def test_what_was_said_comes_back(store: Store) -> None:
    exchanges = [
        Exchange("whole?", answered(Reasoning("Hm"), Content("日本 🦙"), FINISHED), "1-a", asked_s=12.5, model="tiny"),
        Exchange("failed?", answered(Content("Half"), Failed("It ended.", "Ask again.")), "1-b"),
        Exchange("cut?", answered(Content("Ha"), Finished("length", 5, 0, 4, 10.0, 5.0, None)), "1-c"),
    ]
    found = kept(store, Conversation("c1", exchanges, "A title"))
    assert (found.id, found.title) == ("c1", "A title")
    first, failed, cut = found.exchanges
    assert (first.answer.state, first.answer.content.text, first.answer.thinking.text) == ("done", "日本 🦙", "Hm")
    assert (first.answer.thinking_tokens, first.answer.tokens, first.answer.finished) == (2, 4, FINISHED)
    assert (first.answer_id, first.asked_s, first.model) == ("1-a", 12.5, "tiny")
    assert (failed.answer.state, failed.answer.cause, failed.answer.remedy) == ("failed", "It ended.", "Ask again.")
    assert cut.answer.cut
    assert found.messages()[:2] == [("user", "whole?"), ("assistant", "日本 🦙")]


def test_all_branches_come_back_and_the_shown_one_is_shown(store: Store) -> None:
    conversation = Conversation("c1")
    first, old = conversation.ask("1"), conversation.ask("2")
    conversation.ask("3")
    conversation.ask_instead(old, "two")
    for exchange in conversation.every:
        exchange.answer.apply(FINISHED)
    conversation.show(old)
    found = kept(store, conversation)
    assert [exchange.question for exchange in found.exchanges] == ["1", "2", "3"]
    assert [exchange.question for exchange in found.branches(found.exchanges[1])] == ["2", "two"]
    assert found.every[0].question == first.question


TEXT = st.text(max_size=20)
ENDS = st.one_of(
    st.builds(Failed, TEXT, TEXT),
    st.builds(Finished, st.sampled_from(["stop", "length", "cancelled"]), *[st.integers(0, 9)] * 3, st.just(1.0),
              st.just(2.0), st.none()),
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), TEXT),
        st.tuples(st.just("branch"), st.integers(0, 99)),
        st.tuples(st.just("show"), st.integers(0, 99)),
        st.tuples(st.just("remove"), st.integers(0, 99)),
        st.tuples(st.just("put first"), TEXT),
        st.tuples(st.just("think"), TEXT),
        st.tuples(st.just("say"), TEXT),
        st.tuples(st.just("end"), ENDS),
        st.tuples(st.just("again"), TEXT),
        st.tuples(st.just("title"), TEXT),
        st.tuples(st.just("save"), st.none()),
    ),
    max_size=30,
)


def step(conversation: Conversation, kind: str, value: object) -> None:
    """Do one thing that a user, or a stream, does to a conversation."""
    exchanges, every = conversation.exchanges, conversation.every
    match kind, value:
        case "ask", str(text):
            conversation.ask(text, f"id {len(every)}")
        case "branch", int(n) if exchanges:
            conversation.ask_instead(exchanges[n % len(exchanges)], f"branch {n}", f"id {n} {len(every)}")
        case "show", int(n) if every:
            conversation.show(every[n % len(every)])
        case "remove", int(n) if every:
            conversation.remove(every[n % len(every)])
        case "put first", str(text):
            every.insert(0, Exchange(text))
        case "think", str(text) if exchanges:
            exchanges[-1].answer.apply(Reasoning(text))
        case "say", str(text) if exchanges:
            exchanges[-1].answer.apply(Content(text))
        case "end", (Failed() | Finished()) as end if exchanges:
            exchanges[-1].answer.apply(end)
        case "again", str(text) if exchanges:
            exchanges[-1].answer, exchanges[-1].answer_id = Answer(), text
        case "title", str(text):
            conversation.title = text


def shape(conversation: Conversation) -> object:
    """All of a conversation that must come back; an answer that runs is one that r1tui's end cut."""
    numbers = {exchange: n for n, exchange in enumerate(conversation.every)}
    exchanges = [
        (
            numbers[exchange.parent] if exchange.parent else None, exchange.asked_s, exchange.answer.cut,
            "stopped" if exchange.answer.running else exchange.answer.state,
            max(exchange.answer.tokens, exchange.answer.thinking_tokens), exchange.answer.thinking_tokens,
            *map(printable, (exchange.question, exchange.answer.content.text, exchange.answer.thinking.text)),
            printable(exchange.answer_id),
        )
        for exchange in conversation.every
    ]  # fmt: skip
    return printable(conversation.title), [numbers[exchange] for exchange in conversation.exchanges], exchanges


def printable(text: str) -> str:
    return text.encode(errors="replace").decode()


@given(STEPS)
@example([("ask", "q"), ("save", None), ("end", Finished("length", 0, 0, 0, 1.0, 2.0, None)), ("think", "more")])
def test_whatever_happens_to_a_conversation_and_whenever_it_is_saved_it_comes_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    conversation = Conversation("c")
    tracker = Tracker(conversation)
    with Store(tmp_path_factory.mktemp("store") / "conversations") as store:
        for kind, value in [*steps, ("save", None)]:
            step(conversation, kind, value)
            if kind == "save" and (changes := tracker.changes()) is not None:
                store.write([changes])
        found = store.open("c")
    if found is None:
        assert not conversation.every
    else:
        assert shape(found.conversation) == shape(conversation)


def test_of_a_running_answer_only_what_is_new_is_written(store: Store, folder: Path) -> None:
    conversation = said("c1")
    answer = conversation.ask("more?", "1-a").answer
    tracker = Tracker(conversation)
    store.write([changes for changes in [tracker.changes()] if changes])
    assert tracker.changes() is None
    for word in ("one ", "two "):
        answer.apply(Content(word))
        changes = tracker.changes()
        assert changes is not None
        [grown] = changes.exchanges
        assert grown.grows
        assert grown.columns["answer"] == word
        store.write([changes])
    assert rows(folder, "SELECT answer FROM pieces") == [("one ",), ("two ",)]
    answer.apply(FINISHED)
    store.write([changes for changes in [tracker.changes()] if changes])
    assert rows(folder, "SELECT count(*) FROM pieces") == [(0,)]
    assert rows(folder, "SELECT answer FROM exchanges") == [("so",), ("one two ",)]


def half_answered(store: Store) -> None:
    """An answer that was continued once, and is in the middle again, of an r1tui that was killed."""
    conversation = said("c1", "go on?", "")
    exchange = conversation.exchanges[0]
    exchange.answer, exchange.answer_id = answered(Reasoning("Hm"), Content("be"), Failed("It ended.")), "first"
    tracker = Tracker(conversation)
    store.write([changes for changes in [tracker.changes()] if changes])
    exchange.answer.go_on()
    exchange.answer_id = "second"
    store.write([changes for changes in [tracker.changes()] if changes])
    exchange.answer.apply(Content("fore"))
    store.write([changes for changes in [tracker.changes()] if changes])
    store.let_go(["c1"])


def test_a_running_answer_without_a_record_was_stopped_with_all_that_had_come(store: Store) -> None:
    half_answered(store)
    opened = store.open("c1")
    assert opened is not None
    [exchange] = opened.conversation.exchanges
    assert (exchange.answer.state, exchange.answer.content.text, exchange.answer.thinking.text) == (
        "stopped",
        "before",
        "Hm",
    )
    assert "r1tui quit" in exchange.answer.cause
    assert exchange.answer.can_go_on
    changes = opened.tracker.changes()
    assert changes is not None
    store.write([changes])
    assert [one.id for one in store.search("before")] == ["c1"], "it is found from now on"


def test_a_running_answer_with_a_record_has_what_it_had_before_its_request(folder: Path) -> None:
    with Store(folder, recorded="second".__eq__) as store:
        half_answered(store)
        opened = store.open("c1")
        assert opened is not None
        [exchange] = opened.conversation.exchanges
        assert (exchange.answer.state, exchange.answer.content.text, exchange.answer_id) == ("waiting", "be", "second")
        assert opened.conversation.running
        exchange.answer.apply(Content("hind"))
        changes = opened.tracker.changes()
        assert changes is not None
        store.write([changes])
        exchange.answer.apply(Content("sight"))
        store.write([changes for changes in [opened.tracker.changes()] if changes])
        store.let_go(["c1"])
        again = store.open("c1")
        assert again is not None
        assert again.conversation.exchanges[0].answer.content.text == "be", "the record's text is never there twice"


def test_an_answer_that_goes_on_comes_back_as_it_was_before_and_one_that_was_cut_as_cut(folder: Path) -> None:
    going = answered(Reasoning("Hm"), Content("one two"), Finished("length", 5, 2, 4, 10.0, 5.0, 100.0))
    going.go_on()
    going.apply(Content(" three"))
    cut = answered(Content("x"), Finished("context", 5, 0, 9, 10.0, 5.0, 100.0))
    with Store(folder, recorded=lambda _: True) as store:
        was_cut, goes_on = (
            exchange.answer
            for exchange in kept(store, Conversation("c1", [Exchange("cut?", cut), Exchange("on?", going)])).exchanges
        )
    assert (was_cut.state, was_cut.cut, was_cut.tokens, was_cut.can_go_on) == ("done", "context", 9, True)
    assert (goes_on.state, goes_on.content.text, goes_on.thinking.text) == ("waiting", "one two", "Hm")
    for event in (Content(" three"), Content(" four"), Finished("stop", 9, 0, 3, 10.0, 5.0, 100.0)):
        goes_on.apply(event)
    assert (goes_on.content.text, goes_on.tokens, goes_on.thinking_tokens) == ("one two three four", 7, 2)


def test_files_are_private(store: Store, folder: Path) -> None:
    store.write([whole(said("c1", "secret"))])
    assert folder.stat().st_mode & 0o077 == 0
    files = list(folder.glob(f"{NAME}*"))
    assert len(files) == 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_nothing_is_there_at_first_and_reading_makes_nothing(store: Store, folder: Path) -> None:
    assert store.last() is None
    assert store.newest() == store.search("x") == []
    assert store.open("c") is None
    assert not folder.exists()


def test_a_clock_that_jumps_ahead_purges_nothing(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time()
    at = [now_s]
    monkeypatch.setattr("r1tui.chat.database.time", lambda: at[0])
    kept(store, said("c1"))
    store.let_go(["c1"])
    store.delete("c1")
    for clock_s in (now_s + 60 * DAY_S, now_s, now_s + 400 * DAY_S, now_s + 400 * DAY_S + 5, now_s - 9 * DAY_S, now_s):
        at[0] = clock_s
        store.close()
        assert [one.id for one in store.newest(deleted=True)] == ["c1"]
    assert store.restore() == "c1"


def test_what_was_deleted_goes_when_r1tui_has_been_used_for_30_days_since(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [time()]
    monkeypatch.setattr("r1tui.chat.database.time", lambda: at[0])
    kept(store, said("c1"))
    store.delete("c1")
    for day in range(30):
        store.close()
        assert [one.id for one in store.newest(deleted=True)] == ["c1"], day
        at[0] += DAY_S
    store.close()
    assert len(store.newest(deleted=True)) == 1
    at[0] += DAY_S
    store.close()
    assert store.newest(deleted=True) == []


def test_what_was_brought_back_and_deleted_again_has_its_whole_time(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [time()]
    monkeypatch.setattr("r1tui.chat.database.time", lambda: at[0])
    kept(store, said("c1"))
    for _ in range(2):
        store.let_go(["c1"])
        store.delete("c1")
        for _ in range(25):
            store.close()
            assert len(store.newest(deleted=True)) == 1
            at[0] += DAY_S
        store.restore()


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_is_on_disk_is_kept_where_an_answers_record_has_less_of_it(folder: Path, *, goes_on: bool) -> None:
    conversation = Conversation("c1")
    exchange = conversation.ask("why?", "1-a")
    exchange.answer.apply(Reasoning("Hm, yes."))
    exchange.answer.apply(Content("one "))
    if goes_on:
        exchange.answer.apply(Failed("It broke.", ""))
        exchange.answer.go_on()
    tracker = Tracker(conversation)
    with Store(folder) as store:
        store.write([one for one in [tracker.changes()] if one])
        exchange.answer.apply(Content("two three"))
        store.write([one for one in [tracker.changes()] if one])
    with Store(folder, recorded=lambda _: True) as store:
        opened = store.open("c1")
        assert opened is not None
        answer = opened.conversation.exchanges[0].answer
        assert answer.running
        if not goes_on:
            answer.apply(Reasoning("Hm, "))
        assert opened.tracker.changes() is None, "less than there is takes its place"
        assert saved_text(folder) == ("Hm, yes.", "one two three")
        answer.apply(Failed("The record ends in the middle.", ""))
        assert (answer.thinking.text, answer.content.text) == ("Hm, yes.", "one two three")
        assert answer.state == "failed"
        changes = opened.tracker.changes()
        assert changes is not None
        store.write([changes])
    assert saved_text(folder) == ("Hm, yes.", "one two three")


def test_a_record_that_has_more_than_the_disk_takes_its_place(folder: Path) -> None:
    with Store(folder) as store:
        store.write([whole(running("c1"))])
    with Store(folder, recorded=lambda _: True) as store:
        opened = store.open("c1")
        assert opened is not None
        answer = opened.conversation.exchanges[0].answer
        for text in ("so ", "far", ", and on"):
            answer.apply(Content(text))
            if changes := opened.tracker.changes():
                store.write([changes])
        assert saved_text(folder)[1] == "so far, and on"
        answer.apply(FINISHED)
        assert answer.content.text == "so far, and on"


def saved_text(folder: Path) -> tuple[str, str]:
    """Of the only conversation's last answer: thinking and content."""
    with Store(folder) as store:
        answer = store.look("c1").conversation.exchanges[-1].answer
    return answer.thinking.text, answer.content.text
