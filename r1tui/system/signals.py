"""Coroutines in a program's main thread, where signals interrupt them so that they clean up."""

import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from r1tui.system.lazy import asyncio

T = TypeVar("T")
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
