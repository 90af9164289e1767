"""The supervisor's end of the control socket."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.errors import LOCAL_DISK, R1tuiError
from r1tui.messages import ENDED, VERSION, ControlRequest, Op, Reply, Version, decode
from r1tui.remedies import RestartServer
from r1tui.supervisor.book import Book
from r1tui.supervisor.protocol import LONGEST_REQUEST_BYTES, encode_line
from r1tui.system.files import make_way
from r1tui.system.logs import log_unexpected


class Control:
    """Answers on the control socket for as long as the block lasts."""

    def __init__(self, path: Path, book: Book, obey: Callable[[Op, str], Awaitable[None]]) -> None:
        self._path = path
        self._book = book
        self._obey = obey
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._bound: os.stat_result | None = None

    async def __aenter__(self) -> "Control":
        try:
            await self.listen()
        except OSError as error:
            why = error.strerror or str(error)
            raise R1tuiError(f"No Unix socket can be made in {self._path.parent}: {why}.", LOCAL_DISK) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
        if self.is_there():
            self._path.unlink(missing_ok=True)
        if self._telling:  # whoever waits for the end is told it
            await asyncio.wait(self._telling, timeout=0.5)
        for task in self._tasks:
            task.cancel()

    async def listen(self) -> None:
        """Make the socket, in place of one that was removed or replaced. Raises OSError."""
        if self._listener is not None:
            self._listener.close()
        make_way(self._path)
        self._path.unlink(missing_ok=True)
        self._listener = await asyncio.start_unix_server(self._accept, str(self._path), limit=LONGEST_REQUEST_BYTES)
        self._path.chmod(0o600)
        self._bound = self._path.stat()

    def is_there(self) -> bool:
        """True if whoever connects to the socket's path reaches this one."""
        try:
            return self._bound is not None and os.path.samestat(self._bound, self._path.stat())
        except OSError:
            return False

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            try:
                while True:
                    try:
                        line = await reader.readline()
                    except ValueError:
                        await _send(writer, Reply(False, None, "The request is too long."))
                        break
                    if not line:
                        break
                    try:
                        request = _understand(line)
                    except R1tuiError as error:
                        await _send(writer, Reply(False, None, error.cause, remedies=error.remedies))
                        continue
                    if request.op in ("watch", "stop"):
                        await self._tell(request.op, reader, writer)
                        break
                    await self._obey(request.op, request.conversation_id or "")
                    await _send(writer, Reply(True, self._book.status()))
            except Exception as error:
                told = log_unexpected(error, "The supervisor's answer to a request")
                await _send(writer, Reply(False, None, told.cause, remedies=told.remedies))
            finally:
                writer.close()

    async def _tell(self, op: Op, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell of every change (of the end alone, for `stop`) until the server has ended or the client has gone."""
        if (task := asyncio.current_task()) is not None:
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        gone = asyncio.ensure_future(reader.read(1))
        with self._book.statuses() as queue:
            try:
                await self._obey(op, "")
                status = self._book.status()
                await _send(writer, Reply(True, status))
                while status.state not in ENDED:
                    changed = asyncio.ensure_future(queue.get())
                    await asyncio.wait((gone, changed), return_when=asyncio.FIRST_COMPLETED)
                    if not changed.done():
                        changed.cancel()
                        return
                    status = changed.result()
                    if op == "watch" or status.state in ENDED:
                        await _send(writer, Reply(True, status))
            finally:
                gone.cancel()


def _understand(line: bytes) -> ControlRequest:
    """The request in a line. Raises R1tuiError."""
    try:
        version = decode(line, Version).v
        if version != VERSION:
            cause = f"This supervisor uses protocol version {VERSION}, not {version}."
            raise R1tuiError(cause, RestartServer())
        request = decode(line, ControlRequest)
    except msgspec.DecodeError as error:
        raise R1tuiError(f"Not a request: {error}.", RestartServer()) from error
    if request.op.startswith("answer") and request.conversation_id is None:
        raise R1tuiError(f"{request.op} needs a conversation_id.")
    return request


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(encode_line(reply))
    await writer.drain()
