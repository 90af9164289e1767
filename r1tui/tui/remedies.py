"""Texts that name keys: `<chat.new>` in one is the key that this action has now; and the core's commands, in keys."""

from __future__ import annotations

import re
from typing import Any

from textual.app import App

from r1tui.chat.room import Room
from r1tui.tui.keymap import key_of

MORE_ROOM = (
    "<chat.new> begins a new chat; or ask less, delete exchanges, or set a larger plan.ctx_size and start the model "
    "again."
)
ASKS_ANEW = "<chat.select>, then <select.anew>, asks anew"
"""How a question is asked anew whose answer can be gone on with."""
GOES_ON = f"<chat.continue> goes on where it stopped ({ASKS_ANEW})"
_ASK_AGAIN = re.compile(r"\b[Aa]sk again|\b\S+ asks again")
"""As the core says it, and as it was once saved with its key."""
NAMED = re.compile(r"<([a-z]+\.[a-z_0-9]+)>")
"""An action in a text, by the id of its binding."""
_COMMANDS = (
    (r"See `r1tui logs`", "<chat.log> (the log) may show why"),
    (r"`r1tui logs`", "<chat.log> (the log)"),
    (r"`r1tui status`", "the panel"),
    (r"[Ss]tart a new conversation", "<chat.new> begins a new chat"),
    (r"[Ss]tart it, and ask again", "<chat.start> starts it; then <chat.again> asks again"),
    (r"\b[Aa]sk again", "<chat.again> asks again"),
    (r"Ctrl\+R starts it again", "<chat.start> starts it again"),
    (r"Esc or Ctrl\+C gives up", "<chat.stop> gives up"),
)


def in_keys(text: str, app: App[Any]) -> str:
    """The text with keys in place of the actions that it names; what is the id of none stays."""
    own = getattr(app, "keymap", {})
    return NAMED.sub(lambda found: key_of(found[1], own) or found[0], text) if "<" in text else text


def in_words(remedy: str, app: App[Any]) -> str:
    """A remedy of the core, or any text of ours, as the screen says it: with keys for commands, too."""
    said = remedy
    for command, ours in _COMMANDS:
        said = re.sub(command, ours, said)
    if said == remedy:
        return in_keys(said, app)
    if not getattr(app, "has_log", True):
        said = said.replace("<chat.log> (the log)", "the server's log")
    said = in_keys(said, app)
    return said[:1].upper() + said[1:]


def to_go_on(remedy: str, *, is_last: bool = True) -> str:
    """The remedy of an answer that has a beginning: to go on with it, where another's question is asked again.

    Only the last one can be gone on with; others can be asked anew.
    """
    how = GOES_ON if is_last else ASKS_ANEW
    return _ASK_AGAIN.sub(how, remedy) if _ASK_AGAIN.search(remedy) else f"{remedy} {how}.".strip()


def does_not_fit(room: Room) -> str:
    """What is wrong with a prompt that is larger than the context."""
    return f"The prompt would have {room.prompt_tokens:,} tokens; the context holds {room.context_tokens:,}."
