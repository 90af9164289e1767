"""Lists in terminals that have no row for them: their keys do nothing, and all is there again with more rows."""

from pathlib import Path

import pytest
from textual.containers import Vertical
from textual.widgets import OptionList

from r1tui.config import Config, UiSettings
from r1tui.tui.questions import Choice
from r1tui.tui.screens.dialogs import AskScreen
from tests.screen_rig import StillApp
from tests.tui_rig import opened, until


@pytest.mark.parametrize("key", ["ctrl+underscore", "f12", "ctrl+p"])
@pytest.mark.parametrize("size", [(80, 2), (20, 1)])
async def test_pages_of_a_list_without_rows_end_nothing(tmp_path: Path, key: str, size: tuple[int, int]) -> None:
    app = StillApp(tmp_path, Config(prompts={f"p{n}": "Why?" for n in range(9)}))
    async with opened(app, (80, 24)) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: any(options.option_count > 2 for options in app.screen.query(OptionList)))
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: app.screen.query_one(OptionList).size.height == 0)
        await pilot.press("down", "pagedown", "pageup", "end", "pageup", "home", "pagedown")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: app.screen.query_one(OptionList).size.height > 2)
        before = app.screen.query_one(OptionList).highlighted
        await pilot.press("end" if key != "ctrl+p" else "pagedown")
        assert app.screen.query_one(OptionList).highlighted != before


@pytest.mark.parametrize(("theme", "border"), [("r1-dark", "round"), ("r1-terminal", "double")])
async def test_a_dialog_stands_out_by_its_border_where_no_shade_dims_the_chat(
    tmp_path: Path, theme: str, border: str
) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(theme=theme)))
    async with opened(app, (80, 24)) as pilot:
        app.push_screen(AskScreen("Really?", (Choice("k", "keep", "Keep it"),)))
        await until(pilot, lambda: bool(app.screen.query(Vertical)))
        assert app.screen.query_one(Vertical).styles.border_top[0] == border
