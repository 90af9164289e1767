"""The model of a conversation, and Markdown cut into blocks the same way however it arrives."""

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from r1tui.chat.answer import Answer, Pieces, paced
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.markdown import MAX_BLOCK_CHARS, MarkdownBlock, MarkdownSplitter, block_parser
from r1tui.events import Content, Failed, Finished, PromptProgress, Reasoning, StreamEvent, Timings
from tests.markdown_rig import split_markdown


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def timings(tokens: int, tps: float = 50.0) -> Timings:
    return Timings(prompt_tokens=12, cached_tokens=0, prompt_tps=100.0, completion_tokens=tokens, tps=tps)


def finished(reason: str = "stop", reasoning_tokens: int = 2) -> Finished:
    return Finished(reason, 12, reasoning_tokens, 4, 100.0, 50.0, 10.0)


def answered(*events: StreamEvent) -> Answer:
    answer = Answer()
    for event in events:
        answer.apply(event)
    return answer


def test_an_answer_goes_through_its_states_and_counts_its_thinking() -> None:
    clock = Clock()
    answer = Answer(clock)
    states = [answer.state]
    stream: list[tuple[float, StreamEvent]] = [
        (0.0, PromptProgress(100, 0, 43, 10.0)),
        (1.0, Reasoning("Hm")),
        (0.0, timings(1, 1.0)),
        (48.0, Reasoning(", well.")),
        (0.0, timings(2, 2 / 48.0)),
        (2.0, Content("Yes")),
        (5.0, timings(3)),
        (0.0, finished()),
    ]
    for wait_s, event in stream:
        clock.now_s += wait_s
        answer.apply(event)
        states.append(answer.state)
    assert states == [
        "waiting", "reading", "thinking", "thinking", "thinking", "thinking", "answering", "answering", "done",
    ]  # fmt: skip
    assert (answer.thinking.text, answer.content.text) == ("Hm, well.", "Yes")
    assert (answer.thinking_tokens, answer.tokens, answer.thinking_s) == (2, 4, 50.0)
    assert not answer.running


def test_without_the_servers_counts_pieces_are_counted() -> None:
    answer = answered(Reasoning("a"), Reasoning("b"), Content("c"))
    assert (answer.thinking_tokens, answer.tokens) == (2, 3)


def test_a_failed_answer_keeps_what_came_and_says_why() -> None:
    answer = answered(Reasoning("Hm"), Content("Half"), Failed("The server ended.", "See `r1tui logs`."))
    assert (answer.state, answer.content.text) == ("failed", "Half")
    assert (answer.cause, answer.remedy) == ("The server ended.", "See `r1tui logs`.")
    assert answer.thinking_s is not None


def test_stopped_and_cut_answers_are_told_from_whole_ones() -> None:
    assert answered(Content("x"), finished("cancelled")).state == "stopped"
    assert answered(Content("x"), finished("length")).cut
    assert not answered(Content("x"), finished()).cut


def test_white_space_alone_is_no_thought() -> None:
    assert not answered(Reasoning("\n\n"), Content("x")).has_thoughts


def test_the_next_request_says_answers_without_thoughts_and_skips_questions_without_answers() -> None:
    conversation = Conversation("c")
    conversation.exchanges = [
        Exchange("1", Answer.past("one", "thinking")),
        Exchange("lost", answered(Reasoning("Hm"), Failed("Gone."))),
        Exchange("2", answered(Content("tw"), finished("cancelled"))),
    ]
    conversation.ask("3")
    assert conversation.messages() == [
        ("user", "1"), ("assistant", "one"), ("user", "2"), ("assistant", "tw"), ("user", "3"),
    ]  # fmt: skip


def test_a_question_that_is_asked_anew_begins_a_branch_and_the_old_one_stays_reachable() -> None:
    conversation = Conversation("c")
    first, old = conversation.ask("1"), conversation.ask("2")
    later = conversation.ask("3")
    new = conversation.ask_instead(old, "two")
    assert conversation.exchanges == [first, new]
    assert conversation.branches(new) == conversation.branches(old) == [old, new]
    conversation.show(old)
    assert conversation.exchanges == [first, old, later]
    conversation.show(new)
    assert conversation.exchanges == [first, new]


def test_one_exchange_can_be_taken_out_and_what_followed_it_stays() -> None:
    conversation = Conversation("c")
    first, second, third = (conversation.ask(question) for question in "123")
    conversation.remove(second)
    assert conversation.exchanges == [first, third]
    assert third.parent is first
    other = conversation.ask_instead(third, "three")
    conversation.remove(other)
    assert conversation.exchanges == [first, third], "the branch that is left is shown"
    for exchange in (first, third):
        conversation.remove(exchange)
    assert (conversation.exchanges, conversation.every) == ([], [])


def test_a_conversation_is_called_by_its_first_question_until_it_has_a_title() -> None:
    conversation = Conversation("c")
    conversation.ask(" Why?\nBecause.")
    assert conversation.name == "Why?"
    conversation.title = "Reasons"
    assert conversation.name == "Reasons"


def test_pieces_give_a_reader_only_what_is_new() -> None:
    pieces = Pieces("a")
    assert pieces.since(0) == ("a", 1)
    pieces.append("b")
    assert pieces.text == "ab"
    pieces.append("c")
    assert pieces.since(1) == ("bc", 3)
    assert pieces.since(3) == ("", 3)
    assert pieces.text == "abc"


async def test_pacing_loses_nothing_and_lets_tokens_gather() -> None:
    async def tokens() -> AsyncIterator[int]:
        for number in range(20):
            yield number

    assert [number async for number in paced(tokens(), lambda: 0.001)] == list(range(20))
    assert await asyncio.wait_for(anext(paced(tokens(), lambda: 0.0)), 60) == 0


def in_pieces(text: str, sizes: list[int]) -> list[MarkdownBlock]:
    """The blocks of a text that comes in pieces of these sizes, over and over."""
    splitter = MarkdownSplitter()
    blocks: list[MarkdownBlock] = []
    position = exchange = 0
    while position < len(text):
        size = sizes[exchange % len(sizes)]
        exchange += 1
        splitter.feed(text[position : position + size])
        position += size
        blocks += splitter.step()
    splitter.close()
    while more := splitter.step():
        blocks += more
    assert not splitter.unfinished
    return blocks


def shape(blocks: list[MarkdownBlock]) -> list[object]:
    return [
        [(token.type, token.tag, token.content, token.info, token.markup, token.hidden) for token in block.tokens]
        for block in blocks
    ]


LINES = st.sampled_from(
    [
        "word", "two words **bold** `code`", "", "", "", "   ", "# Title", "===", "---", "***", "- item", "  more",
        "    code", "1. one", "2. two", "1) par", "   nested", "  - deep", "* star", "+ plus", "> quote", ">", "```",
        "```python", "~~~", "````", "  ```", "| a | b |", "|---|---|", "| 1 | 2 |", "[x]: http://y", "[x]", "\tTab",
        "<div>", "</div>", "a\\", "\\[ x_1", "y \\]", "&amp; &#27;", "-", "1", "10.", "#", "`", ">>>> deep", "![i](u)",
    ]
)  # fmt: skip
MARKDOWN = st.lists(LINES, max_size=30).map("\n".join)


@given(MARKDOWN, st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_blocks_do_not_depend_on_how_the_text_arrives(text: str, sizes: list[int]) -> None:
    assert shape(in_pieces(text, sizes)) == shape(split_markdown(text))


@given(MARKDOWN)
def test_blocks_are_those_of_one_parse_of_the_whole(text: str) -> None:
    whole = [(token.type, token.content) for token in block_parser().parse(text)]
    blocks = split_markdown(text)
    assert [(token.type, token.content) for block in blocks for token in block.tokens] == whole


@given(st.text(alphabet=st.sampled_from("ab `*_[]()<>|#-+>~1.\\\n\t=:!"), max_size=120), st.integers(1, 9))
def test_nor_do_those_of_any_text(text: str, size: int) -> None:
    assert shape(in_pieces(text, [size])) == shape(split_markdown(text))


def test_an_endless_list_is_cut_between_items_and_code_never_is() -> None:
    items = "".join(f"{number}. item {number} with a few words\n" for number in range(1, 2000))
    code = "```python\n" + "print('x')\n" * 3000 + "```\n"
    blocks = split_markdown(items + "\nafter\n\n" + code)
    assert all(len(block.source) <= MAX_BLOCK_CHARS + 100 for block in blocks[:-1])
    assert blocks[1].tokens[0].type == "ordered_list_open"
    assert blocks[1].tokens[0].attrs["start"] == int(blocks[1].source.split(".")[0])
    assert blocks[-1].source == code
    assert shape(in_pieces(items + "\nafter\n\n" + code, [700])) == shape(blocks)


def test_the_finished_blocks_of_a_long_answer_are_never_parsed_again() -> None:
    splitter = MarkdownSplitter()
    seen = 0
    for number in range(500):
        splitter.feed(f"Paragraph {number} with **some** words in it.\n\n")
        seen += len(splitter.step())
        assert len(splitter.unfinished) < 200
    assert seen == 499


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=12), st.lists(st.integers(0, 9)))
def test_what_was_removed_is_put_back_where_it_was(asked: list[tuple[bool, int]], removed: list[int]) -> None:
    conversation = Conversation("c")
    for number, (beside, which) in enumerate(asked):
        if beside and conversation.exchanges:
            conversation.ask_instead(conversation.exchanges[which % len(conversation.exchanges)], str(number))
        else:
            conversation.ask(str(number))
    states = []
    removals = []
    for which in removed[: len(conversation.every)]:
        if conversation.exchanges:
            states.append(state_of(conversation))
            removals.append(conversation.remove(conversation.exchanges[which % len(conversation.exchanges)]))
            assert len(conversation.places()) == len(conversation.exchanges)
    while removals:
        conversation.put_back(removals.pop())
        assert state_of(conversation) == states.pop()


def state_of(conversation: Conversation) -> object:
    parents = [exchange.parent for exchange in conversation.every]
    return conversation.every.copy(), parents, conversation.exchanges.copy(), conversation.places()


def test_what_was_asked_since_a_removal_stays_when_it_is_undone() -> None:
    conversation = Conversation("c")
    first, second = conversation.ask("1"), conversation.ask("2")
    removal = conversation.remove(second)
    third = conversation.ask("3")
    conversation.put_back(removal)
    assert conversation.every == [first, second, third]
    assert conversation.branches(second) == [second, third]


def test_undo_after_the_exchange_before_it_is_gone_for_good_puts_it_where_its_parent_was() -> None:
    conversation = Conversation("c")
    first, second = conversation.ask("1"), conversation.ask("2")
    removal = conversation.remove(second)
    again = conversation.ask_instead(first, "1")
    conversation.remove(first)  # asked again after an empty failure
    conversation.put_back(removal)
    assert second.parent is None
    assert conversation.exchanges == [second]
    conversation.places()
    conversation.show(again)
    assert conversation.exchanges == [again]


def test_undo_never_puts_an_exchange_behind_what_followed_it() -> None:
    conversation = Conversation("c")
    first = conversation.ask("1")
    failed = conversation.ask("2")
    other = conversation.ask_instead(failed, "two")
    last = conversation.ask("3")
    removal = conversation.remove(other)
    conversation.remove(failed)
    conversation.put_back(removal)
    assert conversation.every == [first, other, last]
    assert last.parent is other
