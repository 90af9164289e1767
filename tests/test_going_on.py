"""An answer that was cut off goes on where it ended, and thinking ends when it is told to: the real llama-server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.config import SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.events import Begun, Failed, Finished, Reasoning, StreamEvent, Timings, TooLong
from r1tui.server.client import Beginning, ChatRequest, Message, ServerClient
from r1tui.server.endpoint import Endpoint
from tests.bare_server import LONG, bare_server
from tests.conftest import TinyModel
from tests.tiny_r1 import TEMPLATE, UNFORCED_TEMPLATE, UNRECOGNISED_TEMPLATE, UNRECOGNISED_UNFORCED_TEMPLATE

THINK = "Hm, let me see: 日本 and more.\n"
ANSWER = "\n\nHello ✅ there,\n\n```python\npass\n```\nnaïve <think> end"
HI = [Message("user", "hi")]
TEMPLATES = {
    "forced": TEMPLATE,
    "unforced": UNFORCED_TEMPLATE,
    "unrecognised": UNRECOGNISED_TEMPLATE,
    "neither": UNRECOGNISED_UNFORCED_TEMPLATE,
}
each_template = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
MOST_STEPS = 60


def connect(path: Path) -> ServerClient:
    return ServerClient(Endpoint.parse(f"unix:{path}"))


async def take_in(answer: Answer, events: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    """Apply all of the stream to the answer."""
    seen = []
    async for event in events:
        answer.apply(event)
        seen.append(event)
    return seen


async def in_steps(client: ServerClient, tokens: int) -> Answer:
    """The whole answer, of which each request makes so many tokens."""
    sampling = SamplingSettings(max_tokens=tokens)
    answer = Answer()
    await take_in(answer, client.stream_chat(ChatRequest(HI, sampling), "0"))
    for step in range(1, MOST_STEPS):
        if not answer.can_go_on:
            break
        beginning = Beginning(answer.thinking.text, answer.content.text)
        answer.go_on()
        await take_in(answer, client.stream_chat(ChatRequest(HI, sampling, beginning), str(step)))
    return answer


@each_template
async def test_an_answer_made_in_pieces_is_the_one_made_at_once(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path, template: str
) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER, template=template, reachable=True)
    with bare_server(llama_server, model, tmp_path) as (path, _):
        async with connect(path) as client:
            whole = Answer()
            await take_in(whole, client.stream_chat(ChatRequest(HI), "whole"))
            assert whole.state == "done"
            for tokens in (3, 4, 7):  # cut in the thinking, where that ends, and in the answer
                answer = await in_steps(client, tokens)
                assert answer.thinking.text == whole.thinking.text == THINK
                assert answer.content.text == whole.content.text == ANSWER
                assert (answer.state, answer.cut) == ("done", "")
                assert answer.tokens >= whole.tokens - 1
                assert answer.base is not None
                assert ANSWER.startswith(answer.content.text[: answer.base.content_chars])


@each_template
async def test_thinking_ends_when_it_is_told_to_and_the_answer_comes(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path, template: str
) -> None:
    model = tiny_r1(
        think="on and on it goes ", answer="Hello there", template=template, reachable=True, loop_think=True
    )
    with bare_server(llama_server, model, tmp_path, LONG) as (path, _):
        async with connect(path) as client:
            for beginning in (None, Beginning("on and", "")):
                answer = Answer()
                told = False
                async for event in client.stream_chat(ChatRequest(HI, beginning=beginning), f"{beginning}"):
                    answer.apply(event)
                    if answer.tokens > 8 and not told:
                        told = True
                        await client.end_thinking(answer.completion_id)
                assert told
                assert (answer.state, answer.content.text, answer.cut) == ("done", "Hello there", "")
                assert "it goes" in answer.thinking.text


async def test_thinking_of_an_answer_that_is_over_cannot_be_ended(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    with bare_server(llama_server, tiny_r1(answer=ANSWER), tmp_path) as (path, _):
        async with connect(path) as client:
            answer = Answer()
            seen = await take_in(answer, client.stream_chat(ChatRequest(HI), "over"))
            assert sum(isinstance(event, Begun) for event in seen) == 1
            with pytest.raises(R1tuiError, match="no active completion"):
                await client.end_thinking(answer.completion_id)


async def test_a_prompt_is_counted_as_the_server_counts_it_and_one_that_does_not_fit_is_told_with_figures(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    with bare_server(llama_server, tiny_r1(answer=ANSWER), tmp_path) as (path, _):
        async with connect(path) as client:
            assert await client.context_tokens() == 512
            fits, long = [Message("user", "a " * 200)], [Message("user", "a " * 300)]
            answer = Answer()
            await take_in(answer, client.stream_chat(ChatRequest(fits, SamplingSettings(max_tokens=1)), "fits"))
            assert answer.finished is not None
            assert answer.finished.prompt_tokens == await client.count_tokens(ChatRequest(fits))
            *_, event = await take_in(Answer(), client.stream_chat(ChatRequest(long), "long"))
            assert isinstance(event, TooLong)
            assert (event.prompt_tokens, event.context_tokens) == (await client.count_tokens(ChatRequest(long)), 512)


@each_template
@pytest.mark.parametrize(
    "beginning", [Beginning("Hm, le", ""), Beginning(THINK, "\n\nHello ✅"), Beginning("", "Hello")]
)
async def test_a_prompt_with_the_beginning_of_its_answer_is_counted_as_the_server_counts_it(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path, template: str, beginning: Beginning
) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER, template=template, reachable=True)
    with bare_server(llama_server, model, tmp_path) as (path, _):
        async with connect(path) as client:
            request = ChatRequest(HI, SamplingSettings(max_tokens=1), beginning)
            *_, end = await take_in(Answer(), client.stream_chat(request, "one"))
            assert isinstance(end, Finished)
            assert await client.count_tokens(request) == end.prompt_tokens


async def test_a_model_that_marks_its_thinking_otherwise_cannot_go_on_and_says_so(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{{ 'assistant: ' }}"
    with bare_server(llama_server, tiny_r1(answer=ANSWER, template=template), tmp_path) as (path, _):
        async with connect(path) as client:
            answer = Answer.past("", "Hm", state="stopped")
            answer.go_on()
            request = ChatRequest(HI, beginning=Beginning("Hm", ""))
            await take_in(answer, client.stream_chat(request, "unknown"))
            assert answer.state == "failed"
            assert "marks its thinking" in answer.cause


def test_the_time_of_a_thinking_that_is_replayed_is_the_one_that_it_took() -> None:
    answer = Answer(lambda: 1000.0)
    for event in (Reasoning("Hm, long."), Timings(12, 0, 100.0, 300, 2.0)):
        answer.apply(event)
    assert answer.thinking_s == 150.0


async def test_an_answer_whose_server_crashes_again_and_again_is_as_if_it_had_not(
    llama_server: Path, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    model = tiny_r1(think=THINK, answer="one two three four ", loop=True, reachable=True)
    answer = Answer()
    for step in range(3):
        with bare_server(llama_server, model, tmp_path, LONG) as (path, process):
            async with connect(path) as client:
                before, beginning = answer.tokens, None
                if step:
                    assert answer.can_go_on
                    beginning = Beginning(answer.thinking.text, answer.content.text)
                    answer.go_on()
                async for event in client.stream_chat(ChatRequest(HI, beginning=beginning), f"{step}"):
                    answer.apply(event)
                    if answer.tokens > before + 4 and (answer.content or not step):
                        process.kill()
        assert answer.state == "failed"
        assert answer.tokens > before
        assert THINK.startswith(answer.thinking.text)
        assert ("one two three four " * 20_000).startswith(answer.content.text)
    assert answer.content


def test_an_answer_that_cannot_go_on_has_again_what_it_had_failed_of() -> None:
    answer = Answer()
    for event in (Reasoning("Hm"), Failed("It broke.", "Mend it.")):
        answer.apply(event)
    answer.go_on()
    assert (answer.state, answer.cause, answer.remedy) == ("waiting", "", "")
    answer.does_not_go_on(context_full=False)
    assert (answer.state, answer.cause, answer.remedy) == ("failed", "It broke.", "Mend it.")
