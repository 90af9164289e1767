"""A download on the screen: begun, paused, gone on with, left and come back to, given up."""

from collections.abc import Iterator

import pytest
from textual.pilot import Pilot

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import CancelledError
from r1tui.events import FileProgress, FilesProgress, Notice, StageEvent, StageFailed, StageStarted
from r1tui.hub.download.staging import download_job, staging_folder, unfinished
from r1tui.hub.local.found import find_model
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.download import Download, DownloadScreen
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.widgets.download_rows import DownloadView, download_rows
from r1tui.tui.widgets.gauges import SHADES
from tests.hub_server import REPO, Hub
from tests.tui_rig import until

VARIANT = Variant(f"hf:{REPO}:Q8_0", "Tiny R1", repo=REPO, pattern="*Q8_0*")
HALF_WAY_BYTES = 12 << 20


@pytest.fixture
def app(hub: Hub, paths: Paths) -> Iterator[R1App]:
    """The screen before a hub that stops half-way."""
    hub.limit_bytes = HALF_WAY_BYTES
    stops.clear()
    yield R1App(paths, Config())
    assert download_job(VARIANT, paths).stop()


stops: list[str] = []
"""What was ended so that it does not begin the download again."""


async def begun(app: R1App, pilot: Pilot[None]) -> DownloadScreen:
    """The screen of a download that has got half-way."""
    await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
    screen = DownloadScreen(VARIANT, app.paths, app.config, begin=True, before_stop=lambda: stops.append("launch"))
    await app.push_screen(screen, lambda _: None)
    await until(pilot, lambda: arrived(screen) > 0)
    return screen


def arrived(screen: DownloadScreen) -> int:
    """Bytes that the screen knows of; none before it is composed."""
    files = screen.view.files if screen.query(Download) else None
    return sum(file.done for file in files.files) if files else 0


async def test_pausing_keeps_what_came_and_going_on_ends_it(hub: Hub, app: R1App) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await begun(app, pilot)
        await pilot.press("p")
        await until(pilot, lambda: not screen.running and screen.view.state == "stopped")
        assert stops == ["launch"]
        assert unfinished(VARIANT, app.paths, Config()) is not None
        await until(pilot, lambda: screen.view.remedy == "P resumes it.")
        hub.limit_bytes = None
        await pilot.press("p")
        await until(pilot, lambda: screen.view.state == "done")
        assert find_model(VARIANT, app.paths, Config()) is not None


async def test_it_goes_on_without_the_screen_which_comes_back_to_it(hub: Hub, app: R1App) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(app, pilot)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)
    assert download_job(VARIANT, app.paths).running() is not None
    again = R1App(app.paths, Config())
    async with again.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(again.screen, DownloadScreen))
        screen = again.screen
        assert isinstance(screen, DownloadScreen)
        await until(pilot, lambda: arrived(screen) > 0)
        hub.limit_bytes = None
        await until(pilot, lambda: screen.view.state == "done")


async def test_giving_up_asks_and_deletes_what_came(hub: Hub, app: R1App) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await begun(app, pilot)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert download_job(VARIANT, app.paths).running() is not None
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        assert download_job(VARIANT, app.paths).running() is None
        assert not staging_folder(VARIANT, app.paths.models).exists()


def shown(width: int, height: int, *events: StageEvent) -> list[str]:
    """The rows of a download that was told these events."""
    view = DownloadView("R1 [bold]\x1b[31m")
    for event in events:
        view.apply(event)
    return [row.plain for row in download_rows(view, width, height, SHADES)]


FILES = FilesProgress("model", tuple(FileProgress(f"a-{n}.gguf", n << 20, 9 << 20, "arriving") for n in range(9)))


@pytest.mark.parametrize(("width", "height"), [(40, 8), (76, 12), (76, 20), (200, 60)])
def test_it_fits_any_room(width: int, height: int) -> None:
    notices = [Notice("model", f"something long that happened {n} " * 5) for n in range(9)]
    rows = shown(width, height, FILES, *notices, StageFailed("model", "No.", "Try again."))
    assert len(rows) <= height
    assert rows[0].startswith("R1 [bold]"), "a title is text"
    assert height < 15 or any("Try again." in row for row in rows)


def test_why_it_waits_is_said() -> None:
    assert "waiting" in shown(80, 24, FilesProgress("model", FILES.files, paused="The disk is full."))[0]


def test_one_that_is_resumed_says_what_is_so_now() -> None:
    begun = FilesProgress("model", FILES.files, rate=None, average=None)
    stalled = FilesProgress("model", FILES.files, rate=None, average=9e6)
    paused = StageFailed("model", "Stopped.", "", CancelledError.exit_status)
    before, after = Notice("model", "9 files to download"), Notice("model", "4 files to download")
    said = "\n".join(
        shown(80, 24, StageStarted("model", "R1"), before, stalled, paused, StageStarted("model", "R1"), after, begun)
    )
    assert "connecting…" in said
    assert "stalled" not in said
    assert "4 files" in said
    assert "9 files" not in said
    assert "stalled" in "\n".join(shown(80, 24, stalled))
