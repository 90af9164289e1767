"""The list of files above the prompt while one is being named there; the prompt keeps the focus."""

import asyncio
from dataclasses import dataclass

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from r1tui.chat.attachments import Candidate, Candidates, find_candidates
from r1tui.text import size
from r1tui.tui.guarded import Guarded


class Completion(Guarded, OptionList):
    """Closed until there is something to choose from."""

    can_focus = False
    DEFAULT_CSS = """
    Completion {
        display: none;
        height: auto;
        max-height: 8;
        border: round $primary;
        background: $surface;
        padding: 0 0 0 1;
        scrollbar-size: 0 1;
        scrollbar-gutter: stable;
        & > .option-list--option { padding-right: 1; }
        &.-open { display: block; }
    }
    """

    @dataclass
    class Chosen(Message):
        """The user has chosen this for what is being named."""

        candidate: Candidate

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.border_subtitle = Content("Tab inserts it · Esc closes")
        self._offered: list[Candidate] = []
        self._wanted: str | None = None
        """The name, as far as it is typed, for which the list is wanted."""
        self._dismissed = False
        """True if the user wants no list for the name that is being typed."""
        self.is_looking = False

    @property
    def is_open(self) -> bool:
        """True if there is something to choose."""
        return bool(self._offered)

    def look_for(self, begun: str | None, *, again: bool = False) -> None:
        """Offer what a name that has begun so may become; None closes the list, Esc too, until it is wanted `again`."""
        self._dismissed = self._dismissed and begun is not None and not again
        self._wanted = None if self._dismissed else begun
        if self._wanted is None:
            self.close()
        elif not self.is_looking:
            self.is_looking = True
            self._look()

    def offer(self, offered: Candidates) -> None:
        """Have these; nothing closes the list."""
        self._offered = offered.found
        self.clear_options()
        self.add_options(Option(_row(one), id=str(n)) for n, one in enumerate(offered.found))
        self.highlighted = 0 if offered.found else None
        self.border_title = Content("Attach a file" + (" (first matches)" if offered.partial else ""))
        self.set_class(self.is_open, "-open")

    def close(self) -> None:
        """Offer nothing."""
        if self.is_open:
            self.offer(Candidates([]))

    def takes(self, key: str) -> bool:
        """Do what the key means to an open list; False where it means nothing."""
        if not self.is_open:
            return False
        match key:
            case "up":
                self.action_cursor_up()
            case "down":
                self.action_cursor_down()
            case "tab" | "enter" if self.highlighted is not None:
                self._choose(self.highlighted)
            case "escape":
                self._dismissed, self._wanted = True, None
                self.close()
            case _:
                return False
        return True

    @work(name="The list of files")
    async def _look(self) -> None:
        """Offer what the name may become, until that is what is typed now; one look at a time on a slow disk."""
        looked: str | None = None
        try:
            while (begun := self._wanted) is not None and begun != looked:
                looked = begun
                typed = begun.removeprefix('"')
                offered = await asyncio.to_thread(find_candidates, typed)
                is_whole = [one.name for one in offered.found] == [typed]
                if begun == self._wanted:
                    self.offer(Candidates([]) if is_whole else offered)
        finally:
            self.is_looking = False

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._choose(event.option_index)

    def _choose(self, index: int) -> None:
        chosen = self._offered[index]
        self.close()
        self.post_message(self.Chosen(chosen))


def _row(candidate: Candidate) -> Content:
    name = Content(candidate.name)
    return name if candidate.n_bytes is None else Content.assemble(name, (f"  {size(candidate.n_bytes)}", "dim"))
