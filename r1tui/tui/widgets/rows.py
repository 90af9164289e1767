"""A widget of text rows that repaints only the rows that changed, and only so many times a second."""

from asyncio import TimerHandle
from time import monotonic
from typing import ClassVar

from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from r1tui.tui.widgets.gauges import Ink, ink_of
from r1tui.tui.widgets.once import call_after


class Rows(Widget):
    """Subclasses say what the rows are; whoever changes what they show calls `touch`."""

    INTERVAL_S: ClassVar[float] = 1.0
    """Never drawn more often than this."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id, classes=classes)
        self._rows: list[Content] = []
        self._rows_size: Size | None = None
        self._rows_ink: Ink | None = None
        self._strips: dict[int, Strip] = {}
        self._drawn_s: float | None = None
        self._waiting: TimerHandle | None = None
        self._slower = 1.0

    def rows(self, width: int, height: int) -> list[Content]:
        """At most `height` rows; a row longer than `width` is cut."""
        raise NotImplementedError

    @property
    def ink(self) -> Ink:
        """The styles that suit the theme."""
        return ink_of(self.app)

    def touch(self) -> None:
        """Something may have changed: draw now, or as soon as it is time again."""
        if not self.is_mounted or self._waiting is not None:
            return
        now = monotonic()
        due_s = now if self._drawn_s is None else self._drawn_s + self.INTERVAL_S * self._slower
        if due_s <= now:
            self.draw()
        else:
            self._waiting = call_after(self, due_s - now, self.draw)

    def slow_down(self, times: float) -> None:
        """Be drawn so many times more seldom than usual."""
        self._slower = times

    def draw(self) -> None:
        """Draw now what changed."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._drawn_s = monotonic()
        if not self.display or self._rows_size != self.size:
            self._rows_size = None
            self.refresh()  # made anew when it is seen
            return
        before, self._rows = self._rows, self._fitted()
        changed = [y for y, row in enumerate(self._rows) if y >= len(before) or not row.is_same(before[y])]
        changed += range(len(self._rows), len(before))
        for y in changed:
            self._strips.pop(y, None)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render(self) -> Content:
        """All rows, for what wants them at once, such as a selection."""
        self._update()
        return Content("\n").join(self._rows)

    def render_line(self, y: int) -> Strip:
        """One row, as it was rendered last if it has not changed since."""
        if self.text_selection is not None:
            return super().render_line(y)
        self._update()
        if y not in self._strips:
            width = self.size.width
            if not width or y >= len(self._rows):
                return Strip.blank(width, self.visual_style.rich_style)
            self._strips[y] = Visual.to_strips(self, self._rows[y], width, 1, self.visual_style, pad=True)[0]
        return self._strips[y]

    def notify_style_update(self) -> None:
        """Colours may be others, and with another theme's characters the rows, all of which are drawn then."""
        self._strips.clear()
        if self._rows_ink is not self.ink:
            self._rows_size = None
            self.refresh()
        super().notify_style_update()

    def _update(self) -> None:
        """Make the rows anew after a resize, a change of theme, or a time out of sight."""
        if self._rows_size != self.size:
            self._rows, self._rows_size, self._rows_ink = self._fitted(), self.size, self.ink
            self._strips.clear()

    def _fitted(self) -> list[Content]:
        width, height = self.size
        if not width or not height:
            return []
        return [row.truncate(width, ellipsis=True) for row in self.rows(width, height)[:height]]
