"""The stream of one answer: read to its end, taken up again where it broke, ended by closing its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress

from r1tui.errors import R1tuiError
from r1tui.events import StreamEvent
from r1tui.remedies import AskAgain
from r1tui.server.answer import AnswerReader
from r1tui.server.http import LARGEST_BODY_BYTES, ServerHttp, unpacked
from r1tui.server.refusal import explain_transport, web_page
from r1tui.server.sse import BOM, LOOKUP, MARGINS_BYTES, EventSplitter, FoundStream
from r1tui.server.wire import is_done, is_json, is_whole_event, looks_like_html, read_error
from r1tui.system.lazy import httpx2

RECONNECT_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
_CLOSE = {"Connection": "close"}  # a pooled connection is dead one time in five
_FEW_BYTES = 8
_MOST_TRIES = 64
"""After so many pieces that might have ended it a whole answer is read when its connection ends."""
_GONE = "The answer was stopped, or the server no longer has it."
LAST_WORDS_S = 3.0
"""How long a server that has said why the answer ended may take for what it still has to say, such as figures."""


class AnswerStream:
    """One answer on its way from a server to a reader."""

    def __init__(
        self,
        http: ServerHttp,
        reader: AnswerReader,
        conversation_id: str,
        plainer: Callable[[bytes], httpx2.Request | None] = lambda refusal: None,
    ) -> None:
        """`plainer` makes another request after a refusal; None where that would not help."""
        self.is_stopped = False
        """True if the user has stopped it."""
        self._http = http
        self._reader = reader
        self._id = conversation_id
        self._plainer = plainer
        self._again: httpx2.Request | None = None
        """To be sent after a refusal."""
        self._is_kept = True
        """True if the server may have the rest of an answer that broke off."""
        self._ended = asyncio.Event()
        self._splitter = EventSplitter(by_lines=not http.owner.is_ours)
        self._is_stream: bool | None = None
        """True if the body is an event stream; False for a whole answer, None until its first character tells."""
        self._body = bytearray()
        """Of an answer that is not known to be a stream."""
        self._n_tried = 0
        """Number of pieces after which the body was not whole yet."""
        self._margins_bytes = iter(MARGINS_BYTES)
        self._first_kept: int | None = None
        """Offset of the server's buffer; None while it has everything still to come."""
        self._sending: asyncio.Task[httpx2.Response] | None = None
        self._response: httpx2.Response | None = None

    async def events(self, request: httpx2.Request) -> AsyncGenerator[StreamEvent, None]:
        """The answer's events, closed by exactly one Finished or Failed; reconnects when it breaks after it began."""
        reader, delays = self._reader, iter(RECONNECT_DELAYS_S)
        while True:
            began, broken = self._splitter.offset, R1tuiError("")
            try:
                async with aclosing(self._read_once(request)) as events:
                    async for event in events:
                        yield event
            except R1tuiError as error:
                broken = error
            if reader.done:
                self._ended.set()
                return
            if self._again is not None and not self.is_stopped:
                request, self._again = self._again, None
                continue
            if self._splitter.offset > began:
                delays = iter(RECONNECT_DELAYS_S)
            hopeless = self.is_stopped or reader.has_end or not (self._splitter.offset and self._is_kept)
            if hopeless or not (self._first_kept or await self._pause(next(delays, None))):
                break
            self._splitter = EventSplitter(self._splitter.offset, by_lines=not self._http.owner.is_ours)
            request = self._resume_request(max(self._splitter.offset, self._first_kept or 0))
        self._ended.set()
        for event in self._last(broken):
            yield event

    async def cut(self) -> bool:
        """Close the connection, which ends the answer of a server that has no call for it; False without one."""
        sending, response = self._sending, self._response
        if sending is not None:
            sending.cancel()
        if response is not None:
            await response.aclose()
        return sending is not None or response is not None

    async def ends_within(self, wait_s: float) -> bool:
        """Wait for the answer's end at most this long; whether it ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._ended.wait()
        return self._ended.is_set()

    def _last(self, broken: R1tuiError) -> Iterator[StreamEvent]:
        reader, owner = self._reader, self._http.owner
        if self.is_stopped:
            yield from reader.cancel()
        elif reader.has_end:
            yield from reader.finish()
        elif self._splitter.offset or reader.has_begun:
            yield from reader.fail(f"{owner.subject} ended in the middle of the answer.", owner.after_break)
        else:
            cause = broken.cause or f"{self._http.endpoint} closed the connection without an answer."
            yield from reader.fail(cause, *(broken.remedies or owner.look))

    async def _read_once(self, request: httpx2.Request) -> AsyncGenerator[StreamEvent, None]:
        """The events until the answer is done or its connection ends; raises R1tuiError for one that breaks."""
        response = await self._sent(request)
        if response is None:
            return
        self._response = response
        try:
            if response.status_code == 400 and await self._finds_what_is_kept():
                return
            if not response.is_success:
                for event in await self._refused(response):
                    yield event
                return
            self._skip_what_was_dropped()
            self._is_stream = True if self._splitter.offset else None
            async with aclosing(self._pieces(response)) as pieces:
                async for data in pieces:
                    for event in self._feed(data):
                        yield event
                    if self._reader.done:
                        return
            for event in self._feed_end():
                yield event
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise explain_transport(error, self._http.endpoint, self._http.owner) from error
        finally:
            self._response = None
            await response.aclose()

    async def _sent(self, request: httpx2.Request) -> httpx2.Response | None:
        sending = self._sending = asyncio.ensure_future(self._http.send(request))
        try:
            return await sending
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if not self.is_stopped or (me is not None and me.cancelling()):
                sending.cancel()
                raise
            return None
        finally:
            self._sending = None

    async def _refused(self, response: httpx2.Response) -> list[StreamEvent]:
        if response.status_code == 404 and self._splitter.offset:
            if not self._http.owner.is_ours:  # it keeps no answers: the connection just broke
                self._is_kept = False
                raise R1tuiError("")
            return list(self._reader.fail(_GONE, AskAgain()))
        if response.status_code == 503 and self._splitter.offset:
            raise R1tuiError("")  # a server that was started anew, loading: the answer ended with the one before
        content = await self._http.body(response)
        if response.status_code in (400, 422) and (again := self._plainer(content)) is not None:
            self._again = again
            return []
        refusal = self._http.error_of(response, content)
        if isinstance(refusal, R1tuiError):
            return list(self._reader.fail(refusal.cause, *refusal.remedies))
        return list(self._reader.refuse(refusal))

    async def _pieces(self, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
        """The body up to the word that the answer is whole: some servers keep the connection afterwards."""
        pieces, is_ours = aiter(unpacked(response)), self._http.owner.is_ours
        while is_ours or not (self._reader.done or is_done(self._splitter.last_line)):
            try:
                async with asyncio.timeout(LAST_WORDS_S if self._reader.has_end and not is_ours else None):
                    data = await anext(pieces)
            except (StopAsyncIteration, TimeoutError):
                return
            yield data

    def _feed(self, data: bytes) -> Iterator[StreamEvent]:
        """The events of a piece of an event stream; a whole answer is put together first."""
        if not self._is_stream:
            self._body += data
            if self._is_stream is None:
                start = self._body.removeprefix(BOM).lstrip()[:1]
                self._is_stream = start not in b"{[<" if start else None
            if len(self._body) > LARGEST_BODY_BYTES:
                raise _endless()
            if not self._is_stream:
                yield from self._read_whole_json()
                return
            data = bytes(self._body)
        try:
            for payload in self._splitter.feed(data):
                yield from self._reader.read(payload)
        except ValueError as error:
            raise _endless() from error

    def _read_whole_json(self) -> Iterator[StreamEvent]:
        """The events of a body once it is JSON, or a chunk on each line: its connection may be kept afterwards."""
        may_end = self._n_tried < _MOST_TRIES and self._body[-_FEW_BYTES:].rstrip().endswith((b"}", b"]"))
        body = bytes(self._body) if may_end else b""
        self._n_tried += may_end
        if body and is_whole_event(body):
            self._body.clear()
            self._n_tried = 0
            for part in [body] if is_json(body) else body.splitlines():
                yield from self._reader.read(part)

    def _feed_end(self) -> Iterator[StreamEvent]:
        """The events of what the end of the connection leaves: a whole answer, or an event without its blank line."""
        reader = self._reader
        if self._is_stream is False:
            if looks_like_html(bytes(self._body[:1024])):
                error = web_page(self._http.endpoint)
                yield from reader.fail(error.cause, *error.remedies)
                return
            *lines, last = bytes(self._body).splitlines() or [b""]
            if lines and is_whole_event(b"\n".join(lines)) and not is_whole_event(last):  # the last was cut
                for line in lines:
                    yield from reader.read(line)
            elif self._body.strip() and not reader.has_begun:
                yield from reader.read_whole(bytes(self._body))
            elif reader.has_end or not self._body.strip():
                yield from reader.finish()
        elif self._is_stream and not self._http.owner.is_ours:  # ours is asked for the rest of an event that broke off
            words, rest = self._splitter.pending, self._splitter.rest()
            if rest and is_whole_event(rest):
                yield from reader.read(rest)
            elif words.strip() and not self._splitter.offset and not rest:
                yield from reader.refuse(read_error(words))

    async def _pause(self, delay_s: float | None) -> bool:
        """Wait before another connection; False when there is no hope: a local server gone, or no more tries."""
        is_local = self._http.endpoint.socket is not None
        if delay_s is None or (delay_s and is_local and not await self._http.is_healthy()):
            return False
        await asyncio.sleep(delay_s)
        return True

    async def _finds_what_is_kept(self) -> bool:
        """True if the server still has later bytes of a stream of which it has dropped those that come next."""
        margin_bytes = next(self._margins_bytes, None)
        if margin_bytes is None or not self._splitter.offset:
            return False
        try:
            found = await self._http.fetch("POST", LOOKUP, list[FoundStream], {"conversation_ids": [self._id]})
        except R1tuiError:
            return False
        if found:
            self._first_kept = found[0].first_kept(margin_bytes)
        return bool(found)

    def _skip_what_was_dropped(self) -> None:
        """Go on in the server's buffer, in the middle of an event as a rule, which is none then and passed over."""
        start, self._first_kept = self._first_kept, None
        if start is not None and start > self._splitter.offset:
            self._reader.skip(start - self._splitter.offset)
            self._splitter = EventSplitter(start)

    def _resume_request(self, offset: int) -> httpx2.Request:
        params = {"conv_id": self._id, "from": str(offset)}
        return self._http.streaming_request("GET", "/v1/stream", params=params, headers=_CLOSE)


def _endless() -> R1tuiError:
    return R1tuiError("The server sent an answer without end.", "Check the address.")
