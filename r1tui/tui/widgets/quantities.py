"""Figures as short words that keep their width, and the style of those that run out."""

from r1tui.text import duration

GIB = 1 << 30
NEARLY_FULL, FULL = 0.9, 0.97


def of_gib(used: int | None, total: int | None) -> str:
    """`62.0 / 80.0 GiB`."""
    return "–" if used is None or total is None else f"{gib(used)} / {gib(total)} GiB"


def whole_gib(used: int | None, total: int | None) -> str:
    """`62/80 GiB`."""
    return "–" if used is None or total is None else f"{used / GIB:.0f}/{total / GIB:.0f} GiB"


def gib(n_bytes: int) -> str:
    """GiB to a tenth, without the unit."""
    return f"{n_bytes / GIB:.1f}"


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


def share_of(used: int | None, total: int | None) -> float | None:
    """`used` as a share of `total`, where both are known."""
    return used / total if used is not None and total else None


def alarm(share: float | None, style: str) -> str:
    """The style, or that of a warning where hardly anything is left."""
    if share is None or share < NEARLY_FULL:
        return style
    return "$warning" if share < FULL else "$error"
