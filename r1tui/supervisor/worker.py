"""Work in daemon threads beside the event loop, so that a disk that hangs holds up neither it nor the program's end.

Unexpected exceptions are logged, and none ends a task in silence.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from r1tui.errors import R1tuiError
from r1tui.system.logs import log_unexpected

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class WorkerThread:
    """A thread that does one piece of work after the other, in the order in which they were given to it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._is_running = False
        self._last: asyncio.Future[Any] | None = None
        self._stuck: asyncio.Future[Any] | None = None

    def put(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        """Queue the work; the future is its outcome, which nobody need wait for."""
        self._last = future = _run_by(self._work.put, partial(work, *args, **kwargs))
        if not self._is_running:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
            self._is_running = True
        return future

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work and wait for it; it is done also when the waiting is cancelled."""
        return await asyncio.shield(self.put(work, *args, **kwargs))

    async def wait_at_most(self, outcome: "asyncio.Future[T]", timeout_s: float) -> bool:
        """Wait for the outcome, but not while earlier work still hangs; True when it is done."""
        if self._stuck is None or self._stuck.done():
            await asyncio.wait([outcome], timeout=timeout_s)
            self._stuck = None if outcome.done() else outcome
            if self._stuck is not None:
                _log.warning("%s: nothing was done for %.0f s; it is not waited for any more", self._name, timeout_s)
        return outcome.done()

    async def finish(self, timeout_s: float) -> bool:
        """Wait for all work; True when it is done."""
        return self._last is None or await self.wait_at_most(self._last, timeout_s)

    def _run(self) -> None:
        while True:
            self._work.get()()


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As asyncio.to_thread, in a daemon thread of its own."""

    def start(run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=getattr(work, "__name__", "work"), daemon=True).start()

    return await _run_by(start, partial(work, *args, **kwargs))


def _run_by(start: Callable[[Callable[[], None]], None], work: Callable[[], T]) -> "asyncio.Future[T]":
    """The outcome of work that `start` has another thread do."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # from now on it is done, also when nobody waits any more

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            if not isinstance(error, OSError | R1tuiError):  # nobody may wait for the outcome
                _log.error("work in a thread ended unexpectedly", exc_info=error)
            outcome.set_exception(error)

    future = asyncio.wrap_future(outcome)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # known, though nobody waits for it
    start(run)
    return future


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
