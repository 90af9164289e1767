"""The courses of the instruments: means of five samples, on an axis that holds what the headline says."""

from dataclasses import replace

import pytest

from r1tui.events import Finished, Timings
from r1tui.tui.widgets.figures import Figures, SpeedCourse
from r1tui.tui.widgets.gauges import SIXTEEN
from r1tui.tui.widgets.instrument_rows import page
from tests.instruments_rig import SAMPLE


def test_a_course_is_the_mean_of_five_samples_and_stands_still_meanwhile() -> None:
    figures = Figures()
    shown = []
    for second in range(11):
        figures.note(replace(SAMPLE, cpu_percent=float(10 * second)))
        shown.append(list(figures.courses["cpu"].means))
    assert shown[0] == shown[4] == [0.0]
    assert shown[5] == shown[9] == [0.0, 30.0]
    assert shown[10] == [0.0, 30.0, 80.0]
    assert list(figures.courses["gpu 0"].means) == [87.0] * 3
    figures.note(replace(SAMPLE, cpu_percent=None, gpus=None))
    assert list(figures.courses["cpu"].means) == shown[10]


@pytest.mark.parametrize("ends_before_the_sample", [False, True])
def test_a_short_fast_answer_is_on_the_axis_and_in_the_curve(*, ends_before_the_sample: bool) -> None:
    figures = Figures()
    for _ in range(8):
        figures.note(SAMPLE)
    figures.speed.asked()
    figures.speed.take([Timings(20, 0, 3000.0, 40, 905.0)])
    if not ends_before_the_sample:
        figures.note(SAMPLE)
    figures.speed.take([Finished("stop", 20, 0, 1086, 3000.0, 905.0, 20.0)])
    for _ in range(12):
        figures.note(SAMPLE)
    assert max(figures.speed_course.means) == 905.0
    assert figures.speed_course.means[-1] == 0.0
    rows = [row.plain for row in page(figures, 78, 60, SIXTEEN)]
    assert any(row.rstrip().endswith(" 1000") for row in rows), "the axis"


def test_the_speed_s_course_is_the_mean_of_five_samples_of_an_answer() -> None:
    course = SpeedCourse()
    shown = []
    for tps in (None, 8.0, 9.0, 9.0, 10.0, 4.0, 6.0, None, None, None, None):
        course.add(tps)
        shown.append(list(course.means))
    assert shown[0] == [0.0]
    assert shown[1] == shown[4] == [8.0]
    assert shown[5] == shown[9] == [9.0, 4.0]
    assert shown[10] == [9.0, 5.0, 0.0]
    assert list(course.peaks) == [10.0, 6.0, 0.0]


def test_an_axis_is_never_below_the_headline() -> None:
    figures = Figures(sample=SAMPLE)
    figures.speed.take([Timings(20, 0, 3000.0, 40, 905.0)])
    assert any(row.plain.rstrip().endswith(" 1000") for row in page(figures, 36, 60, SIXTEEN))
