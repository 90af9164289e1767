"""The transcript while thinking and answer grow: what is shown of a block before its end."""

import re

import pytest

from r1tui.events import Content, Reasoning
from r1tui.tui.widgets import transcript_blocks
from r1tui.tui.widgets.transcript_blocks import LastLines, OpenMarkdown, Work
from r1tui.tui.widgets.transcript_exchange import ExchangeView
from tests.transcript_rig import FINISHED, Seat, asked, send, settle, timings


async def test_the_last_lines_of_the_thinking_run_by_until_the_answer_begins() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(40, 24)) as pilot:
        await send(pilot, seat, Reasoning("one\n\ntwo\n"), Reasoning("\nthree\nfour\nfi"))
        await send(pilot, seat, Reasoning("ve " * 20), timings(9))
        assert seat.lines[2].startswith("▸ thinking… 9 tokens")
        assert seat.lines[3:8] == ["│ three", "│ four", "│ " + "five" + " ve" * 10, "│ " + "ve " * 8 + "ve", ""]
        await send(pilot, seat, Content("So"))
        assert "│" not in seat.text
        assert "  So" in seat.lines


async def test_the_last_lines_of_the_thinking_are_as_of_the_whole_at_every_width() -> None:
    words = "".join(f"word{number} " + ("\n" if number % 17 == 0 else "") for number in range(3000))
    seat, shown = Seat(asked()), {}
    async with seat.run_test(size=(60, 24)) as pilot:
        for start in range(0, len(words), 500):
            await send(pilot, seat, Reasoning(words[start : start + 500]))
        for width in (60, 45, 100):
            await pilot.resize_terminal(width, 24)
            await settle(pilot, seat.transcript)
            shown[width] = seat.lines[3:]
            assert sum("│" in line for line in seat.lines) == 4
    for width, lines in shown.items():
        at_once = Seat(asked())
        async with at_once.run_test(size=(width, 24)) as pilot:
            await send(pilot, at_once, Reasoning(words))
            assert at_once.lines[3:] == lines


async def test_thinking_is_one_line_where_none_of_its_own_are_wanted() -> None:
    view = ExchangeView(asked().ask("Q?"), is_first=True, thinking_lines=0)
    view.exchange.answer.apply(Reasoning("one\ntwo"))
    view.absorb()
    assert [block for block in view.blocks if isinstance(block, LastLines)] == []


async def test_a_paragraph_is_markdown_while_it_grows_and_what_is_above_stays() -> None:
    text = (
        "Here is a **complete** version with `code_of(2 * 3)`, *more* and [a link](http://x.y/z), and so on and on.\n\n"
        "- **First**: the one thing\n- the other:\n  1. nested\n  2. **deep**er\n\n## Heading\n\nThe ~~end~~ `now`.\n"
    )
    seat = Seat(asked())
    async with seat.run_test(size=(40, 40)) as pilot:
        before: list[str] = []
        for character in text:
            await send(pilot, seat, Content(character))
            shown = [line for line in seat.lines if line]
            assert not re.search(r"\*\*|`|~~|##|  -$|\]\(", "\n".join(shown))
            stays = before[:-1]
            assert shown[: len(stays)] == stays
            before = shown
        await send(pilot, seat, FINISHED)
        assert before == [line for line in seat.lines if line][: len(before)]
        assert {"  • First: the one thing", "    1. nested", "    2. deeper"} <= set(before)


async def test_a_growing_table_keeps_its_columns_where_they_are() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(60, 24)) as pilot:
        await send(pilot, seat, Content("| a | b |\n|---|---|\n| 1 | **2"))
        assert seat.lines[2:5] == ["  | a | b |", "  |---|---|", "  | 1 | **2"]
        await send(pilot, seat, Content("** |\n\nEnd"))
        assert seat.lines[2:5] == ["  a │ b", "  ──┼──", "  1 │ 2"]


async def test_a_long_block_is_rendered_less_often_and_in_the_end_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(transcript_blocks, "monotonic", lambda: clock[0])
    block, work = OpenMarkdown("word " * 1000), Work()
    block.lay_out(80, work)
    before = work.rows_built
    for _ in range(100):
        block.append("**more** ")
        block.lay_out(80, work)
    assert (work.rows_built, block.is_fine(80)) == (before, False)
    clock[0] += 1
    block.lay_out(80, work)
    assert block.is_fine(80)
    assert "more more" in "".join(text for text, _ in block.rows[-1].spans)
