"""A question with a few answers, each with a key."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList
from textual.widgets.option_list import Option

from r1tui.chat.context_budget import ContextBudget
from r1tui.tui.commands import bindings_of
from r1tui.tui.remedies import in_keys
from r1tui.tui.widgets.transcript_rows import foreign


@dataclass(frozen=True)
class Choice:
    """One answer: its key, what it means to the asker, and to the user."""

    key: str
    value: str
    text: str


class AskScreen(ModalScreen[str | None]):
    """The answer is the chosen value; None when the user goes back."""

    DEFAULT_CSS = """
    AskScreen {
        align: center middle;
        & > Vertical {
            width: 64;
            max-width: 94%;
            height: auto;
            border: round $primary;
            background: $surface;
            padding: 1 2;
        }
        Label { width: 1fr; margin-bottom: 1; }
        OptionList, OptionList:focus { height: auto; border: none; background: $surface; padding: 0; }
    }
    """
    BINDINGS = bindings_of("ask")

    def __init__(self, question: str, choices: Sequence[Choice]) -> None:
        super().__init__()
        self._question = question
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(foreign(in_keys(self._question, self.app)), markup=False)
            rows = [
                Option(foreign(in_keys(f"[{choice.key}]  {choice.text}", self.app)), id=choice.value)
                for choice in self._choices
            ]
            yield OptionList(*rows, Option(in_keys("[<ask.back>]  Go back", self.app)), markup=False)

    def on_key(self, event: events.Key) -> None:
        for choice in self._choices:
            if event.key == choice.key:
                event.stop()
                self.dismiss(choice.value)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_back(self) -> None:
        """Choose nothing."""
        self.dismiss(None)


STAY_OR_GO = (
    Choice("k", "keep", "Keep it: the next r1tui goes on at once"),
    Choice("s", "stop", "Stop it: frees its memory"),
)
"""What may happen to the server when r1tui is left."""


def stop_or_wait() -> AskScreen:
    """Whether a server is stopped that comes up without a launch of ours."""
    choices = (Choice("s", "stop", "Stop it; <chat.start> starts it again"),)
    return AskScreen("This server was not started here. Stop it all the same?", choices)


def ask_stop(loss: str) -> AskScreen:
    """Whether the server is stopped although something is lost by it."""
    choices = (Choice("s", "stop", "Stop it; <chat.start> starts it again"),)
    return AskScreen(f"{loss} Stop the server?", choices)


def little_room(room: ContextBudget, *, goes_on: bool = False) -> AskScreen:
    """What happens to a question that leaves little of the context for its answer, or to an answer that `goes_on`."""
    if goes_on:
        said = f"With what there is of this answer the prompt has {room}: {room.left:,} are left for the rest. "
        more = "Deleted exchanges or a larger plan.ctx_size leave more."
        return AskScreen(said + more, (Choice("g", "send", "Go on: the answer may be cut off again"),))
    choices = (
        Choice("s", "send", "Send it: the answer may be cut off"),
        Choice("n", "new", "Ask it in a new chat, which has the whole context"),
    )
    said = f"With this question the prompt has {room}: {room.left:,} are left for thinking and answer. "
    more = "A shorter question, deleted exchanges or a larger plan.ctx_size leave more."
    return AskScreen(said + more, choices)
