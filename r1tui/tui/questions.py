"""What the user is asked before something is lost or takes long: each question with its answers, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.chat.context_budget import ContextBudget


@dataclass(frozen=True)
class Choice:
    """One answer: its key, what it means to the asker, and to the user."""

    key: str
    value: str
    text: str


@dataclass(frozen=True)
class Decision:
    """A question and its answers; going back is always one more."""

    text: str
    choices: Sequence[Choice]


STOP = Choice("s", "stop", "Stop it; <chat.start> starts it again")
STOP_OTHERS = Decision(
    "Another client's answer is running on this server, and would be stopped with it.",
    [Choice("s", "stop", "Stop it anyway")],
)
STOP_FOREIGN = Decision("This server was not started here. Stop it anyway?", [STOP])


def stop_at_a_loss(loss: str) -> Decision:
    """The question whether to stop the server although something is lost."""
    return Decision(f"{loss} Stop the server?", [STOP])


def keep_or_stop(text: str) -> Decision:
    """The question about the server when quitting: `keep` or `stop`."""
    keep = Choice("k", "keep", "Keep it: the next r1tui goes on at once")
    return Decision(text, [keep, Choice("s", "stop", "Stop it: frees its memory")])


def replace(running: str | None, wanted: Variant) -> Decision:
    """The question whether to replace the running model."""
    text = f"{running or 'A model'} is already running."
    return Decision(text, [Choice("s", "switch", f"Stop it, and start {wanted.name}")])


def fetch(variant: Variant) -> Decision:
    """The question whether to fetch and start a large model (`launch`), or `only` fetch it."""
    text = f"{variant.name} is not on this machine: {variant.size_gib or 0.0:,.0f} GiB to fetch."
    launch = Choice("f", "launch", "Fetch it, then start it")
    return Decision(text, [launch, Choice("o", "only", "Only fetch it; keep what is running")])


def little_room(room: ContextBudget, *, goes_on: bool = False) -> Decision:
    """What happens to a question that leaves little of the context for its answer, or to an answer that `goes_on`:
    `send` it, or ask it in a `new` chat."""
    if goes_on:
        begins, rest, less = "With this answer so far", "the rest", "Deleted exchanges"
        choices = [Choice("g", "send", "Go on: the answer may be cut off again")]
    else:
        begins, rest = "With this question", "thinking and answer"
        less = "A shorter question, deleted exchanges"
        choices = [
            Choice("s", "send", "Send it: the answer may be cut off"),
            Choice("n", "new", "Ask it in a new chat, which has the whole context"),
        ]
    said = f"{begins} the prompt has {room}: {room.left:,} are left for {rest}."
    return Decision(f"{said} {less} or a larger plan.ctx_size leave more.", choices)
