"""The parts of llama-server's JSON that r1tui reads; everything else in it is ignored."""

from collections.abc import Iterator

import msgspec

MAX_EVENT_BYTES = 1 << 24
STOPPED_ERROR, SERVER_STOPPED_ERROR = "r1tui_stopped", "r1tui_server_stopped"
"""The types of errors that are ours, in a record: the answer was stopped, or its server in order."""
ENDED_ERROR, LOST_ERROR, UNRECORDED_ERROR = "r1tui_server_ended", "r1tui_lost", "r1tui_unrecorded"
"""As above: the server ended by itself, the rest was lost, the rest could not be recorded."""
TOO_LONG_ERROR = "exceed_context_size_error"
"""llama-server's own: the prompt does not fit the context."""


class Delta(msgspec.Struct, frozen=True):
    """A piece of the message."""

    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """The one choice of a chunk."""

    delta: Delta = Delta()
    text: str | None = None
    """Of a completion that is no chat."""
    finish_reason: str | None = None


class ChunkTimings(msgspec.Struct, frozen=True):
    """Counters of the request so far; speeds in tokens per second, null before the first token."""

    prompt_n: int = 0
    cache_n: int = 0
    prompt_per_second: float | None = None
    predicted_n: int = 0
    predicted_per_second: float | None = None


class ChunkProgress(msgspec.Struct, frozen=True):
    """How much of the prompt has been read."""

    total: int = 0
    cache: int = 0
    processed: int = 0
    time_ms: float = 0.0


class Usage(msgspec.Struct, frozen=True):
    """Token counts of the whole request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class ServerError(msgspec.Struct, frozen=True):
    """An `error` object, in a response's body or inside a stream."""

    message: str = ""
    type: str = ""
    code: int | str | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class Gap(msgspec.Struct, frozen=True):
    """What is missing in a record: so many bytes of the stream, which goes on at an offset."""

    missing_bytes: int = 0
    resumes_at: int = 0


class Chunk(msgspec.Struct, frozen=True):
    """One event of a streamed completion, or one of ours in its record."""

    id: str = ""
    choices: list[Choice] = []
    timings: ChunkTimings | None = None
    prompt_progress: ChunkProgress | None = None
    usage: Usage | None = None
    error: ServerError | None = None
    r1tui_gap: Gap | None = None


class GenerationSettings(msgspec.Struct, frozen=True):
    """What a request gets that asks for nothing else."""

    n_ctx: int | None = None


class Props(msgspec.Struct, frozen=True):
    """What a server says of itself."""

    model_path: str = ""
    chat_template: str = ""
    default_generation_settings: GenerationSettings = GenerationSettings()

    @property
    def has_thinking_switch(self) -> bool:
        """Whether the model's template can be told not to think."""
        return "enable_thinking" in self.chat_template


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of a response that is not 200."""

    error: ServerError


class EventSplitter:
    """Cuts a stream of server-sent events into payloads and counts the bytes of the whole ones.

    The count is what `/v1/stream?from=` wants, which is why httpx2's own reader, which hides it, does not serve here.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        """Bytes of the stream up to the end of the last whole event."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads of the events that the data completes; raises ValueError for an event beyond 16 MiB."""
        self._buffer += data
        while (end := self._buffer.find(b"\n\n")) >= 0:
            event = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            self.offset += end + 2
            lines = event.splitlines()
            payload = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
            if payload:
                yield payload
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise ValueError("the server sent an endless event")
