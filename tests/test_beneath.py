"""What can be seen under a dialog goes on: the text, the figures; what is covered is not painted."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from textual.geometry import Region, Spacing
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Label

from r1tui.catalog.variants import load_catalog
from r1tui.chat.answer import Answer
from r1tui.config import Config
from r1tui.messages import Status
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.messages import Sampled
from r1tui.tui.questions import STOP_FOREIGN, keep_or_stop
from r1tui.tui.screens import models
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.screens.overlays import KeysScreen, PanelScreen, ThemeScreen
from r1tui.tui.screens.sampling import SamplingScreen
from tests.bench.replay import Replay, Script
from tests.screen_rig import ENTRIES, SAMPLE, StillApp, StillSampler
from tests.tui_rig import ask, opened, until

Seen = tuple[R1App, Pilot[None], Answer]
Open = Callable[[R1App], Screen[object]]
DIALOGS: dict[str, Open] = {
    "models": lambda app: ModelsScreen(load_catalog(app.config), app.config, app.paths, Status),
    "sampling": lambda app: SamplingScreen(app.services.session, app.chat.models),
    "quit": lambda _: AskScreen(*vars(keep_or_stop("demo is ready. Keep the server?")).values()),
    "question": lambda _: AskScreen(STOP_FOREIGN.text, STOP_FOREIGN.choices),
    "theme": lambda _: ThemeScreen(),
}


@asynccontextmanager
async def answering(paths: Paths, folder: Path, size: tuple[int, int]) -> AsyncIterator[Seen]:
    """An answer that comes at 200 tokens a second, and no figures of the machine but those that are given."""

    async def on_token(number: int) -> None:
        """Nothing to note."""

    server = await Replay(Script(0, 100_000, tps=200.0), on_token).serve(folder / "s.sock")
    app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{folder}/s.sock"))
    app.sampler = StillSampler()  # type: ignore[assignment]
    async with server, opened(app, size) as pilot:
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.tokens > 200)
        yield app, pilot, answer


def shown(app: R1App) -> str:
    """The text on the terminal, as the screens have painted it."""
    return "".join(re.findall(r">([^<]*)</text>", app.export_screenshot())).replace("&#160;", " ")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", DIALOGS)
async def test_what_is_seen_under_a_dialog_goes_on(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(models, "overview", lambda *_: iter(ENTRIES))
    async with answering(paths, tmp_path, size) as (app, pilot, answer):
        await app.push_screen(DIALOGS[name](app))
        await pilot.pause()
        for busy_percent in (13, 87):
            before, tokens = shown(app), answer.tokens
            gpus = tuple(
                replace(gpu, used_bytes=(gpu.total_bytes or 0) * busy_percent // 100) for gpu in SAMPLE.gpus or ()
            )
            app.chat.post_message(Sampled(replace(SAMPLE, gpus=gpus)))
            await until(pilot, lambda: answer.tokens > tokens + 200)  # noqa: B023
            await until(pilot, lambda: shown(app) != before)  # noqa: B023
        assert app.screen is not app.chat


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_under_two_dialogs_too(paths: Paths, tmp_path: Path, size: tuple[int, int]) -> None:
    async with answering(paths, tmp_path, size) as (app, pilot, answer):
        for _ in range(2):
            await app.push_screen(AskScreen(STOP_FOREIGN.text, STOP_FOREIGN.choices))
        await pilot.pause()
        for _ in range(2):
            before, tokens = shown(app), answer.tokens
            await until(pilot, lambda: answer.tokens > tokens + 200)  # noqa: B023
            await until(pilot, lambda: shown(app) != before)  # noqa: B023


async def test_only_what_changes_is_painted_under_a_dialog(tmp_path: Path) -> None:
    painted: list[tuple[Region, ...]] = []

    class Asks(AskScreen):
        def _set_dirty(self, *regions: Region) -> None:
            painted.append(regions)
            super()._set_dirty(*regions)

    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await app.push_screen(Asks(STOP_FOREIGN.text, STOP_FOREIGN.choices))
        panel, box = app.chat.instruments, app.screen.children[0]
        await until(pilot, lambda: bool(panel.size and box.size))

        async def paints_alone(at: Region, change: Callable[[], object]) -> None:
            """Wait until the change paints this and no more: the last of the layout, or other figures, may come too."""

            def is_alone() -> bool:
                was_alone = painted == [(at,)]
                painted.clear()
                change()
                return was_alone

            await until(pilot, is_alone)

        for y in range(20):
            at = Region(0, y, 10, 1)
            await paints_alone(at.translate(panel.content_region.offset), partial(panel.refresh, at))

        def change_what_is_covered_too() -> None:
            app.chat._compositor._dirty_regions = {box.region.shrink(Spacing.all(1)), Region(0, 0, 3, 1)}
            app.chat._compositor_refresh()

        await paints_alone(Region(0, 0, 3, 1), change_what_is_covered_too)


async def test_what_changes_in_a_dialog_is_painted_with_what_changes_beneath(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await app.push_screen(AskScreen(STOP_FOREIGN.text, STOP_FOREIGN.choices))
        await pilot.pause()
        question = app.screen.query_one(Label)
        for number in range(10):
            app.chat.instruments.refresh(Region(0, number, 10, 1))
            app.chat.instruments.screen._on_timer_update()
            question.update(f"Number {number}?")
            app.chat.instruments.refresh(Region(0, number, 10, 1))
            await until(pilot, lambda number=number: f"Number {number}?" in shown(app))  # type: ignore[misc]


@pytest.mark.parametrize("on_top", [KeysScreen, PanelScreen])
async def test_what_is_covered_is_not_painted_and_all_of_it_is_after(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_top: type
) -> None:
    n_painted = 0
    paint = ChatScreen._compositor_refresh

    def counted(screen: ChatScreen) -> None:
        nonlocal n_painted
        n_painted += 1
        paint(screen)

    monkeypatch.setattr(ChatScreen, "_compositor_refresh", counted)
    async with answering(paths, tmp_path, (120, 40)) as (app, pilot, answer):
        await pilot.press("f1" if on_top is KeysScreen else "ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, on_top))
        await pilot.pause()
        assert app.chat.is_current is (on_top is KeysScreen)
        n_painted, tokens = 0, answer.tokens
        await until(pilot, lambda: answer.tokens > tokens + 200)
        assert (n_painted > 0) is (on_top is KeysScreen)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.chat)
        before = shown(app)
        await until(pilot, lambda: shown(app) != before)
