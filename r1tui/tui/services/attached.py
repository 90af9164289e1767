"""What the files that a question mentions weigh, in tokens, against what is left of the context."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from textual.content import Content

from r1tui.chat.attachments import attached, read_attachment
from r1tui.chat.special_tokens import defuse
from r1tui.chat.typed import Typed
from r1tui.errors import R1tuiError
from r1tui.text import one_line

BYTES_PER_TOKEN = 3.5
"""Of English and of code, roughly; where no server can be asked."""
MOST_NAMED = 3

Count = Callable[[str], Awaitable[int | None]]
"""The tokens of a text; None where no server says."""


@dataclass(frozen=True)
class Weight:
    """A file, and its tokens, or why it cannot be attached."""

    name: str
    tokens: int = 0
    exact: bool = True
    problem: str = ""
    is_text: bool = False
    """Whether it is mentioned in what was pasted only, and so is not attached."""


class Scales:
    """Weighs files; what has not changed since is not read again."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._known: dict[tuple[Path, int, int], Weight] = {}

    async def weigh(self, typed: Typed) -> list[Weight]:
        """The files that the question mentions, in order; those that it does not attach weigh nothing."""
        files = await asyncio.to_thread(attached, typed.text)
        weights = []
        for name, path in files.items():
            weights.append(Weight(name, is_text=True) if name in typed.pasted else await self._weigh(name, path))
        return weights

    async def _weigh(self, name: str, path: Path) -> Weight:
        try:
            stat = await asyncio.to_thread(path.stat)
            key = (path, stat.st_mtime_ns, stat.st_size)
            if key not in self._known:
                block = (await asyncio.to_thread(read_attachment, name, path)).block()
                tokens = await self._count(defuse(block)[0])
                if tokens is None:
                    return Weight(name, round(len(block.encode()) / BYTES_PER_TOKEN), exact=False)
                self._known[key] = Weight(name, tokens)
            return self._known[key]
        except OSError as error:
            return Weight(name, problem=f"{name}: {error.strerror}")
        except R1tuiError as error:
            return Weight(name, problem=error.cause)


def too_heavy(weights: list[Weight], left: int | None) -> bool:
    """Whether something cannot be attached, or all of it does not fit."""
    return any(one.problem for one in weights) or (left is not None and sum(one.tokens for one in weights) > left)


def in_words(weights: list[Weight], left: int | None) -> Content:
    """`app.py 1,204 + notes.md 1,227 = 2,431 tokens of 5,900 left`, or what is wrong."""
    left_out = [Path(one.name).name for one in weights if one.is_text]
    weights = [one for one in weights if not one.is_text]
    if left_out and not weights:
        return Content(one_line(f"{', '.join(left_out[:MOST_NAMED])}: pasted text, not attached"))
    problems = [one.problem for one in weights if one.problem]
    if problems or not weights:
        return Content(one_line(" ".join(problems)))
    about = "" if all(one.exact for one in weights) else "~"
    total = f"{about}{sum(one.tokens for one in weights):,} tokens"
    names = [f"{Path(one.name).name} {about}{one.tokens:,}" for one in weights[:MOST_NAMED]]
    more = len(weights) - len(names)
    parts = " + ".join([*names, *([f"{more} more"] if more else [])])
    said = f"{parts} = {total}" if len(weights) > 1 else f"{Path(weights[0].name).name} {total}"
    if left is None:
        return Content(one_line(said))
    fits = f"of {left:,} left" if not too_heavy(weights, left) else f"do not fit: {left:,} left"
    return Content(one_line(f"{said} {fits}"))
