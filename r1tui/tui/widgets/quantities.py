"""Figures as short words that keep their width, and the style of those that run out."""

from math import floor, log10

from r1tui.text import duration, part_of, size

GIB = 1 << 30
NEARLY_FULL = 0.9
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def of_total(used: int | None, total: int | None) -> str:
    """`62.0 / 80.0 GiB`."""
    return "–" if used is None or total is None else part_of(used, total, " / ")


def whole_gib(used: int | None, total: int | None) -> str:
    """`62/80 GiB`."""
    return "–" if used is None or total is None else f"{used / GIB:.0f}/{total / GIB:.0f} GiB"


def beside(said: str, n_bytes: int) -> str:
    """A size after another, without its unit where that one has the same: `60.0`, `310.0 MiB`."""
    number, _, unit = size(n_bytes).partition(" ")
    return number if said.endswith(f" {unit}") else f"{number} {unit}"


def per_second(bytes_per_s: float) -> str:
    """A rate of bytes, in MiB or GiB."""
    mib = bytes_per_s / (1 << 20)
    return f"{mib / 1024:.2f} GiB/s" if mib >= 999.5 else f"{mib:3.0f} MiB/s"


def tps(tokens_per_s: float) -> str:
    """Tokens per second in three digits, without the unit."""
    digits = 2 if tokens_per_s < 10 else 1 if tokens_per_s < 100 else 0
    return f"{tokens_per_s:,.{digits}f}"


def seconds(span_s: float) -> str:
    """A short time span: `0.35 s`, `12 s`, `3 min`."""
    return f"{span_s:.2f} s" if span_s < 10 else duration(span_s)


def percent(value: float | None) -> str:
    """`  7 %`."""
    return "–" if value is None else f"{value:3.0f} %"


def share_of(used: float | None, total: float | None) -> float | None:
    """`used` as a share of `total`, where both are known."""
    return used / total if used is not None and total else None


def alarm(share: float | None, style: str) -> str:
    """The style, or that of a warning where hardly anything is left."""
    return style if share is None or share < NEARLY_FULL else "$warning"


def round_top(value: float) -> float:
    """The next larger number that is easy to read: an axis that ends there."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next((step * power for step in STEPS if step * power >= value), 10 * power)
