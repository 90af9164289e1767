"""Questions to servers of whatever habit."""

from collections.abc import AsyncIterator, Iterable

from r1tui.events import Content, ContentWasThinking, Reasoning, StreamEvent
from r1tui.server.client import ChatRequest, Message, ServerClient
from r1tui.server.endpoint import Endpoint
from tests.odd_server import OddServer

HI = ChatRequest([Message("user", "hi")])


def client_of(server: OddServer, model: str = "") -> ServerClient:
    return ServerClient(Endpoint.parse(server.url), ours=False, model=model)


async def collect(stream: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    return [event async for event in stream]


def texts(seen: Iterable[StreamEvent]) -> tuple[str, str]:
    """Thinking and answer, as the screen has them at the end."""
    thinking = answer = ""
    for event in seen:
        match event:
            case Reasoning(text):
                thinking += text
            case Content(text):
                answer += text
            case ContentWasThinking():
                thinking, answer = thinking + answer, ""
    return thinking, answer


async def ask(server: OddServer) -> list[StreamEvent]:
    async with client_of(server) as client:
        return await collect(client.stream_chat(HI, "c"))
