"""The model's name in questions to other servers: the one that was named, or the only one there is."""

import pytest

from r1tui.errors import UsageError
from tests.odd_rig import HI, client_of, collect, texts
from tests.odd_server import (
    Reply,
    odd_server,
    refused,
)

LLAMA_SERVER = {"data": [{"id": "/m/alpha.gguf", "aliases": ["mine"], "owned_by": "llamacpp"}]}
ROUTER = {"data": [{"id": "alpha", "owned_by": "llamacpp", "status": {"value": "unloaded"}}]}
OLLAMA = {"models": [{"name": "alpha:latest", "model": "alpha:latest"}]}
LLAMA_SWAP = {"data": [{"id": "alpha", "owned_by": "llama-swap"}]}


@pytest.mark.parametrize(
    ("listed", "name", "is_asked"),
    [
        (LLAMA_SERVER, "beta", False),
        (LLAMA_SERVER, "alpha", True),
        (LLAMA_SERVER, "mine", True),
        (LLAMA_SERVER, "/m/alpha.gguf", True),
        (ROUTER, "beta", True),
        (OLLAMA, "alpha", True),
        (LLAMA_SWAP, "unlisted", True),
        (["alpha", "beta"], "beta", True),
    ],
)
async def test_no_other_model_answers_than_the_one_that_was_named(listed: object, name: str, *, is_asked: bool) -> None:
    with odd_server(others={"/v1/models": refused(200, listed)}) as server:
        async with client_of(server, name) as client:
            if is_asked:
                await client.need_model()
                await collect(client.stream_chat(HI, "c"))
            else:
                with pytest.raises(UsageError, match=r"no model beta\. Its only model is"):
                    await client.need_model()
    assert [one.json["model"] for one in server.chats] == ([name] if is_asked else [])


@pytest.mark.parametrize(("listed", "name"), [(OLLAMA, "alpha:latest"), (LLAMA_SWAP, "alpha"), (["x"], "x")])
async def test_lists_of_models_have_whatever_shape(listed: object, name: str) -> None:
    with odd_server(others={"/v1/models": refused(200, listed)}) as server:
        async with client_of(server) as client:
            await client.need_model()
            assert client.model == name


async def test_the_only_model_is_named_in_every_question() -> None:
    with odd_server(models=["deepseek-r1:671b"]) as server:
        async with client_of(server) as client:
            await client.need_model()
            await collect(client.stream_chat(HI, "c"))
    assert server.chats[0].json["model"] == "deepseek-r1:671b"


async def test_of_several_models_one_must_be_named() -> None:
    with odd_server(models=["a", "b"]) as server:
        async with client_of(server) as client:
            with pytest.raises(UsageError, match="2 models: a, b") as caught:
                await client.need_model()
        async with client_of(server, "b") as client:
            await client.need_model()
            await collect(client.stream_chat(HI, "c"))
    assert "--model-name" in caught.value.remedy
    assert [one.json["model"] for one in server.chats] == ["b"]


@pytest.mark.parametrize(
    "listed",
    [
        Reply(b'{"object": "list", "data": null}', kind="application/json"),
        Reply(b'{"data": [{"id": 3}, null, 7]}', kind="application/json"),
        Reply(b"[]", kind="application/json"),
        Reply(b"nothing", kind="text/plain"),
        Reply(b"", 500),
    ],
)
async def test_a_list_of_models_that_is_none_leaves_the_question_without_a_model(listed: Reply) -> None:
    with odd_server(others={"/v1/models": listed}) as server:
        async with client_of(server) as client:
            await client.need_model()
            assert texts(await collect(client.stream_chat(HI, "c"))) == ("", "Hello.")
    assert "model" not in server.chats[0].json
