"""The program's beginning; `python -m r1tui` is `r1tui`."""

import os
import signal
from types import FrameType
from typing import NoReturn

from r1tui.errors import CancelledError


def main() -> NoReturn:
    """Run r1tui. Ctrl+C while its modules are still imported ends it without a word."""
    early = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if early:
        signal.signal(signal.SIGINT, _end)
    from r1tui.cli import main as run  # noqa: PLC0415

    if early:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(CancelledError.exit_status)


if __name__ == "__main__":
    main()
