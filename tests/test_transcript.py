"""The transcript: what it draws, what it follows, and that it never draws more than it must."""

from collections.abc import Iterator

import pytest
from textual import events
from textual.pilot import Pilot

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation
from r1tui.events import Content, Failed, Finished, PromptProgress, Reasoning, Waits
from r1tui.remedies import ShowLog
from r1tui.tui.widgets import transcript
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.transcript_blocks import Work
from r1tui.tui.widgets.transcript_viewport import JUMP_ROWS
from tests.transcript_rig import FINISHED, MARKDOWN, Seat, asked, past, send, settle, timings, toggle_all


def numbered(count: int, start: int = 0) -> Iterator[Content]:
    return (Content(f"line {number}\n") for number in range(start, start + count))


def follows(seat: Seat) -> bool:
    return seat.transcript.view.following


async def test_an_answer_is_markdown_with_its_parts() -> None:
    seat = Seat(past(MARKDOWN, "Hm."))
    async with seat.run_test(size=(80, 40)) as pilot:
        await settle(pilot, seat.transcript)
        lines = seat.lines
    assert lines[0] == "❯ Q?"
    assert "▸ thought 1,204 tokens in 2 min" in lines
    assert "  A bold start with code, more of it and a link (http://x.y)." in lines
    assert "  1. One thing, said at some length so that it has to be wrapped when the" in lines
    assert "     screen is narrow." in lines
    assert "     ◦ nested" in lines
    assert lines[lines.index("  ▎ python") + 1] == "  ▎ def f(x: int) -> int:"
    assert "  Name │ Value" in lines
    assert "  a    │     1" in lines
    assert "  ▌ Quoted." in lines
    assert "Hm." not in "".join(lines)


async def test_what_happens_to_an_answer_is_a_line() -> None:
    seat = Seat(asked())
    seat.conversation.exchanges[-1].answer = Answer(lambda: 100.0)
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, PromptProgress(2800, 800, 1200, 4000.0))
        assert "  reading ████████░░░░░░░░░░░░ 42 % of 2,800 tokens, 100.0/s, 16 s left" in seat.lines
        await send(pilot, seat, Reasoning("Hm"))
        assert any(line.startswith("▸ thinking… 1 token, ") for line in seat.lines)
        await send(pilot, seat, timings(1204))
        assert any(line.startswith("▸ thinking… 1,204 tokens, ") for line in seat.lines)
        assert "reading" not in seat.text
        await send(pilot, seat, Content("Half an ans"), Failed("The server [b]ended[/b].", remedies=(ShowLog(),)))
        lines = seat.lines
    assert "  Half an ans" in lines
    assert lines[lines.index("✗ The server [b]ended[/b].") + 1].startswith("  F6 (the log) shows why. F8 continues it")


async def test_a_stopped_answer_keeps_what_came_and_says_so() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("one **two"), Finished("cancelled", 12, 0, 4, 100.0, 50.0, 10.0))
        assert "  one **two" in seat.lines
        assert "  Stopped. F8 continues it." in seat.lines


async def test_a_line_below_the_answer_says_how_it_was_made_and_a_narrow_one_says_less() -> None:
    seat = Seat(asked())
    seat.conversation.exchanges[-1].model = "r1-iq1_s"
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("Yes."), timings(40))
        assert "tok/s" not in seat.text, "it runs"
        await send(pilot, seat, Finished("stop", 12, 0, 40, 100.0, 3.14, 4200.0))
        lines = ["  r1-iq1_s · 40 tokens · 3.14 tok/s · first token 4.20 s · 17 s · complete"]
        assert seat.lines[2:5] == ["  Yes.", "", lines[0]]
        for width in (61, 46, 36, 29, 17):
            await pilot.resize_terminal(width, 24)
            await settle(pilot, seat.transcript)
            lines.append(seat.lines[4])
    assert lines[1:] == [
        "  r1-iq1_s · 40 tokens · 3.14 tok/s · 17 s · complete",
        "  r1-iq1_s · 3.14 tok/s · complete",
        "  r1-iq1_s · 3.14 tok/s · complete",
        "  r1-iq1_s · 3.14 tok/s",
        "  3.14 tok/s",
    ]


@pytest.mark.parametrize(
    ("reason", "said", "word"),
    [
        ("cancelled", "  Stopped. F8 continues it.", "stopped"),
        (
            "length",
            "  Cut off at the token limit (sampling.max_tokens). F8 continues it.",
            "cut off by max_tokens",
        ),
    ],
)
async def test_how_an_answer_ended_stands_right_below_what_can_be_done(reason: str, said: str, word: str) -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(100, 24)) as pilot:
        await send(pilot, seat, Content("one"), Finished(reason, 12, 0, 4, 100.0, 50.0, 10.0))
        assert (
            seat.lines[seat.lines.index(said) + 1] == f"  4 tokens · 50.0 tok/s · first token 0.01 s · 0.09 s · {word}"
        )


async def test_a_single_token_is_no_speed() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(100, 24)) as pilot:
        await send(pilot, seat, Content("Yes"), Finished("stop", 12, 0, 1, 100.0, 250_000.0, 500.0))
        assert "  1 token · first token 0.50 s · 0.50 s · complete" in seat.lines


async def test_the_wait_for_another_s_answer_stands_apart_from_the_first_token() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(100, 24)) as pilot:
        await send(pilot, seat, Waits(None, 12.4))
        assert "  Waiting for the server: 12 s. Esc stops." in seat.lines
        await send(pilot, seat, Waits(30, 13.4))
        ahead = "another client's answer is running, 30 tokens so far"
        assert f"  Waiting: {ahead}. Esc takes the question back." in seat.lines
        await send(pilot, seat, Content("one"), Finished("stop", 12, 0, 4, 100.0, 50.0, 18_000.0, 12_400.0))
        assert "  4 tokens · 50.0 tok/s · first token 5.60 s · waited 12 s · 5.68 s · complete" in seat.lines
        await pilot.resize_terminal(60, 24)
        await settle(pilot, seat.transcript)
        assert "  4 tokens · 50.0 tok/s · waited 12 s · 5.68 s · complete" in seat.lines


async def test_an_answer_that_goes_on_is_drawn_as_one_that_came_at_once() -> None:
    seat, whole = Seat(asked()), Seat(past("```python\nx = 1\ny = 2\n```\n\n- one\n- two\n"))
    cut = Finished("length", 12, 0, 4, 100.0, 50.0, 10.0)
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("```python\nx = 1"), cut)
        assert "  Cut off at the token limit (sampling.max_tokens). F8 continues it." in seat.lines
        for rest in ("\ny = 2\n``", "`\n\n- one\n- two\n"):
            seat.conversation.exchanges[-1].answer.go_on()
            seat.transcript.touch()
            await settle(pilot, seat.transcript)
            await send(pilot, seat, Content(rest), FINISHED if rest.endswith("\n") else cut)
        drawn = seat.lines
    async with whole.run_test(size=(80, 24)) as pilot:
        await settle(pilot, whole.transcript)
        assert [line for line in whole.lines if not line.startswith(("▸", "▾"))][:9] == drawn[:9]


async def test_only_the_last_answer_says_that_a_key_goes_on_with_it() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("one"), Finished("context", 12, 0, 4, 100.0, 50.0, 10.0))
        assert "F8" in seat.text
        seat.conversation.ask("And?")
        await send(pilot, seat, Content("two"))
        assert "the context is full" in seat.text
        assert "F8" not in seat.text


async def test_reading_the_prompt_repaints_one_row() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, PromptProgress(2800, 0, 100, 1000.0))
        before = seat.transcript.work.rows_refreshed
        await send(pilot, seat, PromptProgress(2800, 0, 1200, 12000.0))
        assert seat.transcript.work.rows_refreshed == before + 1


async def test_following_stays_at_the_end_and_leaves_room_there() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        for number in range(60):
            await send(pilot, seat, Content(f"line {number}\n"))
            shown = seat.lines
            assert f"  line {number}" in shown
            last = max(y for y, line in enumerate(shown) if line)
            assert number < 24 or last >= 24 - JUMP_ROWS - 1


async def test_what_fits_is_shown_from_its_beginning_when_the_view_grows() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 2)) as pilot:
        await send(pilot, seat, Reasoning("Hm"), timings(9))
        assert seat.lines[0] != "❯ Q?"
        await pilot.resize_terminal(80, 24)
        await send(pilot, seat, Reasoning("Hm"), timings(10))
        assert seat.lines[0] == "❯ Q?"


async def test_scrolling_up_releases_and_end_takes_it_again() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, *numbered(100))
        await pilot.press("pageup")
        before = seat.lines
        assert not follows(seat)
        await send(pilot, seat, *numbered(100, start=100))
        assert seat.lines == before
        await pilot.press("end")
        await settle(pilot, seat.transcript)
        assert follows(seat)
        assert "  line 199" in seat.lines
        await pilot.press("up")
        assert not follows(seat)
        await pilot.press("home")
        assert seat.lines[0] == "❯ Q?"
        await pilot.press("down")
        assert "❯ Q?" not in seat.lines
        for _ in range(12):
            await pilot.press("pagedown")
        assert follows(seat)


async def turn_wheel(pilot: Pilot[None], seat: Seat, kind: type[events.MouseEvent]) -> None:
    nothing_held = (False, False, False)
    seat.transcript.post_message(kind(seat.transcript, 1, 1, 0, 0, 0, *nothing_held))
    await settle(pilot, seat.transcript)


async def test_the_wheel_scrolls() -> None:
    seat = Seat(past("\n\n".join(f"line {number}" for number in range(50))))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        end = seat.lines
        await turn_wheel(pilot, seat, events.MouseScrollUp)
        assert seat.lines[3:] == end[:-3]
        await turn_wheel(pilot, seat, events.MouseScrollDown)
        assert seat.lines == end


async def test_code_is_in_its_frame_before_its_fence_has_an_end() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("Here:\n\n``"))
        await send(pilot, seat, Content("`python\nx = 1\n"), Content("y = 2"))
        shown = [line.strip() for line in seat.lines]
        assert [line for line in shown if line.startswith("▎")] == ["▎ python", "▎ x = 1", "▎ y = 2"]
        assert not any("`" in line for line in shown)
        await send(pilot, seat, Content("\n```\n\nDone.\n"))
        assert [line.strip() for line in seat.lines if "▎" in line] == ["▎ python", "▎ x = 1", "▎ y = 2"]


async def test_a_view_that_was_scrolled_stays_while_the_block_in_it_is_finished() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("```python\n"), *(Content(f"x{number} = 1\n") for number in range(80)))
        await pilot.press("pageup", "pageup")
        before = [line.strip() for line in seat.lines]
        await send(pilot, seat, Content("```\n\nAfter.\n"))
        assert [line.strip() for line in seat.lines] == before


async def test_thinking_opens_and_closes_where_it_is() -> None:
    seat = Seat(past("Answer.\n" * 40, "First thought.\n\n* not a list\n" + "more\n" * 50))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        await pilot.press("home")
        folded = seat.lines
        seat.transcript.toggle_thinking()
        await settle(pilot, seat.transcript)
        opened = seat.lines
        assert opened[2].startswith("▾ thought")
        assert opened[3:6] == ["│ First thought.", "│", "│ * not a list"]
        seat.transcript.toggle_thinking()
        await settle(pilot, seat.transcript)
        assert seat.lines == folded
        await pilot.click(Transcript, offset=(4, 2))
        await settle(pilot, seat.transcript)
        assert seat.lines == opened


async def test_opening_from_the_end_shows_the_beginning_of_the_thinking() -> None:
    seat = Seat(past("Answer.\n" * 40, "First thought.\n" + "more\n" * 50))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        seat.transcript.toggle_thinking()
        await settle(pilot, seat.transcript)
        assert seat.lines[0].startswith("▾ thought")
        assert seat.lines[1] == "│ First thought."


async def test_all_thinking_opens_and_closes_together() -> None:
    exchanges = [*past("one", "thought one").exchanges, *past("two", "thought two").exchanges]
    seat = Seat(Conversation("c", exchanges))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        toggle_all(seat.transcript)
        await settle(pilot, seat.transcript)
        assert {"│ thought one", "│ thought two"} <= set(seat.lines)
        toggle_all(seat.transcript)
        await settle(pilot, seat.transcript)
        assert "│" not in seat.text


async def test_resizing_in_the_middle_of_a_stream_wraps_anew_and_loses_nothing() -> None:
    seat = Seat(asked())
    sizes = [(40, 12), (120, 40), (7, 5), (200, 60), (80, 24)]
    async with seat.run_test(size=(80, 24)) as pilot:
        for number in range(0, len(MARKDOWN), 16):
            await send(pilot, seat, Reasoning("thinking ") if number < 64 else Content(MARKDOWN[number - 64 :][:16]))
            if number % 64 == 0:
                await pilot.resize_terminal(*sizes[number // 64 % len(sizes)])
        await send(pilot, seat, Content(MARKDOWN[number - 48 :]), FINISHED)
        await pilot.resize_terminal(80, 40)
        await settle(pilot, seat.transcript)
        streamed = [line if "tok/s" not in line else "" for line in seat.lines]
    other = Seat(past(MARKDOWN, "x"))
    async with other.run_test(size=(80, 40)) as pilot:
        await settle(pilot, other.transcript)
        assert streamed[4:] == other.lines[4:]


async def test_rendering_a_long_answer_takes_several_slices_and_the_end_is_drawn_first() -> None:
    code = "```python\n" + "value = compute(1, 'two', 3.0)  # and more\n" * 1500 + "```\n\n"
    seat = Seat(past(code + "Last **words**.\n"))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        assert seat.lines[-1] == "  Last words."
        assert seat.transcript.work.slices > 2


@pytest.mark.parametrize("is_open", [False, True])
async def test_16000_tokens_of_thinking_stay_flat(is_open: bool) -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(120, 40)) as pilot:
        await send(pilot, seat, Reasoning("Well.\n"), timings(1))
        if is_open:
            seat.transcript.toggle_thinking()
        built: list[int] = []
        refreshed: list[int] = []
        for tenth in range(10):
            before = Work(**vars(seat.transcript.work))
            for number in range(4):
                tokens = [Reasoning("thought " if count % 40 else ".\n") for count in range(400)]
                await send(pilot, seat, *tokens, timings(tenth * 1600 + number * 400))
            built.append(seat.transcript.work.rows_built - before.rows_built)
            refreshed.append(seat.transcript.work.rows_refreshed - before.rows_refreshed)
    assert built[-1] <= built[0] * 1.3 + 40
    assert refreshed[-1] <= refreshed[0] * 1.3 + 40
    assert sum(built) < 2000


async def test_a_flush_refreshes_only_the_rows_that_changed() -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("some words"))
        before = Work(**vars(seat.transcript.work))
        await send(pilot, seat, Content(" and more"))
        assert seat.transcript.work.rows_refreshed - before.rows_refreshed == 1
        assert seat.transcript.work.rows_built - before.rows_built == 1


async def test_what_comes_an_instant_before_the_next_drawing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(80, 24)) as pilot:
        await send(pilot, seat, Content("some words"))
        monkeypatch.setattr(transcript, "monotonic", lambda: 1000.0)
        seat.transcript.flush()
        seat.transcript.set_pace(1e9, wide_jumps=False)
        await send(pilot, seat, Content(" and more"))
        assert "some words and more" in seat.text


async def test_another_conversation_replaces_the_first_from_its_end() -> None:
    seat = Seat(past("one", "x"))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        seat.transcript.show(past("\n\n".join(map(str, range(99)))))
        await settle(pilot, seat.transcript)
        assert seat.lines[-1] == "  98"
        seat.transcript.show(Conversation("empty"))
        await settle(pilot, seat.transcript)
        assert seat.text.strip() == ""


async def test_colours_follow_the_theme() -> None:
    seat = Seat(past("`x`"))
    async with seat.run_test(size=(80, 24)) as pilot:
        await settle(pilot, seat.transcript)
        seen = set()
        for theme in ("textual-dark", "textual-light", "ansi-dark"):
            seat.theme = theme
            await settle(pilot, seat.transcript)
            seen.add(str(next(iter(seat.transcript.render_line(2))).style))
    assert len(seen) == 3
