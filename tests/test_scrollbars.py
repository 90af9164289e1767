"""Scrollbars: no text touches one, and no text moves when one appears."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.errors import NoWidget
from textual.screen import Screen
from textual.widget import Widget

from r1tui.catalog.variants import Catalog, Variant
from r1tui.listing.overview import ModelEntry
from r1tui.messages import Status
from r1tui.tui.screens import models
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.screens.overlays import FiguresScreen, PromptsScreen, ServerModelsScreen
from r1tui.tui.screens.table_base import ListTable
from r1tui.tui.widgets.transcript import Transcript
from tests.screen_rig import StillApp
from tests.transcript_rig import past
from tests.tui_rig import opened, until

LONG = "m" * 300
MANY = {f"{number:02} {LONG}": f"{LONG}\n" * 40 for number in range(40)}


def beside_scrollbars(screen: Screen[object]) -> Iterator[tuple[Widget, str]]:
    """What stands to the left of each scrollbar, from top to bottom."""
    rows = ["".join(one.text for one in line) for line in screen._compositor.render_strips()]
    for widget in screen.walk_children(Widget):
        if isinstance(widget, Transcript):
            region, x = widget.region, widget.region.right - 1
        elif widget.show_vertical_scrollbar and widget.vertical_scrollbar.is_attached:
            try:
                region = screen.find_widget(widget.vertical_scrollbar).region
            except NoWidget:  # it is laid out with the next frame
                continue
            x = region.x
        else:
            continue
        yield widget, "".join(rows[y][x - 1] for y in range(region.y, min(region.bottom, len(rows))))


def in_chat(app: StillApp) -> None:
    app.chat.conversations.shown = past(f"{LONG}\n\n```\n{LONG}\n```\n" * 20, LONG, LONG)
    app.chat.widgets.transcript.show(app.chat.conversation)
    app.chat.composer.prompt.text = f"{LONG}\n" * 20


def in_log(app: StillApp) -> None:
    app.paths.server_log.parent.mkdir(parents=True, exist_ok=True)
    app.paths.server_log.write_text(f"{LONG}\n" * 100)
    app.push_screen(LogScreen(app.paths.server_log))


def in_models(app: StillApp) -> None:
    catalog = Catalog({name: Variant(name, LONG, quality=LONG) for name in MANY})
    app.push_screen(ModelsScreen(catalog, app.config, app.paths, Status))


PLACES: list[Callable[[StillApp], object]] = [
    in_chat,
    in_log,
    in_models,
    lambda app: app.action_keys(),
    lambda app: app.push_screen(PromptsScreen(MANY)),
    lambda app: app.push_screen(ServerModelsScreen(list(MANY), "")),
    lambda app: app.push_screen(FiguresScreen(MANY)),
    lambda app: app.action_command_palette(),
    lambda app: app.action_change_theme(),
]


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 30)], ids=["60x16", "80x24", "120x30"])
async def test_no_text_touches_a_scrollbar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(models, "overview", lambda catalog, *_: (ModelEntry(one, None, 1.0, "cpu") for one in catalog))
    app = StillApp(tmp_path)
    touched, moving = [], []
    async with opened(app, size) as pilot:
        for place in PLACES:
            place(app)
            await until(pilot, lambda: any(True for _ in beside_scrollbars(app.screen)))
            await pilot.pause(0.1)
            for widget, text in beside_scrollbars(app.screen):
                if text.strip(" ─"):  # a rule is none
                    touched.append(f"{app.screen}: {widget}: {text!r}")
                fixed = isinstance(widget, ListTable | Transcript) or widget.styles.overflow_y == "scroll"
                if not fixed and widget.styles.scrollbar_gutter != "stable":
                    moving.append(f"{app.screen}: {widget}")
            while app.screen is not app.chat:
                await app.pop_screen()
    assert touched == []
    assert moving == []


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40)], ids=["60x16", "80x24", "120x40"])
async def test_the_transcript_s_text_stays_where_it_is_when_there_is_more_than_fits(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        transcript = app.chat.widgets.transcript

        async def rows(answer: str) -> list[str]:
            app.chat.conversations.shown = past(answer)
            transcript.show(app.chat.conversation)
            await until(pilot, lambda: transcript.settled and transcript.size.height > 5)
            transcript.action_scroll("all", -1)
            return [transcript.render_line(y).text for y in range(transcript.size.height)]

        few = await rows("word " * 30)
        many = await rows("word " * 30 + "\n\nmore" * 40)
        assert any(row.endswith(" ▐") for row in many)
        assert all(row.endswith("  ") for row in few)
        assert [row[:-1] for row in many[:4]] == [row[:-1] for row in few[:4]]


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40)], ids=["60x16", "80x24", "120x40"])
async def test_a_rule_is_below_the_launch(tmp_path: Path, size: tuple[int, int]) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        app.show_launch()
        app.show_chat()
        stages = app.chat.widgets.stages
        await until(pilot, lambda: stages.region.height > 4)
        app.draw_all()
        await pilot.pause()
        rows = ["".join(one.text for one in line) for line in app.screen._compositor.render_strips()]
        below = rows[stages.region.bottom - 1][: stages.region.width]
        assert set(below) == {"─"}
        assert rows[stages.region.bottom - 2].strip() != ""
