"""A Markdown table as rows: columns as wide as they need, narrower where the width is short, cells wrapped."""

from typing import NamedTuple

from rich.cells import cell_len

from r1tui.tui.widgets.transcript_rows import Span, wrap_spans

MIN_COLUMN = 4


class Cell(NamedTuple):
    """A cell's text and `left`, `right` or `center`."""

    spans: list[Span]
    align: str

    @property
    def width(self) -> int:
        """Cells of its longest line."""
        text = "".join(piece for piece, _ in self.spans)
        return max(cell_len(line) for line in text.split("\n"))


def table_rows(rows: list[list[Cell]], width: int) -> list[tuple[Span, ...]]:
    """The table's rows, its head underlined; too many columns for the width become one cell a line."""
    columns = max(map(len, rows))
    room = width - 3 * (columns - 1)
    if room < columns * MIN_COLUMN:
        return _as_list(rows, width)
    widths = _share([max(row[c].width for row in rows if c < len(row)) for c in range(columns)], room)
    lines: list[tuple[Span, ...]] = []
    for index, row in enumerate(rows):
        lines += _one_row(row, widths)
        if index == 0:
            lines.append((("─┼─".join("─" * column for column in widths), "rule"),))
    return lines


def _share(wanted: list[int], room: int) -> list[int]:
    """Widths that fit the room: the widest columns give first."""
    widths = [max(one, 1) for one in wanted]
    excess = sum(widths) - room
    while excess > 0:
        widest = max(widths)
        following = max([one for one in widths if one < widest], default=0)
        at_top = [index for index, one in enumerate(widths) if one == widest]
        give = min(max(excess // len(at_top), 1), widest - max(following, MIN_COLUMN - 1))
        for index in at_top:
            taken = min(max(give, 1), excess)
            widths[index] -= taken
            excess -= taken
            if not excess:
                break
    return widths


def _one_row(row: list[Cell], widths: list[int]) -> list[tuple[Span, ...]]:
    cells = [*row, *[Cell([], "left")] * (len(widths) - len(row))]
    wrapped = [wrap_spans(cell.spans, column) for cell, column in zip(cells, widths, strict=True)]
    lines: list[tuple[Span, ...]] = []
    for number in range(max(map(len, wrapped))):
        spans: list[Span] = []
        for column, (cell, lines_of_cell) in enumerate(zip(cells, wrapped, strict=True)):
            spans += [(" │ ", "rule")] if column else []
            spans += _aligned(lines_of_cell[number] if number < len(lines_of_cell) else (), cell.align, widths[column])
        lines.append(tuple(spans))
    return lines


def _aligned(spans: tuple[Span, ...], align: str, width: int) -> list[Span]:
    blank = max(width - sum(cell_len(text) for text, _ in spans), 0)
    left = {"left": 0, "right": blank, "center": blank // 2}[align]
    return [(" " * left, ""), *spans, (" " * (blank - left), "")]


def _as_list(rows: list[list[Cell]], width: int) -> list[tuple[Span, ...]]:
    lines: list[tuple[Span, ...]] = []
    for row in rows:
        for cell in row:
            lines += wrap_spans(cell.spans, width)
        lines.append((("─" * width, "rule"),))
    return lines
