"""An app that is a transcript, and conversations to put in it."""

from time import monotonic

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.events import Finished, StreamEvent, Timings
from r1tui.tui.widgets.transcript import Transcript

PATIENCE_S = 90.0
MARKDOWN = """A **bold** start with `code`, *more* of it and [a link](http://x.y).

## Steps

1. One thing, said at some length so that it has to be wrapped when the screen is narrow.
2. Another:
   - nested

```python
def f(x: int) -> int:
    return x + 1  # plus one
```

| Name | Value |
|------|------:|
| a    | 1     |

> Quoted.

The end.
"""


class Seat(App[None]):
    """An app that is a transcript."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self.conversation = conversation

    def compose(self) -> ComposeResult:
        yield Transcript(refresh_hz=200)

    def on_mount(self) -> None:
        self.transcript.show(self.conversation)
        self.transcript.focus()

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    @property
    def lines(self) -> list[str]:
        """What the widget draws, without the scroll indicator."""
        widget = self.transcript
        return [widget.render_line(y).text[:-1].rstrip() for y in range(widget.size.height)]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


async def settle(pilot: Pilot[None], transcript: Transcript) -> None:
    await pilot.pause(0)  # without one, it waits for a process that is idle for a while
    deadline_s = monotonic() + PATIENCE_S
    while not transcript.settled:
        assert monotonic() < deadline_s, "it is never drawn"
        await pilot.pause(0.004)


async def send(pilot: Pilot[None], seat: Seat, *events: StreamEvent) -> None:
    """Apply events to the last answer and wait until they are on the screen."""
    for event in events:
        seat.conversation.exchanges[-1].answer.apply(event)
        seat.transcript.touch()
    await settle(pilot, seat.transcript)


def past(content: str, thinking: str = "", question: str = "Q?") -> Conversation:
    return Conversation("c", [Exchange(question, Answer.past(content, thinking, thinking_tokens=1204, thinking_s=130))])


def asked(question: str = "Q?") -> Conversation:
    conversation = Conversation("c")
    conversation.ask(question)
    return conversation


def timings(tokens: int) -> Timings:
    return Timings(prompt_tokens=12, cached_tokens=0, prompt_tps=100.0, completion_tokens=tokens, tps=50.0)


FINISHED = Finished("stop", 12, 2, 4, 100.0, 50.0, 10.0)


def toggle_all(transcript: Transcript) -> None:
    """Open all thinking, or close it all if none is closed."""
    views = transcript._views.thoughtful()
    for view in [one for one in views if not one.open] or views:
        transcript.toggle_thinking(view.exchange)
