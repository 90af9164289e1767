"""The list of models with what each needs; choosing one brings it up. The first time, with a word on the machine."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.widgets import DataTable, Static
from textual.worker import get_current_worker

from r1tui.catalog.variants import Catalog, Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.hub.download.headers import fetch_headers
from r1tui.hub.listing.remote import ask_hub
from r1tui.hub.local.places import OWNERS
from r1tui.hub.removal import find_removal, remove
from r1tui.listing.overview import ModelEntry, other_variants, overview
from r1tui.listing.recommend import Recommendation, format_machine, recommend, surroundings
from r1tui.machine.hardware import detect_machine
from r1tui.messages import Status
from r1tui.system.paths import Paths
from r1tui.text import duration, size
from r1tui.tui.commands import bindings_of
from r1tui.tui.questions import Choice
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.table_base import TableScreen
from r1tui.tui.widgets.transcript_rows import safe_text

LIST = "The list of models"
VERDICTS = {
    "gpu": "GPU",
    "hybrid": "GPU and memory",
    "cpu": "memory",
    "disk": "from disk: slow",
    "no": "does not fit",
    None: "?",
}
SHORT_VERDICTS = VERDICTS | {"hybrid": "GPU, memory", "disk": "disk: slow", "no": "too large"}
DISK_FULL = "disk full"
COLUMNS = {
    "n": "#", "name": "model", "bits": "bits", "size": "size", "here": "here", "verdict": "runs in",
    "tps": "tokens/s", "quality": "quality",
}  # fmt: skip
NARROW = ("n", "name", "size", "here", "tps", "verdict")
"""Those that a narrow terminal has room for; what matters least is last, and may be cut."""
WIDE = 110
"""Columns of the terminal from which the table has all of them."""
LONGEST_NAME = 20
HEADING_ROWS = 4
LOW = 20
"""Rows of a terminal in which the list needs all the room that there is."""


class ModelsScreen(TableScreen[Variant]):
    """The answer is the chosen variant, or None."""

    TABLE_TITLE = "Models"
    BINDINGS = bindings_of("variants")

    def __init__(self, catalog: Catalog, config: Config, paths: Paths, server: Callable[[], Status]) -> None:
        super().__init__()
        self._catalog = catalog
        self._config = config
        self._paths = paths
        self._server = server
        self._current = server().variant
        self._entries: dict[str, ModelEntry] = {}
        self._is_wide = True
        self._offered: tuple[bool, ...] = ()

    def _looked(self, entries: list[ModelEntry]) -> None:
        """All models of the catalog have been looked at."""

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        self._is_wide = self.app.size.width >= WIDE
        for key in COLUMNS if self._is_wide else NARROW:
            table.add_column(COLUMNS[key], key=key)
        for variant in self._catalog:
            self._add_row(ModelEntry(variant, None, variant.size_gib, None))
        table.move_cursor(row=max(0, self._index_of_current()))
        self._look(self._catalog)

    @work(name=LIST, thread=True, exclusive=True, group="look")
    def _look(self, catalog: Catalog) -> None:
        worker, app = get_current_worker(), self.app  # a screen that was left is of no app
        entries = []

        def look(models: Catalog, show: Callable[[ModelEntry], None]) -> None:
            for entry in overview(models, self._config, self._paths):
                if worker.is_cancelled:
                    return
                entries.append(entry)
                app.call_from_thread(show, entry)

        look(catalog, self._show)
        if self.is_attached and not worker.is_cancelled:
            app.call_from_thread(self._looked, list(entries))
            look(other_variants(entries, self._config, self._paths), self._show_other)

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
        n_files, freed = len(removal.files), f"{size(removal.freed_bytes)} are free again"
        files = f"{n_files} file{'s' if n_files > 1 else ''} in {removal.files[0].parent}"
        question = AskScreen(
            safe_text(f"Delete {variant.name}? {files}."), [Choice("y", "delete", f"Delete it: {freed}")]
        )
        if await app.push_screen_wait(question) is None:
            return
        try:
            await asyncio.to_thread(remove, removal, self._paths, self._config)
            app.notify(f"{variant.name} is deleted: {freed}.", markup=False)
        finally:
            self._look_again()

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """Say so; models that could not be looked at do not look as if they still were."""
        super().work_failed(name, error)
        if name == LIST and self._is_open:
            for variant in self._catalog:
                if variant.name not in self._entries:
                    self._show(ModelEntry(variant, None, variant.size_gib, None))

    @property
    def _is_open(self) -> bool:
        """Whether the list is there to be changed; one that is being closed has lost its table already."""
        return self.is_attached and self in self.app.screen_stack

    def _look_again(self) -> None:
        if self._is_open:
            self._look(self._catalog)

    def _show(self, entry: ModelEntry) -> None:
        if not self._is_open:
            return
        name = entry.variant.name
        self._entries[name] = entry
        table = self.query_one(DataTable)
        for key, text in self._cells(entry).items():
            if key in table.columns:
                table.update_cell(name, key, _text(text), update_width=True)
        if self._under_cursor().name == name:
            self._show_detail()

    def _show_other(self, entry: ModelEntry) -> None:
        """A model that no variant means gets a row of its own at the end."""
        if not self._is_open:
            return
        known = {variant.name: variant for variant in self._catalog}
        if entry.variant.name not in known:
            self._catalog = Catalog(known | {entry.variant.name: entry.variant})
            self._add_row(entry)
        self._show(entry)

    def _add_row(self, entry: ModelEntry) -> None:
        table = self.query_one(DataTable)
        cells = {"n": str(table.row_count + 1)} | self._cells(entry) | {"verdict": "…"}
        table.add_row(*(_text(cells[str(key.value)]) for key in table.columns), key=entry.variant.name)

    def _show_detail(self) -> None:
        lines = _detail(self._entry) if self._under_cursor().name in self._entries else _not_yet(self._under_cursor())
        self._say(in_keys(line, self.app) for line in lines)
        offered = tuple(self.check_action(action, ()) is True for action in ("delete", "ask_hub"))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _cells(self, entry: ModelEntry) -> dict[str, str]:
        variant = entry.variant
        guess = "" if entry.exact else "~ "
        return {
            "name": f"{'●' if variant.name == self._current else ' '} {_shortened(variant.name)}",
            "bits": f"{variant.bits:g}" if variant.bits is not None else "",
            "size": entry.size.rjust(9),
            "here": "unusable" if entry.problem else entry.here,
            "verdict": DISK_FULL
            if entry.no_room
            else guess + (VERDICTS if self._is_wide else SHORT_VERDICTS)[entry.verdict],
            "tps": entry.speed if self._is_wide else entry.speed.replace(" to ", "–"),
            "quality": variant.quality,
        }

    def _under_cursor(self) -> Variant:
        return list(self._catalog)[self.cursor]

    @property
    def _entry(self) -> ModelEntry:
        """What is known of the model under the cursor."""
        variant = self._under_cursor()
        return self._entries.get(variant.name) or ModelEntry(variant, None, variant.size_gib, None)

    def _index_of_current(self) -> int:
        return next((n for n, variant in enumerate(self._catalog) if variant.name == self._current), 0)

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.row_key.value is not None:
            self.dismiss(self._catalog.find(event.row_key.value))

    def action_pick(self, number: int) -> None:
        variants = list(self._catalog)
        if number <= len(variants):
            self.dismiss(variants[number - 1])

    def action_delete(self) -> None:
        work = self._delete(self._under_cursor(), self._server())
        self.app.run_worker(work, name="Deleting the model")  # the app's: this screen may be left meanwhile

    def action_ask_hub(self) -> None:
        entry = self._entry
        self.notify(f"Asking the hub about {entry.variant.name}…", markup=False)
        work = self._ask(entry.variant, headers=entry.variant.name in self._entries and entry.path is None)
        self.app.run_worker(work, name="Asking the hub")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something for the model under the cursor."""
        match action:
            case "delete" | "ask_hub" if not self._is_open:
                return False
            case "delete":
                return self._entry.owner == "r1tui" or self._entry.progress is not None
            case "ask_hub":
                return self._entry.variant.repo is not None
            case _:
                return super().check_action(action, parameters)


class WelcomeScreen(ModelsScreen):
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
        said = Text(f"This machine: {safe_text(machine)}\n")
        if advice is None:
            said.append(in_keys("Choose a model; <variants.choose> brings it up.", self.app))
        else:
            said.append("Begin with ")
            said.append(safe_text(advice.variant.name), "bold")
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


def _not_yet(variant: Variant) -> Iterator[str]:
    """What can be said of a model before it has been looked at."""
    yield " · ".join(filter(None, (variant.title, variant.quality)))
    yield "Looking at it…"


def _detail(entry: ModelEntry) -> Iterator[str]:
    """What the table has no room for, in four lines."""
    variant = entry.variant
    speed = f"{entry.speed} tokens/s" if entry.speed not in ("", "unknown") else ""
    yield " · ".join(filter(None, (variant.title, variant.quality, speed)))
    yield entry.problem or _needs(entry)
    if entry.path is not None:
        yield f"{entry.path}{f' ({OWNERS[entry.owner]})' if entry.owner else ''}"
    elif entry.no_room is not None:
        yield entry.no_room.cause
        yield entry.no_room.remedies[0].words()
        return
    elif entry.progress is not None:
        yield f"{entry.progress:.0%} is here."
    else:
        yield "Not on this machine."
    does = "brings it up" if entry.path is not None else "fetches it and brings it up"
    age = f" The size is the hub's, {duration(entry.listed_age_s)} ago." if entry.listed_age_s is not None else ""
    yield f"<variants.choose> {does}.{age}"


def _needs(entry: ModelEntry) -> str:
    if entry.plan is None or entry.gpu_mib is None or entry.host_mib is None:
        exactly = (
            "<variants.ask_hub> asks the hub for the header, which says exactly."
            if entry.variant.repo
            else "exactly once it is here."
        )
        return f"~ by the size alone; {exactly}"
    gpu = f"{entry.gpu_mib / 1024:.1f} GiB GPU + " if entry.gpu_mib else ""
    memory = f"{gpu}{entry.host_mib / 1024:.1f} GiB memory"
    return " · ".join(filter(None, (memory, entry.layers)))


def _shortened(name: str) -> str:
    """A name that leaves the other columns their room: the models of other programs may be called anything."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _text(cell: str) -> Text:
    return Text(safe_text(cell), no_wrap=True)
