"""How each screen looks, the chat at three sizes. After a wanted change: pytest … --snapshot-update."""

from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from r1tui.catalog.variants import Catalog
from r1tui.chat.attachments import Candidate, Candidates
from r1tui.chat.conversation import ContextBudget
from r1tui.chat.typed import Typed
from r1tui.events import Content, Finished, PromptProgress, Reasoning, StreamEvent, Timings
from r1tui.listing.recommend import Surroundings
from r1tui.machine.hardware import Machine
from r1tui.machine.nvml import Gpu, Nvidia
from r1tui.messages import Status
from r1tui.tui.messages import DownloadReported
from r1tui.tui.questions import keep_or_stop, little_room
from r1tui.tui.screens import models
from r1tui.tui.screens.dialogs import AskScreen, SaveScreen
from r1tui.tui.screens.download import Download, DownloadScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.overlays import PromptsScreen
from r1tui.tui.services.composing import Scales, Weight
from r1tui.tui.widgets import completion
from tests.screen_rig import DOWNLOAD, ENTRIES, StillApp
from tests.snapshot_rig import SIZE, Compare, completed, settle, sizes, still


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> StillApp:
    return still(monkeypatch)


def test_no_picture_has_the_name_of_a_module() -> None:
    """It would count as unused, a failure, where that module runs alone."""
    tests = Path(__file__).parent
    pictures = {file.name.partition("[")[0].removesuffix(".raw") for file in tests.glob("__snapshots__/*/*.raw")}
    assert pictures
    assert not pictures & {module.stem for module in tests.glob("test_*.py")}


def test_launching(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_figures()  # of a server that is ready, at which a launch ends
        await settle(pilot)
        app.show_launch()
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


@sizes
def test_chat(app: StillApp, snap_compare: Compare, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_chat()
        app.show_figures()
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=before)


def test_chat_with_its_thinking_open(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_chat()
        await settle(pilot)
        await pilot.press("ctrl+t")
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_selecting_code(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_chat()
        app.show_figures()
        await settle(pilot)
        await pilot.press("ctrl+y")
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_selecting_a_branch(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_branches()
        await settle(pilot)
        await pilot.press("ctrl+y", "end", "up")
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_editing_a_question(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_branches()
        app.chat.models.ready = True
        await settle(pilot)
        await pilot.press("ctrl+y", "end", "up", "e")
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_saving_code(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        await app.push_screen(SaveScreen("x = 1\n", "flappy.py", Path("/nowhere")))
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


CUT = Content("Pygame has `pygame.mixer` for that. Put a `flap.wav` beside the script, and")


@pytest.mark.parametrize(
    "events",
    [
        [PromptProgress(2812, 412, 1436, 10_700.0)],
        [Reasoning("Hm"), Timings(2812, 412, 96.0, 600, 8.3), CUT, Finished("length", 2812, 600, 1024, 96.0, 8.3, 1.0)],
        [Reasoning("Hm"), Timings(2812, 412, 96.0, 600, 8.3), CUT, Finished("context", 2812, 600, 9, 96.0, 8.3, 1.0)],
    ],
    ids=["reads", "token limit", "context full"],
)
def test_answer(app: StillApp, snap_compare: Compare, events: list[StreamEvent]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_answer(*events)
        app.show_figures()
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_little_room(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_chat()
        await settle(pilot)
        asked = little_room(ContextBudget(7410, 8192))
        app.push_screen(AskScreen(asked.text, asked.choices))
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_welcome(app: StillApp, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    h100 = Gpu(0, "NVIDIA H100", "", 80 << 30, 79 << 30, 1 << 30, (9, 0))
    machine = Machine("EPYC", 32, 64, 256 << 30, 240 << 30, Nvidia((h100,)), ())
    monkeypatch.setattr(models, "detect_machine", lambda: machine)
    monkeypatch.setattr(models, "surroundings", lambda *_: Surroundings(900 << 30, 200.0))
    far = [replace(entry, path=None, owner=None) for entry in ENTRIES]
    monkeypatch.setattr(models, "overview", lambda *_: iter(far))

    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        catalog = Catalog({entry.variant.name: entry.variant for entry in far})
        app.push_screen(models.WelcomeScreen(catalog, app.config, app.paths, Status))
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_the_question_of_leaving(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        asked = keep_or_stop("r1-iq1_s is ready. Keep the server?")
        app.push_screen(AskScreen(asked.text, asked.choices))
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_the_log_screen(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        await app.push_screen(LogScreen(Path("/nowhere/server.log")))  # which goes on looking: not to be waited for
        await pilot.pause()
        app.draw_all()
        await pilot.pause()

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_prompts_of_one_answer(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        await pilot.press("f12")
        while not isinstance(app.screen, PromptsScreen):
            await pilot.pause(0.02)
        await pilot.press("down")
        while "OpenCV" not in str(app.screen.query_one("Static").render()):
            await pilot.pause(0.02)
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_attaching(app: StillApp, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = [Candidate("parts/"), *(Candidate(f"part{n}.py", 1234 * n) for n in range(1, 12))]
    monkeypatch.setattr(completion, "find_candidates", lambda _: Candidates(offered, partial=True))

    async def weigh(*_: object) -> list[Weight]:
        return [Weight("src/app.py", 1204), Weight("notes.md", 1227)]

    monkeypatch.setattr(Scales, "weigh", weigh)

    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.show_chat()
        app.show_figures()
        typed = Typed("[pasted 2,431 lines, 95.7 KiB] against @src/app.py and @notes.md and @pa")
        app.chat.composer.prompt.put_before(typed)
        while not app.chat.composer.completion.is_open:
            await pilot.pause(0.02)
        while "of 8,192 left" not in (app.chat.composer.prompt.border_subtitle or ""):
            await pilot.pause(0.02)
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_download(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        screen = DownloadScreen(ENTRIES[1].variant, app.paths, app.config)
        await app.push_screen(screen)
        await settle(pilot)
        screen.running = True
        screen.refresh_bindings()
        for event in DOWNLOAD:
            screen.post_message(DownloadReported(event))
        await settle(pilot)
        screen.query_one(Download).draw()
        await pilot.pause()

    assert snap_compare(app, terminal_size=SIZE, run_before=before)
