"""The instruments in their layouts: one line, a panel, a wider one, the whole screen; no resize disturbs a stream."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Static

from r1tui.chat.answer import Answer
from r1tui.config import Config
from r1tui.machine.nvml import GpuProcess
from r1tui.machine.telemetry import NOT_YET
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.overlays import PanelScreen, ProcessesScreen
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import SHADES
from r1tui.tui.widgets.instrument_rows import processes
from r1tui.tui.widgets.instruments import Board
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.transcript import Transcript
from tests.bench.replay import Replay, Script
from tests.instruments_rig import SAMPLE
from tests.screen_rig import StillApp
from tests.tui_rig import ask, opened, until

SIZES = [(80, 24), (200, 60), (60, 16), (120, 40), (99, 30), (180, 50), (100, 24)]


def shown(app: R1App) -> str:
    widget = app.screen.query_one(Board) if isinstance(app.screen, PanelScreen) else app.chat.instruments
    return "\n".join(widget.render_line(y).text.rstrip() for y in range(widget.size.height))


async def completed(app: StillApp, pilot: Pilot[None]) -> None:
    app.show_chat()
    app.show_figures()
    await pilot.pause()
    app.draw_all()
    await pilot.pause()


@pytest.mark.parametrize(
    ("size", "width", "height"), [((80, 24), 80, 1), ((99, 24), 99, 1), ((120, 40), 38, 40), ((200, 60), 70, 60)]
)
async def test_each_size_has_its_layout(tmp_path: Path, size: tuple[int, int], width: int, height: int) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        await completed(app, pilot)
        assert tuple(app.chat.instruments.region.size) == (width, height)
        assert "ready r1-iq1_s" in shown(app)
        assert app.chat.instruments.content_region.bottom == (size[1] - 1 if height > 1 else 1)  # above the footer
        await pilot.press("f5")
        await pilot.pause()
        assert app.chat.instruments.region.height == 1
        await pilot.press("f5")
        await pilot.pause()
        assert app.chat.instruments.region.height == height


async def test_the_key_of_the_side_panel_says_where_there_is_no_room_for_one(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (80, 24)) as pilot:
        await completed(app, pilot)
        await pilot.press("f5")
        said = "The side panel needs 100 columns. Ctrl+O shows all instruments."
        await until(pilot, lambda: said in [one.text for one in app.notices.kept])
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: app.chat.instruments.region.height == 40)


async def test_what_is_kept_of_files_and_of_the_context_have_names_of_their_own(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await completed(app, pilot)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, PanelScreen) and "CPU" in shown(app))
        assert re.search(r"KV cache +K q4_0, V f16", shown(app))
        assert re.search(r"page cache +131\.0 GiB", shown(app))
        assert not re.search(r"(?<!KV )(?<!page )cache", shown(app))


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_a_key_shows_everything_on_the_whole_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        await completed(app, pilot)
        for leave in ("escape", "ctrl+o", "q"):
            await pilot.press("ctrl+o")
            await until(pilot, lambda: isinstance(app.screen, PanelScreen) and "CPU" in shown(app))
            text = shown(app)
            await pilot.press(leave)
            await until(pilot, lambda: isinstance(app.screen, ChatScreen))
    for words in ("ready r1-iq1_s", "average 8.30", "4.27 s", "72.0 GiB, plan 71.6", "2.0 GiB, 6.0 free",
                  "310 W", "63.0 / 82.0 GiB", "812 MiB/s"):  # fmt: skip
        assert words in text or size < (80, 24)
    for words in ("131.0 GiB", "q4_0", "supervisor 4240"):
        assert words in text or size < (120, 40)


async def test_no_resize_and_no_layout_disturbs_a_stream(paths: Paths, tmp_path: Path) -> None:
    sent: list[int] = []

    async def on_token(number: int) -> None:
        sent.append(number)

    script = Script(n_thinking=40, n_answer=100_000, tps=50.0)
    server = await Replay(script, on_token).serve(tmp_path / "s.sock")
    app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{tmp_path}/s.sock"))
    async with server, opened(app) as pilot:
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.content))
        transcript = app.chat.query_one(Transcript)
        for size in SIZES:
            for key in ("f5", "ctrl+o", "ctrl+o"):
                await pilot.press(key)
                await pilot.resize_terminal(*size)
                await until(pilot, lambda before=answer.tokens: answer.tokens > before)  # type: ignore[misc]
            assert answer.running
            assert app.chat.query_one(Prompt).region.bottom == size[1] - 1
            await until(pilot, lambda: transcript.view.following and newest(answer) in screen_text(transcript))
        text = answer.content.text
    whole = "".join(script.tokens()[script.n_thinking : len(sent)]).partition("</think>")[2]
    assert text == whole[: len(text)]


def newest(answer: Answer) -> str:
    """A word near the end of what has come."""
    return answer.content.text.split()[-6:][0].strip("`*|.,")


def screen_text(transcript: Transcript) -> str:
    return "".join(transcript.render_line(y).text for y in range(transcript.size.height))


@pytest.mark.parametrize(("size", "key"), [((80, 24), "f11"), ((120, 40), "alt+g")])
async def test_a_key_lists_everything_that_holds_vram(tmp_path: Path, size: tuple[int, int], key: str) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        await completed(app, pilot)
        sample = app.chat.instruments.figures.sample
        assert sample is not None
        assert sample.gpus
        holders = tuple(GpuProcess(1000 + n, f"[b]program-{n}", n << 28) for n in range(1, 41))
        gpus = (replace(sample.gpus[0], processes=holders), *sample.gpus[1:])
        app.chat.instruments.update_sample(replace(sample, gpus=gpus))
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, ProcessesScreen))
        list_ = app.screen.query_one(Static)
        await until(pilot, lambda: "program-40" in str(list_.render()))
        named = [row.split() for row in str(list_.render()).splitlines() if "program" in row]
        assert len(named) == 40
        assert named[0] == ["[b]program-40", "1040", "10.0", "GiB"]  # the largest first
        frame = app.screen.query_one(VerticalScroll)
        await until(pilot, lambda: frame.max_scroll_y > 0)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))


@pytest.mark.parametrize(
    ("gpus_reason", "gpus_age_s", "said"),
    [
        ("NVML Shared Library Not Found", None, "No NVIDIA GPU found: NVML Shared Library Not Found."),
        (NOT_YET, None, "The driver has not answered yet."),
        ("GPU is lost", 7.0, "No GPU any more: GPU is lost."),
    ],
)
def test_the_list_of_holders_says_why_it_is_empty(gpus_reason: str, gpus_age_s: float | None, said: str) -> None:
    sample = replace(SAMPLE, gpus=None, gpus_reason=gpus_reason, gpus_age_s=gpus_age_s)
    assert [row.plain for row in processes(Figures(sample), 70, SHADES)] == [said]
