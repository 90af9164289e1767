"""How a command runs stages: their events printed, their failure its exit status, signals as an interruption."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from r1tui.cli.printer import Printer
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import Emit, Stage, StageEvent, StageFailed

T = TypeVar("T")
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class FailedError(R1tuiError):
    """A stage failed; with an empty cause stdout's JSON has told it already."""

    def __init__(self, event: StageFailed, *, told: bool) -> None:
        super().__init__("" if told else event.cause, "" if told else event.remedy)
        self.exit_status = event.exit_status


@contextmanager
def reporting(stage: Stage, printer: Printer, *, as_json: bool) -> Iterator[Emit]:
    """Give the block an `emit`; with JSON its failure becomes the last event, else it is raised as it is."""
    try:
        yield printer
    except KeyboardInterrupt:
        if not as_json:
            raise
        event = StageFailed(stage, "Stopped.", "Start it again to go on.", CancelledError.exit_status)
        printer(event)
        raise FailedError(event, told=True) from None
    except R1tuiError as error:
        if not as_json:
            raise
        event = StageFailed(stage, error.cause, error.remedy, error.exit_status)
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


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine; SIGINT, SIGTERM and SIGHUP cancel it, so that it cleans up, and raise KeyboardInterrupt."""

    numbers = [number for number in _INTERRUPTIONS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in numbers:
            loop.add_signal_handler(number, task.cancel)
        return await task

    before = {number: signal.getsignal(number) for number in numbers}
    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():  # asyncio leaves the system's default
            signal.signal(number, handler)
