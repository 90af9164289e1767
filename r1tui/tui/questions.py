"""What the user is asked before something is lost or takes long: each question with its answers, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1tui.text import duration, size

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.chat.conversation import ContextBudget
    from r1tui.messages import Status

LONG_LOAD_S = 10.0
"""A model that took longer to load is not ended unasked."""


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


STOP = Choice("s", "stop", "Stop it (<chat.start> starts it again)")
STOP_OTHERS = Decision(
    "Another client's answer is running and would be cut off.",
    [Choice("s", "stop", "Stop it anyway")],
)
STOP_FOREIGN = Decision("Another r1tui or command started this server. Stop it anyway?", [STOP])


def loss(now: Status, *, answers: bool, others_answer: bool) -> str:
    """Losses if the server stops, in sentences; empty if there are none.

    `answers`: one of ours is running; `others_answer`: another client's is.
    """
    said = []
    is_loading = now.state in ("starting", "loading")
    took_s = now.uptime_s if is_loading else now.load_s if now.state == "ready" else None
    if not now.hangs and took_s is not None and took_s > LONG_LOAD_S:
        weights = f"{size(now.plan.weights_bytes)}, " if now.plan is not None and now.plan.weights_bytes else ""
        took = f"loading for {duration(took_s)}" if is_loading else f"took {duration(took_s)} to load"
        said.append(f"{now.variant or 'The model'}: {weights}{took}.")
    if answers:
        said.append("An answer is running and ends with it.")
    if others_answer:
        said.append("Another client's answer is running and ends with it.")
    return " ".join(said)


def stop_server(loss: str) -> Decision:
    """The question whether to stop the server although something is lost."""
    return Decision(f"{loss} Stop the server?", [STOP])


def keep_or_stop(text: str) -> Decision:
    """The question about the server when quitting: `keep` or `stop`."""
    keep = Choice("k", "keep", "Keep it: the next r1tui starts at once")
    return Decision(text, [keep, Choice("s", "stop", "Stop it: free its memory")])


def replace(wanted: Variant, loss: str) -> Decision:
    """The question whether to replace the running model."""
    return Decision(f"{loss} Start {wanted.name} instead?", [Choice("s", "switch", f"Stop it and start {wanted.name}")])


def apply(name: str, loss: str, *, runs: bool) -> Decision:
    """The question whether to `restart` a model that `runs` with other settings, or to use them `later`."""
    later = Choice("k", "later", "Keep them for the next start")
    if not runs:
        return Decision(f"{loss} Keep these settings for {name}?", [later])
    restart = Choice("r", "restart", f"Stop {name} and restart it with these settings")
    return Decision(f"{loss} Restart {name} with these settings?", [restart, later])


def fetch(variant: Variant) -> Decision:
    """The question whether to fetch and start a large model (`launch`), or `only` fetch it."""
    text = f"{variant.name} is not on this machine: {size((variant.size_gib or 0.0) * 2**30)} to download."
    launch = Choice("d", "launch", "Download it, then start it")
    return Decision(text, [launch, Choice("o", "only", "Only download it; keep the running model")])


def little_room(room: ContextBudget, *, goes_on: bool = False) -> Decision:
    """Ask about a question that leaves little context for its answer, or about an answer that `goes_on`:
    `send` it, or ask it in a `new` chat."""
    if goes_on:
        begins, rest, less = "With this answer so far", "the rest", "Deleting questions"
        choices = [Choice("g", "send", "Continue: the answer may be cut off again")]
    else:
        begins, rest = "With this question", "thinking and answer"
        less = "A shorter question, deleting questions"
        choices = [
            Choice("s", "send", "Send it: the answer may be cut off"),
            Choice("n", "new", "Ask it in a new chat, with an empty context"),
        ]
    said = f"{begins} the prompt takes {room}; {room.left:,} are left for {rest}."
    return Decision(f"{said} {less} or a larger context (<chat.sampling>, then <sampling.page>) leaves more.", choices)
