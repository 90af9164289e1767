"""The list of models with what each needs; choosing one brings it up. The first time, with a word on the machine."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import wrap

from rich.style import Style
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.color import Color
from textual.widgets import DataTable, Static
from textual.worker import get_current_worker

from r1tui.catalog.variants import Catalog, Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.hub.download.headers import fetch_headers
from r1tui.hub.download.staging import check_room_for
from r1tui.hub.listing.remote import ask_hub
from r1tui.hub.local.folders import NoRoomError
from r1tui.hub.removal import find_removal, remove
from r1tui.listing.overview import ModelEntry, other_variants, overview
from r1tui.listing.recommend import Recommendation, format_machine, recommend, surroundings
from r1tui.machine.hardware import detect_machine
from r1tui.messages import Status
from r1tui.system.paths import Paths
from r1tui.text import size
from r1tui.tui.commands import bindings_of
from r1tui.tui.questions import Choice
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.listed_models import ListedModels
from r1tui.tui.screens.table_base import TableScreen
from r1tui.tui.widgets import model_words
from r1tui.tui.widgets.gauges import ink_of
from r1tui.tui.widgets.model_cells import Cells, columns
from r1tui.tui.widgets.transcript_rows import safe_text

LIST = "The list of models"
HEADING = "\0"
"""Before the key of a row that is a group's name; no model's name has it."""
HEADING_ROWS = 4
LOW = 20
"""Rows of a terminal in which the list needs all the room that there is."""


class ModelsScreen(TableScreen[Variant]):
    """The answer is the chosen variant, or None."""

    TABLE_TITLE = "Models"
    CELL_PADDING = 0
    BINDINGS = bindings_of("variants")

    def __init__(
        self,
        catalog: Catalog,
        config: Config,
        paths: Paths,
        server: Callable[[], Status],
        known: dict[str, ModelEntry] | None = None,
    ) -> None:
        """`known` is kept from list to list: what was learned of each model."""
        super().__init__()
        self._catalog = catalog
        self._config = config
        self._paths = paths
        self._server = server
        self._current = server().variant
        self._models = ListedModels(catalog, known if known is not None else {})
        self._under: str | None = self._current if self._current in {one.name for one in catalog} else None
        """The name of the model under the cursor, as of `_follow`."""
        self._is_moved = self._under is not None
        """True once the cursor is where the user wants it."""
        self._may_move = True
        """True as long as models may change places: nobody has moved the cursor since the list began to look."""
        self._typed_number: int | None = None
        """A digit that was typed before its model was known to be here."""
        self._offered: tuple[bool, ...] = ()

    def _looked(self, entries: list[ModelEntry]) -> None:
        """All models of the catalog have been looked at."""

    def on_mount(self) -> None:
        self._look(self._catalog)

    def on_resize(self) -> None:
        self._fill()

    def on_screen_resume(self) -> None:
        """Fill it in the colours of a theme that was chosen over it."""
        self._fill()

    def _fill(self) -> None:
        """Fill the table anew, with the cursor on the model that it was on."""
        if not self._is_open:
            return
        self._follow()
        table, name = self.query_one(DataTable), self._under
        table.clear(columns=True)
        cells = self._cells = self._cells_now()
        entries = self._models.entries
        has_vram = any(one.needs is not None and one.needs.vram_total_mib for one in entries.values())
        for key, width in self._widths.items():
            table.add_column(cells.title(key, has_vram=has_vram), key=key, width=width)
        numbers = {one.name: number for number, one in enumerate(self._models.numbered[:9], 1)}
        for group, variants in self._models.groups():
            table.add_row(*cells.heading(group).values(), key=f"{HEADING}{group}")
            for variant in variants:
                entry = entries.get(variant.name)
                number = numbers.get(variant.name)
                shown = cells.of(entry, number) if entry is not None else cells.unknown(variant, number)
                table.add_row(*shown.values(), key=variant.name)
        if table.row_count and (name is None or name not in table.rows):
            self._under = name = next(filter(None, map(self._named_at, range(table.row_count))), None)
        if name is not None and name in table.rows:
            table.move_cursor(row=table.get_row_index(name))
        self._show_detail()
        if self._typed_number is not None:
            self.action_pick(self._typed_number)

    def _named_at(self, row: int) -> str | None:
        """The name of the model in this row; None for a group's name, and where there is no such row."""
        rows = self.query_one(DataTable).ordered_rows
        name = str(rows[row].key.value) if row < len(rows) else HEADING
        return None if name.startswith(HEADING) else name

    def _cells_now(self) -> Cells:
        colors = self.app.theme_variables
        self._widths = columns(self._columns)
        ansi = self.app.native_ansi_color
        track = Color.parse(colors["surface"]).blend(Color.parse(colors["foreground"]), 0.12) if not ansi else None

        def color(name: str) -> Style:
            found = track if name == "track" else Color.parse(colors[name])
            return Style(color=found.rich_color) if found is not None else Style()

        return Cells(self._widths, ink_of(self.app), color, self._current)

    @work(name=LIST, thread=True, exclusive=True, group="look")
    def _look(self, catalog: Catalog) -> None:
        worker, app = get_current_worker(), self.app  # a screen that was left is of no app
        entries: list[ModelEntry] = []
        others: Catalog | None = None

        def tell(what: Callable[..., object], *told: object) -> None:
            if not worker.is_cancelled:
                app.call_from_thread(what, *told)

        def find_others(known: list[ModelEntry]) -> Catalog:
            return other_variants({one.variant.name: one.path for one in known}, self._config, self._paths)

        def glanced(glances: list[ModelEntry]) -> None:
            nonlocal others
            others = find_others(glances)
            tell(self._place, glances, list(others))

        for entry in overview(catalog, self._config, self._paths, glanced):
            entries.append(entry)
            tell(self._show, entry)
            if worker.is_cancelled:
                return
        if others is None:
            others = find_others(entries)
        tell(self._place, entries, list(others))
        tell(self._looked, entries)
        for entry in overview(others, self._config, self._paths) if len(others) else ():
            tell(self._show, entry)

    def _place(self, glances: list[ModelEntry], others: list[Variant]) -> None:
        """Show the models in their groups, if these are not shown yet, or may still change."""
        self._follow()
        if self._is_open and (not self._models.are_placed or self._may_move):
            self._models.take_others(others)
            if self._models.place(glances):
                self._fill()
            self._typed_number = None

    async def _ask(self, variant: Variant, *, headers: bool) -> None:
        """Get sizes and, where the model is not here, its headers: what an exact verdict needs."""
        try:
            await asyncio.to_thread(fetch_headers if headers else ask_hub, variant, self._paths)
        finally:
            self._look_again()

    async def _delete(self, variant: Variant, now: Status) -> None:
        in_use = Path(now.model) if now.running and now.model else None
        app = self.app  # a screen that was left is of no app
        removal = await asyncio.to_thread(find_removal, variant, self._paths, self._config, in_use)
        if not self.is_current:
            return
        n_files, freed = len(removal.files), f"{size(removal.freed_bytes)} freed"
        files = f"{n_files} file{'s' if n_files > 1 else ''} in {removal.files[0].parent}"
        question = AskScreen(
            safe_text(f"Delete {variant.name}? {files}."),
            [Choice("y", "delete", f"Delete it: {size(removal.freed_bytes)}")],
        )
        if await app.push_screen_wait(question) is None:
            return
        try:
            await asyncio.to_thread(remove, removal, self._paths, self._config)
            app.notify(f"{variant.name} is deleted: {freed}.")
        finally:
            self._look_again()

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """Say so; models that could not be looked at do not look as if they still were."""
        super().work_failed(name, error)
        if name == LIST and self._is_open:
            for variant in self._catalog:
                if variant.name not in self._models.entries:
                    self._show(ModelEntry(variant, None, variant.size_gib, None))
            if not self._models.are_placed:
                self._models.place()
                self._fill()

    @property
    def _is_open(self) -> bool:
        """True if the list is there to be changed: its table comes after the screen, and goes before it."""
        return self.is_attached and self in self.app.screen_stack and self.query_one_optional(DataTable) is not None

    def _look_again(self) -> None:
        if self._is_open:
            self._may_move = True
            self._look(self._catalog)

    def _show(self, entry: ModelEntry) -> None:
        if not self._is_open:
            return
        name = entry.variant.name
        self._models.entries[name] = entry
        table = self.query_one(DataTable)
        if name in table.rows:
            for key, text in self._cells.of(entry).items():
                if key != "n":
                    table.update_cell(name, key, text)
        if self._under == name:
            self._show_detail()

    def _show_detail(self) -> None:
        variant = self._under_cursor()
        if variant is None:
            self._say([] if self._models.are_placed else ["Checking the models…"])
            return
        entry = self._models.entries.get(variant.name)
        if entry is not None and entry.no_room is not None:  # more than a line, and all of it matters
            lines = wrap(f"{entry.no_room.cause} {entry.no_room.remedies[0].words()}", self._columns)
            above = [
                model_words.title(entry, self._columns),
                *filter(None, [in_keys(model_words.needs(entry, self._columns), self.app)]),
            ]  # the first is wanted less
            self._say([*above[max(0, len(above) + len(lines) - self.SAID_ROWS) :], *lines])
        else:
            runs = (status := self._server()).running and self._catalog.listed_name(status) == variant.name
            lines = list(
                model_words.details(entry, self._columns, runs=runs)
                if entry is not None
                else model_words.words_before_check(variant)
            )
            self._say(in_keys(line, self.app) for line in lines)
        offered = tuple(self.check_action(action, ()) is True for action in ("delete", "ask_hub"))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _under_cursor(self) -> Variant | None:
        self._follow()
        return self._models.find(self._under)

    def _follow(self) -> None:
        """Learn where the user moved the cursor: the table tells it later than the next key or result may come.

        Over the name of a group it goes on in the direction that it came from.
        """
        table, under = self.query_one_optional(DataTable), self._under
        if table is None:  # not composed yet
            return
        row = table.cursor_row
        if row < table.row_count and self._named_at(row) is None:
            before = table.get_row_index(under) if under is not None and under in table.rows else -1
            row += 1 if before < row or row == 0 else -1
            table.move_cursor(row=row)
        if (name := self._named_at(row)) not in (None, under):
            self._under, self._is_moved, self._may_move = name, True, False

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if (variant := self._models.find(event.row_key.value)) is not None:
            self._choose(variant)

    @work(name="Choosing the model", exclusive=True, group="choose")
    async def _choose(self, variant: Variant) -> None:
        """Close with this model; one for which no disk has room now keeps the list open, and the user is told why."""
        entry = self._models.entry_of(variant)
        try:
            if entry.path is None:
                await asyncio.to_thread(check_room_for, variant, self._paths, self._config)
        except NoRoomError as error:
            if self._is_open:
                self._show(replace(entry, no_room=error))
                self.notify(f"{error.cause} {error.remedies[0].words()}", severity="warning")
            return
        if self.is_current:
            self.dismiss(variant)

    def action_pick(self, number: int) -> None:
        if number <= len(self._models.numbered):
            self.dismiss(self._models.numbered[number - 1])
        elif not self._models.are_placed:
            self._typed_number = number
            self._say([f"Number {number} starts when all models are checked."])

    def action_delete(self) -> None:
        if (variant := self._under_cursor()) is None:
            return
        work = self._delete(variant, self._server())
        self.app.run_worker(work, name="Deleting the model")  # the app's: this screen may be left meanwhile

    def action_ask_hub(self) -> None:
        if (variant := self._under_cursor()) is None:
            return
        entry = self._models.entry_of(variant)
        self.notify(f"Reading {entry.variant.name} from the hub…")
        work = self._ask(entry.variant, headers=entry.variant.name in self._models.entries and entry.path is None)
        self.app.run_worker(work, name="Reading from the hub")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something for the model under the cursor."""
        if action not in ("delete", "ask_hub"):
            return super().check_action(action, parameters)
        variant = self._under_cursor() if self._is_open else None
        if variant is None or action == "ask_hub":
            return variant is not None and variant.repo is not None
        entry = self._models.entry_of(variant)
        return entry.owner == "r1tui" or entry.progress is not None


class WelcomeScreen(ModelsScreen):
    """The list of models, with a word on this machine above it and the cursor on the model that is recommended."""

    DEFAULT_CSS = """
    WelcomeScreen {
        #welcome { height: 3; margin-bottom: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    recommended: str | None = None
    """The name of the model that the user was told to begin with, its size included."""

    def _heading(self) -> ComposeResult:
        yield Static(Text("Checking this machine…"), id="welcome")

    def on_mount(self) -> None:
        self.query_one("WelcomeScreen > Vertical").border_title = "Welcome to r1tui"

    def on_resize(self) -> None:
        for welcome in self.query("#welcome"):  # none while it closes
            welcome.display = self._heading_rows > 0

    @property
    def _heading_rows(self) -> int:
        return HEADING_ROWS if self.size.height >= LOW else 0

    def _looked(self, entries: list[ModelEntry]) -> None:
        self._advise(entries)

    @work(name="The recommendation", thread=True, exclusive=True, group="advise")
    def _advise(self, entries: list[ModelEntry]) -> None:
        machine = detect_machine()
        here = surroundings(machine, self._paths, self._config)
        known = any(entry.path is not None for entry in entries)
        advice = None if known else recommend(entries, here)
        self.app.call_from_thread(self._tell_advice, format_machine(machine, here.free_bytes), advice)

    def _tell_advice(self, machine: str, advice: Recommendation | None) -> None:
        if not self.is_attached:
            return
        said = Text(f"Here: {safe_text(machine)}\n")
        if advice is None:
            said.append(in_keys("Choose a model; <variants.choose> starts it.", self.app))
        else:
            said.append("Start with ")
            said.append(safe_text(advice.variant.name), "bold")
            said.append(f": {advice.why}\n")
            said.append(in_keys("<variants.choose> downloads and starts it.", self.app))
            entry = self._models.entries.get(advice.variant.name)
            if entry is not None and not entry.speed and advice.variant.repo is not None:
                said.append(in_keys(" <variants.ask_hub> estimates its speed.", self.app))
            self._follow()
            if self.recommended is None and not self._is_moved:
                table, self._under = self.query_one(DataTable), advice.variant.name
                table.move_cursor(row=table.get_row_index(advice.variant.name))
            self.recommended = advice.variant.name
        self.query_one("#welcome", Static).update(said)
