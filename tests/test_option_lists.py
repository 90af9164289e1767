"""Lists in terminals that have no row for them: their keys do nothing, and all is there again with more rows."""

from pathlib import Path

import pytest
from textual.widgets import OptionList

from r1tui.config import Config, UiSettings
from r1tui.tui.screens.overlays import ThemeScreen
from tests.screen_rig import StillApp
from tests.tui_rig import opened, until


@pytest.mark.parametrize("key", ["ctrl+underscore", "f12", "ctrl+p"])
@pytest.mark.parametrize("size", [(80, 2), (20, 1)])
async def test_pages_of_a_list_without_rows_end_nothing(tmp_path: Path, key: str, size: tuple[int, int]) -> None:
    app = StillApp(tmp_path, Config(prompts={f"p{n}": "Why?" for n in range(9)}))
    async with opened(app, (80, 24)) as pilot:
        await pilot.press(key)
        await until(
            pilot, lambda: bool(app.screen.query(OptionList)) and app.screen.query_one(OptionList).option_count > 2
        )
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: app.screen.query_one(OptionList).size.height == 0)
        await pilot.press("down", "pagedown", "pageup", "end", "pageup", "home", "pagedown")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: app.screen.query_one(OptionList).size.height > 2)
        before = app.screen.query_one(OptionList).highlighted
        await pilot.press("end" if key != "ctrl+p" else "pagedown")
        assert app.screen.query_one(OptionList).highlighted != before


async def test_a_dialog_has_a_border_of_its_own_where_there_is_no_shade_to_dim_with(tmp_path: Path) -> None:
    borders = {}
    for theme in ("r1-dark", "r1-terminal"):
        app = StillApp(tmp_path, Config(ui=UiSettings(theme=theme)))
        async with opened(app, (80, 24)) as pilot:
            await pilot.press("ctrl+underscore")
            await until(pilot, lambda: isinstance(app.screen, ThemeScreen))
            borders[theme] = {type(box).__name__: box.styles.border_top[0] for box in app.screen.children}
    assert borders["r1-dark"].values() != borders["r1-terminal"].values()
    assert "double" in borders["r1-terminal"].values()
