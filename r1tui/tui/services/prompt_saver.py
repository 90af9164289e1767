"""Questions that were asked, and the draft, on their way to the disk; where it refuses them they are tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from r1tui.errors import R1tuiError

if TYPE_CHECKING:
    from r1tui.chat.prompt_files import Drafts, PromptHistory
    from r1tui.chat.recall import Recall
    from r1tui.chat.typed import Typed

DRAFT, HISTORY = "the draft", "the prompt's history"
DRAFT_S = 1.0
"""A draft is written at most so often."""
RETRY_S = 5.0
"""What the disk refuses is tried again after so long."""

Hear = Callable[[str, R1tuiError | None], None]
"""Hears why something, by its name, is not saved; without a reason: it is."""


class HistorySaver:
    """Adds each question to the history once, and to the walk through it at once."""

    def __init__(self, file: PromptHistory, recall: Recall, hear: Hear) -> None:
        self._file = file
        self._recall = recall
        self._hear = hear
        self._waiting: list[Typed] = []
        """Questions that the file does not have yet."""
        self._writing = asyncio.Lock()
        """Two at once would write a question twice."""

    async def read(self) -> None:
        """Have what was asked before, by any r1tui."""
        self._recall.entries = [*await asyncio.to_thread(self._file.entries), *self._waiting]

    async def add(self, typed: Typed) -> None:
        """Add a question; returns when the disk has taken it."""
        self._recall.entries = [*self._recall.entries, typed]
        self._waiting.append(typed)
        async with self._writing:
            while self._waiting:
                first = self._waiting[0]
                try:
                    await asyncio.to_thread(self._file.add, first)
                except R1tuiError as error:
                    self._hear(HISTORY, error)
                    await asyncio.sleep(RETRY_S)
                else:
                    self._drop(first)
            self._hear(HISTORY, None)
            await self.read()

    async def forget(self, typed: Typed) -> None:
        """Take out a question that was added just now: it was refused."""
        self._drop(typed)
        async with self._writing:  # it may be on its way
            with suppress(R1tuiError):  # a question too many costs nothing
                await asyncio.to_thread(self._file.forget, typed)
            await self.read()

    def _drop(self, typed: Typed) -> None:
        self._waiting = [one for one in self._waiting if one is not typed]


class DraftSaver:
    """Keeps what is typed and not sent, as it is `now`."""

    def __init__(self, files: Drafts, now: Callable[[], Typed], hear: Hear) -> None:
        self._files = files
        self._now = now
        self._hear = hear
        self._has_taken = False
        """Whether what was left by another r1tui is known; before that nothing may take its place."""
        self._saved: Typed | None = None
        self._following = asyncio.Lock()

    @property
    def is_following(self) -> bool:
        """Whether changes are written by themselves now."""
        return self._following.locked()

    @property
    def is_settled(self) -> bool:
        """Whether the draft has been written, and changes no more."""
        return self._saved is not None and not self.is_following

    async def take(self, put: Callable[[Typed], None]) -> None:
        """Put what an r1tui that is gone has left."""
        try:
            if draft := await asyncio.to_thread(self._files.take):
                put(draft)
        except Exception:
            self._has_taken = True
            raise
        self._has_taken = True

    async def follow(self) -> None:
        """Write the draft until it changes no more, at most so often."""
        async with self._following:
            while self._now() != self._saved:
                is_saved = await self.save()
                await asyncio.sleep(DRAFT_S if is_saved else RETRY_S)

    async def save(self) -> bool:
        """Write the draft now; whether that worked is heard, and returned."""
        if not self._has_taken:
            return False
        draft = self._now()
        try:
            await asyncio.to_thread(self._files.save, draft)
        except R1tuiError as error:
            self._hear(DRAFT, error if draft.whole.strip() else None)
            return False
        self._saved = draft
        self._hear(DRAFT, None)
        return True

    def leave(self) -> None:
        """Leave the draft to the next r1tui; nothing is written after it."""
        with suppress(R1tuiError):  # nobody is there to be told
            self._files.leave(self._now() if self._has_taken else None)
