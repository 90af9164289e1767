"""The list of files above the prompt while one is being named there; the prompt keeps the focus."""

from textual import on
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from r1tui.chat.paths import Candidate, Candidates
from r1tui.text import size
from r1tui.tui.messages import FileChosen, FilesClosed


class Completion(OptionList):
    """Closed until `offer` gives it something to choose from."""

    can_focus = False
    DEFAULT_CSS = """
    Completion {
        display: none;
        height: auto;
        max-height: 8;
        border: round $primary;
        background: $surface;
        padding: 0 1;
        &.-open { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.border_subtitle = Content("Tab takes it · Esc closes")
        self._offered: list[Candidate] = []

    @property
    def is_open(self) -> bool:
        """Whether there is something to choose."""
        return bool(self._offered)

    def offer(self, offered: Candidates) -> None:
        """Have these; nothing closes the list."""
        self._offered = offered.found
        self.clear_options()
        self.add_options(Option(_row(one), id=str(n)) for n, one in enumerate(offered.found))
        self.highlighted = 0 if offered.found else None
        self.border_title = Content("Attach a file" + (", the first of many" if offered.partial else ""))
        self.set_class(self.is_open, "-open")

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
                self.post_message(FileChosen(self._offered[self.highlighted]))
            case "escape":
                self.post_message(FilesClosed())
            case _:
                return False
        return True

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(FileChosen(self._offered[event.option_index]))


def _row(candidate: Candidate) -> Content:
    name = Content(candidate.name)
    return name if candidate.n_bytes is None else Content.assemble(name, (f"  {size(candidate.n_bytes)}", "dim"))
