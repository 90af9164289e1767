"""Bars, sparklines and speeds: what the instruments are drawn from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from r1tui.events import Content as Answered
from r1tui.events import Finished, PromptProgress, Reasoning, Timings
from r1tui.tui.widgets.gauges import SHADES, SIXTEEN, bar, curve, digits, elided, one_line, sides, stacked_bar
from r1tui.tui.widgets.quantities import round_top
from r1tui.tui.widgets.speed import SpeedMeter

TIMINGS = Timings(prompt_tokens=1000, cached_tokens=0, prompt_tps=210.4, completion_tokens=229, tps=12.34)


@given(st.floats(-1, 2), st.integers(0, 60))
def test_a_bar_is_as_wide_as_it_should_be(share: float, width: int) -> None:
    for ink in (SHADES, SIXTEEN):
        assert bar(share, width, ink).cell_length == width


def test_bars_fill_by_eighths_and_by_halves() -> None:
    assert [bar(n / 16, 2, SHADES).plain for n in (0, 1, 8, 11, 16)] == ["  ", "▏ ", "█ ", "█▍", "██"]
    assert [bar(n / 4, 2, SIXTEEN).plain for n in range(5)] == ["░░", "▌░", "█░", "█▌", "██"]


@given(st.floats(-1, 2), st.floats(-1, 2), st.integers(0, 60))
def test_a_bar_of_two_shares_is_as_wide_as_it_should_be(ours: float, others: float, width: int) -> None:
    for ink in (SHADES, SIXTEEN):
        assert stacked_bar((ours, ""), (others, ""), width, ink).cell_length == width


def test_others_are_told_from_ours_and_from_what_is_free_without_colours() -> None:
    assert stacked_bar((0.5, "$primary"), (0.25, "$secondary"), 8, SIXTEEN).plain == "████▒▒░░"


def test_a_steady_rate_is_a_line_and_no_block() -> None:
    assert curve([8] * 8, 4, 2, 10, SHADES) == ["⠒⠒⠒⠒", "    "]
    assert curve([8] * 4, 4, 2, 10, SIXTEEN) == ["▄▄▄▄", "    "]


def test_a_curve_stands_at_the_right_and_joins_its_marks() -> None:
    assert curve([0, 10], 2, 1, 10, SHADES) == [" ⡸"]
    assert curve([0, 10], 4, 2, 10, SIXTEEN) == ["   █", "  ▄▀"]
    assert curve([], 2, 2, 10, SHADES) == ["  ", "  "]
    assert curve([99], 1, 1, 10, SHADES) == curve([10], 1, 1, 10, SHADES)


@given(st.lists(st.floats(0, 1e9), max_size=90), st.integers(0, 30), st.integers(1, 6), st.floats(0, 1e9))
def test_a_curve_is_as_large_as_it_should_be(values: list[float], width: int, height: int, top: float) -> None:
    for ink in (SHADES, SIXTEEN):
        assert [len(row) for row in curve(values, width, height, top, ink)] == [width] * height


def test_large_digits() -> None:
    assert digits("10.2") == ["╺┓ ┏━┓ ╺━┓", " ┃ ┃ ┃ ┏━┛", "╺┻╸┗━┛.┗━╸"]


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.16, 0.2), (1, 1), (9.4, 10), (12.1, 15), (104, 150)])
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert round_top(value) == pytest.approx(top)


def test_one_row_of_two_sides() -> None:
    assert sides(Content("left"), Content("right"), 12).plain == "left   right"
    assert sides(Content("left side"), Content("right"), 12).plain == "left … right"
    assert one_line(" a\tb\x1b[1m\nc ") == "a b c"
    assert elided("/a/long/path/to/a/file", 12) == "/a/l…/a/file"


def test_the_speed_is_that_of_the_last_seconds() -> None:
    now = [0.0]
    meter = SpeedMeter(lambda: now[0])
    for second in range(30):
        now[0] = float(second)
        tokens = 10 * second if second < 20 else 200 + 40 * (second - 20)
        meter.add(Timings(100, 0, 50.0, tokens, 12.0))
    assert meter.now_tps == pytest.approx(40)
    assert meter.average_tps == 12.0


def test_the_first_tokens_which_take_no_time_are_no_speed() -> None:
    now = [10.0]
    meter = SpeedMeter(lambda: now[0])
    meter.add(Timings(100, 0, 200.0, 1, 250_000.0))
    assert (meter.now_tps, meter.average_tps, meter.take_sample()) == (None, None, None)
    now[0] = 10.4
    meter.add(Timings(100, 0, 200.0, 5, 12.0))
    assert (meter.now_tps, meter.average_tps, meter.take_sample()) == (12.0, 12.0, 12.0)
    meter.add(Finished("stop", 100, 0, 1, 200.0, 250_000.0, 900.0))
    assert (meter.take_sample(), meter.average_tps) == (None, None)


def test_slow_tokens_are_watched_for_longer() -> None:
    now = [0.0]
    meter = SpeedMeter(lambda: now[0])
    for token in range(1, 12):
        now[0] = token * 6.0
        meter.add(Timings(100, 0, 0.5, token, 0.16))
    assert meter.now_tps == pytest.approx(1 / 6)


def test_an_answer_that_stands_still_has_no_speed_until_it_goes_on() -> None:
    now = [0.0]
    meter = SpeedMeter(lambda: now[0])
    for second, tokens in ((0.0, 5), (1.0, 65), (2.0, 125)):
        now[0] = second
        meter.add(Timings(100, 0, 50.0, tokens, 60.0))
    shown = []
    for second in range(3, 9):
        now[0] = float(second)
        shown.append(meter.take_sample())
    assert shown == [60.0] * 4 + [0.0] * 2
    meter.add(Timings(100, 0, 50.0, 130, 18.0))
    assert meter.take_sample() == 18.0
    for token, second in enumerate((20.0, 26.0, 32.0), 131):  # one token in six seconds is slow, and no standstill
        now[0] = second
        meter.add(Timings(100, 0, 50.0, token, 0.16))
    now[0] = 37.0
    assert meter.take_sample() != 0.0


def known(meter: SpeedMeter) -> tuple[float | None, ...]:
    return meter.now_tps, meter.average_tps, meter.prompt_tps


def test_an_answer_that_ends_has_an_average_and_no_speed() -> None:
    now = [0.0]
    meter = SpeedMeter(lambda: now[0])
    meter.add(TIMINGS)
    assert meter.now_tps == TIMINGS.tps
    meter.add(Finished("stop", 1000, 100, 500, 200.0, 11.5, 70.0))
    assert known(meter) == (None, 11.5, 200.0)
    now[0] = 100.0
    meter.add(Timings(1600, 1500, 0.0, 1, 0.0))
    assert known(meter) == (None, 11.5, 200.0)
    meter.end()
    assert meter.now_tps is None


def test_the_first_token_is_timed_while_the_answer_runs_and_the_server_s_word_counts_in_the_end() -> None:
    now = [10.0]
    meter = SpeedMeter(lambda: now[0])
    meter.asked()
    now[0] = 14.0
    meter.take([PromptProgress(400, 100, 250, 3000.0)])
    assert (meter.prompt_tps, meter.first_token_s) == (50.0, None)
    now[0] = 20.5
    meter.take([Reasoning("Hm")])
    assert meter.first_token_s == 10.5, "by this clock while the server has not said"
    meter.take([TIMINGS])
    assert meter.first_token_s == pytest.approx(1000 / 210.4), "of its own time, without the wait"
    now[0] = 30.0
    meter.take([Answered("Yes"), Finished("stop", 1000, 100, 500, 200.0, 11.5, 10_400.0, 1_000.0)])
    assert meter.first_token_s == 9.4
    meter.asked()
    assert meter.first_token_s is None


def test_the_first_token_takes_its_time_though_everything_is_read_at_once() -> None:
    meter = SpeedMeter(lambda: 10.0)
    meter.asked()
    meter.take([PromptProgress(33, 32, 32, 0.0), Answered("Yes"), Timings(33, 32, 50.0, 1, 0.0)])
    assert meter.first_token_s == pytest.approx(0.02)


def test_the_record_of_an_answer_tells_nothing_of_its_first_token() -> None:
    meter = SpeedMeter()
    meter.take([Reasoning("Hm"), Finished("stop", 1000, 100, 500, 200.0, 11.5, 0.1)])
    assert meter.first_token_s is None


def test_how_far_an_answer_is() -> None:
    meter = SpeedMeter()
    seen = [meter.phase]
    meter.asked()
    seen.append(meter.phase)
    for event in (PromptProgress(400, 100, 250, 3000.0), Reasoning("Hm"), TIMINGS, Answered("Yes"), TIMINGS):
        meter.take([event])
        seen.append(meter.phase)
    meter.take([Finished("stop", 1000, 100, 500, 200.0, 11.5, 10_400.0)])
    reading, thinking, answering = "reading the prompt", "thinking", "answering"
    assert [*seen, meter.phase] == ["", reading, reading, thinking, thinking, answering, answering, ""]


def test_figures_of_the_server_before_are_forgotten() -> None:
    meter = SpeedMeter()
    meter.asked()
    meter.take([Reasoning("Hm"), TIMINGS])
    meter.forget()
    assert (*known(meter), meter.first_token_s, meter.reused) == (None,) * 5
