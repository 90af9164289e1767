"""What becomes of exceptions that nobody foresaw: each is logged, and none ends a task of the supervisor in silence."""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from r1tui.system.logs import log_unexpected


class TaskDiedError(Exception):
    """A task of the supervisor ended by an exception that nobody foresaw, its `__cause__`; `what` names the task."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


async def named(what: str, work: Coroutine[Any, Any, object]) -> None:
    """Do a task's work; raises TaskDiedError for whatever it raises, but not when it is cancelled."""
    try:
        await work
    except Exception as error:
        raise TaskDiedError(what) from error


@contextmanager
def log_errors(what: str) -> Iterator[None]:
    """Log what the block raises, and go on after it: for what must not keep a server from being ended."""
    try:
        yield
    except Exception as error:
        log_unexpected(error, what)
