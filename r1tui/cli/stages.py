"""How a command that is one stage reports its end."""

from collections.abc import Iterator
from contextlib import contextmanager

from r1tui.cli.printer import Printer
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import Emit, Stage, StageFailed


class ReportedError(R1tuiError):
    """A failure that stdout's JSON has told already; only its exit status is left to give."""

    def __init__(self, exit_status: int) -> None:
        super().__init__("")
        self.exit_status = exit_status


@contextmanager
def reporting(stage: Stage, printer: Printer, *, as_json: bool) -> Iterator[Emit]:
    """Give the block an `emit`; with JSON its failure becomes the last event, else it is raised as it is."""
    try:
        yield printer
    except KeyboardInterrupt:
        if not as_json:
            raise
        printer(StageFailed(stage, "Stopped.", "Start it again to go on.", CancelledError.exit_status))
        raise ReportedError(CancelledError.exit_status) from None
    except R1tuiError as error:
        if not as_json:
            raise
        printer(StageFailed(stage, error.cause, error.remedy, error.exit_status))
        raise ReportedError(error.exit_status) from error
    finally:
        printer.clear()
