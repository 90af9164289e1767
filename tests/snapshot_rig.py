"""What tests of how a screen looks share: the size, and the waits that make every picture the same each time."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from r1tui.chat.prompt_files import Drafts
from r1tui.config import Config
from r1tui.tui.screens import models
from r1tui.tui.widgets.transcript import Transcript
from tests.screen_rig import ENTRIES, StillApp

Compare = Callable[..., bool]
SIZE = (120, 40)
sizes = pytest.mark.parametrize("size", [(80, 24), SIZE, (200, 60)], ids=["80x24", "120x40", "200x60"])


def still(monkeypatch: pytest.MonkeyPatch, config: Config | None = None) -> StillApp:
    """A screen whose list of models is known, and which keeps nothing."""
    monkeypatch.setattr(models, "overview", lambda *_: iter(ENTRIES))
    monkeypatch.setattr(Drafts, "save", lambda *_: None)
    return StillApp(Path("/nowhere"), config)


async def completed(pilot: Pilot[None]) -> None:
    """Until all is there, and drawn: what lies under another screen is not always drawn later."""
    app = pilot.app
    assert isinstance(app, StillApp)
    while not app.chat.is_complete:
        await pilot.pause(0.02)
    await settle(pilot)


async def settle(pilot: Pilot[None]) -> None:
    """Until all that was posted is drawn."""
    app = pilot.app
    assert isinstance(app, StillApp)
    await pilot.pause()
    await app.workers.wait_for_complete(list(app.workers))
    transcript = app.chat.query_one(Transcript)
    for _ in range(3):  # what is drawn now may ask for more in the next tick
        await pilot.pause(0.12)
        while not transcript.settled:
            await pilot.pause(0.02)
    app.draw_all()
    await pilot.pause()
