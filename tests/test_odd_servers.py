"""Servers that are not ours: whatever their habits, an answer is an answer, and a refusal says why in their words."""

import asyncio
import json
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.config import SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.events import Begun, Content, Failed, Finished, Reasoning
from r1tui.server import sse
from r1tui.server import stream as answer_stream
from r1tui.server.answer import AnswerReader
from r1tui.server.client import Beginning, ChatRequest, ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.server.refusal import FOREIGN
from r1tui.server.sse import EventSplitter
from r1tui.server.wire import foreign_json, is_whole_event
from tests.odd_refusals import REFUSALS
from tests.odd_rig import HI, ask, client_of, collect, texts
from tests.odd_server import (
    ANSWERS,
    BROKEN_TEXT,
    HELLO,
    ODD,
    THINKERS,
    THOUGHT,
    Reply,
    chunk,
    events,
    odd_server,
    refused,
    whole,
)


@pytest.mark.parametrize("habit", ANSWERS)
async def test_an_answer_of_whatever_habit_is_an_answer(habit: str) -> None:
    with odd_server(ANSWERS[habit]) as server:
        seen = await ask(server)
    assert texts(seen) == ("", "Hello.")
    assert isinstance(seen[-1], Finished), seen[-1]
    assert (seen[-1].finish_reason, seen[-1].reasoning_tokens) == ("stop", 0)
    assert len(server.chats) == (2 if "redirected" in habit else 1)


async def test_events_without_blank_lines_are_read_as_they_come() -> None:
    with odd_server(Reply(events(*HELLO[:1], done=False)[:-1], endless=True)) as server:
        async with client_of(server) as client, aclosing(client.stream_chat(HI, "c")) as stream:
            assert [await anext(stream), await anext(stream)] == [Begun("c"), Content("Hel")]


async def test_a_server_that_refuses_the_fields_it_does_not_know_is_asked_without_them() -> None:
    with odd_server(unknown=("timings_per_token", "reasoning_control")) as server:
        async with client_of(server) as client:
            for _ in range(2):
                assert texts(await collect(client.stream_chat(HI, "c"))) == ("", "Hello.")
    assert ["timings_per_token" in one.json for one in server.chats] == [True, False, False]
    assert "stream" in server.chats[1].json


async def test_another_server_cannot_go_on_with_an_answer_and_says_so() -> None:
    with odd_server() as server:
        async with client_of(server) as client:
            rest = ChatRequest(HI.messages, beginning=Beginning("", "Hel"))
            [failed] = await collect(client.stream_chat(rest, "c"))
    assert isinstance(failed, Failed)
    assert (failed.cause, failed.remedy) == ("Only llama-server can do that.", "Ask again.")
    assert server.chats == []


async def test_a_setting_of_the_user_s_is_never_left_out() -> None:
    request = ChatRequest(HI.messages, SamplingSettings(top_k=3))
    with odd_server(unknown=("top_k",)) as server:
        async with client_of(server) as client:
            [failed] = await collect(client.stream_chat(request, "c"))
    assert isinstance(failed, Failed)
    assert len(server.chats) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "This model's maximum context length is 8 tokens.", "code": 400}},
        {"error": {"message": "Please reduce it.", "code": "context_length_exceeded"}},
        {"message": "input is too long for this model"},
    ],
)
async def test_a_question_that_is_too_long_is_not_mended_by_another_model_s_name(said: object) -> None:
    with odd_server(refused(400, said)) as server:
        [failed] = await ask(server)
    assert isinstance(failed, Failed)
    assert failed.remedy == "Start a new conversation. Or give the server a larger context."


@pytest.mark.parametrize("habit", THINKERS)
async def test_thinking_of_whatever_habit_is_thinking(habit: str) -> None:
    with odd_server(THINKERS[habit]) as server:
        seen = await ask(server)
    assert texts(seen) == (THOUGHT, "Hello.")
    assert isinstance(seen[-1], Finished)


@pytest.mark.parametrize("habit", BROKEN_TEXT)
async def test_what_is_no_text_becomes_a_replacement_character(habit: str) -> None:
    with odd_server(BROKEN_TEXT[habit]) as server:
        seen = await ask(server)
    assert texts(seen) == ("", "a\ufffdb")
    assert isinstance(seen[-1], Finished)


@pytest.mark.parametrize("habit", REFUSALS)
async def test_a_refusal_says_the_server_s_own_words_and_no_command_of_ours(habit: str) -> None:
    reply, words = REFUSALS[habit]
    with odd_server(reply) as server:
        seen = await ask(server)
    assert isinstance(seen[-1], Failed), seen[-1]
    assert words in seen[-1].cause
    assert "llama-server" not in seen[-1].cause
    assert "r1tui logs" not in seen[-1].remedy
    assert "r1tui status" not in seen[-1].remedy
    assert seen[-1].remedy
    if reply.status >= 400 and "page" not in habit:
        assert str(reply.status) in seen[-1].cause


async def test_figures_that_are_not_given_are_none_and_those_that_are_stay() -> None:
    with odd_server() as server:
        end = (await ask(server))[-1]
        usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
        server.reply = Reply(events(chunk("Hello.", "stop"), usage))
        counted = (await ask(server))[-1]
        details = {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}
        server.reply = Reply(events(chunk(reasoning="Hm."), chunk("Hello.", "stop"), {"choices": [], "usage": details}))
        detailed = (await ask(server))[-1]
        server.reply = Reply(events({**ODD, "timings": {"predicted_per_second": 4.0}}))
        half = (await ask(server))[-1]
        wrong = {"prompt_n": -3, "predicted_n": 1 << 70, "predicted_per_second": -1.0}
        server.reply = Reply(events({**ODD, "timings": wrong, "usage": {"prompt_tokens": -1, "completion_tokens": -5}}))
        negative = (await ask(server))[-1]
    assert isinstance(half, Finished)
    assert (half.prompt_tokens, half.completion_tokens, half.tps) == (None, None, 4.0)
    assert isinstance(negative, Finished)
    assert (negative.prompt_tokens, negative.completion_tokens, negative.tps) == (None, None, None)
    assert isinstance(end, Finished)
    assert (end.prompt_tokens, end.completion_tokens, end.prompt_tps, end.tps) == (None, None, None, None)
    assert isinstance(counted, Finished)
    assert (counted.prompt_tokens, counted.completion_tokens, counted.tps) == (5, 2, None)
    assert isinstance(detailed, Finished)
    assert detailed.reasoning_tokens == 4


async def test_identity_is_asked_for() -> None:
    with odd_server() as server:
        await ask(server)
    assert server.chats[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("late", [False, True], ids=["in mid-answer", "before the answer"])
async def test_a_stop_that_is_not_confirmed_closes_the_connection(*, late: bool) -> None:
    with odd_server(Reply(b"", endless=not late, late=late)) as server:
        async with client_of(server) as client:
            stream = asyncio.create_task(collect(client.stream_chat(HI, "c")))
            assert await asyncio.to_thread(server.begun.wait, 60)
            await client.stop_answer("c")
            seen = await asyncio.wait_for(stream, 60)
            assert await asyncio.to_thread(server.closed.wait, 60)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].finish_reason == "cancelled"


async def test_a_stop_that_is_confirmed_and_not_done_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1tui.server.client.STOP_S", 0.1)
    with odd_server(Reply(b"", endless=True), others={"/v1/stream": refused(200, {"success": True})}) as server:
        async with client_of(server) as client:
            stream = asyncio.create_task(collect(client.stream_chat(HI, "c")))
            assert await asyncio.to_thread(server.begun.wait, 60)
            await client.stop_answer("c")
            seen = await asyncio.wait_for(stream, 60)
            assert await asyncio.to_thread(server.closed.wait, 60)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].finish_reason == "cancelled"


async def test_a_server_that_never_says_its_template_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1tui.server.client.ASIDE_S", 0.1)
    with odd_server(others={"/apply-template": Reply(b"", late=True)}) as server:
        async with client_of(server) as client:
            await client.begins_inside(HI)
            for _ in range(2):
                assert texts(await collect(client.stream_chat(HI, "c"))) == ("", "Hello.")
    assert [one.path for one in server.seen].count("/apply-template") <= 1


@pytest.mark.parametrize(
    "body",
    [b"nothing", b"[]", b"{}", b'{"default_generation_settings": null, "model_path": 3, "prompt": 4, "tokens": 5}'],
)
async def test_side_answers_that_are_garbage_say_nothing(body: bytes) -> None:
    paths = ("/props", "/apply-template", "/tokenize", "/v1/chat/completions/input_tokens", "/slots")
    with odd_server(others={path: Reply(body, kind="application/json") for path in paths}) as server:
        async with client_of(server) as client:
            with suppress(R1tuiError):
                assert await client.context_tokens() is None
            for side in (client.tokenize("x"), client.count_tokens(HI), client.end_thinking("x")):
                with pytest.raises(R1tuiError):
                    await side
            assert texts(await collect(client.stream_chat(HI, "c"))) == ("", "Hello.")


async def test_another_port_of_the_same_host_does_not_get_the_key() -> None:
    with odd_server() as other:
        with odd_server(Reply(b"", 307, headers=(f"Location: {other.url}/v1/chat/completions",))) as server:
            async with ServerClient(Endpoint.parse(server.url), "secret", ours=False) as client:
                assert texts(await collect(client.stream_chat(HI, "c"))) == ("", "Hello.")
        assert server.chats[0].headers["authorization"] == "Bearer secret"
        assert "authorization" not in other.chats[0].headers


async def test_a_server_that_is_busy_says_when_to_ask_again() -> None:
    with odd_server(replace(refused(503, {"error": "busy"}), headers=("Retry-After: 17",))) as server:
        [failed] = await ask(server)
    assert isinstance(failed, Failed)
    assert "17 s" in failed.remedy


async def test_a_path_at_which_no_server_listens_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, said in (("none", "does not exist"), ("file", "no server listening"), ("file/x", "does not exist")):
        async with ServerClient(Endpoint.parse(f"unix:{tmp_path / name}"), ours=False) as client:
            with pytest.raises(R1tuiError, match=said):
                await client.need_model()


async def test_a_stop_before_the_question_is_a_stop() -> None:
    with odd_server() as server:
        async with client_of(server) as client:
            await client.stop_answer("c")
            seen = await collect(client.stream_chat(HI, "c"))
    assert isinstance(seen[-1], Finished)
    assert seen[-1].finish_reason == "cancelled"
    assert server.chats == []


@given(st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(1, 40), max_size=30))
def test_events_are_the_same_however_their_bytes_are_cut(eol: str, cuts: list[int]) -> None:
    stream = events(chunk("Hel"), chunk("lo."), b"x", eol=eol)
    expected = events(chunk("Hel"), chunk("lo."), b"x").decode().replace("data: ", "").split("\n\n")[:-1]
    splitter, seen, at = EventSplitter(), [], 0
    for cut in (*cuts, len(stream)):
        seen += [payload.decode() for payload in splitter.feed(stream[at : at + cut])]
        at += cut
    assert seen == expected
    assert splitter.rest() == b""


@pytest.mark.parametrize(
    ("line", "is_known_by_its_line"),
    [(b'{"content":"a\xffb"}', True), (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", False)],
)
def test_a_line_may_be_any_json(line: bytes, *, is_known_by_its_line: bool) -> None:
    splitter = EventSplitter(by_lines=True)
    assert list(splitter.feed(b"data: " + line + b"\n")) == ([line] if is_known_by_its_line else [])
    assert list(splitter.feed(b"\n")) == ([] if is_known_by_its_line else [line])


def test_an_event_of_many_lines_is_not_read_again_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    payload_of = sse._payload

    def payload(event: bytes) -> bytes:
        read.append(event)
        return payload_of(event)

    monkeypatch.setattr(sse, "_payload", payload)
    splitter = EventSplitter(by_lines=True)
    for _ in range(100):
        assert list(splitter.feed(b"data: }\n" * 10)) == []
    assert len(read) < 20
    assert list(splitter.feed(b"\n")) == [b"\n".join([b"}"] * 1000)]
    assert list(splitter.feed(b"data: {}\n")) == [b"{}"]


async def test_a_whole_answer_of_many_pieces_is_not_read_again_for_each_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []

    def is_whole(body: bytes) -> bool:
        read.append(len(body))
        return is_whole_event(body)

    monkeypatch.setattr(answer_stream, "is_whole_event", is_whole)
    pieces = [whole("Hello.").rstrip()[:-1], b',"more":[{}', *[b",{}"] * 1000, b"]}"]
    with odd_server() as server:
        async with client_of(server) as client:
            answer = answer_stream.AnswerStream(client._http, AnswerReader(owner=FOREIGN), "c")
            seen = [event for piece in pieces for event in answer._feed(piece)] + list(answer._feed_end())
    assert texts(seen) == ("", "Hello.")
    assert len(read) < 100


@given(payload=st.binary(max_size=300), whole=st.booleans())
def test_no_payload_raises(payload: bytes, *, whole: bool) -> None:
    reader = AnswerReader(knows_prompt=False)
    seen = list(reader.read_whole(payload) if whole else reader.read(payload))
    for event in seen:
        if isinstance(event, Content | Reasoning):
            event.text.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "message", "content", "reasoning", "error", "id", "usage", "timings",
                         "finish_reason", "prompt_tokens", "type", "text", "predicted_n"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(said=json_values, whole=st.booleans())
def test_no_json_raises(said: object, *, whole: bool) -> None:
    reader = AnswerReader(knows_prompt=False)
    payload = json.dumps(said).encode()
    list(reader.read_whole(payload) if whole else reader.read(payload))
    list(reader.finish())
    assert reader.done


def test_halves_of_surrogate_pairs_are_no_text_wherever_they_stand() -> None:
    body = rb'{"\ud800": ["\uDFFFx", {"id": "a\ud800"}], "whole": "\ud83e\udd99", "n": 1e400}'
    assert foreign_json(body) == {"\ufffd": ["\ufffdx", {"id": "a\ufffd"}], "whole": "🦙", "n": float("inf")}
