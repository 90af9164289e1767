"""Work in daemon threads beside the event loop, so that a disk that hangs holds up neither it nor the program's end.

Unexpected exceptions are logged, and none ends a task in silence.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
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
        self._thread: threading.Thread | None = None
        self._last: asyncio.Future[Any] | None = None
        self._stuck: asyncio.Future[Any] | None = None

    def put(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        """Have it done; the future is its outcome, which nobody need wait for."""
        future = _future_of(partial(work, *args, **kwargs), self._work.put)
        self._last = future
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return future

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have it done, and wait as long as that takes; it is done all the same when whoever waits is cancelled."""
        return await asyncio.shield(self.put(work, *args, **kwargs))

    async def patiently(self, outcome: "asyncio.Future[T]", patience_s: float) -> bool:
        """Wait for it, but not for ever, and not again while earlier work still hangs; whether it is done."""
        if self._stuck is not None and not self._stuck.done():
            return outcome.done()
        await asyncio.wait([outcome], timeout=patience_s)
        self._stuck = None if outcome.done() else outcome
        if self._stuck is not None:
            _log.warning("%s: nothing was done for %.0f s; it is not waited for any more", self._name, patience_s)
        return outcome.done()

    async def finish(self, patience_s: float) -> bool:
        """Wait until all is done, but not for ever; whether it is."""
        return self._last is None or await self.patiently(self._last, patience_s)

    def _run(self) -> None:
        while True:
            self._work.get()()


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As asyncio.to_thread, in a daemon thread of its own."""

    def start(run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=getattr(work, "__name__", "work"), daemon=True).start()

    return await _future_of(partial(work, *args, **kwargs), start)


def _future_of(work: Callable[[], T], start: Callable[[Callable[[], None]], None]) -> "asyncio.Future[T]":
    """The outcome of what `start` has another thread run."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # known, though nobody waits for it

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
            if not isinstance(raised, OSError | R1tuiError):  # nobody may wait for the outcome
                _log.error("work in a thread ended unexpectedly", exc_info=raised)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

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
