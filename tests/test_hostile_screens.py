"""Foreign text on every screen: names, titles, logs, causes and notices are text there, and keep the layout whole."""

import asyncio
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from r1tui.catalog.variants import Catalog, Variant
from r1tui.events import FileProgress, FilesProgress, LogLine, Notice, Progress, StageDone, StageFailed, StageStarted
from r1tui.listing.overview import ModelEntry
from r1tui.messages import DevicePlan, PlanSummary, Status
from r1tui.system.paths import Paths
from r1tui.tui.app import LEAST_COLUMNS
from r1tui.tui.messages import AnswerWaits, DownloadReported, ServerChanged, StageReported
from r1tui.tui.questions import Choice
from r1tui.tui.screens import models
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.download import DownloadScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.screens.overlays import ThemeScreen
from tests.ptys import Terminal
from tests.screen_rig import DOWNLOAD, ENTRIES, SHARD, STATUS, StillApp
from tests.transcript_rig import past
from tests.tui_rig import opened, until

EVIL = (
    "\x1b[31;5mred\x1b]0;title\x07\x1b]52;c;RVZJTA==\x07\x9b5m\x00[bold]b[/bold] "
    "[@click=app.quit]x[/] \u202edlrow\u202c שלום عالم 👩‍👩‍👧👍🏽🇩🇪 e\u0301\u0327 日本\ud800 \u2028 \t \r" + "y" * 300
)
PIECES = [
    *"ab [](){}|\\\n\t\r\x00\x07\x1b\x7f\x9b", "\x1b[31m", "\x1b]0;x\x07", "\x1b]52;c;eA==\x07", "[bold]", "[/]",
    "[@click=app.quit]", "日", "🦙", "👩‍👩‍👧", "🇩🇪", "❤️", "e\u0301", "\u202e", "\u2066", "\u200d", "\ufe0f", "\ud800",
    "\udcff", "\u2028", "ש", "﷽", "x" * 90,
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
SIZES = [(80, 24), (120, 40), (30, 10)]


def complaints(screen: Screen[object]) -> list[str]:
    """What is wrong with the rows that the screen's widgets draw."""
    wrong = []
    for widget in screen.walk_children(Widget):
        width, height = widget.size
        for y, strip in enumerate(widget.render_lines(Region(0, 0, width, height)) if width and height else []):
            text = "".join(segment.text for segment in strip if segment.control is None)
            if strip.cell_length != width or cell_len(text) != width:
                wrong.append(f"{widget} row {y} takes {cell_len(text)} of {width}: {text!r}")
            if bad := re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", text):
                wrong.append(f"{widget} row {y} has {bad[0]!r}: {text!r}")
    return wrong


async def drawn(app: StillApp, pilot: Pilot[None]) -> None:
    while not app.chat.is_complete:
        await pilot.pause(0.02)
    await pilot.pause()
    if looking := [worker for worker in app.workers if worker.group == "look"]:  # of none, it waits for all
        await app.workers.wait_for_complete(looking)
    for _ in range(3):
        app.draw_all()
        await pilot.pause(0.02)


def in_chat(app: StillApp, text: str) -> None:
    app.chat.conversations.shown = past(text, text, text)
    app.chat.widgets.transcript.show(app.chat.conversation)
    plan = PlanSummary(verdict=text, n_gpu_layers=5, devices=(DevicePlan(text),), cache_type_k=text, cache_type_v=text)
    app.chat.post_message(ServerChanged(msgspec.structs.replace(STATUS, variant=text, plan=plan)))


def in_notices(app: StillApp, text: str) -> None:
    app.chat.post_message(AnswerWaits(text))
    app.chat.notify(text, title=text)
    failed = msgspec.structs.replace(STATUS, state="failed", cause=text, remedy=text)
    app.chat.post_message(ServerChanged(failed))


def in_stages(app: StillApp, text: str) -> None:
    app.chat.add_class("-launching")
    for event in (
        StageStarted("engine", text), LogLine("engine", text), StageDone("engine", text, text), Notice("model", text),
        StageStarted("model", text), Progress("model", 61 << 20, 94 << 20, "bytes", 12.5e6, 2.8),
        StageFailed("model", text, text),
    ):  # fmt: skip
        app.chat.post_message(StageReported(event))


def in_question(app: StillApp, text: str) -> None:
    app.push_screen(AskScreen(text, [Choice("y", "yes", text)]))


def in_download(app: StillApp, text: str) -> None:
    screen = DownloadScreen(Variant("evil", text, repo="a/b"), app.paths, app.config, begin=False)
    app.push_screen(screen)
    files = (FileProgress(text, 1, 2, "arriving"), FileProgress(SHARD.format(2), 2, 2, "done"))
    for event in (*DOWNLOAD, Notice("model", text), FilesProgress("model", files, paused=text)):
        screen.post_message(DownloadReported(event))


def in_models(app: StillApp, text: str) -> None:
    variant = Variant(text, text, quality=text)
    app.push_screen(ModelsScreen(Catalog({text: variant}), app.config, app.paths, lambda: Status(variant=text)))


def in_log(app: StillApp, text: str) -> None:
    app.paths.server_log.parent.mkdir(parents=True, exist_ok=True)
    app.paths.server_log.write_bytes(text.encode(errors="surrogatepass") + b"\n\xff\xfe E bad\n")
    app.push_screen(LogScreen(app.paths.server_log))


PLACES = [in_chat, in_notices, in_stages, in_question, in_download, in_models, in_log]


Place = Callable[[StillApp, str], None]
Show = Callable[..., list[str]]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    """Shows texts in places, one after the other, and says what is wrong with the screen then."""

    async def check(shown: Iterable[tuple[Place, str]], size: tuple[int, int]) -> list[str]:
        app, wrong = StillApp(tmp_path), []
        async with app.run_test(size=size) as pilot:
            await drawn(app, pilot)
            for place, text in shown:
                model = Path("/m") / (text.replace("\0", "") or "x")
                entry = ModelEntry(Variant(text, text, quality=text), model, 1.0, "cpu", problem=text)
                monkeypatch.setattr(models, "overview", lambda *_, entry=entry: iter([entry, *ENTRIES]))
                place(app, text)
                await drawn(app, pilot)
                wrong += [f"{place.__name__}: {one}" for one in complaints(app.screen)]
                while app.screen is not app.chat:
                    await app.pop_screen()
                app.notices.kept.clear()
        return wrong

    return lambda shown, size=(80, 24): asyncio.run(check(shown, size))


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "30x10"])
def test_foreign_text_is_text_on_every_screen(show: Show, size: tuple[int, int]) -> None:
    assert show([(place, EVIL) for place in PLACES], size) == []


@pytest.mark.parametrize("place", PLACES)
def test_no_foreign_text_breaks_a_screen(show: Show, place: Place) -> None:
    @settings(max_examples=1)
    @given(st.lists(HOSTILE, min_size=6, max_size=6))
    def check(texts: list[str]) -> None:
        assert show([(place, text) for text in texts]) == []

    check()


def test_nothing_of_foreign_text_commands_the_terminal(paths: Paths) -> None:
    with Terminal(str(paths.data), columns=120, rows=40, program=("-m", "tests.hostile_app")) as terminal:
        terminal.wait_for("all is shown")
        shown = terminal.shown.replace(b"\x1b]22;default\x07", b"")  # Textual's own: the pointer's shape
    assert "שלום".encode() in shown
    for command in (
        b"\x1b]0;title",
        b"\x1b]52;c;RVZJTA",
        b"\xc2\x9b",
        b"\x00",
        b"\x07",
        b"\x1b[31;5m",
        "\u202e".encode(),
    ):
        assert command not in shown


@pytest.mark.parametrize("name", ["quit", "theme", "palette", "files"])
async def test_a_terminal_of_any_width_ends_nothing(tmp_path: Path, name: str) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        match name:
            case "quit":
                await app.push_screen(AskScreen("A question?", [Choice("a", "an answer", "A long answer.")]))
            case "theme":
                await app.push_screen(ThemeScreen())
            case _:
                await pilot.press("ctrl+p" if name == "palette" else "@")
        for width in (*range(15, 0, -1), 120):
            await pilot.resize_terminal(width, 24)
            await until(pilot, lambda width=width: app.screen.size.width == max(width, LEAST_COLUMNS))  # type: ignore[misc]
            await pilot.pause()
