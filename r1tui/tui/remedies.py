"""What mends a failed answer, said with the screen's keys where the core names commands; and a full context."""

import re
from collections.abc import Mapping

from r1tui.chat.room import Room

MORE_ROOM = (
    "Ctrl+N begins a new chat; or ask less, delete exchanges, or set a larger plan.ctx_size and start the model again."
)


def in_keys(remedy: str, keys: Mapping[str, str], *, log: bool = True, goes_on: bool = False) -> str:
    """The remedy with keys in place of commands.

    `keys` are the user's own, by id; `log`: F6 shows the log; `goes_on`: the answer has a beginning.
    """
    again, logs, new, start = (
        _shown(keys.get(name, key))
        for name, key in (("chat.again", "f8"), ("chat.log", "f6"), ("chat.new", "ctrl+n"), ("chat.start", "ctrl+r"))
    )
    asks = f"{again} asks again"
    if goes_on:
        asks = f"{_shown(keys.get('chat.continue', 'f8'))} goes on where it stopped ({asks_anew(keys)})"
        if not re.search(r"\b[Aa]sk again", remedy):
            remedy = f"{remedy} Ask again.".strip()
    log_words = f"{logs} (the log)" if log else "the server's log"
    words = (
        (r"See `r1tui logs`", f"{log_words} may show why"),
        (r"`r1tui logs`", log_words),
        (r"`r1tui status`", "the panel"),
        (r"[Ss]tart a new conversation", f"{new} begins a new chat"),
        (r"[Ss]tart it, and ask again", f"{start} starts it; then {asks}"),
        (r"\b[Aa]sk again", asks),
    )
    for said, ours in words:
        remedy = re.sub(said, ours, remedy)
    return remedy[:1].upper() + remedy[1:]


def asks_anew(keys: Mapping[str, str]) -> str:
    """How a question is asked anew whose answer can be gone on with."""
    select, anew = (_shown(keys.get(name, key)) for name, key in (("chat.select", "ctrl+y"), ("select.anew", "r")))
    return f"{select}, then {anew}, asks anew"


def does_not_fit(room: Room) -> str:
    """What is wrong with a prompt that is larger than the context."""
    return f"The prompt would have {room.prompt_tokens:,} tokens; the context holds {room.context_tokens:,}."


def _shown(key: str) -> str:
    """A key as people write it: `Ctrl+N`, `F8`."""
    return "+".join(part.capitalize() for part in key.partition(",")[0].strip().split("+"))
