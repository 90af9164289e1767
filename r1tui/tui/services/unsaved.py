"""What is not on disk although it should be: said for as long as that is so, and not left without a word."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from r1tui.chat.rescue import Unsaved, left_behind, rescue
from r1tui.errors import R1tuiError
from r1tui.text import one_line, plain
from r1tui.tui.services.prompt_saver import DRAFT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from r1tui.chat.typed import Typed
    from r1tui.tui.saver import Saver


class Desk(Protocol):
    """Where a question is composed."""

    @property
    def draft(self) -> Typed:
        """What would be missed if this were lost."""

    async def save_draft(self) -> object:
        """Write it now."""

    def leave_draft(self) -> None:
        """Leave it to the next r1tui."""


class AsksOfUnsaved(Protocol):
    """Asks the user."""

    async def choose(self, unsaved: Unsaved, again: Callable[[], Awaitable[Unsaved | None]]) -> str | None:
        """What is to become of it: `again`, `elsewhere` or `lose`; None to stay."""

    async def save_elsewhere(self, unsaved: Unsaved) -> list[Path] | None:
        """The files in which it is now; None where the user has gone back."""


class UnsavedWork:
    """What is not saved, and what becomes of it when r1tui is left."""

    def __init__(self, desk: Desk, ask: AsksOfUnsaved, say: Callable[[str], None]) -> None:
        """`say` takes what is to be said for as long as it is so; nothing when all is saved."""
        self._desk = desk
        self._ask = ask
        self._say = say
        self.saver: Saver | None = None
        """Who writes the conversations, once there are any."""
        self._words: Unsaved | None = None
        self._prompt: dict[str, R1tuiError] = {}
        """Why what belongs to the prompt could not be saved, by its name."""
        self._settled = False
        """Whether the user has decided what becomes of it."""
        self.last_words: list[str] = []
        """What the terminal says about it when the screen is gone."""
        self.has_lost = False
        """Whether something is lost that nobody gave up."""

    @property
    def line(self) -> str:
        """What the standing line says; empty when all is saved."""
        if self._words is not None:
            words = self._words
            return f"Not saved: {words.said}. r1tui keeps trying; <app.quit> offers more. {one_line(words.why.cause)}"
        for name, why in self._prompt.items():
            return f"Not saved: {name}. r1tui keeps trying. {one_line(why.cause)}"
        return ""

    def hear_of_words(self, unsaved: Unsaved | None) -> None:
        """These conversations cannot be saved now; None: all are."""
        self._words = unsaved
        self.show()

    def hear_of_prompt(self, name: str, why: R1tuiError | None) -> None:
        """The draft, or the history of the prompt, cannot be saved now; without a reason: it is."""
        if why is not None:
            self._prompt[name] = why
        else:
            self._prompt.pop(name, None)
        self.show()

    def show(self) -> None:
        """Bring the standing line up to date."""
        self._say(self.line)

    async def may_leave(self) -> bool:
        """Whether r1tui may end: all is saved, saved elsewhere, or the user gives it up."""
        while (unsaved := await self._written()) is not None:
            match await self._ask.choose(unsaved, self._written):
                case "elsewhere":
                    files = await self._ask.save_elsewhere(unsaved)
                    if files:
                        self._end_with(unsaved, files)
                        return True
                case "lose":
                    self._settled = True
                    return True
                case "again":
                    pass
                case _:
                    return False
        return True

    async def rescue_rest(self, unsaved: Unsaved | None) -> None:
        """The app ends with `unsaved`, and nobody can be asked any more: put it elsewhere, and say where."""
        if (left := self._with_draft(unsaved)) is not None:
            await asyncio.to_thread(self._rescue, left)

    def rescue_at_once(self) -> None:
        """The process is about to end: write all, or put it elsewhere."""
        unsaved = self.saver.flush_at_once() if self.saver is not None else None
        self._desk.leave_draft()
        if (left := self._with_draft(unsaved)) is not None:
            self._rescue(left)

    def _rescue(self, unsaved: Unsaved) -> None:
        if self._settled:
            return
        try:
            self._end_with(unsaved, rescue(unsaved))
        except R1tuiError as error:
            self._settled = True
            self.has_lost = True
            self.last_words += [f"Lost: {unsaved.said}. {error.cause}"]
            logging.getLogger(__name__).warning("Unsaved at the end, and no other place: %s", error.cause)

    def _end_with(self, unsaved: Unsaved, files: list[Path]) -> None:
        self._settled = True
        named = ", ".join(plain(str(path)) for path in files)
        self.last_words += [f"{one_line(unsaved.why.cause)} What was not saved ({unsaved.said}) is in {named}"]
        logging.getLogger(__name__).warning("What was not saved at the end is in %s", named)

    async def _written(self) -> Unsaved | None:
        """What is left after one more try."""
        draft = asyncio.create_task(self._desk.save_draft())
        unsaved = await self.saver.flush() if self.saver is not None else None
        await draft
        return self._with_draft(unsaved)

    def _with_draft(self, unsaved: Unsaved | None) -> Unsaved | None:
        why, draft = self._prompt.get(DRAFT), self._desk.draft.whole
        if why is None or not draft.strip():
            return unsaved
        return replace(unsaved, draft=draft) if unsaved is not None else Unsaved(why, draft=draft)


def where_the_last_went() -> str:
    """What is said at the start of words that an earlier r1tui had to put elsewhere; empty without any."""
    files = left_behind()
    if not files:
        return ""
    more = f", and {len(files) - 1} more there" if len(files) > 1 else ""
    return f"Words that an earlier r1tui could not save are in {files[-1]}{more}. Delete the file when you have them."
