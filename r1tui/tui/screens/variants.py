"""The list of models with what each needs; choosing one brings it up."""

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Label
from textual.worker import get_current_worker

from r1tui.catalog import Catalog, Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.overview import Entry, overview
from r1tui.paths import Paths
from r1tui.text import plain

VERDICTS = {
    "gpu": "all on the GPU",
    "hybrid": "GPU and memory",
    "cpu": "in memory",
    "disk": "streams from disk: slow",
    "no": "does not fit",
    None: "?",
}


class VariantsScreen(ModalScreen[Variant | None]):
    """The answer is the chosen variant, or None."""

    DEFAULT_CSS = """
    VariantsScreen {
        align: center middle;
        & > Vertical {
            width: 110;
            max-width: 96%;
            height: auto;
            max-height: 90%;
            border: round $primary;
            background: $surface;
            padding: 0 1;
        }
        DataTable { height: auto; max-height: 100%; background: $surface; }
        Label { width: 1fr; color: $text-muted; }
    }
    """
    BINDINGS = [
        Binding("escape", "back", "Back", id="variants.back"),
        Binding("enter", "choose", "Bring it up", id="variants.choose"),
        *(Binding(str(n), f"pick({n})", show=False, id=f"variants.pick{n}") for n in range(1, 10)),
    ]

    def __init__(self, catalog: Catalog, config: Config, paths: Paths, current: str | None) -> None:
        super().__init__()
        self._catalog = catalog
        self._config = config
        self._paths = paths
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Models"
            yield DataTable(cursor_type="row", zebra_stripes=False)
            yield Label("Enter brings a model up, and fetches it first if it is not on disk. 1 to 9 choose by number.")
        yield Footer()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        for key, label in (("n", "#"), ("name", "model"), ("size", "size"), ("disk", "on disk"), ("verdict", "here")):
            table.add_column(label, key=key)
        table.add_column("", key="title")
        for number, variant in enumerate(self._catalog, start=1):
            mark = "●" if variant.name == self._current else " "
            size = f"{variant.size_gib:,.1f} GiB" if variant.size_gib is not None else ""
            cells = [str(number), f"{mark} {variant.name}", size, "", "…", variant.title]
            table.add_row(*(_text(cell) for cell in cells), key=variant.name)
        table.move_cursor(row=max(0, self._index_of_current()))
        self._look()

    @work(thread=True, exit_on_error=False)
    def _look(self) -> None:
        worker = get_current_worker()
        try:
            for entry in overview(self._catalog, self._config, self._paths):
                if worker.is_cancelled:
                    return
                self.app.call_from_thread(self._show, entry)
        except R1tuiError as error:
            self.app.call_from_thread(self.notify, error.cause, severity="warning", markup=False)

    def _show(self, entry: Entry) -> None:
        if not self.is_mounted:
            return
        table = self.query_one(DataTable)
        name = entry.variant.name
        if entry.size_gib is not None:
            table.update_cell(name, "size", _text(f"{entry.size_gib:,.1f} GiB"))
        table.update_cell(name, "disk", _text("yes" if entry.path else ""))
        guess = "" if entry.exact else "~ "
        table.update_cell(name, "verdict", _text(guess + VERDICTS[entry.verdict]), update_width=True)
        if entry.problem:
            table.update_cell(name, "title", _text(entry.problem))

    def _index_of_current(self) -> int:
        return next((n for n, variant in enumerate(self._catalog) if variant.name == self._current), 0)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.row_key.value is not None:
            self.dismiss(self._catalog.find(event.row_key.value))

    def action_choose(self) -> None:
        """Take the row under the cursor."""
        self.query_one(DataTable).action_select_cursor()

    def action_pick(self, number: int) -> None:
        """Take the model with this number."""
        variants = list(self._catalog)
        if number <= len(variants):
            self.dismiss(variants[number - 1])

    def action_back(self) -> None:
        """Choose none."""
        self.dismiss(None)


def _text(cell: str) -> Text:
    return Text(plain(cell), no_wrap=True)
