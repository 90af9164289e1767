"""Bars, sparklines and speeds: what the instruments are drawn from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content

from r1tui.events import Content as Answered
from r1tui.events import Finished, PromptProgress, Reasoning, Timings
from r1tui.tui.widgets.gauges import LEVELS, SHADES, SIXTEEN, bar, chart, elided, one_line, sides, sparkline
from r1tui.tui.widgets.speed import SpeedMeter

TIMINGS = Timings(prompt_tokens=1000, cached_tokens=0, prompt_tps=210.4, completion_tokens=229, tps=12.34)


@given(st.floats(-1, 2), st.integers(0, 60))
def test_a_bar_is_as_wide_as_it_should_be(share: float, width: int) -> None:
    for ink in (SHADES, SIXTEEN):
        assert bar(share, width, ink).cell_length == width


def test_bars_fill_by_eighths_and_by_halves() -> None:
    assert [bar(n / 16, 2, SHADES).plain for n in (0, 1, 8, 11, 16)] == ["  ", "▏ ", "█ ", "█▍", "██"]
    assert [bar(n / 4, 2, SIXTEEN).plain for n in range(5)] == ["░░", "▌░", "█░", "█▌", "██"]


def test_a_sparkline_stands_on_zero() -> None:
    assert sparkline([4, 8], 4) == "  ▅█"
    assert sparkline([1, 1, 1], 2) == "██"
    assert sparkline([0, 0], 3) == " ▁▁"
    assert sparkline([], 3) == "   "
    assert set(sparkline(range(100), 50)) <= set(LEVELS)


def test_a_chart_is_a_sparkline_of_several_rows() -> None:
    assert chart([0, 1, 4, 8], 5, 2, 8) == ["   ▁█", " ▁▃██"]
    assert chart([16], 1, 3, 8) == ["█", "█", "█"]
    assert chart([], 2, 2) == ["  ", "  "]


@given(st.lists(st.floats(0, 1e9), max_size=30), st.integers(0, 30), st.integers(1, 6))
def test_a_chart_is_as_large_as_it_should_be(values: list[float], width: int, height: int) -> None:
    assert [len(row) for row in chart(values, width, height)] == [width] * height


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
    assert len(meter.history) == 30
    assert list(meter.history)[5] == pytest.approx(10)


def test_slow_tokens_are_watched_for_longer() -> None:
    now = [0.0]
    meter = SpeedMeter(lambda: now[0])
    for token in range(1, 12):
        now[0] = token * 6.0
        meter.add(Timings(100, 0, 0.5, token, 0.16))
    assert meter.now_tps == pytest.approx(1 / 6)


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
    meter.take([Reasoning("Hm"), TIMINGS])
    assert meter.first_token_s == 10.5
    now[0] = 30.0
    meter.take([Answered("Yes"), Finished("stop", 1000, 100, 500, 200.0, 11.5, 10_400.0)])
    assert meter.first_token_s == 10.4
    meter.asked()
    assert meter.first_token_s is None


def test_the_record_of_an_answer_tells_nothing_of_its_first_token() -> None:
    meter = SpeedMeter()
    meter.take([Reasoning("Hm"), Finished("stop", 1000, 100, 500, 200.0, 11.5, 0.1)])
    assert meter.first_token_s is None
