"""Ranges of bytes, half-open: which are here, which are missing, which to fetch next."""

from collections.abc import Iterable

Range = tuple[int, int]
"""Start and stop; the stop is not part of it."""
Ranges = tuple[Range, ...]
"""In order, none empty, none touching the next: equal sets of bytes are equal values."""

SMALLEST_PIECE_BYTES = 16 << 20
LARGEST_PIECE_BYTES = 256 << 20


def joined(ranges: Iterable[Range]) -> Ranges:
    """The same bytes in order, with what overlaps or touches made one."""
    whole: list[Range] = []
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], stop))
        else:
            whole.append((start, stop))
    return tuple(whole)


def missing(here: Ranges, size_bytes: int) -> Ranges:
    """The bytes below `size_bytes` that are not here."""
    edges = [0, *(edge for one in here for edge in one), size_bytes]
    return tuple((start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop)


def length(ranges: Iterable[Range]) -> int:
    """How many bytes they are."""
    return sum(stop - start for start, stop in ranges)


def piece_bytes(remaining_bytes: int, connections: int) -> int:
    """How much one request asks for: much, so that its round trip does not count; less where the end is near, so that
    all connections end together."""
    share = remaining_bytes // (4 * connections)
    return min(max(share, SMALLEST_PIECE_BYTES), LARGEST_PIECE_BYTES)
