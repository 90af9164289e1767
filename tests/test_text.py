"""Words for people."""

from time import mktime

import pytest

from r1tui.text import day

NOW = (2025, 11, 20, 18, 30, 0, 0, 0, -1)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ((2025, 11, 20, 0, 1), "today 00:01"),
        ((2025, 11, 19, 23, 59), "yesterday 23:59"),
        ((2025, 11, 18, 23, 59), "2025-11-18 23:59"),
        ((2024, 11, 20, 18, 30), "2024-11-20 18:30"),
        ((2025, 11, 21, 7, 5), "2025-11-21 07:05"),
    ],
)
def test_a_day_in_words_has_its_time(then: tuple[int, ...], words: str) -> None:
    time_s = mktime((*then, 0, 0, 0, -1))  # type: ignore[arg-type]
    assert day(time_s, mktime(NOW)) == words
