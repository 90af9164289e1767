"""The panel of a large terminal: filled, with tall courses, for any number of GPUs, and for what is not known yet."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import SHADES
from r1tui.tui.widgets.instrument_rows import page
from tests.instruments_rig import GIB, GPU, PLAN, SAMPLE, SERVER, STATUS, TIMINGS

GPU = replace(GPU, clock_mhz=1755, memory_clock_mhz=2619, pcie_link=(5, 16), fan_percent=31)
CORES = (0.0, 50.0, 100.0) * 8
BIG = 68, 59
"""What a terminal of 200×60 leaves beside the chat."""


WHOLE = 198, 59
"""What it leaves for the full-screen panel."""


def big(n_gpus: int, seconds: int = 400, size: tuple[int, int] = BIG) -> list[str]:
    """The rows of a big panel after so many samples of a GPU box in full use."""
    status = changed(STATUS, plan=changed(PLAN, threads=16, cache_type_k="f16", cache_type_v="f16"))
    figures = Figures(status=status, context_size=8192)
    gpus = tuple(replace(GPU, index=index, own_bytes=60 * GIB) for index in range(n_gpus))
    for _ in range(seconds):
        server = replace(SERVER, read_bytes_per_s=1e8)
        age_s = 0.1 if gpus else None
        figures.note(replace(SAMPLE, gpus=gpus or None, gpus_age_s=age_s, server=server, cores_percent=CORES))
    return [row.plain for row in page(figures, *size, SHADES)]


@pytest.mark.parametrize("n_gpus", [0, 1, 2])
def test_a_big_panel_is_filled_with_the_speed_s_course_and_what_the_plan_says(n_gpus: int) -> None:
    rows = big(n_gpus)
    assert 0.5 * BIG[1] < len(rows) <= BIG[1]
    top = next(y for y, row in enumerate(rows) if row.endswith(" 1"))
    assert rows.index(next(row for row in rows if row.endswith(" now"))) - top >= 8
    text = "\n".join(rows)
    for words in ("62 layers on CUDA0", "K f16, V f16", "threads", "llama-server", "95 MiB/s"):
        assert words in text
    assert text.count("HBM3") == min(n_gpus, 1)


def test_a_whole_screen_with_one_card_leaves_no_corner_empty() -> None:
    rows = big(1, size=WHOLE)
    left = [row[: WHOLE[0] // 2].rstrip() for row in rows]
    last = max(y for y, row in enumerate(left) if row)
    assert last >= WHOLE[1] - 6, "something stands below"
    names = ("CPU", "its CPU", "disk")
    places = [next(y for y, row in enumerate(left) if row.startswith(name)) for name in names]
    assert not any(left[y + n][:8].strip() for y in places for n in (1, 2, 3)), "the curves are taller than a row"
    (cores,) = [row for row in rows if row.startswith("cores")]
    assert cores.split()[1] == "▁▄▇" * 8
    assert "busiest 100 %" in cores
    text = "\n".join(rows)
    for words in ("clock", "1,755 MHz", "2,619 MHz", "gen 5 × 16", "fan", "31 %"):
        assert words in text


def test_the_panel_beside_the_chat_has_no_cores_which_would_be_sent_every_second() -> None:
    assert "cores" not in "\n".join(big(1, size=(36, 58)))


@pytest.mark.parametrize("n_gpus", [1, 2])
def test_beside_a_taller_column_the_speed_s_curve_is_as_tall(n_gpus: int) -> None:
    rows = big(n_gpus, size=(118, 38))
    speed = [row[118 // 2 :] for row in rows]
    top = next(y for y, row in enumerate(speed) if row.rstrip().endswith(" 1"))
    now = next(y for y, row in enumerate(speed) if row.rstrip().endswith(" now"))
    context = next(y for y, row in enumerate(rows) if row.startswith("context"))
    assert top < context < now


def test_a_big_panel_has_all_of_eight_gpus() -> None:
    text = "\n".join(big(8))
    assert text.count("62.0 / 80.0 GiB") == text.count("87 % 412 W 63 °C") == 8
    assert "llama-server" in text
    assert "95 MiB/s" in text


def test_a_big_panel_of_what_is_not_known_stands_where_it_will_stand() -> None:
    empty, full = (Figures(replace(SAMPLE, gpus=None, server=None), STATUS) for _ in range(2))
    for _ in range(50):
        full.note(full.sample or SAMPLE)
        full.speed.add(TIMINGS)
    before, after = ([row.plain for row in page(one, *BIG, SHADES)] for one in (empty, full))
    assert [row.split()[:1] for row in before if row[:1].isalpha()] == [
        row.split()[:1] for row in after if row[:1].isalpha()
    ]
    assert len(before) == len(after)
    assert "None" not in "".join(before)


@pytest.mark.parametrize(("width", "name"), [(46, "2 × H100 80GB HBM3"), (36, "2 × H100")])
def test_where_room_is_short_the_card_s_name_loses_whole_words(width: int, name: str) -> None:
    figures = Figures(replace(SAMPLE, gpus=(GPU, replace(GPU, index=1))), STATUS)
    (row,) = [row.plain for row in page(figures, width, 40, SHADES) if row.plain.startswith("VRAM")]
    assert row.split() == ["VRAM", *name.split(), "124.0", "/", "160.0", "GiB"]


def test_where_room_is_short_state_and_model_stay_and_the_time_goes() -> None:
    figures = Figures(SAMPLE, changed(STATUS, uptime_s=7380.0))
    assert page(figures, 36, 40, SHADES)[0].plain.split() == ["●", "ready", "r1-iq1_s", "2", "h", "03", "min"]
    figures.status = changed(STATUS, state="loading", uptime_s=7380.0, variant="r1-0528-iq2_xxs-long")
    assert page(figures, 36, 40, SHADES)[0].plain.endswith("r1-0528-iq2_xxs-long")
