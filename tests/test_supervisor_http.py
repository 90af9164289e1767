"""The supervisor's HTTP: a chunked body is the same however it is cut on its way, and one that is cut off is told."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.supervisor.http import LONGEST_SIZE_LINE_BYTES, _chunks

PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def sent(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def received(raw: bytes, sizes: list[int]) -> bytes:
    reader, body = asyncio.StreamReader(), b""

    async def feed() -> None:
        at = 0
        while at < len(raw):
            size = sizes[at % len(sizes)]
            reader.feed_data(raw[at : at + size])
            at += size
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.create_task(feed())
    try:
        async for piece in _chunks(reader):
            body += piece
    finally:
        await feeding
    return body


@given(pieces=PIECES, sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_a_body_is_the_same_however_it_is_cut(pieces: list[bytes], sizes: list[int]) -> None:
    assert asyncio.run(received(sent(pieces), sizes)) == b"".join(pieces)


@given(pieces=PIECES.filter(bool), left=st.integers(6, 500))
def test_a_body_that_ends_too_early_is_told(pieces: list[bytes], left: int) -> None:
    raw = sent(pieces)[:-left]
    with pytest.raises(ConnectionResetError, match="cut"):
        asyncio.run(received(raw, [7]))


def test_a_size_without_an_end_is_no_http() -> None:
    with pytest.raises(ValueError, match="size of a chunk"):
        asyncio.run(received(b"1" * 2 * LONGEST_SIZE_LINE_BYTES, [100]))
