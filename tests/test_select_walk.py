"""The mark walks all that can be marked in any conversation, and what it is on is always in view."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from r1tui.chat.code import is_code
from r1tui.chat.conversation import Conversation
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.transcript_cursor import Mark
from tests.markdown_rig import split_markdown
from tests.select_rig import exchange, marked
from tests.transcript_rig import Seat, settle, toggle_all

PARTS = st.sampled_from(
    [
        "Some words.\n\n", "words " * 200 + "\n\n", "```python\nx = 1\n```\n\n", "```\n" + "y\n" * 60 + "```\n\n",
        "1. a\n\n   ```sh\n   ls\n   ```\n2. b\n   ```\n   c\n   ```\n\n", "    indented\n\n", "```\n```\n\n",
        "日本 🦙 " * 50,
    ]
)  # fmt: skip
ANSWERS = st.lists(st.lists(PARTS, max_size=6).map("".join), min_size=1, max_size=4)


@settings(max_examples=25)
@given(ANSWERS, st.integers(12, 100), st.integers(3, 40), st.booleans())
def test_the_mark_walks_all_items_and_is_always_in_view(
    answers: list[str], width: int, height: int, is_open: bool
) -> None:
    async def walk() -> None:
        exchanges = [exchange(f"Question {number}?", text, "Well.\n" * 30) for number, text in enumerate(answers)]
        seat = Seat(Conversation("c", exchanges))
        async with seat.run_test(size=(width, height)) as pilot:
            transcript = seat.transcript
            await settle(pilot, transcript)
            if is_open:
                toggle_all(transcript)
            marks = transcript.cursor.marks()
            fences = [sum(is_code(token) for block in split_markdown(one) for token in block.tokens) for one in answers]
            assert [mark.listing for mark in marks] == [n for count in fences for n in range(count + 1)]
            for mark in [*marks, *reversed(marks), marks[-1], marks[0]]:
                transcript.put_mark(mark)
                await settle(pilot, transcript)
                shows_all(transcript, mark, height)

    asyncio.run(walk())


def shows_all(transcript: Transcript, mark: Mark, height: int) -> None:
    rows = transcript.cursor.rows(mark)
    assert rows is not None
    assert len(marked(transcript)) == min(rows[1] - rows[0], height)
