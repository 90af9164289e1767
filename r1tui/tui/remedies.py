"""Texts that name keys: `<chat.new>` in one is the key that this action has now; and remedies, in keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from textual.app import App

from r1tui.errors import R1tuiError
from r1tui.events import Notice, StageEvent, StageFailed
from r1tui.remedies import (
    Advice,
    AskAgain,
    AskAnew,
    ChooseModel,
    ContinueAnswer,
    FetchModel,
    GiveUp,
    ListConversations,
    ListModels,
    NewChat,
    Remedies,
    Remedy,
    RestartServer,
    ShowLog,
    ShowPlan,
    ShowStatus,
    StartServer,
    StopServer,
)
from r1tui.tui.keymap import key_of

if TYPE_CHECKING:
    from r1tui.chat.conversation import ContextBudget

MORE_ROOM = (
    "<chat.new> starts a new chat. Or ask less, delete questions, or set a larger context "
    "(<chat.sampling>, then <sampling.page>)."
)
ASKS_ANEW = "<chat.select>, then <select.anew>, asks again"
"""Asks the question again whose answer can be continued."""
GOES_ON = f"<chat.continue> continues it ({ASKS_ANEW})"
NAMED = re.compile(r"<([a-z]+\.[a-z_0-9]+)>")
"""An action in a text, by the id of its binding."""
_SAID: dict[type[Remedy], tuple[str, str]] = {
    AskAgain: ("<chat.again> asks again.", ""),
    ContinueAnswer: (f"{GOES_ON}.", ""),
    AskAnew: (f"{ASKS_ANEW}.", ""),
    NewChat: ("<chat.new> starts a new chat.", ""),
    StartServer: ("<chat.start> starts it again.", "Start it again."),
    StopServer: ("<chat.stop_server> stops it.", "Stop it."),
    RestartServer: ("<chat.stop_server> stops it, then <chat.start> starts it again.", "Stop it and start it again."),
    ShowLog: ("<chat.log> (the log) shows why.", "The server's log shows why."),
    ShowStatus: ("<chat.whole_panel> shows the server.", ""),
    GiveUp: ("<chat.stop> cancels.", ""),
    ListModels: ("<chat.variants> lists the models.", ""),
    ListConversations: ("<chat.conversations> lists the conversations.", ""),
    ChooseModel: ("<chat.variants> lists the server's models.", ""),
    ShowPlan: ("<chat.variants> shows the plan of each model.", ""),
    FetchModel: ("<chat.variants> lists the models; choose it there to download it.", ""),
}
"""By kind: the sentence with keys, and that for a server of somebody else's where the screen lacks the action."""
_HANGS = "<chat.start> starts it again; <chat.stop_server> stops it."


def in_keys(text: str, app: App[Any]) -> str:
    """The text with keys in place of the actions that it names; what is the id of none stays."""
    own = getattr(app, "keymap", {})
    return NAMED.sub(lambda found: key_of(found[1], own) or found[0], text) if "<" in text else text


def say(what: str | Iterable[Remedy], *, attached: bool = False) -> str:
    """Remedies in words, with actions by their ids; a text as it is. `attached`: the server is somebody else's."""
    return what if isinstance(what, str) else " ".join(_sentence(remedy, attached=attached) for remedy in what)


def _sentence(remedy: Remedy, *, attached: bool) -> str:
    with_keys, without = _SAID.get(type(remedy), ("", "")) if remedy.action else ("", "")
    if attached and without:
        return without
    if isinstance(remedy, RestartServer) and remedy.hangs:
        return _HANGS
    return with_keys or remedy.words()


def format_remedies(what: str | Iterable[Remedy], app: App[Any]) -> str:
    """Remedies, or a text that names actions, with the keys that these have now."""
    return in_keys(say(what, attached=not getattr(app, "has_own_server", True)), app)


def format_error(error: R1tuiError, app: App[Any]) -> str:
    """Cause and remedies on one line."""
    return f"{error.cause} {format_remedies(error.remedies, app)}".strip()


def with_keys(event: StageEvent, app: App[Any]) -> StageEvent:
    """The stage event with keys in its remedies."""
    match event:
        case StageFailed():
            return replace(event, remedies=(Advice(format_remedies(event.remedies, app)),) if event.remedies else ())
        case Notice():
            return replace(event, text=format_remedies(event.parts, app), remedies=())
        case _:
            return event


def to_go_on(remedies: Remedies, *, is_last: bool = True) -> Remedies:
    """The remedies of an answer that has a beginning: to go on with it, where another's question is asked again.

    Only the last one can be gone on with; others can be asked anew.
    """
    others = (one for one in remedies if not isinstance(one, AskAgain))
    return (*others, ContinueAnswer() if is_last else AskAnew())


def does_not_fit(room: ContextBudget) -> str:
    """The sentence on a prompt that is larger than the context."""
    return f"The prompt would have {room.prompt_tokens:,} tokens; the context holds {room.context_tokens:,}."
