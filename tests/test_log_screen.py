"""The log: only its end is read, only what is in sight is drawn, in slices that leave the keys their time."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from r1tui.system.log_reader import LogReader
from r1tui.tui.screens.log import SHOWN_BYTES, LogScreen
from r1tui.tui.widgets import log_lines
from r1tui.tui.widgets.log_lines import BATCH_CHARS, BATCH_LINES, LONGEST_CHARS, MOST_CHARS, MOST_LINES, Lines, batches
from r1tui.tui.widgets.log_view import LogView
from tests.screen_rig import StillApp
from tests.tui_rig import opened, until

SIZE_BYTES = 50 << 20
LINE = "0.00.001.000 I slot update: id 0 | task 17 | prompt processing, n_tokens = 2048, progress = 0.25 "


def large(path: Path, n_bytes: int = SIZE_BYTES) -> Path:
    """A log of this size, whose last line says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = "".join(f"{LINE}{number:06d}\n" for number in range(10_000)).encode()
    with path.open("wb") as file:
        for _ in range(n_bytes // len(block) + 1):
            file.write(block)
        file.write(b"0.00.009.000 E the last line\n")
    return path


async def shown(pilot: Pilot[None], path: Path) -> tuple[LogScreen, LogView]:
    """The log's screen, once its end is read."""
    screen = LogScreen(path)
    await pilot.app.push_screen(screen)
    await until(pilot, lambda: ends_with(screen, "the last line"))
    return screen, screen.query_one(LogView)


def ends_with(screen: LogScreen, text: str) -> bool:
    view = screen.query_one(LogView)
    return bool(view.lines) and view.lines[-1].text.endswith(text)


async def test_of_a_large_log_the_end_is_read_and_taken_in_small_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: list[int] = []
    slices: list[tuple[int, int]] = []
    begin, add = LogReader.__init__, Lines.add

    def begun(self: LogReader, log: Path, from_offset: int = 0) -> None:
        offsets.append(from_offset)
        begin(self, log, from_offset)

    def added(self: Lines, lines: list[log_lines.Line]) -> int:
        slices.append((len(lines), sum(len(line.text) for line in lines)))
        return add(self, lines)

    monkeypatch.setattr(LogReader, "__init__", begun)
    monkeypatch.setattr(Lines, "add", added)
    app = StillApp(tmp_path)
    path = large(app.paths.server_log)
    async with opened(app) as pilot:
        _, view = await shown(pilot, path)
        assert offsets == [path.stat().st_size - SHOWN_BYTES]
        assert view.lines[0].text.startswith(LINE[:20])  # not the rest of a line
        with path.open("ab") as file:  # and it grows by more than is kept
            file.write(path.read_bytes()[: 8 << 20] + b"grown\n")
        await until(pilot, lambda: ends_with(app.screen, "grown"))  # type: ignore[arg-type]
        assert max(n for n, _ in slices) <= BATCH_LINES
        assert max(n for _, n in slices) <= BATCH_CHARS + LONGEST_CHARS
        assert len(view.lines) <= MOST_LINES


async def test_only_what_is_in_sight_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = LogView._segments

    def counted(self: LogView, line: log_lines.Line, number: int, style: object) -> object:
        drawn.append(number)
        return draw(self, line, number, style)  # type: ignore[arg-type]

    monkeypatch.setattr(LogView, "_segments", counted)
    app = StillApp(tmp_path)
    path = large(app.paths.server_log)
    async with opened(app, (100, 30)) as pilot:
        screen, view = await shown(pilot, path)
        await pilot.pause()
        drawn.clear()
        await pilot.press("home")
        await until(pilot, lambda: 0 in drawn)
        assert max(drawn) <= len(view.lines)
        assert len(drawn) < 20 * view.size.height
        drawn.clear()
        await pilot.press("l", "l")
        await until(pilot, lambda: len(view.lines) == 1)
        await pilot.pause()
        assert len(drawn) < 20 * view.size.height
        assert screen.is_current


async def test_reading_further_up_is_not_disturbed_by_what_comes(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    path = large(app.paths.server_log, 200_000)
    async with opened(app, (100, 30)) as pilot:
        screen, view = await shown(pilot, path)
        view.scroll_to(y=100, animate=False, immediate=True)
        await pilot.pause()
        top = view.lines[view.scroll_offset.y]
        with path.open("a") as file:
            file.write("more\n" * MOST_LINES)
            file.write("and the end\n")
        await until(pilot, lambda: view.lines[-1].text == "and the end")
        first = view.lines[0]
        assert view.scroll_offset.y == max(0, top.number - first.number)
        assert len(view.lines) == MOST_LINES
        view.scroll_end(animate=False, immediate=True)
        await pilot.pause()
        with path.open("a") as file:
            file.write("followed\n")
        await until(pilot, lambda: view.lines[-1].text == "followed" and view.is_vertical_scroll_end)
        assert screen.is_current


async def test_a_log_begun_anew_is_followed_and_one_that_is_not_there_yet_too(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        screen = LogScreen(app.paths.server_log)
        await app.push_screen(screen)
        await until(pilot, lambda: "nothing yet" in str(screen.query_one("Label").render()))
        app.paths.logs.mkdir(parents=True)
        for text in ("one", "two"):
            partial = app.paths.server_log.with_name("new")
            partial.write_text(f"{text}\n")
            partial.replace(app.paths.server_log)
            await until(pilot, lambda text=text: ends_with(screen, text))  # type: ignore[misc]


def test_what_is_kept_is_bounded_in_lines_and_in_characters() -> None:
    lines = Lines()
    for batch in batches(["x" * 1_000_000] * 3_000):
        lines.add(batch)
    assert sum(len(line.text) for line in lines.all) <= MOST_CHARS
    assert lines.shown == lines.all
    assert lines.all[-1].text.endswith("… (1,000,000 characters)")
    for batch in batches(["short"] * (2 * MOST_LINES), 3_000):
        lines.add(batch)
    assert len(lines.all) == MOST_LINES
    assert lines.shown == lines.all


def test_a_search_finds_whatever_case_in_what_is_there_and_in_what_comes() -> None:
    lines = Lines()
    for batch in batches(["0.00.001.000 E Straße", "strasse", "other"]):
        lines.add(batch)
    lines.want(frozenset(), "STRASSE")
    assert [line.number for line in lines.shown] == [0, 1]
    lines.want(frozenset({"error"}), "STRASSE")
    assert [line.number for line in lines.shown] == [0]
    for batch in batches(["0.00.002.000 E strasse", "strasse"], 3):
        assert lines.add(batch) == 0
    assert [line.number for line in lines.shown] == [0, 3]
