"""The HTTP API of llama-server, and of servers that speak OpenAI's, as far as r1tui speaks it: streamed chat that
survives a dropped connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import PurePosixPath, PureWindowsPath
from types import TracebackType
from typing import Any, Self

from r1tui.config import SamplingSettings
from r1tui.errors import R1tuiError, UsageError
from r1tui.events import Failed, StreamEvent
from r1tui.server.answer import AnswerReader
from r1tui.server.endpoint import Endpoint
from r1tui.server.http import ServerHttp
from r1tui.server.refusal import FOREIGN, FOREIGN_SOCKET, OURS
from r1tui.server.request import Beginning, ChatRequest, Message, json_messages, template_arguments
from r1tui.server.stream import AnswerStream
from r1tui.server.think import CLOSE, OPEN
from r1tui.server.wire import Props

__all__ = ["Beginning", "ChatRequest", "Message", "ServerClient", "model_title"]

CONVERSATION_HEADER = "X-Conversation-Id"
MOST_NAMED = 8
STOP_S = 3.0
"""How long a server may take to confirm a stop, before the connection is closed."""


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
        self._forces_thinking: dict[bool | None, bool] = {}
        self._stopped: set[str] = set()
        self._streams: dict[str, AnswerStream] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._http.close()

    async def is_ready(self) -> bool:
        """Whether the model is loaded; False while it loads and when nobody answers."""
        return await self._http.is_healthy()

    async def models(self) -> list[str]:
        """The names of the server's models; empty where it does not say. Raises R1tuiError when nobody answers."""
        said = await self._http.ask("/v1/models")
        listed = (said.get("data") or said.get("models")) if isinstance(said, dict) else said
        names = (
            [one.get("id") or one.get("name") for one in listed if isinstance(one, dict)]
            if isinstance(listed, list)
            else []
        )
        return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))

    async def choose_model(self) -> list[str]:
        """Take the server's model if there is one; the names to choose from where there are several."""
        if self.model or self._ours:
            return []
        names = await self.models()
        if len(names) == 1:
            self.model = names[0]
        return names if len(names) > 1 else []

    async def need_model(self) -> None:
        """As `choose_model`, and raise UsageError where there are several."""
        if names := await self.choose_model():
            shown = ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")
            raise UsageError(f"The server has {len(names)} models: {shown}.", "Name one: --model-name NAME.")

    async def props(self) -> Props:
        """`/props`: the model's path, context size and template."""
        params = {"model": self.model, "autoload": "false"} if self.model else None
        return await self._http.fetch("GET", "/props", Props, params=params)

    async def tokenize(self, text: str, *, parse_special: bool = True, add_special: bool = False) -> list[int]:
        """The text's tokens, special ones as the chat would read them, or as plain text; `add_special`: and with those
        that the model wants around a prompt."""
        body = {"content": text, "parse_special": parse_special, "add_special": add_special}
        return list((await self._post("/tokenize", body))["tokens"])

    async def count_tokens(self, request: ChatRequest) -> int:
        """How many tokens the prompt of this request has; llama-server refuses one that is beyond its context."""
        if request.beginning is not None:
            _, body, _ = await self._target_and_body(request)
            return len(await self.tokenize(body["prompt"], add_special=True))
        body = {"messages": json_messages(request.messages)}
        return int((await self._post("/v1/chat/completions/input_tokens", body))["input_tokens"])

    async def context_tokens(self) -> int | None:
        """How much the context of one answer holds, its prompt included; None when the server does not say."""
        if self._context_tokens is None:
            self._context_tokens = (await self.props()).default_generation_settings.n_ctx
        return self._context_tokens

    async def end_thinking(self, completion_id: str) -> None:
        """Have a running answer end its thinking at once and begin its text. Raises R1tuiError when it cannot."""
        answer = await self._post("/v1/chat/completions/control", {"id": completion_id, "action": "reasoning_end"})
        if not answer.get("success"):
            raise R1tuiError(f"The server says: {answer.get('message', 'no')}.", "The answer goes on as it was.")

    async def busy_slots(self) -> int:
        """How many answers are being computed. Asking often would keep an idle server from sleeping."""
        slots = await self._http.fetch("GET", "/slots", list[dict[str, Any]])
        return sum(bool(slot.get("is_processing")) for slot in slots)

    async def forces_thinking(self, sampling: SamplingSettings | None = None) -> bool:
        """Whether the model's template ends the prompt with `<think>`, so that a reply begins inside it.

        Then the thinking is split here from raw content: whether llama-server recognises the template as a thinking
        one cannot be asked, and where it does not it would leave a lone `</think>` in the content. False, too, where
        the server does not say (`knows_prompt`).
        """
        thinking = sampling.thinking if sampling else None
        if thinking not in self._forces_thinking:
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
            if sampling and (arguments := template_arguments(sampling)):
                body["chat_template_kwargs"] = arguments
            try:
                answer = await self._post("/apply-template", body)
                self._forces_thinking[thinking] = str(answer["prompt"]).rstrip().endswith(OPEN)
            except (R1tuiError, KeyError):  # another server, or an older one
                return False
        return self._forces_thinking[thinking]

    def knows_prompt(self, sampling: SamplingSettings | None = None) -> bool:
        """Whether the server has said how its template ends the prompt."""
        return (sampling.thinking if sampling else None) in self._forces_thinking

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
        reader = AnswerReader(
            inside_thinking=inside,
            goes_on=request.beginning is not None,
            knows_prompt=self.knows_prompt(request.sampling),
            whose=self._http.whose,
        )
        if conversation_id in self._stopped:  # before it was asked
            for event in reader.cancel():
                yield event
            return
        headers = {CONVERSATION_HEADER: conversation_id, "Connection": "close"}
        post = self._http.streaming_request("POST", target, body=self._named(body), headers=headers)
        stream = self._streams[conversation_id] = AnswerStream(self._http, reader, conversation_id)
        try:
            async with aclosing(stream.events(post)) as events:
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
        if not confirmed and stream is not None:
            await stream.cut()

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
        if request.beginning.thinking and not forced and CLOSE not in (await self.props()).chat_template:
            raise R1tuiError("How this model marks its thinking is not known.", "Ask again.")
        body: dict[str, Any] = {"messages": json_messages(request.messages)}
        if arguments := template_arguments(request.sampling):
            body["chat_template_kwargs"] = arguments
        answer = await self._post("/apply-template", body)
        prompt = str(answer["prompt"]) + request.beginning.as_written(forced=forced)
        return "/v1/completions", request.body_of_rest(prompt, inside_thinking=inside), inside

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._http.fetch("POST", path, dict[str, Any], self._named(body))

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body with the name of the model that is asked, where one was chosen."""
        return {**body, "model": self.model} if self.model else body


def model_title(path: str) -> str:
    """A model's name by its path, on whichever system the server runs; empty for an empty path."""
    is_windows = "\\" in path and "/" not in path
    return (PureWindowsPath(path) if is_windows else PurePosixPath(path)).stem
