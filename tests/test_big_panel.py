"""The panel of a large terminal: filled, with tall courses, for any number of GPUs, and for what is not known yet."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import LEVELS, SHADES
from r1tui.tui.widgets.instrument_rows import panel
from tests.test_instruments import GIB, GPU, PLAN, SAMPLE, SERVER, STATUS, TIMINGS

BIG = 68, 59
"""What a terminal of 200×60 leaves beside the chat."""


def big(n_gpus: int, seconds: int = 400) -> list[str]:
    """The rows of a big panel after so many samples of a GPU box in full use."""
    status = changed(STATUS, plan=changed(PLAN, threads=16, cache_type_k="f16", cache_type_v="f16"))
    figures = Figures(status=status, context_size=8192)
    gpus = tuple(replace(GPU, index=index, own_bytes=60 * GIB) for index in range(n_gpus))
    for _ in range(seconds):
        server = replace(SERVER, read_bytes_per_s=1e8)
        figures.note(replace(SAMPLE, gpus=gpus or None, gpus_age_s=0.1 if gpus else None, server=server))
    return [row.plain for row in panel(figures, *BIG, SHADES)]


@pytest.mark.parametrize(("n_gpus", "tall"), [(0, 5), (1, 5), (2, 5)])
def test_a_big_panel_is_filled_with_the_courses_and_what_the_plan_says(n_gpus: int, tall: int) -> None:
    rows = big(n_gpus)
    assert 0.6 * BIG[1] < len(rows) <= BIG[1]
    at = next(y for y, row in enumerate(rows) if row.startswith("CPU"))
    course = rows[at + 1 : at + 1 + tall]
    assert all(set(row) <= set(f" {LEVELS}") for row in course)
    assert course[-1] == "█" * BIG[0]  # minutes of it
    assert rows[at + 1 + tall] == ""
    text = "\n".join(rows)
    for words in ("62 layers on CUDA0", "K f16, V f16", "threads", "llama-server", "95 MiB/s"):
        assert words in text
    assert text.count("HBM3") == n_gpus


def test_a_big_panel_has_all_of_eight_gpus() -> None:
    text = "\n".join(big(8))
    assert text.count("HBM3") == text.count("60.0 GiB") == text.count("87 % 63°C 412 W") == 8
    assert "llama-server" in text
    assert "95 MiB/s" in text


def test_a_big_panel_of_what_is_not_known_stands_where_it_will_stand() -> None:
    empty, full = (Figures(replace(SAMPLE, gpus=None, server=None), STATUS) for _ in range(2))
    for _ in range(50):
        full.note(full.sample or SAMPLE)
        full.speed.add(TIMINGS)
    before, after = ([row.plain for row in panel(one, *BIG, SHADES)] for one in (empty, full))
    assert [row.split()[:1] for row in before if row[:1].isalpha()] == [
        row.split()[:1] for row in after if row[:1].isalpha()
    ]
    assert len(before) == len(after)
    assert "None" not in "".join(before)
