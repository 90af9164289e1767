"""Stages of a command: their events are printed, their failure is its exit status."""

import shutil
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from time import monotonic

import click

from r1tui import events
from r1tui.cli.context import Context, is_terminal, print_json_line, say
from r1tui.errors import CancelledError, R1tuiError, is_full
from r1tui.launch.loading import follow_server
from r1tui.messages import Status
from r1tui.remedies import ShowLog
from r1tui.system.logs import as_user_error
from r1tui.text import one_line, plain

QUIET_INTERVAL_S = 15.0
WORK: dict[events.Stage, str] = {"engine": "build", "model": "download", "plan": "plan", "server": "server"}


class Printer:
    """Prints events: as JSON lines on stdout; else on stderr, as one live line on a terminal, elsewhere as plain lines.

    The log's lines are only for `verbose`.
    """

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self._verbose = verbose
        self._live = is_terminal(sys.stderr)
        self._running: dict[events.Stage, str] = {}
        self._line_shown = False
        self._last_quiet_s: dict[events.Stage, float] = {}

    def __call__(self, event: events.StageEvent) -> None:
        if self.as_json:
            try:
                print_json_line(events.encode_event(event))
            except OSError as error:
                if not is_full(error):  # the log is on the disk that the download waits for: it is written later
                    raise
            return
        match event:
            case events.StageStarted(stage, title):
                self._running[stage] = title
                self._say(one_line(f"{stage}: {title}"))
            case events.Progress(stage):
                self._progress(stage, events.describe_progress(event))
            case events.LogLine(_, text) if self._verbose:
                self._say(f"  {text}")
            case events.Notice(stage, text):
                self._say(f"{stage}: {text}")
            case events.StageDone(stage, result, detail):
                self._running.pop(stage, None)
                self._say(one_line(f"{stage}: {detail or result}"))
            case events.StageFailed(stage):
                self._running.pop(stage, None)
                self.clear()

    def clear(self) -> None:
        """Clear the live line."""
        if self._line_shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._line_shown = False

    def _say(self, text: str) -> None:
        self.clear()
        say(text, err=True)

    def _progress(self, stage: events.Stage, text: str) -> None:
        self._running[stage] = text
        if self._live:
            line = "   ".join(f"{name} {shown}" for name, shown in self._running.items())
            width = shutil.get_terminal_size().columns - 1
            click.echo("\r\x1b[K" + plain(line)[:width], nl=False, err=True)
            self._line_shown = True
        elif monotonic() - self._last_quiet_s.get(stage, -QUIET_INTERVAL_S) >= QUIET_INTERVAL_S:
            self._last_quiet_s[stage] = monotonic()
            self._say(f"{stage}: {text}")


class FailedError(R1tuiError):
    """A stage failed; with an empty cause stdout's JSON has told it already."""

    def __init__(self, event: events.StageFailed, *, is_printed: bool) -> None:
        super().__init__("" if is_printed else event.cause, *(() if is_printed else event.remedies))
        self.exit_status = event.exit_status


def failed_event(stage: events.Stage, error: R1tuiError | KeyboardInterrupt) -> events.StageFailed:
    """The event of a stage that failed with this error."""
    if isinstance(error, KeyboardInterrupt):
        return events.StageFailed(stage, "Stopped.", "Run it again to continue.", CancelledError.exit_status)
    return events.StageFailed.of(stage, error)


@contextmanager
def our_errors(stage: events.Stage) -> Iterator[None]:
    """Raise what the block raises as our own error; what nobody expected is logged. A closed pipe stays what it is."""
    try:
        yield
    except (R1tuiError, BrokenPipeError):
        raise
    except Exception as error:
        raise as_user_error(error, f"The {WORK[stage]}") from error


@contextmanager
def reporting(stage: events.Stage, printer: Printer) -> Iterator[events.Emit]:
    """Give the block an `emit`; with JSON its failure becomes the last event, else it is raised as it is."""
    try:
        with our_errors(stage):
            yield printer
    except (KeyboardInterrupt, R1tuiError) as error:
        if not printer.as_json:
            raise
        event = failed_event(stage, error)
        printer(event)
        raise FailedError(event, is_printed=True) from error
    finally:
        printer.clear()


async def show(stages: AsyncGenerator[events.StageEvent, None], printer: Printer) -> None:
    """Print the events of a launch; raises FailedError for the one that failed."""
    try:
        async with aclosing(stages) as closing:
            async for event in closing:
                printer(event)
                if isinstance(event, events.StageFailed):
                    raise FailedError(event, is_printed=printer.as_json)
    finally:
        printer.clear()


def check_ready(status: Status) -> None:
    """Raise R1tuiError for a server that does not answer."""
    if status.endpoint is None or status.state not in ("ready", "sleeping"):
        raise R1tuiError(status.cause or f"The server is {status.state}.", *(status.remedies or (ShowLog(),)))


async def join(context: Context, now: Status) -> Status:
    """Wait with the user for a server that somebody else brings up: what it does is told on stderr; how it is then."""
    last, printer = now, Printer()

    def note(status: Status) -> None:
        nonlocal last
        last = status

    if not now.settled:
        name = now.variant or now.model or "an unknown model"
        printer(events.StageStarted("server", f"llama-server with {name} ({now.state})"))
    await show(follow_server(context.paths, context.config.server.stuck_s, note, restarts=now.restarts), printer)
    return last
