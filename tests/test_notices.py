"""Where notices are shown: neither over the prompt nor over the end of the answer."""

from pathlib import Path

import pytest
from textual.geometry import Region

from r1tui.chat.conversation import Conversation
from r1tui.tui.widgets.transcript import Transcript
from tests.screen_rig import StillApp
from tests.select_rig import exchange
from tests.tui_rig import until


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_notices_cover_neither_the_prompt_nor_the_end_of_the_answer(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = StillApp(tmp_path)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.chat.is_complete)
        long = exchange("?", "\n\n".join(f"Paragraph {number}." for number in range(60)))
        transcript = app.chat.query_one(Transcript)
        transcript.show(Conversation("c", [long]))
        for number in range(3):
            app.notify(f"Notice {number}: an answer is there, and what it says does not matter at all.")

        def regions() -> list[Region]:
            return [toast.region for toast in app.screen.query("Toast") if toast.region.area]

        await until(pilot, lambda: len(regions()) == 3)
        end = transcript.region.split_horizontal(-3)[1]
        assert not any(region.overlaps(app.chat.composer.prompt.region.union(end)) for region in regions())
