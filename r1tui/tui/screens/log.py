"""A log in full, followed while it grows: the engine's build or the server; searched, and without what is harmless."""

from collections import deque
from contextlib import aclosing
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input, Label, Log

from r1tui.process import follow
from r1tui.server.diagnosis import level
from r1tui.tui.guarded import Guarded
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.still_input import StillInput
from r1tui.tui.widgets.transcript_rows import foreign

SHOWN_BYTES = 1 << 20
MOST_LINES = 20_000
LEVELS: tuple[tuple[str, frozenset[str]], ...] = (
    ("all lines", frozenset({"error", "warning", "other"})),
    ("warnings and errors", frozenset({"error", "warning"})),
    ("errors", frozenset({"error"})),
)


class LogScreen(Guarded, Screen[None]):
    """The last MiB of a log file and what is added to it, or what of that has the text that is searched for."""

    DEFAULT_CSS = """
    LogScreen {
        Label { width: 1fr; background: $primary-muted; color: $text; padding: 0 1; }
        Log { height: 1fr; }
        Input { display: none; height: 1; border: none; }
        &.-searching Input { display: block; }
    }
    """
    BINDINGS = [
        Binding("escape,q", "back", "Back", id="log.back"),
        Binding("slash", "search", "Search", id="log.search"),
        Binding("l", "level", "Level", id="log.level"),
    ]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lines: deque[tuple[str, str]] = deque(maxlen=MOST_LINES)
        self._level = 0
        self._wanted = ""
        self._nothing = False
        """Whether it is said that there is nothing to show."""

    def compose(self) -> ComposeResult:
        yield Label(markup=False)
        yield Log(max_lines=MOST_LINES)
        yield StillInput(placeholder="Search")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Log).focus()
        self._show()
        self._follow()

    @work(name="The log")
    async def _follow(self) -> None:
        log = self.query_one(Log)
        if not self._path.exists():
            log.write_line("There is nothing here yet.")
        start = max(0, self._path.stat().st_size - SHOWN_BYTES) if self._path.exists() else 0
        async with aclosing(follow(self._path, start, lambda: True)) as lines:
            async for line in lines:
                text = foreign(line)
                self._lines.append((text, level(text)))
                if self._is_shown(*self._lines[-1]):
                    log.write_line(text)
                    if self._nothing:
                        self._title(nothing=False)

    def _is_shown(self, line: str, its_level: str) -> bool:
        return (not self._level or its_level in LEVELS[self._level][1]) and self._wanted in line.casefold()

    def _show(self) -> None:
        """Everything anew, after a change of what is wanted."""
        log = self.query_one(Log)
        log.clear()
        shown = [line for line, its_level in self._lines if self._is_shown(line, its_level)]
        log.write_lines(shown)
        self._title(nothing=bool(self._lines) and not shown)

    def _title(self, *, nothing: bool) -> None:
        """Say what is shown, and that it is nothing."""
        self._nothing = nothing
        what = f"{LEVELS[self._level][0]} with {self._wanted!r}" if self._wanted else LEVELS[self._level][0]
        self.query_one(Label).update(foreign(f"{self._path}: {what}{': there are none' if nothing else ''}"))

    @on(Input.Changed)
    def _search(self, message: Input.Changed) -> None:
        self._wanted = message.value.casefold()
        self._show()

    @on(Input.Submitted)
    def _searched(self) -> None:
        self.query_one(Log).focus()

    def action_search(self) -> None:
        """Show only lines with what is typed now; going back shows all again."""
        self.add_class("-searching")
        self.query_one(Input).focus()

    def action_level(self) -> None:
        """Show all lines, warnings and errors, or errors alone."""
        self._level = (self._level + 1) % len(LEVELS)
        self._show()

    def action_back(self) -> None:
        """End the search; without one, leave the log."""
        if self.has_class("-searching"):
            self.remove_class("-searching")
            self.query_one(Input).clear()
            self.query_one(Log).focus()
        else:
            self.dismiss()
