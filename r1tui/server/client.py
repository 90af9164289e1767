"""The HTTP API of llama-server, and of servers that speak OpenAI's: chat that survives a dropped connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from secrets import randbelow
from time import monotonic
from typing import Any, Literal, Self, TypeVar

from r1tui.config import RANDOM_SEED, SamplingSettings
from r1tui.errors import R1tuiError, UsageError
from r1tui.events import Failed, StreamEvent
from r1tui.remedies import AskAgain
from r1tui.server.answer import CLOSE, OPEN, AnswerReader
from r1tui.server.endpoint import Endpoint
from r1tui.server.http import NoSuchCallError, ServerHttp
from r1tui.server.refusal import FOREIGN, FOREIGN_SOCKET, OURS
from r1tui.server.stream import AnswerStream
from r1tui.server.wire import Done, InputTokens, Props, RenderedPrompt, Slot, Tokens, known
from r1tui.system.lazy import httpx2

_PASSED = ("temperature", "top_p", "min_p", "top_k", "repeat_penalty", "presence_penalty", "frequency_penalty")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_FULL_PATH = re.compile(f"/|{_WINDOWS.pattern}")
SERVICES: dict[str, Any] = {
    "stream_options": {"include_usage": True},
    "timings_per_token": True,
    "return_progress": True,
    "reasoning_control": True,
    "reasoning_budget_start_tag": OPEN,  # for templates in which the server sees no thinking
    "reasoning_budget_end_tags": [CLOSE],
    "reasoning_budget_message": "",
}
"""Fields of every question that change nothing in the answer's text; a strict server refuses what it does not know."""
CONVERSATION_HEADER = "X-Conversation-Id"
MOST_NAMED = 8
STOP_S = 3.0
"""Time for a server to confirm a stop, or another's to stop, before the connection is closed."""
ASIDE_S = 5.0
"""How long a question waits for what another's server says of its models or its template, where it can do without."""
SILENT_S = 30.0
"""Time until such a server is asked again."""
T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """One message of a conversation; an assistant's is its answer without the thinking."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Beginning:
    """The part of an answer that is there, for another request to continue: its thinking, and its text if begun."""

    thinking: str
    content: str

    def is_inside(self, *, forced: bool) -> bool:
        """True if it ends within the thinking."""
        return not self.content and bool(self.thinking or forced)

    def as_written(self, *, forced: bool) -> str:
        """The text as the model wrote it, after a prompt that ended in `<think>` if `forced`."""
        if not (self.thinking or forced):
            return self.content
        opening = "" if forced else f"{OPEN}\n"
        return opening + self.thinking + (CLOSE + self.content if self.content else "")


@dataclass(frozen=True)
class ChatRequest:
    """A conversation to answer, and how; where `sampling` has null, the server's own setting counts."""

    messages: Sequence[Message]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    beginning: Beginning | None = None
    """Of the answer, which is then gone on with."""

    def body(self, *, raw_reasoning: bool) -> dict[str, Any]:
        """The JSON of a chat; with `raw_reasoning` the server leaves the thinking in the content, for us to split."""
        return {
            "messages": json_messages(self.messages),
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
            **{key: getattr(chosen, key) for key in _PASSED},
            "seed": randbelow(2**31) if chosen.seed == RANDOM_SEED else chosen.seed,
            "max_tokens": chosen.max_tokens,
            "reasoning_budget_tokens": chosen.thinking_budget,
            "chat_template_kwargs": template_arguments(chosen),
        }
        return {
            **{key: value for key, value in optional.items() if value is not None},
            "stream": True,
            **SERVICES,
        }


def template_arguments(sampling: SamplingSettings) -> dict[str, bool] | None:
    """Arguments for the model's template beside the messages; None: none."""
    return None if sampling.thinking is None else {"enable_thinking": sampling.thinking}


def json_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def model_title(name: str) -> str:
    """A model's name; of one that is a file's path, without folders and ending, on whichever system the server runs."""
    is_gguf = name.lower().endswith(".gguf")
    if not is_gguf and not _FULL_PATH.match(name):
        return name
    is_windows = _WINDOWS.match(name) or "/" not in name
    path = PureWindowsPath(name) if is_windows else PurePosixPath(name)
    return path.stem if is_gguf else path.name


def names_of(model: object) -> list[str]:
    """The names of a list's entry, with the one to ask for first; empty where it has none."""
    said = [model.get(key) for key in ("id", "model", "name")] if isinstance(model, dict) else [model]
    aliases = model.get("aliases") if isinstance(model, dict) else None
    every = [*said, *(aliases if isinstance(aliases, list) else [])]
    return [name for name in every if isinstance(name, str) and name]


def only_model(listed: Sequence[object]) -> frozenset[str]:
    """All names of the model of a llama-server that answers with this one whatever it is asked for; empty elsewhere."""
    only = listed[0] if len(listed) == 1 else None
    if not isinstance(only, dict) or only.get("owned_by") != "llamacpp" or "status" in only:  # a router has that
        return frozenset()
    return frozenset(title for name in names_of(only) for title in (name, model_title(name)))


class ServerClient:
    """One server, for as long as the `async with` block lasts.

    One that is not `ours` may be any OpenAI-style server: `model` names which of its models answers.
    """

    def __init__(self, endpoint: Endpoint, key: str | None = None, *, ours: bool = True, model: str = "") -> None:
        self.endpoint = endpoint
        self.model = model
        foreign = FOREIGN if endpoint.socket is None else FOREIGN_SOCKET
        self._http = ServerHttp(endpoint, key, OURS if ours else foreign)
        self._ours = ours
        self._context_tokens: int | None = None
        self._only_model: frozenset[str] | None = None
        """The names of the one model of a llama-server that has no other; None while it was not asked."""
        self._forces_thinking: dict[bool | None, bool] = {}
        self._is_strict = False
        """True once the server has refused one of SERVICES."""
        self._silent_until_s = 0.0
        """Until when the server is not asked again for what it did not say."""
        self._stopped: set[str] = set()
        self._streams: dict[str, AnswerStream] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def models(self) -> list[str]:
        """The names of the server's models; empty where it does not say. Raises R1tuiError when nobody answers."""
        return list(dict.fromkeys(name for one in await self._listed() for name in names_of(one)[:1]))

    async def choose_model(self) -> list[str]:
        """Take the server's model if there is one; the names to choose from where there are several.

        Raises UsageError for a name that a llama-server of one model has not: it would answer with that one.
        """
        if self._ours:
            return []
        if self.model:
            await self._check_model()
            return []
        names = await self.models()
        if len(names) == 1:
            self.model = names[0]
        return names if len(names) > 1 else []

    async def _check_model(self) -> None:
        if self._only_model is None:
            with suppress(R1tuiError, TimeoutError):
                async with asyncio.timeout(ASIDE_S):
                    self._only_model = only_model(await self._listed())
        if self._only_model and not {self.model, model_title(self.model)} & self._only_model:
            has = " or ".join(sorted(self._only_model))
            remedy = "Use its name, or leave out --model-name."
            raise UsageError(f"The server has no model {self.model}. Its only model is {has}.", remedy)

    async def _listed(self) -> list[Any]:
        said = await self._http.ask("/v1/models")
        listed = (said.get("data") or said.get("models")) if isinstance(said, dict) else said
        return listed if isinstance(listed, list) else []

    async def need_model(self) -> None:
        """As `choose_model`, and raise UsageError where there are several."""
        if names := await self.choose_model():
            shown = ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")
            raise UsageError(f"The server has {len(names)} models: {shown}.", "Choose one: --model-name NAME.")

    async def props(self) -> Props:
        """`/props`: the model's path, context size and template."""
        params = {"model": self.model, "autoload": "false"} if self.model else None
        said = await self._http.fetch("GET", "/props", dict[str, Any], params=params)
        return known(Props, said) or Props()

    async def tokenize(self, text: str, *, parse_special: bool = True, add_special: bool = False) -> list[int]:
        """The text's tokens, special ones as the chat would read them, or as plain text; `add_special`: and with those
        that the model wants around a prompt."""
        body = {"content": text, "parse_special": parse_special, "add_special": add_special}
        return (await self._post("/tokenize", body, Tokens)).tokens

    async def count_tokens(self, request: ChatRequest) -> int:
        """Count the prompt tokens of this request; llama-server refuses a prompt longer than its context."""
        if request.beginning is not None:
            _, body, _ = await self._target_and_body(request)
            return len(await self.tokenize(body["prompt"], add_special=True))
        body = {"messages": json_messages(request.messages)}
        return (await self._post("/v1/chat/completions/input_tokens", body, InputTokens)).input_tokens

    async def context_tokens(self) -> int | None:
        """Tokens in the context of one answer, with its prompt; None if the server does not report it."""
        if self._context_tokens is None:
            self._context_tokens = (await self.props()).context_tokens
        return self._context_tokens

    async def end_thinking(self, completion_id: str) -> None:
        """Have a running answer end its thinking at once and begin its text. Raises R1tuiError when it cannot."""
        body = {"id": completion_id, "action": "reasoning_end"}
        answer = await self._post("/v1/chat/completions/control", body, Done)
        if not answer.success:
            raise R1tuiError(f"The server says: {answer.message}.", "The answer continues unchanged.")

    async def slots(self) -> list[Slot]:
        """The server's places for answers. Frequent calls would keep an idle server from sleeping."""
        return await self._http.fetch("GET", "/slots", list[Slot])

    async def forces_thinking(self, sampling: SamplingSettings | None = None) -> bool:
        """True if the model's template ends the prompt with `<think>`, so that a reply begins inside it.

        Then the thinking is split here from raw content: whether llama-server recognises the template as a thinking
        one cannot be asked, and where it does not it would leave a lone `</think>` in the content. False, too, where
        not reported by the server (`knows_prompt`).
        """
        thinking = sampling.thinking if sampling else None
        if thinking not in self._forces_thinking:
            if monotonic() < self._silent_until_s:
                return False
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
            if sampling and (arguments := template_arguments(sampling)):
                body["chat_template_kwargs"] = arguments
            try:
                async with asyncio.timeout(None if self._ours else ASIDE_S):
                    answer = await self._post("/apply-template", body, RenderedPrompt)
            except (R1tuiError, TimeoutError):  # another server, or an older one
                self._silent_until_s = 0.0 if self._ours else monotonic() + SILENT_S
                return False
            self._forces_thinking[thinking] = answer.prompt.rstrip().endswith(OPEN)
        return self._forces_thinking[thinking]

    def knows_prompt(self, sampling: SamplingSettings | None = None) -> bool:
        """True if the server has said how its template ends the prompt."""
        return (sampling.thinking if sampling else None) in self._forces_thinking

    async def stream_chat(self, request: ChatRequest, conversation_id: str) -> AsyncGenerator[StreamEvent, None]:
        """The answer's events, closed by exactly one Finished or Failed; nothing is raised but cancellation.

        The answer belongs to the conversation: abandoning this iterator does not stop it (`stop_answer` does), and a
        dropped connection is taken up again where it broke.
        """
        try:
            target, body, inside = await self._target_and_body(request)
        except R1tuiError as error:
            yield Failed.of(error)
            return
        reader = AnswerReader(
            inside_thinking=inside,
            goes_on=request.beginning is not None,
            knows_prompt=self.knows_prompt(request.sampling),
            owner=self._http.owner,
        )
        if conversation_id in self._stopped:  # before it was asked
            for event in reader.cancel():
                yield event
            return
        headers = {CONVERSATION_HEADER: conversation_id, "Connection": "close"}

        def post() -> httpx2.Request:
            fields = {key: value for key, value in body.items() if not (self._is_strict and key in SERVICES)}
            return self._http.streaming_request("POST", target, body=self._named(fields), headers=headers)

        def plainer(refusal: bytes) -> httpx2.Request | None:
            if self._ours or self._is_strict or not any(key.encode() in refusal for key in SERVICES):
                return None
            self._is_strict = True
            return post()

        stream = self._streams[conversation_id] = AnswerStream(self._http, reader, conversation_id, plainer)
        try:
            async with aclosing(stream.events(post())) as events:
                async for event in events:
                    yield event
        finally:
            del self._streams[conversation_id]

    async def stop_answer(self, conversation_id: str) -> None:
        """Stop the conversation's running answer for real; its stream then ends as `cancelled`.

        Where the server has no such call, or does not confirm it, the connection is closed: that ends the answer.
        """
        self._stopped.add(conversation_id)
        if (stream := self._streams.get(conversation_id)) is not None:
            stream.is_stopped = True
        try:
            confirmed = await self._http.delete("/v1/stream", {"conv_id": conversation_id}, STOP_S)
        except R1tuiError:
            if stream is None or self._ours or not await stream.cut():
                raise
            return
        if stream is not None and not (confirmed and (self._ours or await stream.ends_within(STOP_S))):
            await stream.cut()

    async def begins_inside(self, request: ChatRequest) -> bool:
        """True if the stream of the answer begins inside its thinking."""
        forced = await self.forces_thinking(request.sampling)
        return forced if request.beginning is None else request.beginning.is_inside(forced=forced)

    async def _target_and_body(self, request: ChatRequest) -> tuple[str, dict[str, Any], bool]:
        """The path and JSON of the request, and True if the stream begins inside the thinking."""
        beginning = request.beginning
        if beginning is None:
            inside = await self.forces_thinking(request.sampling)
            return "/v1/chat/completions", request.body(raw_reasoning=inside), inside
        body: dict[str, Any] = {"messages": json_messages(request.messages)}
        if arguments := template_arguments(request.sampling):
            body["chat_template_kwargs"] = arguments
        try:
            prompt = (await self._post("/apply-template", body, RenderedPrompt)).prompt
        except NoSuchCallError as error:
            raise R1tuiError("Only llama-server can do that.", AskAgain()) from error
        forced = prompt.rstrip().endswith(OPEN)
        if beginning.thinking and not forced and CLOSE not in (await self.props()).chat_template:
            raise R1tuiError("r1tui does not know how this model marks its thinking.", AskAgain())
        inside = beginning.is_inside(forced=forced)
        prompt += beginning.as_written(forced=forced)
        return "/v1/completions", request.body_of_rest(prompt, inside_thinking=inside), inside

    async def _post(self, path: str, body: dict[str, Any], kind: type[T]) -> T:
        return await self._http.fetch("POST", path, kind, self._named(body))

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "model": self.model} if self.model else body
