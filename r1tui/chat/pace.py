"""Reads a stream in batches, so that each token does not wake the whole program."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from time import monotonic
from typing import TypeVar

Item = TypeVar("Item")
_BURST_S = 0.005


async def paced(items: AsyncIterator[Item], period_s: Callable[[], float]) -> AsyncGenerator[Item]:
    """The items, with a pause of `period_s()` after each burst: what comes meanwhile waits in the socket's buffer.

    An item that had to be waited for ends its burst; those that lie ready are passed on at once.
    """
    burst_ends_s = 0.0
    async for item in items:
        yield item
        if monotonic() >= burst_ends_s and (pause_s := period_s()):
            await asyncio.sleep(pause_s)
            burst_ends_s = monotonic() + _BURST_S
