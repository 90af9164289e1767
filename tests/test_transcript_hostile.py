"""The transcript keeps its shape whatever a model writes."""

import asyncio
from collections.abc import Iterator
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Exchange
from r1tui.events import Content, Reasoning
from r1tui.tui.widgets.transcript_blocks import Block, Work
from r1tui.tui.widgets.transcript_exchange import ExchangeView
from r1tui.tui.widgets.transcript_rows import Row, clean
from tests.transcript_rig import FINISHED, Seat, past, settle, toggle_all


def drawn(blocks: list[Block], width: int) -> list[Row]:
    """All rows of blocks whose work is done."""
    for block in blocks:
        for _ in block.refine(width, Work()):
            pass
    return [row for block in blocks for row in block.rows]


def whole(answer: Answer, width: int) -> list[Row]:
    """The rows of an exchange that is taken in and rendered to the end."""
    view = ExchangeView(Exchange("Q?", answer), is_first=True)
    view.open = True
    view.absorb()
    while view.busy:
        view.absorb()
    return drawn(view.blocks, width)


HOSTILE = st.lists(
    st.sampled_from(
        [*"ab  \n\n\t*_`#->|[]()1.:\\~", "日", "本", "🦙", "👩‍👩‍👧", "❤️", "👍🏽", "🇩🇪", "é", "\u202e", "م", "ש",
        "\x1b[31m", "\x1b]0;x\x07", "\r", "\x9b", "\x00", "\u200d", "\ufe0f", "\ud800", "\u2028", "[bold]", "[/]", "｜",
        "```\n", "| a | b |\n|--|--|\n", "x" * 70, "\u0300", "﷽", "- ", "> ",
        "> " * 20, "- " * 20, "   " * 20 + "1. ", "[" * 20, "*" * 20, "`" * 20, "| " * 20, "~~~~\n", "|--" * 20 + "|\n",
        "\u0300" * 30, "<!--", "<a\x00b>", "\udcff", "\u2066", "\u0085", "\x7f", "&#0;",
        "&#xD800;", "[a](b&#27;c)", "![a](&#7;)", "&#27;", "```日本\n", "<http://\x1b>"]
    ),
    max_size=80,
).map("".join)  # fmt: skip
WITH_LONG_LINES = st.tuples(
    HOSTILE,
    st.sampled_from(
        ["", "x" * 10_000, "日" * 5_000, "e\u0300" * 5_000, "> " * 500, "- " * 500, "[" * 1000, "a | " * 2_000]
    ),
    HOSTILE,
).map("".join)


@given(WITH_LONG_LINES, WITH_LONG_LINES, st.integers(10, 130))
def test_no_row_of_hostile_text_is_wider_than_the_view_or_holds_a_control_character(
    content: str, thinking: str, width: int
) -> None:
    for row in whole(Answer.past(content, thinking), width):
        assert row.width <= width
        assert all(ord(char) >= 0x20 and not 0x7F <= ord(char) < 0xA0 for text, _ in row.spans for char in text)
        "".join(text for text, _ in row.spans).encode()


@given(WITH_LONG_LINES, WITH_LONG_LINES, st.lists(st.integers(1, 400), min_size=1, max_size=20), st.integers(10, 130))
def test_a_streamed_answer_ends_as_the_whole_one_is_drawn(
    content: str, thinking: str, sizes: list[int], width: int
) -> None:
    answer = Answer()
    view = ExchangeView(Exchange("Q?", answer), is_first=True, thinking_lines=4)
    work = Work()
    for text, kind in ((thinking, Reasoning), (content, Content)):
        start, pieces = 0, cycle(sizes)
        while start < len(text):
            piece = text[start : start + next(pieces)]
            start += len(piece)
            answer.apply(kind(piece))
            view.absorb()
            for block in view.blocks:
                block.lay_out(width, work)
                assert all(row.width <= width for row in block.rows[-4:])
    view.open = True
    answer.apply(FINISHED)
    view.absorb()
    while view.busy:
        view.absorb()
    past = Answer.past(content, thinking, thinking_tokens=answer.thinking_tokens, thinking_s=answer.thinking_s)
    past.tokens, past.finished = answer.tokens, answer.finished
    assert drawn(view.blocks, width) == whole(past, width)


@settings(max_examples=12)
@given(HOSTILE, HOSTILE, st.sampled_from([(80, 24), (120, 40), (12, 4), (3, 3)]))
def test_every_line_is_exactly_as_wide_as_the_widget(question: str, content: str, size: tuple[int, int]) -> None:
    async def check() -> None:
        seat = Seat(past(content, content, question))
        async with seat.run_test(size=size) as pilot:
            await settle(pilot, seat.transcript)
            toggle_all(seat.transcript)
            await settle(pilot, seat.transcript)
            for y in range(size[1]):
                assert sum(cell_len(segment.text) for segment in seat.transcript.render_line(y)) == size[0]

    asyncio.run(check())


def test_cutting_text_anywhere_cleans_it_the_same() -> None:
    text = "a\x1b[31mb\x1b]0;title\x07c\r\n👩‍👧"
    assert "".join(clean(char) for char in text) == clean(text) == "a[31mb]0;titlec\n👩👧"


async def test_a_line_of_ten_thousand_characters_is_wrapped() -> None:
    seat = Seat(past("x" * 10_000 + "\n\n" + "日本 " * 3_000))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        assert max(map(cell_len, seat.lines)) <= 79
        await pilot.press("home")
        await settle(pilot, seat.transcript)
        assert seat.lines[2] == "  " + "x" * 76


def follows(seat: Seat) -> bool:
    return seat.transcript.view.following


def numbered(count: int, start: int = 0) -> Iterator[Content]:
    return (Content(f"line {number}\n") for number in range(start, start + count))
