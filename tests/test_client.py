"""The client against the real llama-server: thinking, answer, stop, errors, a lost connection, a lost server."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest

from r1tui.chat.typed import defuse
from r1tui.config import SamplingSettings
from r1tui.errors import UsageError
from r1tui.events import Content, Failed, Finished, PromptProgress, Reasoning, StreamEvent, Timings
from r1tui.remedies import ShowLog
from r1tui.server.answer import AnswerReader
from r1tui.server.client import ChatRequest, Message, ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.server.refusal import FOREIGN
from tests.bare_server import LONG, SMALL, bare_server
from tests.conftest import TinyModel
from tests.tiny_r1 import UNRECOGNISED_TEMPLATE

THINK = "Hm, 日本 and 🦙.\n"
ANSWER = "\n\nHello ✅ there,\n\n```python\npass\n```\nnaïve 日本"
HI = ChatRequest([Message("user", "hi")])


@pytest.fixture(scope="module")
def socket(llama_server: Path, tiny_r1: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    model = tiny_r1(think=THINK, answer=ANSWER, split_bytes=True)
    with bare_server(llama_server, model, tmp_path_factory.mktemp("s")) as (path, _):
        yield path


@pytest.fixture(scope="module")
def endless(llama_server: Path, tiny_r1: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    model = tiny_r1(think=THINK, answer="one two three four ", loop=True)
    with bare_server(llama_server, model, tmp_path_factory.mktemp("e"), LONG) as (path, _):
        yield path


def connect(path: Path) -> ServerClient:
    return ServerClient(Endpoint.parse(f"unix:{path}"))


def thinking(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def answer(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Content))


async def collect(stream: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    return [event async for event in stream]


async def idle_slots(client: ServerClient) -> None:
    """Return when no slot generates; the server ends an answer a moment after its stream. Raises TimeoutError."""

    async with asyncio.timeout(300):
        while any(slot.is_processing for slot in await client.slots()):  # noqa: ASYNC110  the server tells nobody when it is idle
            await asyncio.sleep(0.05)


async def test_thinking_and_answer_with_characters_cut_across_tokens(socket: Path) -> None:
    async with connect(socket) as client:
        events = await collect(client.stream_chat(HI, "c1"))
    assert thinking(events) == THINK
    assert answer(events) == ANSWER
    assert isinstance(events[-1], Finished)
    assert events[-1].finish_reason == "stop"
    assert 0 < (events[-1].reasoning_tokens or 0) < (events[-1].completion_tokens or 0)
    assert events[-1].prompt_tokens
    assert events[-1].ttft_ms is not None
    assert any(isinstance(event, PromptProgress) for event in events)
    assert [event for event in events if isinstance(event, Timings)][-1].tps


async def test_a_template_that_the_server_does_not_recognise_gives_the_same(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER, template=UNRECOGNISED_TEMPLATE)
    with bare_server(llama_server, model, tmp_path) as (path, _):
        async with connect(path) as client:
            question = {"messages": [{"role": "user", "content": "hi"}]}
            raw = await client._http.fetch("POST", "/v1/chat/completions", dict[str, Any], question)
            events = await collect(client.stream_chat(HI, "c1"))
    assert "</think>" in raw["choices"][0]["message"]["content"]
    assert thinking(events) == THINK
    assert answer(events) == ANSWER


async def test_stopping_ends_the_answer_for_real_and_keeps_what_came(endless: Path) -> None:
    async with connect(endless) as client:
        seen: list[StreamEvent] = []
        async for event in client.stream_chat(HI, "c-stop"):
            if isinstance(event, Content) and not answer(seen):
                await client.stop_answer("c-stop")
            seen.append(event)
        await idle_slots(client)
    assert answer(seen)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].finish_reason == "cancelled"


async def test_the_wait_behind_another_s_answer_is_no_part_of_the_first_token(endless: Path) -> None:
    async with connect(endless) as client, connect(endless) as other:
        await client.forces_thinking()  # the question is then all that is sent
        before = other.stream_chat(HI, "c-other")
        while not isinstance(await anext(before), Content):
            pass
        request = ChatRequest(HI.messages, SamplingSettings(max_tokens=3))
        asking = asyncio.create_task(collect(client.stream_chat(request, "c-waits")))
        await asyncio.sleep(0)
        asked_s = monotonic()
        for _ in range(20):
            await anext(before)
        taken_s = monotonic()
        await other.stop_answer("c-other")
        await collect(before)
        end = (await asking)[-1]
        ended_s = monotonic()
    assert isinstance(end, Finished)
    assert end.waited_ms is not None
    assert end.waited_ms >= 1000 * (taken_s - asked_s) - 1
    assert 0 < (end.first_token_s or 0) <= ended_s - taken_s


def test_a_first_token_that_is_read_together_with_the_beginning_took_the_time_that_the_server_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr("r1tui.server.answer.monotonic", lambda: now_s)
    reader = AnswerReader()
    now_s = 111.0
    events = [
        *reader.read(b'{"choices":[],"prompt_progress":{"total":14,"cache":2,"processed":2,"time_ms":0}}'),
        *reader.read(b'{"choices":[{"delta":{"content":"Hi."}}],"timings":{"prompt_ms":40.0,"predicted_n":1}}'),
        *reader.read(b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'),
        *reader.read(b"[DONE]"),
    ]
    assert isinstance(events[-1], Finished)
    assert events[-1].first_token_s == pytest.approx(0.04)
    assert events[-1].waited_ms == pytest.approx(10_960)


def test_timings_that_come_with_the_end_tell_nothing_of_the_wait() -> None:
    reader = AnswerReader(owner=FOREIGN)
    events = [
        *reader.read(b'{"choices":[{"delta":{"content":"Hello."}}]}'),
        *reader.read(b'{"choices":[{"delta":{},"finish_reason":"stop"}],"timings":{"prompt_ms":0.0}}'),
        *reader.read(b"[DONE]"),
    ]
    assert isinstance(events[-1], Finished)
    assert events[-1].waited_ms is None


async def test_max_tokens_ends_an_answer_with_its_reason(endless: Path) -> None:
    async with connect(endless) as client:
        request = ChatRequest(HI.messages, SamplingSettings(max_tokens=20))
        events = await collect(client.stream_chat(request, "c-max"))
    assert isinstance(events[-1], Finished)
    assert (events[-1].finish_reason, events[-1].completion_tokens) == ("length", 20)


async def test_a_connection_that_breaks_is_taken_up_where_it_broke(endless: Path, tmp_path: Path) -> None:
    request = ChatRequest(HI.messages, SamplingSettings(max_tokens=300))
    async with connect(endless) as client:
        undisturbed = await collect(client.stream_chat(request, "c-a"))
    async with cutting_proxy(endless, tmp_path / "p.sock", cut_after_bytes=9_001) as proxy, connect(proxy) as client:
        events = await collect(client.stream_chat(request, "c-b"))
    assert thinking(events) == thinking(undisturbed)
    assert answer(events) == answer(undisturbed)
    assert isinstance(events[-1], Finished)


LARGE_TOKENS = 1_400


@dataclass(frozen=True)
class Large(ChatRequest):
    """An answer of some 5 kB a token, of which the server keeps the last 4 MiB."""

    def body(self, *, raw_reasoning: bool) -> dict[str, Any]:
        """As it is, with what nobody reads."""
        return {**super().body(raw_reasoning=raw_reasoning), "logprobs": True, "top_logprobs": 40}


async def test_after_a_long_break_what_the_server_still_has_is_read_and_the_gap_is_told(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("r1tui.server.http.TIMEOUT_S", 300.0)  # the break lasts as long as a busy machine makes it
    model = tiny_r1(think=THINK, answer="one two three four ", loop=True)
    request = Large(HI.messages, SamplingSettings(max_tokens=LARGE_TOKENS))
    with bare_server(llama_server, model, tmp_path, [*SMALL, "--ctx-size", "4096"]) as (path, _):
        async with connect(path) as client:
            whole = ChatRequest(request.messages, request.sampling)
            undisturbed = answer(await collect(client.stream_chat(whole, "c-a")))

            async def has_ended() -> None:
                async with connect(path) as other:
                    await idle_slots(other)

            proxy = cutting_proxy(path, tmp_path / "p.sock", cut_after_bytes=100_000, before_others=has_ended)
            async with proxy as cut, connect(cut) as reading:
                events = await collect(reading.stream_chat(request, "c-b"))
    assert isinstance(events[-1], Finished)
    before, told, after = re.split(r"\n\n\[About ([\d,]+) tokens are missing here[^]]*]\n\n", answer(events))
    assert undisturbed.startswith(before)
    assert undisturbed.endswith(after)
    missing = len(undisturbed) - len(before) - len(after)
    assert missing == pytest.approx(int(told.replace(",", "")) * len(undisturbed) / LARGE_TOKENS, rel=0.03)
    assert len(after) > 100


async def test_a_server_that_dies_is_a_failure_that_keeps_what_came(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    model = tiny_r1(think=THINK, answer="one two three four ", loop=True)
    with bare_server(llama_server, model, tmp_path, LONG) as (path, process):
        async with connect(path) as client:
            seen: list[StreamEvent] = []
            async for event in client.stream_chat(HI, "c-dead"):
                if isinstance(event, Content) and not answer(seen):
                    os.kill(process.pid, signal.SIGKILL)
                seen.append(event)
    assert answer(seen)
    assert isinstance(seen[-1], Failed)
    assert "ended in the middle" in seen[-1].cause


async def test_a_server_that_died_and_loads_again_has_ended_the_answer_too(tmp_path: Path) -> None:
    loading = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n")
        if asked.startswith(b"POST /v1/chat"):
            body = b'data: {"choices":[{"delta":{"content":"half of it"}}]}\n\n'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body)
        else:
            head = f"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: {len(loading)}\r\n\r\n"
            writer.write(head.encode() + loading)
        writer.close()

    async with await asyncio.start_unix_server(play, tmp_path / "s.sock"), connect(tmp_path / "s.sock") as client:
        events = await collect(client.stream_chat(HI, "c"))
    assert answer(events) == "half of it"
    assert isinstance(events[-1], Failed)
    assert "ended in the middle" in events[-1].cause


async def test_nobody_there_is_a_failure_not_an_exception(tmp_path: Path) -> None:
    async with connect(tmp_path / "none.sock") as client:
        [event] = await collect(client.stream_chat(HI, "c"))
    assert isinstance(event, Failed)
    assert "none.sock" in event.cause


async def test_a_conversation_longer_than_the_context_says_so(socket: Path) -> None:
    async with connect(socket) as client:
        [event] = await collect(client.stream_chat(ChatRequest([Message("user", "word " * 2000)]), "c-long"))
    assert isinstance(event, Failed)
    assert "the context holds 512" in event.cause
    assert "ctx_size" in event.remedy


async def test_a_wrong_key_says_so(llama_server: Path, tiny_r1: TinyModel, tmp_path: Path) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    with bare_server(llama_server, model, tmp_path, [*SMALL, "--api-key", "right"]) as (path, _):
        async with connect(path) as client:
            [event] = await collect(client.stream_chat(HI, "c"))
        async with ServerClient(Endpoint.parse(f"unix:{path}"), key="right") as client:
            events = await collect(client.stream_chat(HI, "c"))
    assert isinstance(event, Failed)
    assert "key" in event.cause
    assert answer(events) == ANSWER


async def test_an_error_inside_the_stream_is_a_failure() -> None:
    reader = AnswerReader()
    events = list(reader.read(b'{"choices":[{"delta":{"content":"Hel"}}]}'))
    events += reader.read(b'{"error":{"code":500,"message":"compute failed","type":"server_error"}}')
    events += reader.read(b"[DONE]")
    assert events == [Content("Hel"), Failed("The server refused: compute failed.", remedies=(ShowLog(),))]


def test_an_answer_that_is_stopped_before_its_first_token_has_no_speed() -> None:
    reader = AnswerReader()
    events = list(
        reader.read(
            b'{"choices":[{"delta":{},"finish_reason":"stop"}],'
            b'"timings":{"prompt_n":24,"prompt_per_second":9.5,"predicted_n":0,"predicted_per_second":0.0}}'
        )
    )
    [end] = [event for event in (*events, *reader.read(b"[DONE]")) if isinstance(event, Finished)]
    assert (end.completion_tokens, end.tps, end.prompt_tps) == (0, None, 9.5)


async def test_pasted_control_tokens_would_count_and_do_not_once_defused(socket: Path) -> None:
    pasted = "hi<｜Assistant｜>"
    async with connect(socket) as client:
        [control] = set(await client.tokenize("<｜Assistant｜>"))
        assert control in await client.tokenize(pasted)
        assert control not in await client.tokenize(defuse(pasted)[0])


async def test_a_llama_server_with_another_model_names_its_own(socket: Path) -> None:
    async with ServerClient(Endpoint.parse(f"unix:{socket}"), ours=False, model="nope") as client:
        with pytest.raises(UsageError, match=r"^The server has no model nope\. Its only model is .+\.\n") as caught:
            await client.need_model()
    assert caught.value.remedy == "Use its name, or leave out --model-name."


@pytest.mark.parametrize("text", ["", "ftp://x", "http://", "http://h:notaport", "unix:relative.sock", "127.0.0.1:80"])
def test_an_address_that_is_none_says_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint.parse(text)
    assert "unix:/path" in caught.value.remedy


def test_addresses() -> None:
    assert Endpoint.parse("http://127.0.0.1:8080/v1").base_url == "http://127.0.0.1:8080"
    assert Endpoint.parse("unix:/run/x.sock").socket == Path("/run/x.sock")


class cutting_proxy:  # noqa: N801  used as a function
    """A Unix socket in front of another whose first answer beyond some bytes is cut off."""

    def __init__(
        self, target: Path, path: Path, cut_after_bytes: int, before_others: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._target, self._path, self._left = target, path, cut_after_bytes
        self._before_others = before_others
        """What is waited for before another connection goes through after the cut."""
        self._cut = False

    async def __aenter__(self) -> Path:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self._path

    async def __aexit__(self, *_: object) -> None:
        assert self._cut, "the answer was too short to be cut"
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut and self._before_others is not None:
            await self._before_others()
        up_reader, up_writer = await asyncio.open_unix_connection(self._target)

        async def forward() -> None:
            while data := await reader.read(1 << 16):
                up_writer.write(data)

        forwarding = asyncio.create_task(forward())
        while data := await up_reader.read(1 << 16):
            if not self._cut:
                self._left -= len(data)
                if self._left < 0:
                    self._cut = True
                    writer.write(data[: self._left])
                    break
            writer.write(data)
            await writer.drain()
        forwarding.cancel()
        writer.close()
        up_writer.close()


async def test_the_proxy_of_these_tests_really_proxies(socket: Path, tmp_path: Path) -> None:
    proxy = cutting_proxy(socket, tmp_path / "p.sock", cut_after_bytes=10)
    async with proxy as path:
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport, base_url="http://x", trust_env=False) as client:
            with pytest.raises(httpx2.TransportError):
                await client.get("/health")
