"""What workers tell the screen. They change nothing themselves: the owner of the state handles these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from r1tui.chat.conversation import Conversation
    from r1tui.events import StageEvent, StreamEvent
    from r1tui.machine.telemetry import Sample
    from r1tui.messages import Status


@dataclass
class StageReported(Message):
    """A stage of a launch has made progress."""

    event: StageEvent


@dataclass
class LaunchEnded(Message):
    """A launch is over; without a ready server it failed or was cancelled, as its last event said."""

    ready: bool


@dataclass
class ServerChanged(Message):
    """The server is in another state."""

    status: Status
    context_size: int | None = None
    """Where the status has no plan that says it."""


@dataclass
class ModelsOffered(Message):
    """A server of the user's own has these models."""

    names: list[str]


@dataclass
class AnswerReceived(Message):
    """Events of the running answer, in order, which the answer has taken in."""

    events: list[StreamEvent]
    conversation: Conversation


@dataclass
class AnswerWaits(Message):
    """The answer does not begin at once; `why` is for the user."""

    why: str


@dataclass
class AnswerEnded(Message):
    """The running answer is over, however it ended."""

    conversation: Conversation
    has_last_word: bool
    """True if the server said how it ended."""


@dataclass
class Sampled(Message):
    """New figures of the machine."""

    sample: Sample


@dataclass
class DownloadReported(Message):
    """A download that the screen shows has got on."""

    event: StageEvent


@dataclass
class DownloadEnded(Message):
    """The process of the download that the screen shows is gone, however it ended."""
