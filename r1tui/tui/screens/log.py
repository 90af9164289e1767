"""A log's last lines, followed while it grows: of the build, or the server; and all notices. Searched, and by level."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import Label
from textual.worker import get_current_worker

from r1tui.errors import R1tuiError
from r1tui.system.log_reader import POLL_S, LogReader
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.notices import ScreenNotice
from r1tui.tui.noticing import NoticingApp
from r1tui.tui.screens.dialogs import SearchScreen
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.log_lines import Line, Lines, batches, notice_lines
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
    """The last MiB of a log file and what is added to it, or all notices; of either what has the text that is searched.

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

    def __init__(self, path: Path | None) -> None:
        """Without a `path` there are the notices alone."""
        super().__init__()
        self._path = path
        self.shows_notices = path is None
        self._lines = Lines()
        self._level = 0
        self._wanted = ""
        self._said = ""
        self._taken = threading.Event()
        """Set when the last slice is shown."""

    @property
    def _notices(self) -> Sequence[ScreenNotice]:
        """All of them, the oldest first."""
        return cast("NoticingApp", self.app).notices.kept

    def compose(self) -> ComposeResult:
        yield Label(markup=False)
        yield LogView()
        yield StillInput(placeholder="Search")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(LogView).focus()
        self._title()
        if self._path is not None:
            self._follow(self._path)

    def on_resize(self) -> None:
        """Wrap the notices anew."""
        self.call_after_refresh(self.show_notices)  # when the view has its new width

    @work(name="The log", thread=True)
    def _follow(self, path: Path) -> None:
        worker = get_current_worker()
        size_bytes = path.stat().st_size if path.exists() else 0
        reader = LogReader(path, max(0, size_bytes - SHOWN_BYTES))
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
        if not self.shows_notices:
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
        if self.shows_notices:
            self.show_notices()
        else:
            self.query_one(LogView).show(self._lines.shown, to_end=True)
        self._title()

    def show_notices(self) -> None:
        """Show the notices that there are now, if they are what is shown."""
        if not self.shows_notices:
            return
        view = self.query_one(LogView)
        rows, wanted = notice_lines(reversed(list(self._notices)), view.columns), Lines()
        wanted.want(LEVELS[self._level][1], self._wanted)
        wanted.add(rows)
        view.show(wanted.shown, follows=False)
        self._title()

    def _title(self) -> None:
        """Say what is shown, and when it is nothing."""
        what = f"{LEVELS[self._level][0]} with {self._wanted!r}" if self._wanted else LEVELS[self._level][0]
        there = self._notices if self.shows_notices else self._lines.all
        none = "" if self.query_one(LogView).lines else ": no matches" if there else ": nothing yet"
        self._say(f"{what}{none}")

    def _say(self, text: str) -> None:
        if text != self._said:  # a label lays the whole screen out again
            self._said = text
            self.query_one(Label).update(safe_text(f"{'Notices' if self.shows_notices else self._path}: {text}"))

    def _search(self, wanted: str) -> None:
        self._wanted = wanted.casefold()
        self._show()

    def action_notices(self) -> None:
        self.shows_notices = self._path is None or not self.shows_notices
        self._said = ""
        self._show()
        if self.shows_notices:
            self.query_one(LogView).scroll_home(animate=False, immediate=True)

    def action_level(self) -> None:
        self._level = (self._level + 1) % len(LEVELS)
        self._show()
