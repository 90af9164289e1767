"""Shows stage events: as JSON lines on stdout, as one live line on a terminal, as plain lines anywhere else."""

import shutil
import sys
from time import monotonic

import click

from r1tui.cli.context import is_terminal, print_json_line
from r1tui.errors import is_full
from r1tui.events import (
    LogLine,
    Notice,
    Progress,
    Stage,
    StageDone,
    StageEvent,
    StageFailed,
    StageStarted,
    describe_progress,
    encode_event,
)
from r1tui.text import plain

QUIET_INTERVAL_S = 15.0


class Printer:
    """Prints events. Everything but JSON goes to stderr; the log's lines are only for `verbose`."""

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self._json = as_json
        self._verbose = verbose
        self._live = is_terminal(sys.stderr)
        self._running: dict[Stage, str] = {}
        self._line_shown = False
        self._last_quiet_s: dict[Stage, float] = {}

    def __call__(self, event: StageEvent) -> None:
        if self._json:
            try:
                print_json_line(encode_event(event))
            except OSError as error:
                if not is_full(error):  # the log is on the disk that the download waits for: it is written later
                    raise
            return
        match event:
            case StageStarted(stage, title):
                self._running[stage] = title
                self._say(f"{stage}: {title}")
            case Progress(stage):
                self._progress(stage, describe_progress(event))
            case LogLine(_, text) if self._verbose:
                self._say(f"  {text}")
            case Notice(stage, text):
                self._say(f"{stage}: {text}")
            case StageDone(stage, result, detail):
                self._running.pop(stage, None)
                self._say(f"{stage}: {detail or result}")
            case StageFailed(stage):
                self._running.pop(stage, None)
                self.clear()

    def clear(self) -> None:
        """Clear the live line."""
        if self._line_shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._line_shown = False

    def _say(self, text: str) -> None:
        self.clear()
        click.echo(plain(text), err=True)

    def _progress(self, stage: Stage, text: str) -> None:
        self._running[stage] = text
        if self._live:
            line = "   ".join(f"{name} {shown}" for name, shown in self._running.items())
            width = shutil.get_terminal_size().columns - 1
            click.echo("\r\x1b[K" + plain(line)[:width], nl=False, err=True)
            self._line_shown = True
        elif monotonic() - self._last_quiet_s.get(stage, -QUIET_INTERVAL_S) >= QUIET_INTERVAL_S:
            self._last_quiet_s[stage] = monotonic()
            self._say(f"{stage}: {text}")
