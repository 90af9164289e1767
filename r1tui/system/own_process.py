"""This process itself: its output streams, and coroutines and threads that a signal or a hanging disk must not hold."""

import io
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from r1tui.system.lazy import asyncio, futures, logging

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

T = TypeVar("T")
MOST_THREADS = 32
"""A few that hang leave enough for all else."""
GRACE_S = 1.0
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def forgive_streams(encoding: str | None = None) -> None:
    """From now on `?` stands on stdout and stderr for what their encoding cannot say; another encoding can be given.

    What stderr cannot take (a log on a full disk, a pipe that nobody reads) is dropped: the work goes on.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(encoding=encoding, errors="replace")
    if isinstance(before := sys.stderr, io.TextIOWrapper):
        with suppress(OSError, ValueError):
            buffer = io.BufferedWriter(_ForgivingFile(before.fileno(), "wb", closefd=False))
            sys.stderr = io.TextIOWrapper(buffer, before.encoding, before.errors, line_buffering=True)


class _ForgivingFile(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        with suppress(OSError):
            if (written := super().write(data)) is not None:  # None: a terminal that would block
                return written
        return memoryview(data).nbytes


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


async def leaving_threads(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine; threads that still work for it at its end are not waited for, not by asyncio either."""
    loop = asyncio.get_running_loop()
    threads = futures.ThreadPoolExecutor(MOST_THREADS, "r1tui")
    loop.set_default_executor(threads)
    try:
        return await work
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(futures.ThreadPoolExecutor(1))  # asyncio waits for the threads of the one it has


def end_process(status: int) -> NoReturn:
    """End with this exit status; a thread that still works after GRACE_S is left, not waited for as Python does."""
    until_s = monotonic() + GRACE_S
    others = [one for one in threading.enumerate() if one is not threading.current_thread() and not one.daemon]
    for one in others:
        one.join(max(0.0, until_s - monotonic()))
    if left := [one.name for one in others if one.is_alive()]:
        logging.getLogger(__name__).warning("Left: %s", ", ".join(left))
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, or never there
                stream.flush()
        os._exit(status)
    sys.exit(status)
