"""The parts of llama-server's JSON that r1tui reads; everything else in it is ignored."""

import msgspec

STOPPED_ERROR, SERVER_STOPPED_ERROR = "r1tui_stopped", "r1tui_server_stopped"
"""The types of errors that are ours, in a record: the answer was stopped, or its server in order."""
ENDED_ERROR, LOST_ERROR, UNRECORDED_ERROR = "r1tui_server_ended", "r1tui_lost", "r1tui_unrecorded"
"""As above: the server ended by itself, the rest was lost, the rest could not be recorded."""
TOO_LONG_ERROR = "exceed_context_size_error"
"""llama-server's own: the prompt does not fit the context."""


class Slot(msgspec.Struct, frozen=True):
    """One place for an answer, as `/slots` shows it."""

    is_processing: bool = False
    """Whether an answer is being computed in it."""
    id_task: int | None = None
    n_prompt_tokens: int = 0
    """In its cache, answers included."""


class Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The thinking, as Ollama, vLLM and others call it."""
    refusal: str | None = None
    """Why the model does not answer, in its own words."""

    @property
    def text(self) -> str:
        return self.content or self.refusal or ""

    @property
    def thinking(self) -> str | None:
        return self.reasoning_content or self.reasoning


class ChunkChoice(msgspec.Struct, frozen=True):
    """The one choice of a chunk."""

    delta: Delta = Delta()
    message: Delta | None = None
    """In place of `delta`, where the answer is whole."""
    text: str | None = None
    """Of a completion that is no chat."""
    finish_reason: str | None = None
    index: int = 0
    """Which of several answers; r1tui asks for one."""

    @property
    def said(self) -> Delta:
        """The piece, under whichever name."""
        return self.message if self.message is not None and self.delta == _NOTHING_SAID else self.delta


_NOTHING_SAID = Delta()


class ChunkTimings(msgspec.Struct, frozen=True):
    """Counters of the request so far; speeds in tokens per second, null before the first token."""

    prompt_n: int = 0
    cache_n: int = 0
    prompt_per_second: float | None = None
    predicted_n: int = 0
    predicted_per_second: float | None = None


class ChunkProgress(msgspec.Struct, frozen=True):
    total: int = 0
    cache: int = 0
    processed: int = 0
    time_ms: float = 0.0


class TokenDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class TokenUsage(msgspec.Struct, frozen=True):
    """Token counts of the whole request; None where the server does not give them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: TokenDetails | None = None


class ServerError(msgspec.Struct, frozen=True):
    """An `error` object, in a response's body or inside a stream."""

    message: str = ""
    type: str = ""
    code: int | str | None = None
    status: int | None = None
    """Of the HTTP response."""
    wait_s: int | None = None
    """After how many seconds to ask again, where the server says."""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class Gap(msgspec.Struct, frozen=True):
    """What is missing in a record: so many bytes of the stream, which goes on at an offset."""

    missing_bytes: int = 0
    resumes_at: int = 0


class Chunk(msgspec.Struct, frozen=True):
    """One event of a streamed completion, or one of ours in its record."""

    id: str = ""
    choices: list[ChunkChoice] = []
    timings: ChunkTimings | None = None
    prompt_progress: ChunkProgress | None = None
    usage: TokenUsage | None = None
    error: ServerError | None = None
    r1tui_gap: Gap | None = None


class GenerationSettings(msgspec.Struct, frozen=True):
    """The settings of a request that names none."""

    n_ctx: int | None = None


class Props(msgspec.Struct, frozen=True):
    """A server's answer to `/props`."""

    role: str = ""
    """`router` where it stands for several models, and has none of its own."""
    model_path: str = ""
    chat_template: str = ""
    default_generation_settings: GenerationSettings = GenerationSettings()

    @property
    def context_tokens(self) -> int | None:
        """How much the context holds; None where it does not say, as a router that stands for several models."""
        return self.default_generation_settings.n_ctx or None

    @property
    def model(self) -> str:
        """The model's path; empty for a router, which has none."""
        return "" if self.role == "router" else self.model_path

    @property
    def has_thinking_switch(self) -> bool:
        """Whether the model's template can be told not to think."""
        return "enable_thinking" in self.chat_template


class RenderedPrompt(msgspec.Struct, frozen=True):
    """The prompt that a template makes of messages."""

    prompt: str


class Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


class InputTokens(msgspec.Struct, frozen=True):
    input_tokens: int


class Done(msgspec.Struct, frozen=True):
    """The result of a command to a running answer."""

    success: bool = False
    message: str = "no"
