"""The first thing to see where no model is named: this machine, the models, and one to begin with."""

from collections.abc import Callable

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from r1tui.catalog.variants import Catalog
from r1tui.config import Config
from r1tui.listing.overview import ModelEntry
from r1tui.listing.recommend import Recommendation, format_machine, recommend, surroundings
from r1tui.machine.hardware import detect_machine
from r1tui.messages import Status
from r1tui.system.paths import Paths
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.variants import VariantsScreen
from r1tui.tui.widgets.transcript_rows import foreign

HEADING_ROWS = 4
LOW = 20
"""Rows of a terminal in which the list needs all the room that there is."""


class WelcomeScreen(VariantsScreen):
    """The list of models, with a word on this machine above it and the cursor on the model that is recommended."""

    DEFAULT_CSS = """
    WelcomeScreen {
        #welcome { height: 3; margin-bottom: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    def __init__(self, catalog: Catalog, config: Config, paths: Paths, server: Callable[[], Status]) -> None:
        super().__init__(catalog, config, paths, server)
        self.recommended: str | None = None
        """The name of the model that the user was told to begin with, its size included."""

    def _heading(self) -> ComposeResult:
        yield Static(Text("Looking at this machine…"), id="welcome")

    def on_mount(self) -> None:
        self.query_one("WelcomeScreen > Vertical").border_title = "Welcome to r1tui"

    def on_resize(self) -> None:
        self.query_one("#welcome").display = self._heading_rows > 0

    @property
    def _heading_rows(self) -> int:
        return HEADING_ROWS if self.size.height >= LOW else 0

    def _looked(self, entries: list[ModelEntry]) -> None:
        self._advise(entries)

    @work(name="The advice", thread=True, exclusive=True, group="advise")
    def _advise(self, entries: list[ModelEntry]) -> None:
        machine = detect_machine()
        here = surroundings(machine, self._paths, self._config)
        known = any(entry.path is not None for entry in entries)
        advice = None if known else recommend(entries, here)
        self.app.call_from_thread(self._tell_advice, format_machine(machine, here.free_bytes), advice)

    def _tell_advice(self, machine: str, advice: Recommendation | None) -> None:
        if not self.is_attached:
            return
        said = Text(f"This machine: {foreign(machine)}\n")
        if advice is None:
            said.append(in_keys("Choose a model; <variants.choose> brings it up.", self.app))
        else:
            said.append("Begin with ")
            said.append(foreign(advice.variant.name), "bold")
            said.append(f": {advice.why}\n")
            said.append(in_keys("<variants.choose> does the rest: engine, model, plan, server.", self.app))
            entry = self._entries.get(advice.variant.name)
            if entry is not None and entry.plan is None and advice.variant.repo is not None:
                said.append(in_keys(" <variants.ask_hub> asks for its speed.", self.app))
            table = self.query_one(DataTable)
            if self.recommended is None and table.cursor_row == 0:  # not under the user's hands
                table.move_cursor(row=table.get_row_index(advice.variant.name))
            self.recommended = advice.variant.name
        self.query_one("#welcome", Static).update(said)
