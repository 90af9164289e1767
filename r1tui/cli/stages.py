"""How a command runs stages: their events printed, their failure its exit status."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from r1tui.cli.context import Context
from r1tui.cli.printer import Printer
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import Emit, Stage, StageEvent, StageFailed, StageStarted
from r1tui.launch.loading import follow_server
from r1tui.messages import Status
from r1tui.system.logs import as_user_error

WORK: dict[Stage, str] = {"engine": "build", "model": "download", "plan": "plan", "server": "server"}


class FailedError(R1tuiError):
    """A stage failed; with an empty cause stdout's JSON has told it already."""

    def __init__(self, event: StageFailed, *, told: bool) -> None:
        super().__init__("" if told else event.cause, *(() if told else event.remedies))
        self.exit_status = event.exit_status


def failed_event(stage: Stage, error: R1tuiError | KeyboardInterrupt) -> StageFailed:
    """The event of a stage that failed with this error."""
    if isinstance(error, KeyboardInterrupt):
        return StageFailed(stage, "Stopped.", "Start it again to go on.", CancelledError.exit_status)
    return StageFailed.of(stage, error)


@contextmanager
def our_errors(stage: Stage) -> Iterator[None]:
    """Raise what the block raises as our own error; what nobody expected is logged. A closed pipe stays what it is."""
    try:
        yield
    except (R1tuiError, BrokenPipeError):
        raise
    except Exception as error:
        raise as_user_error(error, f"The {WORK[stage]}") from error


@contextmanager
def reporting(stage: Stage, printer: Printer, *, as_json: bool) -> Iterator[Emit]:
    """Give the block an `emit`; with JSON its failure becomes the last event, else it is raised as it is."""
    try:
        with our_errors(stage):
            yield printer
    except (KeyboardInterrupt, R1tuiError) as error:
        if not as_json:
            raise
        event = failed_event(stage, error)
        printer(event)
        raise FailedError(event, told=True) from error
    finally:
        printer.clear()


async def show(events: AsyncGenerator[StageEvent, None], printer: Printer, *, as_json: bool = False) -> None:
    """Print the events of a launch; raises FailedError for the one that failed."""
    try:
        async with aclosing(events) as closing:
            async for event in closing:
                printer(event)
                if isinstance(event, StageFailed):
                    raise FailedError(event, told=as_json)
    finally:
        printer.clear()


async def join(context: Context, now: Status) -> Status:
    """Wait with the user for a server that somebody else brings up: what it does is told on stderr; how it is then."""
    last, printer = now, Printer()

    def note(status: Status) -> None:
        nonlocal last
        last = status

    if not now.settled:
        printer(StageStarted("server", f"llama-server with {now.variant or now.model}, which is {now.state}"))
    await show(follow_server(context.paths, context.config.server.stuck_s, note, restarts=now.restarts), printer)
    return last
