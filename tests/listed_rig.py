"""Conversations for pictures of their list, which must be the same every time."""

from dataclasses import replace
from time import mktime

from r1tui.chat.listing import MARKS, ConversationSummary

NOW_S = mktime((2025, 11, 20, 18, 30, 0, 0, 0, -1))
_DAY_S = 86400.0


def _one(name: str, age_s: float, exchanges: int, **more: object) -> ConversationSummary:
    return ConversationSummary(name, name, NOW_S - age_s, NOW_S - age_s, exchanges, **more)  # type: ignore[arg-type]


LISTED = [
    _one(
        "Write Flappy Bird in Python, with pygame, and no other files than the program itself, please.",
        240,
        3,
        last_question="Now with sounds, and a high score that is kept between games.",
    ),
    _one("Motion detection", 3 * 3600, 12, running=True, open_in=4711, last_question="And at night?"),
    _one("Balls in a spinning heptagon", _DAY_S, 2),
    _one("日本語で俳句を書いてください", 9 * _DAY_S, 1),
    *(_one(f"An older question, number {n}", (20 + n) * _DAY_S, n) for n in range(1, 30)),
]
LISTED_PASSAGES = [
    LISTED[0],
    replace(LISTED[2], passage=f"…with gravity; each ball is a {MARKS[0]}bird{MARKS[1]} that bounces off the walls…"),
    replace(LISTED[4], passage=f"Two {MARKS[0]}birds{MARKS[1]} in one hand [b]are[/b] worth…"),
]
