"""Threads that a disk or a network holds for ever: what began them must be able to end all the same."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
MOST_THREADS = 32
"""A few that hang leave enough for all else."""
GRACE_S = 1.0


async def leaving_threads(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine gives; threads that still work for it then are not waited for, not by asyncio either."""
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(MOST_THREADS, "r1tui")
    loop.set_default_executor(threads)
    try:
        return await work
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(ThreadPoolExecutor(1))  # asyncio waits for the threads of the one it has


def end_process(status: int) -> NoReturn:
    """End with this exit status; a thread that still works after GRACE_S is left, not waited for as Python does."""
    until_s = monotonic() + GRACE_S
    others = [one for one in threading.enumerate() if one is not threading.current_thread() and not one.daemon]
    for one in others:
        one.join(max(0.0, until_s - monotonic()))
    if not any(one.is_alive() for one in others):
        sys.exit(status)
    logging.getLogger(__name__).warning("Left: %s", ", ".join(one.name for one in others if one.is_alive()))
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or never there
            stream.flush()
    os._exit(status)
