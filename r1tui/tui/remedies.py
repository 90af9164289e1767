"""What mends a failed answer, said with the screen's keys where the core names commands; and a full context."""

import re
from collections.abc import Mapping

from r1tui.chat.room import Room

MORE_ROOM = (
    "Ctrl+N begins a new chat; or ask less, delete exchanges, or set a larger plan.ctx_size and start the model again."
)


def in_keys(remedy: str, keys: Mapping[str, str], *, log: bool = True) -> str:
    """The remedy with keys in place of commands. `keys` are the user's own, by id; `log`: F6 shows the log."""
    again, logs, new, start = (
        _shown(keys.get(name, key))
        for name, key in (("chat.again", "f8"), ("chat.log", "f6"), ("chat.new", "ctrl+n"), ("chat.start", "ctrl+r"))
    )
    log_words = f"{logs} (the log)" if log else "the server's log"
    words = (
        (r"See `r1tui logs`", f"{log_words} may show why"),
        (r"`r1tui logs`", log_words),
        (r"`r1tui status`", "the panel"),
        (r"[Ss]tart a new conversation", f"{new} begins a new chat"),
        (r"[Ss]tart it, and ask again", f"{start} starts it; then {again} asks again"),
        (r"\b[Aa]sk again", f"{again} asks again"),
    )
    for said, ours in words:
        remedy = re.sub(said, ours, remedy)
    return remedy[:1].upper() + remedy[1:]


def does_not_fit(room: Room) -> str:
    """What is wrong with a prompt that is larger than the context."""
    return f"The prompt would have {room.prompt_tokens:,} tokens; the context holds {room.context_tokens:,}."


def _shown(key: str) -> str:
    """A key as people write it: `Ctrl+N`, `F8`."""
    return "+".join(part.capitalize() for part in key.partition(",")[0].strip().split("+"))
