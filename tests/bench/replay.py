"""A llama-server that replays a long R1 answer over a Unix socket, in llama-server's own chunk format."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

_THINKING = """Okay, so the user wants a small game in which a bird falls and is kept up with the space bar. Let me
think about what that needs. First a window, then a clock, then the bird itself, which has a position and a speed.

Wait, the pipes also have to move. They come from the right, and when they have left on the left they are made anew with
another opening. The collision is a matter of rectangles: if the bird's rectangle meets one of a pipe, the game is over.

"""
_ANSWER = """Here is a **complete** version. It uses `pygame` and nothing else, and the colours are chosen at random.

## How it is built

1. The bird falls with constant acceleration, and *space* gives it an impulse.
2. The pipes come from the right; each has an opening at another height.
3. The score grows with every pipe that was passed.

```python
import random
import pygame

class Bird:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y
        self.speed = 0.0

    def update(self) -> None:
        self.speed += 0.5  # pixels per frame and frame
        self.y += int(self.speed)
```

| Setting | Default | What it does |
|---------|--------:|--------------|
| gravity | 0.5 | how fast the bird falls |
| gap | 150 | the opening between two pipes |

"""


@dataclass(frozen=True)
class Script:
    """What is said, and how fast."""

    n_thinking: int
    n_answer: int
    tps: float

    @property
    def n_tokens(self) -> int:
        """Tokens in all."""
        return self.n_thinking + self.n_answer

    def tokens(self) -> list[str]:
        """The tokens of the whole reply, the thinking closed by its tag."""
        return [*_tokens(_THINKING, self.n_thinking), "\n</think>\n\n", *_tokens(_ANSWER, self.n_answer)]


def _tokens(text: str, count: int) -> list[str]:
    return list(islice(cycle(re.findall(r"\n+| {2,}|[ ]?[^\s]{1,6}", text)), count))


class Replay:
    """Serves at a socket; `on_token` is called with the number of each token before it is sent, from 0 to the end."""

    def __init__(self, script: Script, on_token: Callable[[int], Awaitable[None]]) -> None:
        self._script = script
        self._on_token = on_token

    async def serve(self, socket: Path) -> asyncio.Server:
        """Listen at the socket."""
        return await asyncio.start_unix_server(self._answer, socket)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                path = head.split(" ")[1].partition("?")[0]
                if path == "/v1/chat/completions":
                    await self._stream(writer)
                    return
                body = json.dumps(_RESPONSES.get(path, {})).encode()
                kind = f"HTTP/1.1 {200 if path in _RESPONSES else 404} X\r\nContent-Type: application/json\r\n"
                writer.write(f"{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        clock = asyncio.get_running_loop().time
        began_s = clock()
        tokens = self._script.tokens()
        for number, token in enumerate(tokens):
            await asyncio.sleep(began_s + number / self._script.tps - clock())
            await self._on_token(number)
            writer.write(_http_chunk(_chunk(token, number + 1, self._script.tps)))
            await writer.drain()
        usage = {"prompt_tokens": 12, "completion_tokens": len(tokens), "total_tokens": 12 + len(tokens)}
        writer.write(_http_chunk(_event({**_BASE, "choices": [{"finish_reason": "stop", "index": 0, "delta": {}}]})))
        writer.write(_http_chunk(_event({**_BASE, "choices": [], "usage": usage}) + b"data: [DONE]\n\n"))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        await self._on_token(len(tokens))


_RESPONSES: dict[str, object] = {
    "/health": {"status": "ok"},
    "/apply-template": {"prompt": "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>\n"},
    "/props": {
        "model_path": "/models/replay.gguf",
        "default_generation_settings": {"n_ctx": 8192},
        "is_sleeping": False,
    },
    "/slots": [],
}
_BASE = {
    "created": 1764000000,
    "id": "chatcmpl-0123456789abcdefghijklmnopqrstuv",
    "model": "replay.gguf",
    "system_fingerprint": "b11434",
    "object": "chat.completion.chunk",
}


def _chunk(text: str, number: int, tps: float) -> bytes:
    timings = {
        "cache_n": 0,
        "prompt_n": 12,
        "prompt_ms": 120.0,
        "prompt_per_token_ms": 10.0,
        "prompt_per_second": 100.0,
        "predicted_n": number,
        "predicted_ms": number * 1000 / tps,
        "predicted_per_token_ms": 1000 / tps,
        "predicted_per_second": tps,
    }
    choice = {"finish_reason": None, "index": 0, "delta": {"content": text}}
    return _event({**_BASE, "choices": [choice], "timings": timings})


def _event(chunk: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _http_chunk(data: bytes) -> bytes:
    """As llama-server sends it: each event is a chunk of its own."""
    return b"%x\r\n%s\r\n" % (len(data), data)
