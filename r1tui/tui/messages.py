"""What workers tell the screen. They change nothing themselves: the owner of the state handles these."""

from dataclasses import dataclass

from textual.message import Message

from r1tui.catalog import Variant
from r1tui.events import StageEvent, StreamEvent
from r1tui.keeper.state import Status
from r1tui.telemetry import Sample


@dataclass
class StageReported(Message):
    """A launch has got on."""

    event: StageEvent


@dataclass
class LaunchEnded(Message):
    """A launch is over; without a ready server it failed or was cancelled, as its last event said."""

    variant: Variant
    ready: bool


@dataclass
class ServerChanged(Message):
    """The managed server is in another state; None: it is not ours to know (an attached one)."""

    status: Status | None


@dataclass
class AnswerReceived(Message):
    """Events of the running answer, in order."""

    events: list[StreamEvent]


@dataclass
class AnswerEnded(Message):
    """The running answer is over, however it ended."""


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
