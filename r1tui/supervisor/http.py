"""Minimal HTTP over a Unix socket: one request, its status code and body, whole or as it comes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar, cast

import msgspec

from r1tui.messages import decode_foreign
from r1tui.supervisor.protocol import ForeignError, check_peer

T = TypeVar("T")
Health = Literal["loading", "ready", "sleeping"]
LONGEST_ANSWER_BYTES = 1 << 20
PIECE_BYTES = 1 << 16
END, LONGEST_SIZE_LINE_BYTES = b"\r\n", 1 << 12


class _Props(msgspec.Struct):
    is_sleeping: bool = False


async def request(
    socket: Path, method: str, target: str, key: str | None = None, timeout_s: float = 5.0, *, body: bytes = b""
) -> tuple[int, bytes] | None:
    """The status code and body of the answer; None when nobody answers in time."""
    with suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(timeout_s), opened(socket, method, target, key, body) as (status, pieces):
            answer = b""
            async with aclosing(pieces):
                async for piece in pieces:
                    answer += piece
                    if len(answer) >= LONGEST_ANSWER_BYTES:
                        break
            return status, answer
    return None


async def ask(
    socket: Path,
    method: str,
    target: str,
    kind: type[T],
    key: str | None = None,
    *,
    timeout_s: float = 5.0,
    body: object = None,
) -> T | None:
    """The JSON of a good answer; None for any other, and when none comes in time. The body is sent as JSON."""
    sent = b"" if body is None else msgspec.json.encode(body)
    answer = await request(socket, method, target, key, timeout_s, body=sent)
    with suppress(msgspec.DecodeError):
        return decode_foreign(answer[1], kind) if answer and answer[0] == 200 else None
    return None


async def check_health(socket: Path, key: str | None, *, sleeps: bool, timeout_s: float) -> Health | None:
    """The server's state; None when it does not answer in time. Neither question keeps it from sleeping."""
    health = await request(socket, "GET", "/health", key, timeout_s)
    if health is None:
        return None
    if health[0] != 200:
        return "loading"
    props = await ask(socket, "GET", "/props", _Props, key, timeout_s=timeout_s) if sleeps else None
    return "sleeping" if props is not None and props.is_sleeping else "ready"


@asynccontextmanager
async def opened(
    socket: Path, method: str, target: str, key: str | None = None, body: bytes = b"", *, rest_s: float = 0.0
) -> AsyncIterator[tuple[int, AsyncGenerator[bytes]]]:
    """The status code, and the body piece by piece, `rest_s` between two: what comes meanwhile waits in the socket.

    Raises OSError; ValueError or IndexError for anything but HTTP.
    """
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}{length}\r\n"
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        check_peer(writer.get_extra_info("socket"), socket)
        writer.write(head.encode() + body)
        await writer.drain()
        status = int((await reader.readline()).split(maxsplit=2)[1])
        chunked = False
        while (line := await reader.readline()).strip():
            name, _, value = line.partition(b":")
            chunked = chunked or (name.strip().lower() == b"transfer-encoding" and value.strip().lower() == b"chunked")
        pieces = _chunks(reader) if chunked else _plain(reader)
        yield status, _rested(pieces, cast("asyncio.Transport", writer.transport), rest_s) if rest_s else pieces
    except ForeignError as error:
        raise ConnectionRefusedError(error.cause) from error
    finally:
        writer.close()


async def _rested(pieces: AsyncGenerator[bytes], transport: asyncio.Transport, rest_s: float) -> AsyncGenerator[bytes]:
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
            transport.pause_reading()
            await asyncio.sleep(rest_s)
            transport.resume_reading()


async def _plain(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while piece := await reader.read(PIECE_BYTES):
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    """The body of `Transfer-Encoding: chunked` (RFC 9112, 7.1) without its framing: what has come so far at once."""
    held, left = b"", 0
    while data := await reader.read(PIECE_BYTES):
        held, body, ended = held + data, [], False
        while held and not ended:
            if left > len(END):  # of a chunk and of the end of its line
                body.append(held[: left - len(END)])
                left, held = left - len(body[-1]), held[len(body[-1]) :]
            elif left:
                left, held = max(left - len(held), 0), held[left:]
            elif (end := held.find(END)) >= 0:
                size = int(held[:end].split(b";")[0], 16)
                left, held, ended = size + len(END), held[end + len(END) :], size == 0
            elif len(held) > LONGEST_SIZE_LINE_BYTES:
                raise ValueError("no size of a chunk")
            else:
                break
        if body:
            yield b"".join(body)
        if ended:
            return
    raise ConnectionResetError("the body was cut")
