"""The instruments: right figures in their places, in any room and theme, drawn seldom and only where they changed."""

import re
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed
from textual.geometry import Region

from r1tui.events import Content, Finished, Progress, PromptProgress, Reasoning, Waits
from r1tui.machine.nvml import GpuProcess, GpuUse
from r1tui.machine.telemetry import NOT_YET
from r1tui.messages import DevicePlan, HostPlan, PlanSummary, Status
from r1tui.tui.themes import TERMINAL
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import SHADES, SIXTEEN
from r1tui.tui.widgets.instrument_rows import line, page
from r1tui.tui.widgets.instruments import Instruments
from r1tui.tui.widgets.server_state import state
from tests.instruments_rig import GIB, GPU, PLAN, SAMPLE, SERVER, STATUS, TIMINGS, Seat, shown, tell, text_of
from tests.tui_rig import on_screen


async def test_the_panel_shows_everything() -> None:
    async with Seat().run_test(size=(120, 40)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        tell(seat)
        await pilot.pause()
        text = shown(seat.panel)
    for words in (
        "● ready r1-iq1_s", "1 h 07 min", "62 layers on CUDA0, experts of 33 on", "┏━┛", "average 12.3", "210 tok/s",
        "1,229 / 8,192", "VRAM  H100 80GB HBM3", "62.0 / 80.0 GiB", "87 % 412 W 63 °C", "96.0 / 128.0 GiB",
        "29.0 GiB", "45 %", "90.0 GiB", "78.0 mapped, 12.0 private", "42 %", "█",
    ):  # fmt: skip
        assert words in text
    assert text.count("memory") == 1


async def test_the_line_of_a_narrow_terminal_says_what_matters_most() -> None:
    async with Seat().run_test(size=(118, 24)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        tell(seat)
        await pilot.pause()
        assert seat.line.size.height == 1
        assert seat.line.size.width <= 80
        text = shown(seat.line)
    assert text.startswith("● ready r1-iq1_s  VRAM █████  62/80 GiB   12.3 tok/s")
    assert "  context 15 %" in text


async def test_a_second_draw_waits_and_repaints_only_the_rows_that_changed() -> None:
    async with Seat().run_test(size=(120, 40)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        tell(seat)
        seat.panel.update_sample(SAMPLE)  # the answer's speed is in the curve now
        seat.panel.draw()
        await pilot.pause()
        seat.panel.repainted.clear()
        seat.panel.update_sample(replace(SAMPLE, cpu_percent=46.0))
        await pilot.pause()
        assert seat.panel.repainted == []
        assert " 45 %" in shown(seat.panel)
        seat.panel.draw()
        await pilot.pause()
        assert [region.height for region in seat.panel.repainted] == [1]
        assert " 46 %" in shown(seat.panel)
        seat.panel.repainted.clear()
        seat.panel.update_sample(replace(SAMPLE, time_s=9.0, cpu_percent=46.1, memory_available_bytes=32 * GIB - 1))
        seat.panel.draw()
        assert seat.panel.repainted == []


async def test_rows_that_change_at_a_look_at_the_styles_are_all_painted() -> None:
    async with Seat().run_test(size=(120, 40)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        tell(seat)
        await pilot.pause()
        seat.panel.update_server(changed(STATUS, state="loading"))
        seat.panel.update_sample(replace(SAMPLE, gpus=None, cpu_percent=46.0))
        seat.panel.notify_style_update()
        seat.panel.refresh(Region(0, 0, 10, 1))
        await pilot.pause()
        seat.panel.draw()
        await pilot.pause()
        left = seat.panel.content_region.x
        painted = [row[left:].rstrip() for row in on_screen(pilot).splitlines()][: seat.panel.size.height]
        assert "\n".join(painted).rstrip() == shown(seat.panel)


async def test_what_was_told_while_nobody_could_see_it_is_there_when_it_is_seen() -> None:
    async with Seat().run_test(size=(120, 40)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        tell(seat)
        seat.panel.display = False
        await pilot.pause()
        tell(seat, status=Status(state="failed", variant="other"))
        seat.panel.display = True
        await pilot.pause()
        assert "● failed other" in shown(seat.panel)


async def test_resizing_and_another_theme_at_any_moment() -> None:
    async with Seat().run_test(size=(120, 40)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        tell(seat)
        for size, theme in (((60, 10), TERMINAL), ((200, 60), "r1-light"), ((1, 1), "r1-dark"), ((120, 40), TERMINAL)):
            await pilot.resize_terminal(*size)
            seat.theme = theme
            await pilot.pause()
        text = shown(seat.panel)
        assert "░" in text
        assert set(text).isdisjoint("▏▎▍▋▊▉")
        colors = {segment.style.color for segment in seat.panel.render_line(0) if segment.style}
        assert all(color is None or color.is_default or color.is_system_defined for color in colors)


async def test_before_anything_is_known() -> None:
    async with Seat().run_test(size=(120, 40)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        await pilot.pause()
        assert shown(seat.line) == "● no server"
        assert "context" in shown(seat.panel)


async def test_names_are_text() -> None:
    async with Seat().run_test(size=(120, 40)) as pilot:
        seat = pilot.app
        assert isinstance(seat, Seat)
        gpu = replace(GPU, name="\x1b[31m[red]a\nb")
        tell(seat, sample=replace(SAMPLE, gpus=(gpu,)), status=Status(state="ready", variant="[b]x\x1b]0;t\x07"))
        await pilot.pause()
        text = shown(seat.panel)
    assert "VRAM  [red]a b" in text
    assert "ready [b]x" in text
    assert "\x1b" not in text


def test_no_gpu_is_said_and_a_lost_one_is_news() -> None:
    none = replace(SAMPLE, gpus=None, gpus_reason="NVML Shared Library Not Found", gpus_age_s=None)
    assert "no GPU" in text_of(Figures(none))
    assert "no GPU" in line(Figures(none), 80, SHADES).plain
    waiting = replace(none, gpus_reason=NOT_YET)
    assert "VRAM  asking the driver" in text_of(Figures(waiting))
    lost = replace(none, gpus_reason="GPU 0: GPU is lost", gpus_age_s=7.0)
    assert "GPU 0: GPU is lost" in text_of(Figures(lost))
    one_of_two = replace(SAMPLE, gpus=(GPU, GpuUse(1, "NVIDIA", problem="GPU is lost")))
    assert "GPU 1  GPU is lost" in text_of(Figures(one_of_two))


def test_eight_gpus_take_two_rows_each_and_one_where_there_is_no_room_for_more() -> None:
    figures = Figures(replace(SAMPLE, gpus=tuple(replace(GPU, index=index) for index in range(8))), STATUS)
    text = text_of(figures)
    assert "VRAM  8 × H100" in text
    assert "496.0 / 640.0 GiB" in text
    assert text.count("62.0 / 80.0 GiB") == text.count("87 % 412 W 63 °C") == 8
    short = text_of(figures, height=20)
    assert short.count("62.0 / 80.0 GiB") == 8
    assert "87 %" not in short
    assert "12.3" not in short
    assert "VRAM █████  496/640 GiB" in line(figures, 200, SHADES).plain


DEVICE = DevicePlan("CUDA0", 80 << 10, 0, 48 << 10, 10 << 10, 2 << 10)
OWN = replace(GPU, own_bytes=60 * GIB)


@pytest.mark.parametrize(
    ("gpu", "device", "said"),
    [
        (OWN, DEVICE, ["█ ours           60.0 GiB, plan 60.0", "▒ others         2.0 GiB, 18.0 free"]),
        (OWN, changed(DEVICE, name="CUDA1"), ["█ ours                      60.0 GiB"]),
        (OWN, changed(DEVICE, total_mib=24 << 10), ["█ ours                      60.0 GiB"]),
        (GPU, DEVICE, ["plan 60.0 GiB, 18.0 free"]),
        (GPU, DevicePlan(), ["18.0 GiB free"]),
    ],
)  # fmt: skip
def test_a_gpu_s_memory_is_ours_or_others_and_as_planned_or_not(
    gpu: GpuUse, device: DevicePlan, said: list[str]
) -> None:
    status = changed(STATUS, plan=changed(PLAN, devices=(device,)))
    rows = [" ".join(row.split()) for row in text_of(Figures(replace(SAMPLE, gpus=(gpu,)), status)).splitlines()]
    for words in said:
        assert " ".join(words.split()) in rows


def test_more_on_a_gpu_than_planned_is_marked() -> None:
    def style(own_gib: int) -> bool:
        gpu = replace(GPU, own_bytes=own_gib * GIB)
        figures = Figures(replace(SAMPLE, gpus=(gpu,)), changed(STATUS, plan=changed(PLAN, devices=(DEVICE,))))
        (row,) = [row for row in page(figures, 36, 60, SHADES) if " ours " in row.plain]
        return any("$warning" in str(span.style) for span in row.spans)

    assert [style(60), style(61)] == [False, True]


@pytest.mark.parametrize(
    ("host", "mapped", "gpus", "said"),
    [
        ((131, 0, 1, 1), 63, (), ["63.0 / 131.0 GiB", "of them in RAM"]),
        ((84, 2, 1, 3), 78, (GPU,), ["78.0 / 84.0 GiB", "of those on the CPU in RAM"]),
        ((131, 0, 1, 100), 78, (), ["32.0 / 32.0 GiB", "of them in RAM"]),  # 99 are copies
        ((10, 0, 1, 11), 1, (), []),  # all are copies
    ],
)
def test_how_much_of_the_model_is_in_memory(
    host: tuple[int, int, int, int], mapped: int, gpus: tuple[GpuUse, ...], said: list[str]
) -> None:
    plan = changed(PLAN, host=HostPlan(0, *(gib << 10 for gib in host)))
    sample = replace(SAMPLE, gpus=gpus or None, server=replace(SERVER, mapped_bytes=mapped * GIB))
    rows = text_of(Figures(sample, changed(STATUS, plan=plan))).splitlines()
    at = [y for y, row in enumerate(rows) if row.startswith("weights")]
    found = [words for y in at for words in (rows[y][-len(said[0]) :], rows[y + 1].strip())]
    assert found == said


def test_what_is_read_from_disk_is_the_server_s_where_that_is_known() -> None:
    ours, whole = replace(SERVER, read_bytes_per_s=1.5 * GIB), replace(SAMPLE, disk_bytes_per_s=3e9)
    rows = text_of(Figures(replace(whole, server=ours))).splitlines()
    assert rows.index("disk" + "1.50 GiB/s".rjust(32)) > rows.index("llama-server" + "90.0 GiB".rjust(24))
    rows = text_of(Figures(whole)).splitlines()
    assert rows.index("disk" + "2.79 GiB/s".rjust(32)) < rows.index("llama-server" + "90.0 GiB".rjust(24))
    assert not any(row.startswith("disk") for row in text_of(Figures(SAMPLE)).splitlines())


def test_how_much_of_a_prompt_was_reused() -> None:
    figures = Figures(SAMPLE, STATUS)

    def said(height: int = 60) -> list[str]:
        rows = text_of(figures, height=height).splitlines()
        return [row.split("reused")[1].strip() for row in rows if row.startswith("prompt reused")]

    assert said() == ["–"]
    figures.speed.asked()
    figures.speed.take([PromptProgress(12_345, 12_000, 12_000, 0.0)])
    assert said() == ["12,000 / 12,345"]
    figures.speed.take([changed(TIMINGS, cached_tokens=770)])
    figures.speed.take([Finished("stop", 1000, 0, 229, 210.4, 12.34, 900.0)])
    assert said() == ["770 / 1,000"]
    assert said(height=12) == []
    figures.speed.asked()
    assert said() == ["–"]


def test_the_state_says_what_is_going_on() -> None:
    instruments = Instruments()
    seen = []

    def say() -> None:
        seen.append(state(instruments.figures).plain.removeprefix("● ").removesuffix(" r1-iq1_s"))

    for name in ("stopped", "failed"):  # the last server's; another is brought up
        instruments.update_answer([Finished("stop", 1000, 0, 229, 210.4, 12.34, 900.0)])
        instruments.update_server(changed(STATUS, state=name), launching=True)
        assert state(instruments.figures).plain == "● starting"
        assert "tok/s" not in line(instruments.figures, 80, SHADES).plain
    for name in ("starting", "loading"):
        instruments.update_server(changed(STATUS, state=name))
        say()
    instruments.update_load(Progress("server", 43, 100, "bytes"))
    say()
    instruments.update_server(STATUS)
    say()
    instruments.asked()
    say()
    instruments.update_server(changed(STATUS, answers=["of another client"]))
    instruments.update_answer([Waits(526)])
    say()
    instruments.update_server(STATUS)
    for event in (Reasoning("Hm"), Content("Yes"), Finished("stop", 1000, 0, 229, 210.4, 12.34, 900.0)):
        instruments.update_answer([event])
        say()
    instruments.update_server(changed(STATUS, answers=["of another program"]))
    say()
    for name in ("sleeping", "failed"):
        instruments.update_server(changed(STATUS, state=name))
        say()
    assert seen == [
        "starting", "loading", "loading 43 %", "ready", "reading the prompt", "answering", "thinking", "answering",
        "ready", "answering", "unloaded", "failed",
    ]  # fmt: skip


def test_no_figures_of_the_model_before_stay_while_another_is_loaded() -> None:
    instruments = Instruments()
    instruments.update_server(STATUS)
    instruments.update_answer([TIMINGS])
    assert "average 12.3" in text_of(instruments.figures)
    instruments.update_server(changed(STATUS, state="loading"))
    assert not {"average 12.3", "210 tok/s"} & set(re.split(r" {2,}|\n", text_of(instruments.figures)))


def test_who_holds_vram_is_named_two_beside_the_chat_and_all_on_a_whole_screen() -> None:
    held = [GpuProcess(4242, "llama-server", 60 * GIB), GpuProcess(7, "python3", GIB), GpuProcess(8, "[b]x\n", None)]
    cards = tuple(replace(GPU, index=index, processes=tuple(held)) for index in range(2))
    figures = Figures(replace(SAMPLE, gpus=cards), STATUS)
    rows = [row.strip() for row in text_of(figures).splitlines()]
    at = next(y for y, row in enumerate(rows) if row.startswith("VRAM by process"))
    assert rows[at : at + 3] == [
        f"{'VRAM by process':<30}1 more", f"{'llama-server  4242':<27}120.0 GiB", f"{'python3  7':<29}2.0 GiB",
    ]  # fmt: skip
    text = text_of(figures, 198, 59)
    assert "[b]x  8" in text
    assert "more" not in text


@pytest.mark.parametrize("n_gpus", [1, 2, 4, 8])
def test_a_whole_screen_has_a_column_for_every_card(n_gpus: int) -> None:
    figures = Figures(replace(SAMPLE, gpus=tuple(replace(GPU, index=index) for index in range(n_gpus))), STATUS)
    rows = text_of(figures, 198, 59).splitlines()
    assert len(rows) > 40
    beside = [len(found) for row in rows if (found := re.findall("GPU [0-9]  H100", row))]
    assert beside == {1: [1], 2: [2], 4: [4], 8: [4, 4]}[n_gpus]


def test_what_leads_the_eye_and_what_is_red() -> None:
    """The two headlines have colours of their own, CPU has none, and red is for errors."""
    sample = replace(SAMPLE, memory_available_bytes=0)
    figures = Figures(sample, STATUS, context_size=1000, context_used=999)
    figures.speed.add(TIMINGS)
    rows = page(figures, 36, 60, SIXTEEN)
    assert "$error" not in str([row.spans for row in rows])
    (cpu,) = [row for row in rows if row.plain.startswith("CPU")]
    assert {str(span.style) for span in cpu.spans} <= {"dim"}


def cards(*names: str) -> tuple[DevicePlan, ...]:
    return tuple(map(DevicePlan, names))


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (PlanSummary(), "all on the CPU"),
        (PLAN, "62 layers on CUDA0, experts of 33 on the CPU"),
        (changed(PLAN, n_cpu_moe=0), "62 layers on CUDA0"),
        (changed(PLAN, n_cpu_moe=0, verdict="gpu"), "all on CUDA0"),
        (changed(PLAN, n_cpu_moe=0, devices=cards("CUDA0", "CUDA1")), "62 layers on CUDA0, CUDA1"),
        (changed(PLAN, n_cpu_moe=0, devices=cards("CUDA0", "CUDA1", "CUDA2")), "62 layers on CUDA0 to CUDA2"),
        (changed(PLAN, n_cpu_moe=0, devices=cards("CUDA0", "CUDA2", "CUDA3")), "62 layers on CUDA0, CUDA2, CUDA3"),
        (changed(PLAN, n_cpu_moe=0, devices=cards("CUDA0", "CUDA1", "RPC0")), "62 layers on CUDA0, CUDA1, RPC0"),
        (changed(PLAN, n_gpu_layers=None), "llama.cpp places the layers"),
        (changed(PLAN, n_gpu_layers=0), "all on the CPU"),
        (changed(PLAN, verdict="disk", devices=()), "all on the CPU, weights from disk"),
    ],
)
def test_a_plan_in_a_few_words(plan: PlanSummary, words: str) -> None:
    assert plan.placement == words


def test_small_weights_are_in_mib_and_a_context_without_a_size_has_its_unit() -> None:
    host = HostPlan(128 << 10, 94, 0, 0, 0)
    small = replace(SERVER, rss_bytes=300 << 20, mapped_bytes=31 << 20, anonymous_bytes=2 << 20)
    status = changed(STATUS, plan=changed(PLAN, host=host))
    figures = Figures(replace(SAMPLE, server=small), status)
    figures.context_used = 1
    rows = [" ".join(row.split()) for row in text_of(figures).splitlines()]
    assert any(row.startswith("weights ") and row.endswith(" MiB") and "0.0" not in row for row in rows)
    assert "llama-server 300.0 MiB" in rows
    assert "31.0 mapped, 2.0 private" in rows
    assert "context 1 token" in rows
    assert "context" not in line(Figures(context_used=0), 120, SHADES).plain
    assert "context 7 tokens" in line(Figures(context_used=7), 120, SHADES).plain
