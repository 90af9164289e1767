"""How the whole panel, the help and the themes look. After a wanted change: pytest … --snapshot-update."""

import pytest
from textual.pilot import Pilot

from r1tui.catalog.variants import Catalog
from r1tui.config import Config, UiSettings
from r1tui.messages import Status
from r1tui.tui.screens import models
from r1tui.tui.themes import DEFAULT, load_themes
from tests.screen_rig import ENTRIES, StillApp
from tests.snapshot_rig import SIZE, Compare, completed, settle, still

OTHERS = sorted(theme.name for theme in load_themes().themes if theme.name != DEFAULT)


async def keys(pilot: Pilot[None], *pressed: str) -> None:
    """A chat with figures, and these keys."""
    app = pilot.app
    assert isinstance(app, StillApp)
    await completed(pilot)
    app.show_chat()
    app.show_figures()
    await settle(pilot)
    await pilot.press(*pressed)
    await settle(pilot)


@pytest.mark.parametrize("pressed", ["ctrl+o", "ctrl+underscore", "f1"], ids=["panel", "themes", "keys"])
def test_screens(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, pressed: str) -> None:
    assert snap_compare(still(monkeypatch), terminal_size=SIZE, run_before=lambda pilot: keys(pilot, pressed))


def test_a_theme_at_the_cursor(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    app = still(monkeypatch)
    assert snap_compare(
        app, terminal_size=SIZE, run_before=lambda pilot: keys(pilot, "ctrl+underscore", "down", "down")
    )


@pytest.mark.parametrize("theme", OTHERS)
def test_the_chat_in_each_theme(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, theme: str) -> None:
    app = still(monkeypatch, Config(ui=UiSettings(theme=theme)))
    assert snap_compare(app, terminal_size=SIZE, run_before=keys)


@pytest.mark.parametrize("what", ["chat", "models", "panel"])
def test_without_colours(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = still(monkeypatch)

    async def before(pilot: Pilot[None]) -> None:
        await keys(pilot)
        if what == "models":
            catalog = Catalog({entry.variant.name: entry.variant for entry in ENTRIES})
            app.push_screen(models.ModelsScreen(catalog, app.config, app.paths, lambda: Status(variant="r1-iq1_s")))
        elif what == "panel":
            await pilot.press("ctrl+o")
        await settle(pilot)

    assert snap_compare(app, terminal_size=SIZE, run_before=before)
