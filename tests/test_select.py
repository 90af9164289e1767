"""Acting on exchanges and listings: the keys of what is marked, without a server; copies and files are looked at."""

from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation
from r1tui.events import Content, Finished, Reasoning, Timings
from r1tui.tui.screens.overlays import FiguresScreen
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.selection import Selection
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.transcript_blocks import Work
from tests.select_rig import BROKEN, PYTHON, chat, exchange, marked, talk
from tests.transcript_rig import Seat, asked, send, settle
from tests.tui_rig import until


async def test_the_mark_walks_over_exchanges_and_listings_and_leaves_the_prompt_as_it_was(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        await one.press(*"draft", "ctrl+y")
        assert one.mark == ("Second?", 0)
        assert one.bar == "Question 2 of 2"
        assert [row for row in one.marked_rows if row] == ["❯ Second?", "  No code."]
        await one.press("up")
        assert one.mark == ("First?", 2)
        assert [row.split() for row in one.marked_rows] == [
            ["▎", "python"], ["▎", "x", "=", "1"], ["▎", "y", "=", "(2"], ["▎", "z", "=", "3"],
        ]  # fmt: skip
        assert one.bar == "Code 2 of 2 · python · 3 lines · code.py"
        await one.press("k")
        assert one.bar == "Code 1 of 2 · python · 3 lines · game.py"
        await one.press("k", "k", "up")
        assert one.mark == ("First?", 0)
        await one.press("end")
        assert one.mark == ("Second?", 0)
        await one.press("home", "j")
        assert one.mark == ("First?", 1)
        await one.press("x", "escape")
        assert one.app.chat.widgets.selection.mark is None
        assert one.marked_rows == []
        assert one.prompt.has_focus
        await one.press("!")
        assert one.prompt.text == "draft!"


async def test_the_footer_has_the_keys_of_what_is_marked(tmp_path: Path) -> None:
    async with chat(tmp_path, talk(), (80, 24)) as one:
        await one.press("ctrl+y", "home")

        def shown() -> set[str]:
            return {binding.binding.description for binding in one.app.screen.active_bindings.values()}

        assert {"Edit", "Retry", "Delete", "Copy", "Thinking", "Done"} <= shown()
        assert not {"Branch", "Undo"} & shown()
        await one.press("down")
        assert {"Copy", "Save", "Check", "Done"} <= shown()
        assert not {"Edit", "Delete"} & shown()
        await one.press("end")
        assert "Check" not in shown(), "there is no code"


async def test_typing_elsewhere_ends_the_selection_and_a_click_marks_only_in_it(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        row = one.lines.index("❯ Second?")
        await one.pilot.click(Transcript, offset=(5, row))
        assert one.mark is None
        await one.press("ctrl+y", "home")
        await one.pilot.click(Transcript, offset=(5, row))
        await until(one.pilot, lambda: one.mark == ("Second?", 0))
        assert one.app.chat.query_one(Selection).has_focus
        await one.pilot.click(Prompt)
        await until(one.pilot, lambda: one.mark is None)
        assert not one.app.chat.query_one(Selection).display
        assert one.prompt.has_focus


async def test_copies_are_the_code_or_the_answers_markdown(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        await one.press("ctrl+y", "y")
        assert one.app.clipboard == "No code."
        await one.press("up", "y")
        assert one.app.clipboard == "x = 1\ny = (2\nz = 3\n"
        assert one.said[-1] == "Copied: 19 characters. Sent to the terminal. S saves it to a file."
        await one.press("home", "y")
        assert one.app.clipboard == one.conversation.exchanges[0].answer.content.text
        await one.press("escape")
        await one.app.chat.action_do("selection", "copy_code")
        assert one.app.clipboard == "x = 1\ny = (2\nz = 3\n"


@pytest.mark.parametrize("key", ["ctrl+right_square_bracket", "alt+c"])
async def test_a_key_copies_the_last_answer_that_has_words(tmp_path: Path, key: str) -> None:
    conversation = Conversation("c", [exchange("First?", "**One.**", "Hm."), exchange("Second?", "")])
    async with chat(tmp_path, conversation) as one:
        await one.press("x", key)
        assert one.app.clipboard == "**One.**"
        assert one.prompt.text == "x"
    async with chat(tmp_path, Conversation("c", [exchange("First?", "")])) as one:
        await one.press(key)
        assert one.app.clipboard == ""
        assert one.said == ["There is no answer in this conversation."]


async def test_what_is_copied_is_not_a_key_where_it_is_pasted(tmp_path: Path) -> None:
    async with chat(tmp_path, Conversation("c", [exchange("?", "a\x1b[201~\x03b\tc\n")])) as one:
        await one.press("ctrl+y", "y")
        assert one.app.clipboard == "a[201~b\tc\n"


async def test_a_listing_is_checked_and_its_wrong_line_is_shown(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        await one.press("ctrl+y", "up", "c")
        await until(one.pilot, lambda: "Syntax error" in one.bar)
        assert one.bar == "Syntax error in line 2: '(' was never closed."
        await settle(one.pilot, one.transcript)
        (wrong,) = [
            strip.text for y in range(one.transcript.size.height)
            if (strip := one.transcript.render_line(y)) and all(s.style and s.style.reverse for s in list(strip)[:-1])
        ]  # fmt: skip
        assert wrong.split()[:2] == ["▎", "y"]
        await one.press("up", "c")
        await until(one.pilot, lambda: one.bar == "The syntax is correct; nothing was executed.")


async def test_of_a_marked_exchange_the_only_listing_is_checked_and_of_several_one_is_to_be_marked(
    tmp_path: Path,
) -> None:
    exchanges = [exchange("First?", PYTHON), exchange("Second?", PYTHON + BROKEN), exchange("Third?", "No code.")]
    async with chat(tmp_path, Conversation("c", exchanges)) as one:
        await one.press("ctrl+y", "home", "c")
        await until(one.pilot, lambda: one.bar == "The syntax is correct; nothing was executed.")
        assert one.mark == ("First?", 1)
        await one.press("down", "c")
        assert one.mark == ("Second?", 0)
        assert one.bar == "There are 2 code blocks: Down selects the next, C checks it."


async def test_the_wrong_line_of_a_long_listing_is_brought_into_view(tmp_path: Path) -> None:
    code = "x = 1\n" * 600 + "oh no\n" + "x = 1\n" * 600
    async with chat(tmp_path, Conversation("c", [exchange("?", f"```python\n{code}```\n")]), (80, 24)) as one:
        await one.press("ctrl+y", "c")
        await until(one.pilot, lambda: "line 601" in one.bar)
        await settle(one.pilot, one.transcript)
        assert any("oh no" in line for line in one.lines)


async def test_an_exchange_is_deleted_and_put_back(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        await one.press("ctrl+y", "home", "d")
        assert one.questions == ["Second?"]
        assert "First?" not in "".join(one.lines)
        assert one.mark == ("Second?", 0)
        await one.press("d")
        assert one.questions == []
        assert one.app.chat.widgets.selection.mark is None
        await one.press("u")
        assert one.questions == ["Second?"]
        await one.press("u")
        assert one.questions == ["First?", "Second?"]
        assert one.mark == ("First?", 0)
        assert [line for line in one.lines if "❯" in line] == ["❯ First?", "❯ Second?"]


async def test_branches_are_numbered_and_walked(tmp_path: Path) -> None:
    conversation = talk()
    first, second = conversation.exchanges
    other = conversation.ask_instead(first, "First, again?")
    other.answer = Answer.past("Another answer.")
    async with chat(tmp_path, conversation) as one:
        assert "  ◂ 2/2 ▸" in one.lines
        await one.press("ctrl+y")
        assert one.bar == "Question 1 of 1, branch 2 of 2"
        await one.press("left")
        assert one.conversation.exchanges == [first, second]
        assert "  ◂ 1/2 ▸" in one.lines
        assert one.mark == ("First?", 0)
        await one.press("l")
        assert one.conversation.exchanges == [other]
        await one.press("l", "d")
        assert one.conversation.exchanges == [second]
        assert one.conversation.branches(second) == [second, other]
        assert "  ◂ 1/2 ▸" in one.lines


async def test_opening_the_thinking_of_the_marked_exchange(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        await one.press("ctrl+y", "home", "t")
        assert "│ Hm." in one.lines
        await one.press("t")
        assert "│ Hm." not in one.lines


async def test_editing_says_so_and_esc_puts_back_what_the_prompt_had(tmp_path: Path) -> None:
    async with chat(tmp_path, talk()) as one:
        one.app.chat.models.ready = True
        await one.press(*"draft", "ctrl+y", "home", "e")
        assert one.prompt.text == "First?"
        assert str(one.prompt.border_title) == "Editing question 1: Enter asks again, Esc cancels"
        await one.press("!", "escape")
        assert one.prompt.text == "draft"
        assert not one.prompt.border_title
        assert one.questions == ["First?", "Second?"]
        await one.press("ctrl+y", "end", "e", "ctrl+n")
        assert not one.prompt.border_title
        assert one.prompt.text == "draft"


async def test_an_edit_ends_with_the_branch_that_its_question_is_of(tmp_path: Path) -> None:
    conversation = talk()
    conversation.ask_instead(conversation.exchanges[1], "Other?").answer = Answer.past("Yes.")
    async with chat(tmp_path, conversation) as one:
        one.app.chat.models.ready = True
        await one.press("ctrl+y", "e")
        assert one.prompt.text == "Other?"
        await one.press("ctrl+y", "end", "left")
        assert one.questions == ["First?", "Second?"]
        assert one.app.chat.composer.edited is None
        assert one.prompt.text == ""


async def test_while_an_answer_runs_nothing_can_lose_it_and_copies_work(tmp_path: Path) -> None:
    conversation = talk()
    running = conversation.ask("Third?")
    running.answer.apply(Reasoning("Hm"))
    async with chat(tmp_path, conversation) as one:
        one.app.chat.models.ready = True
        await one.press("ctrl+y")
        for key in "erd":
            await one.press(key)
            assert "Esc" in one.said.pop()
        assert one.questions == ["First?", "Second?", "Third?"]
        await one.press("up", "y")
        assert one.app.clipboard == "No code."


async def test_a_mark_costs_nothing_while_the_answer_grows_and_stays_where_it_is() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("```python\nx = 1\n```\n\nSome words."))
        seat.transcript.put_mark(seat.transcript.first_mark())
        await settle(pilot, seat.transcript)
        before, rows = Work(**vars(seat.transcript.work)), marked(seat.transcript)
        assert len(rows) == 2
        await send(pilot, seat, Content(" and more"))
        assert seat.transcript.work.rows_refreshed - before.rows_refreshed == 1
        for number in range(100):
            await send(pilot, seat, Content(f"\n\nline {number}"))
        assert marked(seat.transcript) == rows
        assert not seat.transcript.view.following


async def test_all_that_is_known_of_an_answer_is_shown_and_its_texts_are_no_markup(tmp_path: Path) -> None:
    shown = exchange("Second?", "No code.", "Hm.")
    shown.model, shown.endpoint, shown.sampling = "r1 [b]", "unix:/s.sock", "temperature 0.6, seed 7"
    shown.answer.apply(Timings(2800, 800, 96.4, 1304, 3.2))
    shown.answer.apply(Finished("length", 2800, 1204, 1304, 96.4, 3.14, 16_200.0, 12_000.0))
    async with chat(tmp_path, Conversation("c", [shown]), (100, 40)) as one:
        await one.press("ctrl+y", "i")
        screen = one.app.screen
        assert isinstance(screen, FiguresScreen)
        text = "\n".join("".join(segment.text for segment in line) for line in screen._compositor.render_strips())
        for row in (
            "Model        r1 [b]",
            "Server       unix:/s.sock",
            "Sampling     temperature 0.6, seed 7",
            "Prompt       2,800 tokens at 96.4 tok/s",
            "Reused       800 tokens of the prompt",
            "Waited       12 s until the server took the question",
            "First token  after 4.20 s",
            "Thinking     1,204 tokens in 2 min",
            "Answer       100 tokens",
            "Speed        3.14 tok/s",
            "Time         7 min",
            "Context      4,104 tokens with prompt and answer",
            "Ended        cut off by max_tokens",
        ):
            assert row in text
        await one.press("i")
        assert one.app.screen is one.app.chat
        assert one.mark == ("Second?", 0), "what was marked still is"
