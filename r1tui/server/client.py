"""llama-server's HTTP API, as far as r1tui speaks it: streamed chat that survives a dropped connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec

from r1tui.config import SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.events import Failed, StreamEvent
from r1tui.files import decode_foreign
from r1tui.server.answer import AnswerReader, explain
from r1tui.server.endpoint import Endpoint
from r1tui.server.think import CLOSE, OPEN
from r1tui.server.wire import ErrorBody, EventSplitter, Props, ServerError

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
CONVERSATION_HEADER = "X-Conversation-Id"
_LOOK = "`r1tui status` says what runs; or check the address."
_GONE = ("The answer was stopped, or the server has it no more.", "Ask again.")
RECONNECT_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; an assistant's is its answer without the thinking."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Beginning:
    """What of an answer is there, for another request to go on with: its thinking, and its text if that has begun."""

    thinking: str
    content: str

    def as_written(self, *, forced: bool) -> str:
        """What the model wrote, behind a prompt that ended in `<think>` if `forced`."""
        if not (self.thinking or forced):
            return self.content
        opening = "" if forced else f"{OPEN}\n"
        return opening + self.thinking + (CLOSE + self.content if self.content else "")


@dataclass(frozen=True)
class ChatRequest:
    """What to answer and how. Tokens are chosen by `sampling`, which overrides what the server was started with."""

    messages: Sequence[Message]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    beginning: Beginning | None = None
    """Of the answer, which is then gone on with."""

    def body(self, *, raw_reasoning: bool) -> dict[str, Any]:
        """The JSON of a chat; with `raw_reasoning` the server leaves the thinking in the content, for us to split."""
        return {
            "messages": _json_of(self.messages),
            **({"reasoning_format": "none"} if raw_reasoning else {}),
            **self._common(),
        }

    def body_of_rest(self, prompt: str, *, inside_thinking: bool) -> dict[str, Any]:
        """The JSON of a completion whose prompt ends with the answer's beginning.

        A chat whose last message is the assistant's would render the thinking by what the server makes of the
        template, which is not always what the model wrote.
        """
        return {"prompt": prompt, **({"generation_prompt": OPEN} if inside_thinking else {}), **self._common()}

    def _common(self) -> dict[str, Any]:
        chosen = self.sampling
        optional = {
            "seed": chosen.seed,
            "max_tokens": chosen.max_tokens,
            "reasoning_budget_tokens": chosen.thinking_budget,
            "chat_template_kwargs": template_arguments(chosen),
        }
        return {
            "temperature": chosen.temperature,
            "top_p": chosen.top_p,
            "min_p": chosen.min_p,
            **{key: value for key, value in optional.items() if value is not None},
            "stream": True,
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "return_progress": True,
            "reasoning_control": True,
            "reasoning_budget_start_tag": OPEN,  # for templates in which the server sees no thinking
            "reasoning_budget_end_tags": [CLOSE],
            "reasoning_budget_message": "",
        }


def template_arguments(sampling: SamplingSettings) -> dict[str, bool] | None:
    """What the model's template is told beside the messages; None: nothing."""
    return None if sampling.thinking is None else {"enable_thinking": sampling.thinking}


class ServerClient:
    """One llama-server, for as long as the `async with` block lasts."""

    def __init__(self, endpoint: Endpoint, key: str | None = None) -> None:
        import httpx2  # noqa: PLC0415  a quarter of a second

        transport = httpx2.AsyncHTTPTransport(uds=str(endpoint.socket)) if endpoint.socket else None
        self.endpoint = endpoint
        self._http = httpx2.AsyncClient(
            base_url=endpoint.base_url,
            transport=transport,
            trust_env=endpoint.socket is None and not _is_loopback(endpoint.base_url),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(10.0),
        )
        self._streaming = httpx2.Timeout(10.0, read=None)
        self._context_tokens: int | None = None
        self._forces_thinking: dict[bool | None, bool] = {}
        self._stopped: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def is_ready(self) -> bool:
        """Whether the model is loaded; False while it loads and when nobody answers."""
        import httpx2  # noqa: PLC0415

        try:
            return (await self._http.get("/health")).status_code == 200
        except httpx2.TransportError:
            return False

    async def props(self) -> dict[str, Any]:
        """`/props`: the model's path, context size, template and special tokens."""
        return await self._json("GET", "/props")

    async def tokenize(self, text: str, *, parse_special: bool = True, add_special: bool = False) -> list[int]:
        """The text's tokens, special ones as the chat would read them, or as plain text; `add_special`: and with those
        that the model wants around a prompt."""
        body = {"content": text, "parse_special": parse_special, "add_special": add_special}
        return list((await self._json("POST", "/tokenize", body))["tokens"])

    async def count_tokens(self, request: ChatRequest) -> int:
        """How many tokens the prompt of this request has; llama-server refuses one that is beyond its context."""
        if request.beginning is not None:
            _, body, _ = await self._target_and_body(request)
            return len(await self.tokenize(body["prompt"], add_special=True))
        answer = await self._json("POST", "/v1/chat/completions/input_tokens", {"messages": _json_of(request.messages)})
        return int(answer["input_tokens"])

    async def context_tokens(self) -> int | None:
        """How much the context of one answer holds, its prompt included; None when the server does not say."""
        if self._context_tokens is None:
            props = await self._fetch("GET", "/props", Props)
            self._context_tokens = props.default_generation_settings.n_ctx
        return self._context_tokens

    async def end_thinking(self, completion_id: str) -> None:
        """Have a running answer end its thinking at once and begin its text. Raises R1tuiError when it cannot."""
        body = {"id": completion_id, "action": "reasoning_end"}
        answer = await self._json("POST", "/v1/chat/completions/control", body)
        if not answer.get("success"):
            raise R1tuiError(f"The server says: {answer.get('message', 'no')}.", "The answer goes on as it was.")

    async def busy_slots(self) -> int:
        """How many answers are being computed. Asking often would keep an idle server from sleeping."""
        return sum(bool(slot.get("is_processing")) for slot in await self._fetch("GET", "/slots", list[dict[str, Any]]))

    async def forces_thinking(self, sampling: SamplingSettings | None = None) -> bool:
        """Whether the model's template ends the prompt with `<think>`, so that a reply begins inside it.

        Then the thinking is split here from raw content: whether llama-server recognises the template as a thinking
        one cannot be asked, and where it does not it would leave a lone `</think>` in the content.
        """
        thinking = sampling.thinking if sampling else None
        if thinking not in self._forces_thinking:
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
            if sampling and (arguments := template_arguments(sampling)):
                body["chat_template_kwargs"] = arguments
            try:
                answer = await self._json("POST", "/apply-template", body)
                self._forces_thinking[thinking] = str(answer["prompt"]).rstrip().endswith(OPEN)
            except (R1tuiError, KeyError):  # another server, or an older one
                self._forces_thinking[thinking] = False
        return self._forces_thinking[thinking]

    async def stream_chat(self, request: ChatRequest, conversation_id: str) -> AsyncGenerator[StreamEvent, None]:
        """The answer's events, closed by exactly one Finished or Failed; nothing is raised but cancellation.

        The answer belongs to the conversation: abandoning this iterator does not stop it (`stop_answer` does), and a
        dropped connection is taken up again where it broke.
        """
        try:
            target, body, inside = await self._target_and_body(request)
        except R1tuiError as error:
            yield Failed(error.cause, error.remedy)
            return
        reader = AnswerReader(inside_thinking=inside, goes_on=request.beginning is not None)
        if conversation_id in self._stopped:  # before it was asked
            for event in reader.cancel():
                yield event
            return
        splitter = EventSplitter()
        headers = {CONVERSATION_HEADER: conversation_id, "Connection": "close"}  # a pooled one is dead one time in five
        post = self._http.build_request("POST", target, json=body, headers=headers, timeout=self._streaming)
        async for event in self._follow(post, reader, splitter, conversation_id):
            yield event

    async def stop_answer(self, conversation_id: str) -> None:
        """Stop the conversation's running answer for real; its stream then ends as `cancelled`."""
        import httpx2  # noqa: PLC0415

        self._stopped.add(conversation_id)
        try:
            await self._http.delete("/v1/stream", params={"conv_id": conversation_id})
        except httpx2.TransportError as error:
            raise self._unreachable() from error

    async def begins_inside(self, request: ChatRequest) -> bool:
        """Whether the stream of the answer begins inside its thinking."""
        beginning = request.beginning
        forced = await self.forces_thinking(request.sampling)
        return forced if beginning is None else not beginning.content and bool(beginning.thinking or forced)

    async def _target_and_body(self, request: ChatRequest) -> tuple[str, dict[str, Any], bool]:
        """Where to post what, and whether the stream begins inside the thinking."""
        inside = await self.begins_inside(request)
        if request.beginning is None:
            return "/v1/chat/completions", request.body(raw_reasoning=inside), inside
        forced = await self.forces_thinking(request.sampling)
        if request.beginning.thinking and not forced:
            await self._check_thinking_tags()
        body: dict[str, Any] = {"messages": _json_of(request.messages)}
        if arguments := template_arguments(request.sampling):
            body["chat_template_kwargs"] = arguments
        answer = await self._json("POST", "/apply-template", body)
        prompt = str(answer["prompt"]) + request.beginning.as_written(forced=forced)
        return "/v1/completions", request.body_of_rest(prompt, inside_thinking=inside), inside

    async def _check_thinking_tags(self) -> None:
        """Raises R1tuiError when the model marks its thinking in another way than R1."""
        if CLOSE not in (await self._fetch("GET", "/props", Props)).chat_template:
            raise R1tuiError("How this model marks its thinking is not known.", "Ask again.")

    async def _follow(
        self, request: httpx2.Request, reader: AnswerReader, splitter: EventSplitter, conversation_id: str
    ) -> AsyncGenerator[StreamEvent, None]:
        """Send the request and read its stream to the end, reconnecting when it breaks off after it began."""
        delays = iter(RECONNECT_DELAYS_S)
        while True:
            began = splitter.offset
            async for event in self._read_once(request, reader, splitter):
                yield event
            if reader.done:
                return
            if conversation_id in self._stopped:
                break
            if splitter.offset > began:
                delays = iter(RECONNECT_DELAYS_S)
            if splitter.offset == 0 or not await self._pause(next(delays, None)):
                break
            splitter = EventSplitter(splitter.offset)
            request = self._resume_request(conversation_id, splitter.offset)
        broken = "ended in the middle of the answer" if splitter.offset else f"does not answer at {self.endpoint}"
        stopped = conversation_id in self._stopped
        remedy = "`r1tui logs` shows why." if splitter.offset else _LOOK
        last = reader.cancel() if stopped else reader.fail(f"llama-server {broken}.", remedy)
        for event in last:
            yield event

    async def _read_once(
        self, request: httpx2.Request, reader: AnswerReader, splitter: EventSplitter
    ) -> AsyncGenerator[StreamEvent, None]:
        """The events until the answer is done or the connection breaks."""
        import httpx2  # noqa: PLC0415

        try:
            response = await self._http.send(request, stream=True)
        except httpx2.TransportError:
            return
        try:
            if response.status_code != 200:
                gone = response.status_code == 404 and splitter.offset > 0
                for event in reader.fail(*_GONE) if gone else reader.refuse(await _error_of(response)):
                    yield event
                return
            async for data in response.aiter_raw():
                for payload in splitter.feed(data):
                    for event in reader.read(payload):
                        yield event
                if reader.done:
                    return
        except (httpx2.TransportError, ValueError):
            return
        finally:
            await response.aclose()

    async def _pause(self, delay_s: float | None) -> bool:
        """Wait before another connection; False when there is no hope: a local server gone, or no more tries."""
        if delay_s is None or (delay_s and self.endpoint.socket and not await self.is_ready()):
            return False
        await asyncio.sleep(delay_s)
        return True

    def _resume_request(self, conversation_id: str, from_byte: int) -> httpx2.Request:
        return self._http.build_request(
            "GET",
            "/v1/stream",
            params={"conv_id": conversation_id, "from": str(from_byte)},
            headers={"Connection": "close"},
            timeout=self._streaming,
        )

    async def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return await self._fetch(method, path, dict[str, Any], body)

    async def _fetch(self, method: str, path: str, kind: type[T], body: object = None) -> T:
        import httpx2  # noqa: PLC0415

        try:
            response = await self._http.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise self._unreachable() from error
        if response.status_code != 200:
            raise R1tuiError(*explain(await _error_of(response)))
        try:
            return decode_foreign(response.content, kind)
        except msgspec.DecodeError as error:
            raise R1tuiError(f"{self.endpoint} does not answer like llama-server.", "Check the address.") from error

    def _unreachable(self) -> R1tuiError:
        return R1tuiError(f"No llama-server answers at {self.endpoint}.", _LOOK)


def _is_loopback(base_url: str) -> bool:
    host = base_url.partition("//")[2].rpartition(":")[0] or base_url.partition("//")[2]
    return host in ("localhost", "[::1]") or host.startswith("127.")


def _json_of(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


async def _error_of(response: httpx2.Response) -> ServerError:
    body = await response.aread()
    try:
        return decode_foreign(body, ErrorBody).error
    except msgspec.DecodeError:
        return ServerError(f"HTTP {response.status_code}", code=response.status_code)
