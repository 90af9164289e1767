"""A driver's answers made sound: what is no number, version or text is nothing."""

from typing import Any

from r1tui.text import shortened


def text_line(value: Any) -> str:
    """A text of the driver's on one line, whatever it is."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return shortened(text.strip("\0"), 100)


def whole_number(value: Any, most: int = 1 << 62) -> int | None:
    """A number of the driver's; None for nonsense."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def version_pair(value: Any) -> tuple[int, int] | None:
    """A version in two numbers; None for nonsense."""
    given = value if isinstance(value, list | tuple) else ()
    known = [one for one in given if whole_number(one, 999) is not None]
    return (known[0], known[1]) if len(known) == len(given) == 2 else None
