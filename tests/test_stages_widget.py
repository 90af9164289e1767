"""A launch on the screen: how far each stage is, what it said, why it failed; in any room, and whatever the text is."""

import asyncio
from collections.abc import Iterable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.widgets import Label

from r1tui.events import (
    LogLine,
    Notice,
    Progress,
    Stage,
    StageDone,
    StageEvent,
    StageFailed,
    StageStarted,
    describe_progress,
)
from r1tui.tui.widgets.gauges import SHADES, SIXTEEN
from r1tui.tui.widgets.stage_rows import STAGES, StageView, launch_rows
from r1tui.tui.widgets.stages import Stages

MIB = 1 << 20
BUILDING: list[StageEvent] = [
    StageStarted("engine", "Building llama-server b11434"),
    StageStarted("model", "SmolLM2-135M-Instruct Q4_1"),
    Notice("engine", "GitHub cannot be reached."),
    *(LogLine("engine", f"[{n}/211] Building CXX object ggml/src/ops{n}.cpp.o") for n in range(90, 98)),
    Progress("engine", 97, 211, "steps", 2.13, 54.0),
    Progress("model", 61 * MIB, 98 * MIB, "bytes", 11.2 * MIB, 3.3),
]
READY: list[StageEvent] = [
    StageDone("engine", "/cache/engines/b11434-cpu/bin/llama-server"),
    StageDone("model", "/data/models/demo/SmolLM2.gguf"),
    StageStarted("plan", "Memory plan"),
    StageDone("plan", "cpu", "No usable GPU: everything runs on the CPU."),
    StageStarted("server", "llama-server with demo"),
    LogLine("server", "loading"),
]
FAILED = StageFailed("server", "The GPU has too little memory.", "Choose a smaller model: F2.")


class Launching(App[None]):
    """The stages over something else."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.stages = Calm(clock=lambda: self.now_s)

    def compose(self) -> ComposeResult:
        yield self.stages
        yield Label("below")


class Calm(Stages):
    """Draws when it is told to, and at the first event."""

    INTERVAL_S = 3600.0


async def told(app: Launching, events: Iterable[StageEvent], pilot: Any) -> str:
    for event in events:
        app.stages.apply(event)
    return await drawn(app, pilot)


async def drawn(app: Launching, pilot: Any) -> str:
    app.stages.draw()
    await pilot.pause()
    return "\n".join(app.stages.render_line(y).text.rstrip() for y in range(app.stages.size.height))


async def test_a_launch_on_a_narrow_terminal() -> None:
    app = Launching()
    async with app.run_test(size=(80, 24)) as pilot:
        await told(app, BUILDING, pilot)
        app.now_s = 42.0
        rows = (await drawn(app, pilot)).splitlines()
        assert rows[0].startswith("▸ engine  Building llama-server b11434")
        assert rows[0].endswith(" 42 s")
        assert rows[1].startswith("  ████")
        assert rows[1].endswith(" 45 %")
        assert rows[2] == "  97 of 211 steps, 2.1/s, 54 s left"
        assert rows[3:7] == [f"  [{n}/211] Building CXX object ggml/src/ops{n}.cpp.o" for n in range(94, 98)]
        assert rows[7:10] == ["  GitHub cannot be reached.", "", rows[9]]
        assert rows[9].startswith("▸ model  SmolLM2-135M-Instruct Q4_1")
        assert rows[11] == "  61.0 MiB of 98.0 MiB, 11.2 MiB/s, 3 s left"
        assert rows[13:] == ["· plan", "· server"]
        assert app.stages.running("engine")
        assert not app.stages.running("plan")


def test_what_is_whole_has_no_time_left() -> None:
    half, whole = (Progress("server", done << 20, 92 << 20, "bytes", 26.2 * 2**20, 0.0) for done in (46, 92))
    assert describe_progress(half) == "46.0 MiB of 92.0 MiB, 26.2 MiB/s, 0 s left"
    assert describe_progress(whole) == "92.0 MiB of 92.0 MiB"


async def test_engine_and_model_stand_beside_each_other_where_there_is_room() -> None:
    app = Launching()
    async with app.run_test(size=(120, 40)) as pilot:
        rows = (await told(app, BUILDING, pilot)).splitlines()
        assert "▸ engine" in rows[0]
        assert "▸ model" in rows[0]
        assert "97 of 211 steps" in rows[2]
        assert "61.0 MiB of 98.0 MiB" in rows[2]


async def test_a_stage_with_much_to_say_gets_the_whole_width() -> None:
    app = Launching()
    async with app.run_test(size=(120, 40)) as pilot:
        said = "There is no CUDA toolkit on this machine, so that one is fetched. " * 3
        rows = (await told(app, [*BUILDING, Notice("engine", said)], pilot)).splitlines()
        assert "▸ engine" in rows[0]
        assert "▸ model" not in rows[0]
        assert any(row.startswith("▸ model") for row in rows)
        assert sum("CUDA" in row for row in rows) <= 3


async def test_done_and_loading_and_failed() -> None:
    app = Launching()
    async with app.run_test(size=(80, 24)) as pilot:
        text = await told(app, [*BUILDING, *READY], pilot)
        assert "✓ engine" in text
        assert "/data/models/demo/SmolLM2.gguf" in text
        assert "everything runs on the CPU." in text
        assert "▸ server  llama-server with demo" in text
        assert "ggml/src" not in text
        assert text.endswith("  loading")
        text = await told(app, [FAILED], pilot)
        assert text.endswith("  The GPU has too little memory.\n  Choose a smaller model: F2.")
        assert "✗ server" in text


async def test_a_remedy_can_be_selected_and_copied() -> None:
    app = Launching()
    async with app.run_test(size=(80, 24)) as pilot:
        await told(app, [FAILED], pilot)
        app.stages.text_select_all()
        await pilot.pause()
        assert "Choose a smaller model: F2." in (app.screen.get_selected_text() or "")
        row = app.stages.render_line(app.stages.size.height - 1)
        assert row.text.strip() == "Choose a smaller model: F2."


async def test_a_failure_ends_what_ran_beside_it_and_a_cancelled_launch_is_none() -> None:
    app = Launching()
    async with app.run_test(size=(80, 24)) as pilot:
        text = await told(app, [*BUILDING, StageFailed("model", "The disk is full.", "Free some disk space.")], pilot)
        assert "■ engine" in text
        assert "It continues next time" in text
        assert "✗ model" in text
        assert not app.stages.running("engine")
        app.stages.reset()
        assert (await drawn(app, pilot)).splitlines() == ["· engine", "· model", "· plan", "· server"]
        text = await told(app, [*BUILDING, StageFailed("server", "Cancelled.", "Ctrl+R", 130)], pilot)
        assert "■ server" in text
        assert "✗" not in text


async def test_it_grows_and_shrinks_and_never_pushes_the_failure_out() -> None:
    app = Launching()
    long_plan = StageDone("plan", "gpu", "A reason that takes some room. " * 12)
    async with app.run_test(size=(60, 10)) as pilot:
        text = await told(app, [*BUILDING, *READY, long_plan, FAILED], pilot)
        assert app.stages.size.height <= 10
        assert text.endswith("Choose a smaller model: F2.")
        await pilot.resize_terminal(200, 60)
        await pilot.pause()
        tall = app.stages.size.height
        app.stages.reset()
        await drawn(app, pilot)
        assert app.stages.size.height == 3 < tall
        await pilot.resize_terminal(1, 1)
        await told(app, BUILDING, pilot)


async def test_many_events_are_drawn_together() -> None:
    app = Launching()
    async with app.run_test(size=(80, 24)) as pilot:
        await drawn(app, pilot)
        for n in range(1000):
            app.stages.apply(Progress("engine", n, 2000, "steps"))
            app.stages.apply(LogLine("engine", str(n)))
        await pilot.pause()
        assert "engine" in app.stages.render_line(0).text
        assert "steps" not in app.stages.render_line(2).text
        assert "999 of 2000 steps" in await drawn(app, pilot)


async def test_a_running_stage_shows_by_itself_that_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stages, "TICK_S", 0.01)
    monkeypatch.setattr(Calm, "INTERVAL_S", 0.0)
    app = Launching()
    async with app.run_test(size=(80, 24)) as pilot:
        await told(app, [StageStarted("server", "llama-server")], pilot)
        app.now_s = 61.0
        async with asyncio.timeout(60):
            while "61 s" not in "".join(app.stages.render_line(y).text for y in range(app.stages.size.height)):
                await pilot.pause(0.01)


async def test_foreign_text_is_text() -> None:
    app = Launching()
    async with app.run_test(size=(80, 24)) as pilot:
        text = await told(
            app,
            [
                StageStarted("engine", "[red]title\x1b[2J\nmore"),
                LogLine("engine", "\x1b]0;owned\x07[b]line\t1[/b]"),
                Notice("engine", "[link=x]notice"),
            ],
            pilot,
        )
    assert "▸ engine  [red]title more" in text
    assert "  [b]line 1[/b]" in text
    assert "  [link=x]notice" in text
    assert "\x1b" not in text


STAGE = st.sampled_from(get_args(Stage))
TEXT = st.text(max_size=300)
COUNT = st.integers(0, 1 << 62)
EVENTS = (
    st.builds(StageStarted, STAGE, TEXT)
    | st.builds(
        Progress, STAGE, COUNT, st.none() | COUNT, st.sampled_from(["steps", "bytes"]),
        st.none() | st.floats(0, 1e18), st.none() | st.floats(0, 1e18),
    )
    | st.builds(LogLine, STAGE, TEXT)
    | st.builds(Notice, STAGE, TEXT)
    | st.builds(StageDone, STAGE, TEXT, TEXT)
    | st.builds(StageFailed, STAGE, TEXT, TEXT, st.sampled_from([1, 130]))
)  # fmt: skip


@given(st.lists(EVENTS, max_size=12), st.integers(1, 220), st.integers(1, 60))
def test_any_events_in_any_room(events: list[StageEvent], width: int, height: int) -> None:
    views = [StageView(stage) for stage in STAGES]
    for event in events:
        views[STAGES.index(event.stage)].apply(event, 0.0)
    for ink in (SHADES, SIXTEEN):
        rows = launch_rows(views, width, height, 100.0, ink)
        assert 0 < len(rows) <= height
        assert all("\n" not in row.plain and "\x1b" not in row.plain for row in rows)
