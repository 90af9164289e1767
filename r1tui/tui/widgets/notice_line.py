"""The line that shows the newest notice; two where one does not hold what happened and what mends it."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from r1tui.text import one_line
from r1tui.tui.notices import SIGNS, ScreenNotice
from r1tui.tui.remedies import in_keys

LOW = 16
"""Rows of a terminal in which a notice has one."""
LEAST = 12
"""Cells of what happened that stay where its remedy is long."""


class NoticeLine(Widget):
    """There as long as a notice is; what it has no room for is in the log's screen."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    NoticeLine {
        display: none;
        width: 1fr;
        height: auto;
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
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as the notice needs, two at the most."""
        return len(self._rows(width, 1 if viewport.height < LOW else 2))

    def render(self) -> Content:
        """The sign of its severity, its text, and at the right what there is beside it."""
        return Content("\n").join(self._rows(self.size.width, self.size.height))

    def _rows(self, width: int, most: int) -> list[Content]:
        if self._shown is None:
            return [Content("")]
        more = f" +{self._n_others}" if self._n_others else ""
        sign, (cause, remedy) = SIGNS[self._shown.severity], _parts(self._shown.text)
        rows, is_whole = _fitted(f"{sign} {cause}", remedy, width, len(more), most)
        if not is_whole and not self.has_class("-below"):  # where these keys do it
            more = f"{in_keys(' <chat.log> <log.notices>: whole text', self.app)}{more}"
            rows, _ = _fitted(f"{sign} {cause}", remedy, width, len(more), most)
        last = rows[-1].truncate(max(width - len(more), 1), ellipsis=True, pad=True)
        return [*rows[:-1], Content.assemble(last, more)]

    def on_click(self) -> None:
        """A notice that is clicked is dismissed."""
        self.call_later(self.run_action, "app.dismiss_notice")


def _parts(text: str) -> tuple[str, str]:
    """Cause and remedy, as far as they are told apart: the remedy is the last line, or the last sentence."""
    cause, _, remedy = text.rpartition("\n") if "\n" in text.strip() else text.rpartition(". ")
    if not one_line(cause):
        return one_line(remedy), ""
    return one_line(cause) + ("" if "\n" in text.strip() else "."), one_line(remedy)


def _fitted(cause: str, remedy: str, width: int, taken: int, most: int) -> tuple[list[Content], bool]:
    """The rows of a notice, the last of which leaves `taken` cells free, and whether they hold all of it.

    Where they do not, the end of what happened goes before what mends it.
    """
    whole, room = Content(f"{cause} {remedy}".strip()), max(width - taken, 1)
    if whole.cell_length <= room:
        return [whole], True
    if most > 1:
        rows = [*whole.wrap(max(width, 1))]
        if len(rows) == 2 and rows[1].cell_length <= room:
            return rows, True
        said, mends = Content(cause), Content(remedy)
        if not remedy or said.cell_length <= width:  # all of what happened has room; the end is what gives way
            rest = whole.plain[len(rows[0].plain) :].strip()
            return [rows[0], Content(rest)], False
        return [said.truncate(width, ellipsis=True), mends], False
    left = room - Content(remedy).cell_length - 1
    if remedy and left >= LEAST:
        return [Content(f"{Content(cause).truncate(left, ellipsis=True).plain} {remedy}")], False
    return [whole], False
