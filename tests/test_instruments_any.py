"""The instruments with any figures and in any room: no row is too long or too many, and columns stand still."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from r1tui.events import Timings
from r1tui.machine.nvml import GpuUse
from r1tui.machine.telemetry import Sample, ServerUse
from r1tui.messages import DevicePlan, Ending, HostPlan, PlanSummary, Range, Speed, Status
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import SHADES, SIXTEEN
from r1tui.tui.widgets.instrument_rows import line, page
from tests.instruments_rig import GIB, GPU, SAMPLE, STATUS, text_of

SIZES = st.none() | st.integers(0, 1 << 50)
SMALL = st.none() | st.integers(0, 100)
WATTS = st.none() | st.floats(0, 2000)
PROBLEMS = st.none() | st.text(min_size=1)
RATES = st.none() | st.floats(0, 1e12)
GPUS = st.builds(GpuUse, st.integers(0, 15), st.text(), SIZES, SIZES, SMALL, SMALL, WATTS, PROBLEMS, SIZES)
SERVERS = st.builds(
    ServerUse, st.integers(1), st.integers(0, 1 << 50), SIZES, SIZES, st.none() | st.floats(0, 100), RATES
)
MIB = st.integers(0, 1 << 30)
TPS = st.builds(Range, st.floats(0, 1e9), st.floats(0, 1e9))
PLANS = st.builds(
    PlanSummary, n_gpu_layers=st.none() | st.integers(0, 99), cache_type_k=st.text(), cache_type_v=st.text(),
    threads=st.integers(0, 999), verdict=st.text(), tps=st.builds(Speed, TPS, TPS),
    devices=st.lists(st.builds(DevicePlan, st.text(), MIB, MIB, MIB, MIB, MIB), max_size=3).map(tuple),
    host=st.builds(HostPlan, MIB, MIB, MIB, MIB, MIB),
)  # fmt: skip
SAMPLES = st.builds(
    Sample, st.just(0.0), st.none() | st.floats(0, 100), st.integers(0, 1 << 50), st.integers(0, 1 << 50),
    st.integers(0, 1 << 50), st.none() | SERVERS, st.none() | st.lists(GPUS, max_size=9).map(tuple),
    st.none() | st.text(), st.none() | st.floats(0, 9), RATES,
)  # fmt: skip


ROOMS = st.tuples(st.integers(1, 200), st.integers(1, 60))


@given(SAMPLES, st.text(), ROOMS, st.floats(0, 1e6), PLANS)
def test_any_figures_in_any_room(
    sample: Sample, name: str, room: tuple[int, int], tps: float, plan: PlanSummary
) -> None:
    width, height = room
    ending = Ending(cause=name, next=name)
    status = Status(state="loading", variant=name, plan=plan, restarts=2, model=name, log=name, endings=[ending])
    figures = Figures(status=status, context_size=8192)
    for _ in range(7):
        figures.note(sample)
    figures.speed.add(Timings(7, 0, tps, 7, tps))
    for ink in (SHADES, SIXTEEN):
        assert len(page(figures, width, height, ink)) <= height
        assert line(figures, width, ink).cell_length <= width


@given(st.floats(0.0, 99.99), st.floats(0.0, 100.0), st.integers(0, 80 * GIB))
def test_the_columns_stay_where_they_are(cpu: float, busy: float, used: int) -> None:
    gpu = replace(GPU, used_bytes=used, busy_percent=int(busy))
    figures = Figures(replace(SAMPLE, cpu_percent=cpu, gpus=(gpu,)), STATUS)
    assert [len(row) for row in text_of(figures).splitlines()] == [len(row) for row in text_of(FIXED).splitlines()]


FIXED = Figures(SAMPLE, STATUS)
