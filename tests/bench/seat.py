"""The smallest screen that streams: `python -m tests.bench.chat SOCKET` asks one question and draws the answer."""

import sys

from textual import work
from textual.app import App, ComposeResult

from r1tui.chat.answer import paced
from r1tui.chat.conversation import Conversation
from r1tui.server.client import ChatRequest, Message, ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.tui.widgets.transcript import Transcript

PERIOD_S = 0.1


class Seat(App[None]):
    """A transcript and nothing else; `unfold` shows the thinking."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, socket: str, *, unfold: bool) -> None:
        super().__init__()
        self._endpoint = Endpoint.parse(f"unix:{socket}")
        self._conversation = Conversation("bench")
        self._unfold = unfold

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_mount(self) -> None:
        self._conversation.ask("Write a Flappy Bird game, please.")
        self.query_one(Transcript).show(self._conversation)
        self.call_after_refresh(self._stream)

    @work(exit_on_error=False)
    async def _stream(self) -> None:
        transcript = self.query_one(Transcript)
        answer = self._conversation.exchanges[-1].answer
        async with ServerClient(self._endpoint) as client:
            request = ChatRequest([Message(role, content) for role, content in self._conversation.messages()])
            async for event in paced(client.stream_chat(request, self._conversation.id), lambda: PERIOD_S):
                answer.apply(event)
                transcript.touch()
                if self._unfold and answer.has_thoughts:
                    self._unfold = False
                    transcript.toggle_thinking()


if __name__ == "__main__":
    Seat(sys.argv[1], unfold="--unfold" in sys.argv).run()
