"""What signals mean to a supervisor."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def stop_signals(stop: Callable[[], None], interrupt: Callable[[], None], *, detached: bool) -> Iterator[None]:
    """SIGTERM and a closed terminal call `stop`, Ctrl+C `interrupt`, while the block lasts.

    A detached supervisor outlives its terminal and knows no Ctrl+C; under nohup a closed terminal is nothing either.
    """
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    with suppress(ValueError, RuntimeError):  # not the main thread: then its program sees to signals
        for number in numbers:
            if number is signal.SIGHUP and detached:
                signal.signal(number, signal.SIG_IGN)
            elif signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                in_person = number is signal.SIGINT and not detached
                loop.add_signal_handler(number, interrupt if in_person else stop)
    try:
        yield
    finally:
        with suppress(ValueError, RuntimeError):
            for number in numbers:
                loop.remove_signal_handler(number)
