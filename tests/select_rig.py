"""What the tests of marking share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.tui.remedies import in_keys
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.selection import Selection
from r1tui.tui.widgets.transcript import Transcript
from tests.screen_rig import StillApp
from tests.transcript_rig import settle
from tests.tui_rig import opened, until

PYTHON = "Save it as `game.py`:\n\n```python\nimport pygame\n\nprint('hi')\n```\n"
BROKEN = "1. Broken:\n\n   ```python\n   x = 1\n   y = (2\n   z = 3\n   ```\n"


def exchange(question: str, content: str, thinking: str = "") -> Exchange:
    return Exchange(question, Answer.past(content, thinking, thinking_tokens=1204, thinking_s=130))


def marked(transcript: Transcript) -> list[str]:
    """The rows with the bar of the mark."""
    strips = [transcript.render_line(y) for y in range(transcript.size.height)]
    return [strip.text[:-1].rstrip() for strip in strips if (style := next(iter(strip)).style) and style.reverse]


def talk() -> Conversation:
    exchanges = [exchange("First?", PYTHON + "\nAnd:\n\n" + BROKEN, "Hm."), exchange("Second?", "No code.")]
    return Conversation("c", exchanges)


class Chat:
    """The screen with a conversation, in a pilot's hands."""

    def __init__(self, app: StillApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot
        self.said: list[str] = []
        app.notify = lambda text, **_: self.said.append(in_keys(text, app))  # type: ignore[method-assign]

    @property
    def transcript(self) -> Transcript:
        return self.app.chat.query_one(Transcript)

    @property
    def prompt(self) -> Prompt:
        return self.app.chat.query_one(Prompt)

    @property
    def conversation(self) -> Conversation:
        return self.app.chat.conversation

    @property
    def mark(self) -> tuple[str, int] | None:
        mark = self.app.chat.widgets.selection.mark
        return (mark.exchange.question, mark.listing) if mark else None

    @property
    def bar(self) -> str:
        return str(self.app.chat.query_one(Selection).render())

    @property
    def lines(self) -> list[str]:
        return [self.transcript.render_line(y).text[:-1].rstrip() for y in range(self.transcript.size.height)]

    @property
    def marked_rows(self) -> list[str]:
        return marked(self.transcript)

    @property
    def questions(self) -> list[str]:
        return [exchange.question for exchange in self.conversation.exchanges]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await settle(self.pilot, self.transcript)


@asynccontextmanager
async def chat(tmp_path: Path, conversation: Conversation, size: tuple[int, int] = (120, 50)) -> AsyncIterator[Chat]:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        app.chat.conversations.shown = conversation
        transcript = app.chat.query_one(Transcript)
        transcript.show(conversation)
        app.chat.query_one(Prompt).focus()
        await until(pilot, lambda: transcript.size.height > size[1] - 12)  # the greeting is gone
        await settle(pilot, transcript)
        yield Chat(app, pilot)
