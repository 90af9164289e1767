"""What the instruments' rows are written on: labels, gauges, values and courses in columns that stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textual.content import Content

from r1tui.tui.widgets.gauges import Ink, bar, chart, one_line, sides, sparkline, split_bar

LABEL, VALUE = 9, 16
WIDE = 56
"""From here on a row has room for its figure's course beside the bar, or for another figure."""
GAP = 3
"""Between figures on one row."""

Group = list[Content]


@dataclass(frozen=True)
class Sheet:
    """What the rows are written on, and how much of all that there is they say."""

    width: int
    ink: Ink
    detail: int = 2
    """From 0, the gist, to 2."""
    tall: int = 0
    """How many rows a figure's course has for itself; 0: it is one row at most, and beside the bar where that fits."""
    facts: bool = False
    """Whether the plan and what the server was started with are said too."""
    joined: bool = False
    """Whether GPUs are one group."""

    @property
    def _bar_width(self) -> int:
        room = self.width - LABEL - VALUE - 1
        return room if self.tall or self.width < WIDE else room // 2

    def bar(self, share: float | None, style: str = "$primary") -> Content | None:
        """A bar as long as all others of this sheet; None where there is no share."""
        return None if share is None else bar(share, self._bar_width, self.ink, style)

    def split(self, ours: float, others: float) -> Content:
        """The same of two shares."""
        return split_bar(ours, others, self._bar_width, self.ink)

    def row(self, label: str, value: str, gauge: Content | None = None, value_style: str = "") -> Content:
        """Label, a gauge where there is one, and the value at the right; the columns stay where they are."""
        shown = Content.styled(value, value_style)
        if gauge is None:
            return sides(Content.styled(label, self.ink.muted), shown, self.width)
        return sides(Content.assemble((label.ljust(LABEL), self.ink.muted), gauge), shown, self.width)

    def beside(self, *figures: tuple[str, str, str]) -> Group:
        """Label, value and the value's style of figures without gauges: on one row where that is wide."""
        if self.width < WIDE:
            return [self.row(label, value, value_style=style) for label, value, style in figures]
        column = replace(self, width=(self.width - GAP * (len(figures) - 1)) // len(figures))
        cells = [column.row(label, value, value_style=style) for label, value, style in figures]
        return [Content(" " * GAP).join(cells)]

    def chart(self, course: Sequence[float], top: float | None = None, style: str = "$primary") -> Group:
        """A course over the whole width."""
        track = f"{style} on $foreground 5%" if self.tall and not self.ink.ansi else style
        return [Content.styled(row, track) for row in chart(course, self.width, max(self.tall, 1), top)]

    def course(
        self,
        label: str,
        value: str,
        gauge: Content | None,
        course: Sequence[float],
        *,
        top: float | None = None,
        style: str = "$primary",
        minor: bool = False,
    ) -> Group:
        """A row with the figure's course, up to `top`: beside the bar, or below it, where a `minor` one is left out."""
        if self.tall or self.width < WIDE:
            row = self.row(label, value, gauge)
            shown = self.tall or (self.detail >= 2 and course)
            return [row, *self.chart(course, top, style)] if shown and not minor else [row]
        room = self.width - LABEL - VALUE - 2 - self._bar_width
        line = Content.styled(sparkline(course, room, top), style)
        left = Content(" " * self._bar_width) if gauge is None else gauge
        return [self.row(label, value, Content(" ").join([left, line]))]

    def words(self, text: str, most_rows: int = 2) -> Group:
        """Muted words, wrapped."""
        return list(Content.styled(one_line(text), self.ink.muted).wrap(self.width)[:most_rows]) if text else []
