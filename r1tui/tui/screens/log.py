"""A log in full, followed while it grows: the engine's build or the server."""

from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Footer, Label, Log

from r1tui.process import follow
from r1tui.text import plain

SHOWN_BYTES = 1 << 20
MOST_LINES = 20_000


class LogScreen(Screen[None]):
    """The last MiB of a log file and what is added to it."""

    DEFAULT_CSS = """
    LogScreen {
        Label { width: 1fr; background: $primary-muted; color: $text; padding: 0 1; }
        Log { height: 1fr; }
    }
    """
    BINDINGS = [Binding("escape,q", "back", "Back", id="log.back")]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def compose(self) -> ComposeResult:
        yield Label(str(self._path), markup=False)
        yield Log(max_lines=MOST_LINES)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Log).focus()
        self._follow()

    @work(exit_on_error=False)
    async def _follow(self) -> None:
        log = self.query_one(Log)
        if not self._path.exists():
            log.write_line("There is nothing here yet.")
        start = max(0, self._path.stat().st_size - SHOWN_BYTES) if self._path.exists() else 0
        async for line in follow(self._path, start, lambda: True):
            log.write_line(plain(line))

    def action_back(self) -> None:
        """Leave the log."""
        self.dismiss()
