"""What tests of the list of models share: a hub with a model of their own, a roomy machine, an app that listens."""

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Label

from r1tui.config import Config, VariantSettings
from r1tui.planning import request
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens import models
from r1tui.tui.screens.models import WelcomeScreen
from tests.conftest import TinyModel
from tests.hub_server import Hub, Repository
from tests.roomy import ROOMY
from tests.tui_rig import until

REPO = "acme/Tiny-R1-GGUF"
MINE = Config(variants={"mine": VariantSettings(title="Mine", repo=REPO, pattern="*Q8_0*")})


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts are for a machine of the tests' own, whatever else runs on this one."""
    monkeypatch.setattr(request, "detect_machine", lambda: ROOMY)
    monkeypatch.setattr(models, "detect_machine", lambda: ROOMY)


@pytest.fixture
def hub(empty_hub: Hub, tiny_r1: TinyModel) -> Hub:
    empty_hub.repositories[REPO] = Repository({"Tiny-R1-Q8_0.gguf": tiny_r1().read_bytes()})
    return empty_hub


class Listening(R1App):
    """The app; it keeps what it told the user."""

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths, MINE)
        self.told: list[str] = []

    def notify(self, message: str, **options: Any) -> None:
        self.told.append(in_keys(message, self))
        super().notify(message, **options)

    def cell(self, column: str) -> str:
        """What the list says of `mine`."""
        return str(self.screen_stack[-1].query_one(DataTable).get_cell("mine", column))

    def to(self, name: str) -> None:
        """The cursor on a model."""
        table = self.screen.query_one(DataTable)
        table.move_cursor(row=table.get_row_index(name))

    def rows(self) -> list[str]:
        """The keys of the rows from above, `-` before the name of a group."""
        keys = [str(row.key.value) for row in self.screen.query_one(DataTable).ordered_rows]
        return [key.replace(models.HEADING, "-") for key in keys]

    def verdicts(self) -> list[str]:
        """What the list says of each model, from above; one empty text before any has a row."""
        table, names = self.screen.query_one(DataTable), [name for name in self.rows() if not name.startswith("-")]
        return [str(table.get_cell(name, "verdict")) for name in names] or [""]

    def detail(self) -> str:
        """What stands below the list."""
        return str(self.screen.query_one("ModelsScreen > Vertical > Label", Label).render())


async def welcome(app: R1App, pilot: Pilot[None]) -> WelcomeScreen:
    """The first list of models, once it is there."""
    await until(pilot, lambda: isinstance(app.screen, WelcomeScreen) and bool(app.screen.query(DataTable)))
    assert isinstance(app.screen, WelcomeScreen)
    return app.screen


async def checked(app: "Listening", pilot: Pilot[None]) -> WelcomeScreen:
    """The first list, once all its models are looked at."""
    screen = await welcome(app, pilot)
    await until(pilot, lambda: all(app.verdicts()) and "  …" not in app.verdicts())
    return screen
