"""Lines of code that are longer than the screen is wide."""

import pytest

from r1tui.events import Content
from r1tui.tui.widgets.transcript_cursor import Mark
from tests.transcript_rig import FINISHED, Seat, asked, send

LINES = ["x = 1", "y = '" + "abcdefghij" * 8 + "'", "", "z = 'ab日本語" + "本" * 25 + "'"]
SOURCE = "\n".join(LINES)


def code(seat: Seat) -> list[str]:
    """What stands behind the bar of each row of code."""
    return [line.partition("▎")[2] for line in seat.lines if "▎" in line]


@pytest.mark.parametrize("pieces", [3, 7, len(SOURCE)])
async def test_a_line_of_code_that_goes_on_in_the_next_row_is_marked_there(pieces: int) -> None:
    seat = Seat(asked())
    async with seat.run_test(size=(40, 24)) as pilot:
        await send(pilot, seat, Content("```\n"))
        for start in range(0, len(SOURCE), -(-len(SOURCE) // pieces)):
            await send(pilot, seat, Content(SOURCE[start : start + -(-len(SOURCE) // pieces)]))
        streamed = code(seat)
        await send(pilot, seat, Content("\n```\n\nThat is all."), FINISHED)
        finished = code(seat)
        listing = seat.transcript.cursor.listing(Mark(seat.conversation.exchanges[-1], 1))
    assert streamed == finished
    assert [row[0] for row in finished if row] == [" ", " ", "↳", "↳", " ", "↳"]
    assert all(len(row) <= 37 for row in finished)
    joined = "".join("\n" * (not row.startswith("↳")) + row[1:] for row in finished)
    assert joined.removeprefix("\n") == SOURCE
    assert listing.code.removesuffix("\n") == SOURCE
