"""A log's last lines, followed while it grows: the engine's build or the server; searched, and by level."""

import threading
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import Label
from textual.worker import get_current_worker

from r1tui.errors import R1tuiError
from r1tui.system.log_reader import POLL_S, LogReader
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.screens.dialogs import SearchScreen
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.log_lines import Line, Lines, batches
from r1tui.tui.widgets.log_view import LogView
from r1tui.tui.widgets.still_input import StillInput
from r1tui.tui.widgets.transcript_rows import safe_text

SHOWN_BYTES = 1 << 20
LEVELS: tuple[tuple[str, frozenset[str]], ...] = (
    ("all lines", frozenset()),
    ("warnings and errors", frozenset({"error", "warning"})),
    ("errors", frozenset({"error"})),
)


class LogScreen(Guarded, SearchScreen[None]):
    """The last MiB of a log file and what is added to it, or what of that has the text that is searched for.

    A thread reads it in slices and waits with the next one until the last is taken.
    """

    DEFAULT_CSS = """
    LogScreen {
        Label { width: 1fr; background: $primary-muted; color: $text; padding: 0 1; }
        LogView { height: 1fr; }
        Input { display: none; height: 1; border: none; }
        &.-searching Input { display: block; }
    }
    """
    BINDINGS = bindings_of("log")
    FOUND = LogView

    @dataclass
    class Grown(Message):
        """More of the log was read; nothing at all where there is none yet."""

        lines: list[Line]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lines = Lines()
        self._level = 0
        self._wanted = ""
        self._said = ""
        self._taken = threading.Event()
        """Set when the last slice is shown."""

    def compose(self) -> ComposeResult:
        yield Label(markup=False)
        yield LogView()
        yield StillInput(placeholder="Search")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(LogView).focus()
        self._title()
        self._follow()

    @work(name="The log", thread=True)
    def _follow(self) -> None:
        worker = get_current_worker()
        size_bytes = self._path.stat().st_size if self._path.exists() else 0
        reader = LogReader(self._path, max(0, size_bytes - SHOWN_BYTES))
        begins_within = size_bytes > SHOWN_BYTES
        number = 0
        try:
            self.post_message(self.Grown([]))
            while not worker.is_cancelled:
                lines = reader.lines()
                if begins_within:  # of a line, of which the rest would look like one
                    begins_within = next(lines, None) is None
                for batch in batches(lines, number):
                    number += len(batch)
                    self._taken.clear()
                    self.post_message(self.Grown(batch))
                    while not self._taken.wait(POLL_S):
                        if worker.cancelled_event.is_set():
                            return
                worker.cancelled_event.wait(POLL_S)
        finally:
            reader.close()

    @on(Grown)
    def _grown(self, message: Grown) -> None:
        n_gone = self._lines.add(message.lines)
        self.query_one(LogView).show(self._lines.shown, n_gone=n_gone)
        self._title()
        self._taken.set()

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """Say so where the log should be too."""
        super().work_failed(name, error)
        self._say("could not be read")

    def _show(self) -> None:
        """Everything anew, after a change of what is wanted."""
        self._lines.want(LEVELS[self._level][1], self._wanted)
        self.query_one(LogView).show(self._lines.shown, to_end=True)
        self._title()

    def _title(self) -> None:
        """Say what is shown, and when it is nothing."""
        what = f"{LEVELS[self._level][0]} with {self._wanted!r}" if self._wanted else LEVELS[self._level][0]
        none = "" if self._lines.shown else ": no matches" if self._lines.all else ": nothing yet"
        self._say(f"{what}{none}")

    def _say(self, text: str) -> None:
        if text != self._said:  # a label lays the whole screen out again
            self._said = text
            self.query_one(Label).update(safe_text(f"{self._path}: {text}"))

    def _search(self, wanted: str) -> None:
        self._wanted = wanted.casefold()
        self._show()

    def action_level(self) -> None:
        self._level = (self._level + 1) % len(LEVELS)
        self._show()
