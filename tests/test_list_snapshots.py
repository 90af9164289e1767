"""How the lists and forms look, the models at three sizes. After a wanted change: pytest … --snapshot-update."""

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from r1tui.catalog.variants import Catalog
from r1tui.chat.store import Store
from r1tui.messages import Status
from r1tui.tui.screens import conversations, models
from r1tui.tui.screens.dialogs import LineScreen
from r1tui.tui.screens.sampling import SamplingScreen
from tests.listed_rig import LISTED, LISTED_PASSAGES, NOW_S
from tests.screen_rig import ENTRIES, StillApp
from tests.snapshot_rig import SIZE, Compare, completed, settle, sizes, still


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> StillApp:
    return still(monkeypatch)


@sizes
def test_models(app: StillApp, snap_compare: Compare, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        catalog = Catalog({entry.variant.name: entry.variant for entry in ENTRIES})
        app.push_screen(models.ModelsScreen(catalog, app.config, app.paths, lambda: Status(variant="r1-iq1_s")))
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("searched", [False, True], ids=["all", "searched"])
def test_conversations(
    app: StillApp, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, *, searched: bool
) -> None:
    monkeypatch.setattr(conversations, "time", lambda: NOW_S)
    monkeypatch.setattr(Store, "newest", lambda *_: LISTED)
    monkeypatch.setattr(Store, "search", lambda *_: LISTED_PASSAGES)

    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.chat.conversation.id = LISTED[0].id
        await pilot.press("ctrl+l")
        if searched:
            await pilot.press("slash", *"bird")
        while app.screen.query_one(DataTable).row_count != len(LISTED_PASSAGES if searched else LISTED):
            await pilot.pause(0.05)
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_asking_for_a_line(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        app.push_screen(LineScreen("Into which file?", "/home/me/Flappy-Bird.md"))
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)


def test_the_sampling_form(app: StillApp, snap_compare: Compare) -> None:
    async def before(pilot: Pilot[None]) -> None:
        await completed(pilot)
        await pilot.press("ctrl+s")
        while not (isinstance(app.screen, SamplingScreen) and app.screen.filled):
            await pilot.pause(0.02)
        await settle(pilot)
        await pilot.press("ctrl+u", "ctrl+k", "9")
        while "Allowed" not in str(app.screen.query_one("#about").render()):
            await pilot.pause(0.02)
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)
