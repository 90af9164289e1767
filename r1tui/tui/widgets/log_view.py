"""Lines of a log of which only those in sight are drawn."""

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from r1tui.tui.widgets.log_lines import Line

GAP_COLUMNS = 1
"""Between text and scrollbar."""


class LogView(ScrollView, can_focus=True):
    """Shows lines, however many; stays at the end while more come, until it is scrolled away from there."""

    ALLOW_SELECT = True
    DEFAULT_CSS = """
    LogView {
        background: $surface;
        color: $text;
        overflow: scroll;
        scrollbar-size-vertical: 1;
        &:focus { background-tint: $foreground 5%; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[Line] = ()
        """The shown state."""

    @property
    def allow_select(self) -> bool:
        return True

    @property
    def columns(self) -> int:
        """Cells of a row that are in sight."""
        return self.scrollable_content_region.width - GAP_COLUMNS

    def show(self, lines: Sequence[Line], *, n_gone: int = 0, to_end: bool = False, follows: bool = True) -> None:
        """Show these; `n_gone` of those before are gone at the top. It stays at its end if it `follows`, or goes
        `to_end`."""
        stays = follows and self.is_vertical_scroll_end and not self.is_vertical_scrollbar_grabbed
        self.lines = lines
        self.virtual_size = Size(max((line.cells for line in lines), default=0) + GAP_COLUMNS, len(lines))
        if stays or to_end:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
        elif n_gone:
            self.scroll_to(y=max(0, self.scroll_offset.y - n_gone), animate=False, immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One row of what is in sight."""
        left, top = self.scroll_offset
        width, style, number = self.scrollable_content_region.width, self.rich_style, top + y
        if number >= len(self.lines):
            return Strip.blank(width, style)
        line = self.lines[number]
        strip = Strip(self._segments(line, number, style), line.cells)
        shown = strip.crop_extend(left, left + self.columns, style).apply_offsets(left, number)
        return shown.extend_cell_length(width, style)

    def _segments(self, line: Line, number: int, style: Style) -> list[Segment]:
        selection = self.text_selection
        span = selection.get_span(number) if selection is not None else None
        if span is None:
            return [Segment(line.text, style)]
        start, end = span[0], len(line.text) if span[1] == -1 else span[1]
        chosen = style + self.screen.get_component_rich_style("screen--selection")
        parts = ((line.text[:start], style), (line.text[start:end], chosen), (line.text[end:], style))
        return [Segment(text, its) for text, its in parts if text]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text that is selected, and what ends it."""
        return selection.extract("\n".join(line.text for line in self.lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
