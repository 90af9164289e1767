"""A server that plays the habits of OpenAI-style servers by name: the next report of one is one line more.

The habits are written after the sources, documentation and bug reports of Ollama, vLLM, LM Studio, llama-swap and
others; none of these programs was run.
"""

import gzip
import json
import re
import socket
import socketserver
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"
"""Of localhost, signed by itself, with its key."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What is answered to a chat; `endless` goes on with words until the client closes its connection."""

    body: bytes
    status: int = 200
    kind: str = "text/event-stream"
    headers: tuple[str, ...] = ()
    endless: bool = False
    late: bool = False
    """Nothing is sent before the client has gone."""
    has_length: bool = True
    stays_open: bool = False
    """The connection is kept after the answer."""
    version: str = "HTTP/1.1"


def chunk(content: object = None, finish: str | None = None, **delta: object) -> Json:
    """One event of a streamed chat completion."""
    said = {**({"content": content} if content is not None else {}), **delta}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"delta": said, "finish_reason": finish}]}


def events(*chunks: Json | bytes, eol: str = "\n", done: bool = True, blank: bool = True) -> bytes:
    """An event stream of these chunks."""
    payloads = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in chunks]
    payloads += [b"[DONE]"] if done else []
    line_end = eol.encode()
    stream = (line_end * 2).join(b"data: " + payload for payload in payloads)
    return stream + (line_end * 2 if blank else b"")


def lines(*chunks: Json, before: bytes = b"") -> bytes:
    """A chunk on each line."""
    return b"".join(before + json.dumps(one).encode() + b"\n" for one in chunks)


def in_chunks(*parts: bytes, is_cut: bool = False) -> Reply:
    """An event stream in HTTP's chunks, without the last one if it `is_cut`."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + (b"" if is_cut else b"0\r\n\r\n")
    return Reply(body, headers=("Transfer-Encoding: chunked",), has_length=False)


def whole(content: object, **message: object) -> bytes:
    """A chat completion that is not streamed."""
    said = {"role": "assistant", "content": content, **message}
    return json.dumps({"id": "c", "choices": [{"message": said, "finish_reason": "stop"}]}).encode()


HELLO = (chunk("Hel"), chunk("lo."), chunk(finish="stop"))
THOUGHT = "Hm, well."
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": "Hello."}]
ODD = {"choices": [{"delta": {"content": "Hello.", "role": None, "tool_calls": None}, "finish_reason": "stop"}]}

ANSWERS: dict[str, Reply] = {
    "plain": Reply(events(*HELLO)),
    "crlf": Reply(events(*HELLO, eol="\r\n")),
    "cr": Reply(events(*HELLO, eol="\r")),
    "comments and event names": Reply(b": ping\n\nevent: message\nid: 7\n" + events(*HELLO) + b": bye\n\n"),
    "gzip, unasked": Reply(gzip.compress(events(*HELLO)), headers=("Content-Encoding: gzip",)),
    "no [DONE]": Reply(events(*HELLO, done=False)),
    "no [DONE], no length": Reply(events(*HELLO, done=False), has_length=False),
    "no blank line at the end": Reply(events(*HELLO, done=False, blank=False)),
    "no blank line after [DONE]": Reply(events(*HELLO, blank=False)),
    "another content type": Reply(events(*HELLO), kind="text/plain; charset=utf-8"),
    "null side fields": Reply(events({**ODD, "id": None, "usage": None, "timings": None, "error": None})),
    "integer id": Reply(events({**ODD, "id": 17})),
    "no id": Reply(events(ODD)),
    "odd usage": Reply(events({**ODD, "usage": 12}, {"choices": [], "usage": {"prompt_tokens": "many"}})),
    "odd timings": Reply(events({**ODD, "timings": [1, 2]}, {**ODD, "choices": [], "timings": {"predicted_n": None}})),
    "null choices": Reply(events({"id": "c", "choices": None}, *HELLO)),
    "missing choices": Reply(events({"id": "c", "usage": {"total_tokens": 3}}, *HELLO)),
    "null delta": Reply(events({"choices": [{"delta": None, "finish_reason": None}]}, *HELLO)),
    "missing delta": Reply(events({"choices": [{"finish_reason": None}]}, *HELLO)),
    "integer finish reason": Reply(events({"choices": [{"delta": {"content": "Hello."}, "finish_reason": 0}]})),
    "content in parts": Reply(
        events(chunk([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo."}], "stop"))
    ),
    "whole": Reply(whole("Hello."), kind="application/json"),
    "whole, in parts": Reply(whole([{"type": "text", "text": "Hello."}]), kind="application/json"),
    "whole, as text": Reply(b"\n" + whole("Hello."), kind="text/plain"),
    "whole, null usage": Reply(whole("Hello.").replace(b'"id"', b'"usage": null, "id"'), kind="application/json"),
    "byte order mark": Reply(b"\xef\xbb\xbf" + events(*HELLO)),
    "byte order mark, whole": Reply(b"\xef\xbb\xbf" + whole("Hello."), kind="application/json"),
    "no space after data:": Reply(events(*HELLO).replace(b"data: ", b"data:")),
    "a chunk on each line": Reply(lines(*HELLO), kind="application/x-ndjson"),
    "no blank line between events": Reply(lines(*HELLO, before=b"data: ") + b"data: [DONE]\n"),
    "an event in lines": Reply(events(*HELLO).replace(b'"choices"', b'\ndata: "choices"')),
    "ping with text": Reply(b"event: ping\ndata: keep-alive\n\n" + events(*HELLO)),
    "ping with JSON": Reply(b'event: ping\ndata: {"type": "ping"}\n\n' + events(*HELLO)),
    "other JSON between": Reply(events(b"null", b"[]", b"3", *HELLO)),
    "quoted [DONE]": Reply(events(*HELLO, b'"[DONE]"', done=False)),
    "[done]": Reply(events(*HELLO, b"[done]", done=False)),
    "two choices": Reply(
        events(
            {
                "choices": [
                    {"index": n, "delta": {"content": said}, "finish_reason": "stop"}
                    for n, said in enumerate(("Hello.", "Bye."))
                ]
            }
        )
    ),
    "two choices, apart": Reply(
        events(
            *({"choices": [{"index": n, "delta": {"content": said}}]} for n, said in enumerate(("Hello.", "Bye."))),
            *HELLO[2:],
        )
    ),
    "usage in every chunk": Reply(events(*({**one, "usage": {"prompt_tokens": 3}} for one in HELLO))),
    "empty finish reason": Reply(events(chunk("Hel", ""), chunk("lo.", ""), chunk(finish="stop"))),
    "deflate, unasked": Reply(zlib.compress(events(*HELLO)), headers=("Content-Encoding: deflate",)),
    "x-gzip, unasked": Reply(gzip.compress(events(*HELLO)), headers=("Content-Encoding: x-gzip",)),
    "in HTTP's chunks": in_chunks(events(*HELLO)[:20], events(*HELLO)[20:]),
    "in HTTP's chunks, cut behind the end": in_chunks(events(*HELLO), is_cut=True),
    "HTTP/1.0": Reply(events(*HELLO), version="HTTP/1.0", has_length=False),
    "message in place of delta": Reply(
        events({"choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}]})
    ),
    "message beside an empty delta": Reply(
        events(
            {"choices": [{"delta": {"role": "assistant", "content": None}, "message": {"content": "Hello."}}]},
            *HELLO[2:],
        )
    ),
    "text in place of delta": Reply(events({"choices": [{"text": "Hello.", "finish_reason": "stop"}]})),
    "content as an object": Reply(events(chunk({"type": "text", "text": "Hello."}, "stop"))),
    "text as an object": Reply(events(chunk([{"type": "text", "text": {"value": "Hello."}}], "stop"))),
    "refusal": Reply(events(chunk(refusal="Hello."), chunk(finish="stop"))),
    "error without words": Reply(events({**ODD, "error": {"code": 0, "message": ""}})),
    "wrapped twice": Reply(events(*HELLO).replace(b"data: ", b"data: data: ")),
    "null as text": Reply(events(chunk("Hel", "null"), chunk("lo.", "None"), chunk(finish="stop"))),
    "STOP": Reply(events(*HELLO[:2], chunk(finish="STOP"))),
    "eos": Reply(events(*HELLO[:2], chunk(finish="eos_token"))),
    "choices in any order": Reply(
        events(
            {"choices": [{"index": 0, "delta": {"content": "Hel"}}, {"index": 1, "delta": {"content": "By"}}]},
            {"choices": [{"index": 1, "delta": {"content": "e"}}, {"index": 0, "delta": {"content": "lo."}}]},
            *HELLO[2:],
        )
    ),
    "another index": Reply(events({"choices": [{"index": 1, **ODD["choices"][0]}]})),
    "delta as text": Reply(events({"choices": [{"delta": "Hello.", "finish_reason": "stop"}]})),
    "choices as an object": Reply(events({"choices": ODD["choices"][0]})),
    "gzip and identity": Reply(gzip.compress(events(*HELLO)), headers=("Content-Encoding: gzip, identity",)),
    "status 201": Reply(events(*HELLO), 201),
    "connection kept after [DONE]": Reply(events(*HELLO), stays_open=True, has_length=False),
    "connection kept, no blank line": Reply(events(*HELLO, blank=False), stays_open=True, has_length=False),
    "connection kept, no blank lines": Reply(events(*HELLO).replace(b"\n\n", b"\n"), stays_open=True, has_length=False),
    "connection kept, neither [DONE] nor blank lines": Reply(
        events(*HELLO, done=False, eol="\r\n").replace(b"\r\n\r\n", b"\r\n"), stays_open=True, has_length=False
    ),
    "connection kept, a chunk on each line": Reply(lines(*HELLO), stays_open=True, has_length=False),
    "connection kept, whole": Reply(whole("Hello."), kind="application/json", stays_open=True, has_length=False),
    "connection kept, no [DONE]": Reply(events(*HELLO, done=False), stays_open=True, has_length=False),
    "redirected": Reply(b"", 307, headers=("Location: /again/v1/chat/completions",)),
    "redirected for good": Reply(b"", 308, headers=("Location: /again/v1/chat/completions",)),
}
"""All of these say `Hello.`, and no thinking."""

THINKERS: dict[str, Reply] = {
    "reasoning_content": Reply(events(chunk(reasoning_content=THOUGHT), *HELLO)),
    "reasoning": Reply(events(chunk(reasoning=THOUGHT), *HELLO)),
    "reasoning with empty content": Reply(events(chunk("", reasoning=THOUGHT), *HELLO)),
    "both names": Reply(events(chunk(reasoning=THOUGHT, reasoning_content=THOUGHT), *HELLO)),
    **{
        name: Reply(events(chunk(**{name: THOUGHT}), *HELLO))
        for name in ("thinking", "thinking_content", "reasoning_text", "thought", "thoughts")
    },
    "reasoning as an object": Reply(events(chunk(reasoning={"content": THOUGHT}), *HELLO)),
    "reasoning_details": Reply(events(chunk(reasoning_details=[{"type": "reasoning.text", "text": THOUGHT}]), *HELLO)),
    "reasoning_content and tags": Reply(events(chunk(reasoning_content=THOUGHT), chunk("<think></think>"), *HELLO)),
    "null reasoning": Reply(events(chunk(reasoning=THOUGHT), chunk("Hello.", "stop", reasoning=None))),
    "tags": Reply(events(chunk("<think>"), chunk(f"{THOUGHT}</think>"), *HELLO)),
    "no opening tag": Reply(events(chunk(THOUGHT), chunk("</think>"), *HELLO)),
    "no opening tag, in pieces": Reply(
        events(chunk("Hm, "), chunk("well.</th"), chunk("ink>Hel"), chunk("lo.", "stop"))
    ),
    "thinking in parts": Reply(events(chunk(PARTS, "stop"))),
    "whole, with reasoning": Reply(whole("Hello.", reasoning=THOUGHT), kind="application/json"),
    "whole, in tags": Reply(whole(f"<think>{THOUGHT}</think>Hello."), kind="application/json"),
    "whole, no opening tag": Reply(whole(f"{THOUGHT}</think>Hello."), kind="application/json"),
}
"""All of these think THOUGHT and say `Hello.`"""

BROKEN_TEXT: dict[str, Reply] = {
    "half a surrogate pair": Reply(events(b'{"choices":[{"delta":{"content":"a\\ud83db"},"finish_reason":"stop"}]}')),
    "second half": Reply(events(b'{"choices":[{"delta":{"content":"a\\udc00b"},"finish_reason":"stop"}]}')),
    "bad utf-8": Reply(events(b'{"choices":[{"delta":{"content":"a\xffb"},"finish_reason":"stop"}]}')),
    "bad utf-8, whole": Reply(whole("aXb").replace(b"X", b"\xff"), kind="application/json"),
}
"""All of these say `a�b`."""


def refused(status: int, body: object, kind: str = "application/json") -> Reply:
    """An error response; what is no bytes is JSON."""
    return Reply(body if isinstance(body, bytes) else json.dumps(body).encode(), status, kind)


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        said: Json = json.loads(self.body)
        return said


@dataclass
class OddServer:
    """The habits that it has now, and what it was asked."""

    port: int
    reply: Reply = ANSWERS["plain"]
    models: list[str] | None = None
    """What `/v1/models` lists; None: it has no such path."""
    unknown: tuple[str, ...] = ()
    """Fields of a question that it refuses."""
    others: dict[str, Reply] = field(default_factory=dict)
    """What it answers at other paths; 404 where nothing is named."""
    seen: list[Seen] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    """A client has closed its connection during an endless or late answer."""
    begun: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[Seen]:
        """The questions."""
        return [one for one in self.seen if one.path.endswith("/chat/completions")]

    def reply_to(self, seen: Seen) -> Reply:
        path = re.sub(r"^http://[^/]*", "", seen.path.partition("?")[0])  # whole as to a proxy
        if path == "/again/v1/chat/completions":
            return ANSWERS["plain"]
        if path == "/v1/chat/completions":
            odd = [name for name in self.unknown if name in seen.json]
            detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs"} for name in odd]
            return refused(422, {"detail": detail}) if odd else self.reply
        if path in self.others:
            return self.others[path]
        if path == "/v1/models" and self.models is not None:
            return refused(200, {"object": "list", "data": [{"id": name} for name in self.models]})
        return refused(404, {"error": "404 page not found"})


class _Handler(socketserver.StreamRequestHandler):
    def __init__(self, odd: Callable[[], OddServer], *arguments: Any) -> None:
        self._odd = odd()
        super().__init__(*arguments)

    def handle(self) -> None:
        if not self.connection.recv(1, socket.MSG_PEEK).isalpha():  # TLS where none is spoken
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            return
        method, _, rest = self.rfile.readline().decode("latin-1").strip().partition(" ")
        headers: dict[str, str] = {}
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        seen = Seen(method, rest.rpartition(" ")[0], headers, body)
        self._odd.seen.append(seen)
        self._send(self._odd.reply_to(seen))

    def _send(self, reply: Reply) -> None:
        if reply.late:
            self._wait_until_closed()
            return
        length = [] if reply.endless or not reply.has_length else [f"Content-Length: {len(reply.body)}"]
        head = [
            f"{reply.version} {reply.status} X",
            f"Content-Type: {reply.kind}",
            "Connection: close",
            *length,
            *reply.headers,
        ]
        self.wfile.write("\r\n".join([*head, "", ""]).encode() + reply.body)
        if reply.stays_open:
            self._wait_until_closed()
        if reply.endless:
            self._odd.begun.set()
            self._say_words()

    def _say_words(self) -> None:
        try:
            while True:
                self.wfile.write(events(chunk("word "), done=False))
                if self._odd.closed.wait(0.01):
                    return
        except OSError:
            self._odd.closed.set()

    def _wait_until_closed(self) -> None:
        self._odd.begun.set()
        if self.connection.recv(1) == b"":
            self._odd.closed.set()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes is no error of a test's."""


@contextmanager
def odd_server(reply: Reply = ANSWERS["plain"], *, tls: bool = False, **habits: Any) -> Iterator[OddServer]:
    """A server with these habits, for the block."""
    made: list[OddServer] = []
    with _Listener(("127.0.0.1", 0), partial(_Handler, lambda: made[0])) as listener:
        made.append(OddServer(listener.server_address[1], reply, **habits))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            listener.socket = context.wrap_socket(listener.socket, server_side=True)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield made[0]
        finally:
            made[0].closed.set()
            listener.shutdown()
            thread.join()
