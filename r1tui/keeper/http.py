"""The least of HTTP over a Unix socket: one request, its status code. The keeper needs no more."""

import asyncio
from contextlib import suppress
from pathlib import Path


async def request(socket: Path, method: str, target: str, key: str | None = None, timeout_s: float = 5.0) -> int | None:
    """The status code of the answer; None when nobody answers in time."""
    with suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(timeout_s):
            return await _request(socket, method, target, key)
    return None


async def _request(socket: Path, method: str, target: str, key: str | None) -> int:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n".encode()
        )
        await writer.drain()
        return int((await reader.readline()).split(maxsplit=2)[1])
    finally:
        writer.close()
