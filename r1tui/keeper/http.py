"""The least of HTTP over a Unix socket: one request, its status code and body. The keeper needs no more."""

import asyncio
from contextlib import suppress
from pathlib import Path

LONGEST_ANSWER_BYTES = 1 << 20


async def request(
    socket: Path, method: str, target: str, key: str | None = None, timeout_s: float = 5.0
) -> tuple[int, bytes] | None:
    """The status code and body of the answer; None when nobody answers in time."""
    with suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(timeout_s):
            return await _request(socket, method, target, key)
    return None


async def _request(socket: Path, method: str, target: str, key: str | None) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n"
        writer.write(head.encode())
        await writer.drain()
        status = int((await reader.readline()).split(maxsplit=2)[1])
        answer = b""
        while len(answer) < LONGEST_ANSWER_BYTES and (data := await reader.read(1 << 16)):
            answer += data
        return status, answer.partition(b"\r\n\r\n")[2]
    finally:
        writer.close()
