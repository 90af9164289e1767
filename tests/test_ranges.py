"""What is here and what is missing always make the whole file, however the bytes came."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from r1tui.hub.download.part import (
    LARGEST_PIECE_BYTES,
    SMALLEST_PIECE_BYTES,
    Range,
    count_bytes,
    find_gaps,
    merge_ranges,
    piece_bytes,
)

SIZE = 60
a_range = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))


def bytes_of(ranges: list[Range]) -> set[int]:
    return {byte for start, stop in ranges for byte in range(start, stop)}


@given(st.lists(a_range))
def test_joined_ranges_are_the_same_bytes_in_order_and_apart(ranges: list[Range]) -> None:
    whole = merge_ranges(ranges)
    assert bytes_of(list(whole)) == bytes_of(ranges)
    assert count_bytes(whole) == len(bytes_of(ranges))
    assert all(start < stop for start, stop in whole)
    assert all(before[1] < after[0] for before, after in pairwise(whole))


@given(st.lists(a_range))
def test_missing_is_all_the_rest(ranges: list[Range]) -> None:
    here = merge_ranges(ranges)
    gaps = find_gaps(here, SIZE)
    assert bytes_of(list(gaps)) == set(range(SIZE)) - bytes_of(ranges)
    assert merge_ranges(gaps) == gaps
    assert merge_ranges([*here, *gaps]) == ((0, SIZE),)


@given(st.integers(0, 1 << 42), st.integers(1, 32))
def test_a_piece_is_bounded_and_leaves_work_for_every_connection(remaining: int, connections: int) -> None:
    piece = piece_bytes(remaining, connections)
    assert SMALLEST_PIECE_BYTES <= piece <= LARGEST_PIECE_BYTES
    assert piece == SMALLEST_PIECE_BYTES or piece * connections <= remaining
