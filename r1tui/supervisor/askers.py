"""Names for answers, which tell the process that asked."""

import os
import secrets
from collections.abc import Sequence

LONGEST_PID = 10


def new_conversation_id() -> str:
    """A name for an answer that nobody else uses and that tells which process asked."""
    return f"{os.getpid()}-{secrets.token_hex(16)}"


def asker_of(name: str) -> int | None:
    """The process that asked; None for a name that does not tell."""
    pid = name.partition("-")[0]
    return int(pid) if pid.isdecimal() and len(pid) <= LONGEST_PID else None


def is_asked_by_others(answers: Sequence[str], pid: int) -> bool:
    """Whether one of these answers is for another process than `pid`; it may have been killed, and come back."""
    return any(asker_of(answer) not in (pid, None) for answer in answers)
