"""Checks of a driver's answers: anything but a number, a version or a text is dropped."""

from typing import Any

from r1tui.text import shortened


def text_line(value: Any) -> str:
    """The driver's text on one line; empty for anything else."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return shortened(text.strip("\0"), 100)


def whole_number(value: Any, most: int = 1 << 62) -> int | None:
    """The driver's number, from 0 to `most`; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def version_pair(value: Any) -> tuple[int, int] | None:
    """The driver's version in two numbers; None for anything else."""
    given = value if isinstance(value, list | tuple) else ()
    known = [one for one in given if whole_number(one, 999) is not None]
    return (known[0], known[1]) if len(known) == len(given) == 2 else None
