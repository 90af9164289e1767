"""The line that shows the newest notice."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from r1tui.text import one_line
from r1tui.tui.notices import SIGNS, ScreenNotice
from r1tui.tui.remedies import in_keys


class NoticeLine(Widget):
    """One line, there as long as a notice is; what it has no room for is in the log's screen."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    NoticeLine {
        display: none;
        width: 1fr;
        height: 1;
        padding: 0 1;
        background: $surface;
        color: $text;
        &.-warning { color: $text-warning; }
        &.-error { color: $text-error; background: $error-muted; }
        &.-below { dock: bottom; }
        &.-above-keys { margin-bottom: 1; }
        &:ansi { background: ansi_default; }
        &.-warning:ansi { color: ansi_yellow; }
        &.-error:ansi { color: ansi_red; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: ScreenNotice | None = None
        self._n_others = 0

    def show(self, notice: ScreenNotice | None, n_others: int = 0) -> None:
        """Show this notice and how many others wait; without one, be gone."""
        if (notice, n_others) == (self._shown, self._n_others):
            return
        self._shown, self._n_others = notice, n_others
        self.display = notice is not None
        for severity in ("warning", "error"):
            self.set_class(notice is not None and notice.severity == severity, f"-{severity}")
        self.refresh()

    def render(self) -> Content:
        """The sign of its severity, its text, and at the right what there is beside it."""
        if self._shown is None:
            return Content("")
        said = Content(f"{SIGNS[self._shown.severity]} {one_line(self._shown.text)}")
        width, more = self.size.width, f" +{self._n_others}" if self._n_others else ""
        if said.cell_length > width - len(more) and not self.has_class("-below"):  # where these keys do it
            more = f"{in_keys(' <chat.log> <log.notices>: whole text', self.app)}{more}"
        room = max(width - len(more), 1)
        return Content.assemble(said.truncate(room, ellipsis=True, pad=True), more)

    def on_click(self) -> None:
        """A notice that is clicked is dismissed."""
        self.call_later(self.run_action, "app.dismiss_notice")
