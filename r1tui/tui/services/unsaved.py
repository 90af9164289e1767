"""What is not on disk although it should be: said for as long as that is so, and not left without a word."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from r1tui.chat.export import Unsaved, find_rescued, rescue
from r1tui.chat.typed import Typed
from r1tui.errors import R1tuiError
from r1tui.text import one_line, plain
from r1tui.tui.services.composing import DRAFT
from r1tui.tui.services.saver import Saver


class Desk(Protocol):
    """The place where a question is composed."""

    @property
    def draft(self) -> Typed: ...
    async def save_draft(self) -> object: ...
    def leave_draft(self) -> None: ...


class UnsavedWork:
    """The unsaved work, and what happens to it when r1tui ends."""

    def __init__(self, desk: Desk, say: Callable[[str], None]) -> None:
        """`say` takes what is to be said for as long as it is so; nothing when all is saved."""
        self._desk = desk
        self._say = say
        self.saver: Saver | None = None
        """Writer of the conversations, once there are any."""
        self._words: Unsaved | None = None
        self._prompt: dict[str, R1tuiError] = {}
        """Reasons why parts of the prompt could not be saved, by name."""
        self.is_settled = False
        """True if the user has decided what becomes of it."""
        self.last_words: list[str] = []
        """Lines for the terminal after the screen has closed."""
        self.has_lost = False
        """True if something is lost that nobody gave up."""

    @property
    def line(self) -> str:
        """Text of the standing line; empty if all is saved."""
        if self._words is not None:
            said, cause = self._words.said, one_line(self._words.why.cause)
            return f"Not saved: {said}. r1tui keeps trying; <app.quit> can save elsewhere. {cause}"
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

    async def write(self) -> Unsaved | None:
        """Try once more to write everything; what is left."""
        flushing = self.saver.flush() if self.saver is not None else asyncio.sleep(0)
        unsaved, draft = await asyncio.gather(flushing, self._desk.save_draft(), return_exceptions=True)
        for ended in (unsaved, draft):
            if isinstance(ended, BaseException):
                raise ended
        return self._with_draft(unsaved if isinstance(unsaved, Unsaved) else None)

    def settle(self, unsaved: Unsaved, files: list[Path]) -> None:
        """Note that the unsaved work is in these files; the terminal names them at the end."""
        self.is_settled = True
        named = ", ".join(plain(str(path)) for path in files)
        self.last_words += [f"{one_line(unsaved.why.cause)} The unsaved text ({unsaved.said}) is in {named}"]
        logging.getLogger(__name__).warning("Unsaved text is in %s", named)

    async def rescue_rest(self, unsaved: Unsaved | None) -> None:
        """Put unsaved work elsewhere when the app ends and nobody can be asked; say where."""
        if (left := self._with_draft(unsaved)) is not None:
            await asyncio.to_thread(self._rescue, left)

    def rescue_at_once(self) -> None:
        """The process is about to end: write all, or put it elsewhere."""
        unsaved = self.saver.flush_at_once() if self.saver is not None else None
        self._desk.leave_draft()
        if (left := self._with_draft(unsaved)) is not None:
            self._rescue(left)

    def _rescue(self, unsaved: Unsaved) -> None:
        if self.is_settled:
            return
        try:
            self.settle(unsaved, rescue(unsaved))
        except R1tuiError as error:
            self.is_settled = True
            self.has_lost = True
            self.last_words += [f"Lost: {unsaved.said}. {error.cause}"]
            logging.getLogger(__name__).warning("Unsaved text is lost: %s", error.cause)

    def _with_draft(self, unsaved: Unsaved | None) -> Unsaved | None:
        why, draft = self._prompt.get(DRAFT), self._desk.draft.whole
        if why is None or not draft.strip():
            return unsaved
        return replace(unsaved, draft=draft) if unsaved is not None else Unsaved(why, draft=draft)


def where_the_last_went() -> str:
    """The notice about words that an earlier r1tui put elsewhere; empty without any."""
    files = find_rescued()
    if not files:
        return ""
    more = f" ({len(files) - 1} more in its folder)" if len(files) > 1 else ""
    where = f"Text that an earlier r1tui could not save is in {files[-1]}{more}."
    return f"{where} Delete the file when you no longer need it."
