"""The tiny R1 in the real llama-server: what it says, and how the server presents thinking under several templates."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import tiny_r1 as tiny
from tests.bare_server import serving

THINK = "Hm, 日本 and 🦙.\n"
ANSWER = "\n\nHello ✅ there, naïve 日本"


def deltas(client: httpx2.Client) -> Iterator[dict[str, Any]]:
    """The pieces of one streamed answer."""
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                yield from (choice["delta"] for choice in json.loads(line.removeprefix("data: "))["choices"])


def spoken(client: httpx2.Client) -> tuple[str, str]:
    """The whole thinking and the whole content of one answer."""
    pieces = list(deltas(client))
    return tuple("".join(piece.get(key) or "" for piece in pieces) for key in ("reasoning_content", "content"))  # type: ignore[return-value]


@pytest.mark.parametrize("split_bytes", [False, True])
@pytest.mark.parametrize("mla", [True, False])
def test_it_says_its_script_with_characters_cut_across_tokens_too(
    *, llama_server: Path, tmp_path: Path, tiny_r1: Callable[..., Path], split_bytes: bool, mla: bool
) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER, split_bytes=split_bytes, mla=mla)
    with serving(llama_server, model, tmp_path) as client:
        assert spoken(client) == ("\n" + THINK, ANSWER)


@pytest.mark.parametrize(
    ("template", "thinking", "content"),
    [
        (tiny.TEMPLATE, "\n" + THINK, ANSWER),
        (tiny.UNFORCED_TEMPLATE, "\n" + THINK, ANSWER),
        (tiny.UNRECOGNISED_TEMPLATE, "", f"{THINK}</think>{ANSWER}"),
        (tiny.UNRECOGNISED_UNFORCED_TEMPLATE, "", f"<think>\n{THINK}</think>{ANSWER}"),
    ],
    ids=["forced", "unforced", "unrecognised", "unrecognised-unforced"],
)
def test_where_the_server_puts_the_thinking(
    *, llama_server: Path, tmp_path: Path, tiny_r1: Callable[..., Path], template: str, thinking: str, content: str
) -> None:
    with serving(llama_server, tiny_r1(think=THINK, answer=ANSWER, template=template), tmp_path) as client:
        assert spoken(client) == (thinking, content)


@pytest.mark.parametrize("split_bytes", [False, True])
def test_every_place_of_a_script_has_its_own_token(tmp_path: Path, split_bytes: bool) -> None:
    for number, (think, answer) in enumerate([("hi", "hi"), ("", "so so so so"), ("日本", "日本 日本")]):
        model = tiny.build(tmp_path / f"{number}.gguf", think=think, answer=answer, split_bytes=split_bytes, layers=2)
        assert model.stat().st_size > 0


def test_shards_are_named_as_llama_cpp_names_them(tmp_path: Path) -> None:
    first = tiny.build(tmp_path / "tiny.gguf", shard_tensors=20)
    count = int(first.stem[-5:])
    assert first.name == f"tiny-00001-of-{count:05}.gguf"
    assert len(list(tmp_path.iterdir())) == count > 1
