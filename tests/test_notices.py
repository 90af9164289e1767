"""Notices: one line above the prompt, the newest first, errors until they are over; the log's screen keeps them all."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from r1tui.chat.conversation import Conversation
from r1tui.errors import R1tuiError
from r1tui.remedies import NewChat
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui import notices as notices_module
from r1tui.tui.app import R1App
from r1tui.tui.notices import KEPT, LONGEST_S, SHORTEST_S, Notices
from r1tui.tui.noticing import LONGEST_CHARS
from r1tui.tui.questions import STOP_FOREIGN
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.log_view import LogView
from r1tui.tui.widgets.notice_line import NoticeLine
from tests.bench.replay import Replay, Script
from tests.screen_rig import StillApp
from tests.select_rig import exchange
from tests.tui_rig import ask, opened, until

sizes = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
LONG = "A long story. " + "a " * 200 + "Its end."


class Clock:
    """Stands still until it is turned."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told(clock: Clock) -> Notices:
    return Notices(clock, clock)


def waiting(told: Notices) -> list[str]:
    told.look()
    return [one.text for one in told.waiting]


def test_the_newest_is_first_and_after_it_comes_the_next(told: Notices) -> None:
    for text in ("one", "two", "three"):
        told.tell(text)
    assert waiting(told) == ["three", "two", "one"]
    told.dismiss()
    assert waiting(told) == ["two", "one"]
    told.dismiss()
    told.dismiss()
    told.dismiss()
    assert waiting(told) == []
    assert [one.text for one in told.kept] == ["one", "two", "three"]


def test_a_notice_goes_after_the_time_that_its_text_takes_to_read(told: Notices, clock: Clock) -> None:
    told.tell("short")
    short_s = told.look()
    assert short_s is not None
    assert SHORTEST_S <= short_s < LONGEST_S
    told.tell(LONG)
    assert told.look() == short_s  # the next that is over
    clock.now_s = short_s
    assert waiting(told) == [LONG]
    assert told.look() == LONGEST_S - short_s
    clock.now_s = LONGEST_S
    assert waiting(told) == []
    assert told.look() is None


def test_an_error_stays_and_what_came_after_it_does_not(told: Notices, clock: Clock) -> None:
    told.tell("broken", "error")
    assert told.look() is None
    told.tell("by the way")
    told.look()
    clock.now_s = 1e6
    assert waiting(told) == ["broken"]
    told.dismiss()
    assert waiting(told) == []


def test_what_nobody_has_seen_has_its_whole_time(told: Notices, clock: Clock) -> None:
    told.tell("unseen")
    told.tell("seen")
    clock.now_s += told.look() or 0
    assert waiting(told) == ["unseen"]
    assert told.look() == pytest.approx(told.kept[0].reading_s)
    clock.now_s += 1e6
    assert waiting(told) == []


def test_what_was_seen_does_not_come_back_when_its_time_is_over(told: Notices, clock: Clock) -> None:
    told.tell("Stopping…")
    told.look()
    clock.now_s = SHORTEST_S / 2
    told.tell("Stopped, after a while, and with some words.")
    clock.now_s += told.look() or 0
    clock.now_s += told.look() or 0
    assert waiting(told) == []


def test_the_same_text_waits_once_and_the_last_of_a_topic_replaces_it(told: Notices) -> None:
    told.tell("other")
    for _ in range(3):
        told.tell("again")
    told.tell("at first", "error", topic="server")
    told.tell("then", "error", topic="server")
    assert waiting(told) == ["then", "again", "other"]
    assert told.end("server")
    assert not told.end("server")
    assert not told.end("")
    assert waiting(told) == ["again", "other"]


def test_so_many_are_kept(told: Notices) -> None:
    for number in range(2 * KEPT):
        told.tell(str(number), "error")
    assert [one.text for one in told.kept] == [str(number) for number in range(KEPT, 2 * KEPT)]


def line(app: R1App) -> str:
    """The text of the topmost screen's notice; none where it takes no row."""
    return "".join(one.render().plain for one in app.screen.query(NoticeLine) if one.display and one.region.area)


async def says(app: R1App, pilot: Pilot[None], text: str) -> None:
    await until(pilot, lambda: text in line(app) if text else not line(app))


@sizes
async def test_a_notice_is_one_line_above_the_prompt_and_takes_no_row_else(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        transcript, prompt = app.chat.widgets.transcript, app.chat.composer.prompt
        long = exchange("?", "\n\n".join(f"Paragraph {number}." for number in range(60)))
        app.chat.conversations.shown = Conversation("c", [long])
        transcript.show(app.chat.conversation)
        app.chat.refresh_bindings()
        await until(pilot, lambda: transcript.size.height > 10)
        height, at = transcript.size.height, prompt.region
        for number in range(3):
            app.notify(f"Notice {number}.", severity="error")
        await says(app, pilot, "✗ Notice 2.")
        (shown,) = app.screen.query(NoticeLine)
        assert line(app).endswith(" +2")
        assert shown.region.bottom == app.chat.composer.region.y
        assert (shown.region.height, prompt.region, transcript.size.height) == (1, at, height - 1)
        await until(pilot, lambda: "Dismiss" in app.screen.query_one(KeyLine).render().plain)
        for left in ("Notice 1.", "Notice 0.", ""):
            await pilot.press("escape")
            await says(app, pilot, left)
        await until(pilot, lambda: transcript.size.height == height)


@sizes
async def test_a_text_that_is_too_long_is_cut_and_whole_in_the_log(tmp_path: Path, size: tuple[int, int]) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        app.notify("[bold]no markup[/] \x1b[31m<chat.new> here", severity="warning")
        await says(app, pilot, "! [bold]no markup[/] Ctrl+N here")
        app.notify(LONG, title="Title")
        await says(app, pilot, "· Title: A long story.")
        assert line(app).endswith("… F6 N: whole text +1")
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, LogScreen))
        view = app.screen.query_one(LogView)
        await until(pilot, lambda: len(view.lines) > 3)
        rows = [row.text for row in view.lines]
        assert "information  Title: A long story." in rows[0]
        assert any(row.endswith("Its end.") for row in rows)
        assert "warning      [bold]no markup[/] Ctrl+N here" in rows[-1]
        await until(pilot, lambda: view.columns - 2 < max(row.cells for row in view.lines) <= view.columns)
        assert all(row.text.rstrip() in view.render_line(y).text for y, row in enumerate(view.lines))
        app.show_error(R1tuiError("It broke.", NewChat()))
        await until(pilot, lambda: "error        It broke. Ctrl+N starts a new chat." in view.lines[0].text)
        await pilot.press("l", "l")
        await until(pilot, lambda: len(view.lines) == 1)
        await pilot.press("l", "slash", *"its END")
        await until(pilot, lambda: len(view.lines) > 3)
        assert not any("markup" in row.text for row in view.lines)


CAUSE = "config.yaml: ui.keys has no command chat.stopp."
MENDS = "Did you mean chat.stop?"
LONGER = f"{CAUSE} It was changed 3 minutes ago by another program, and before that by you."


@pytest.mark.parametrize(
    ("size", "cause", "said"),
    [
        ((60, 20), CAUSE, f"✗ {CAUSE} Did you\nmean chat.stop? "),
        ((60, 20), LONGER, "✗ config.yaml: ui.keys has no command chat.stopp. It was …\nDid you mean chat.stop? "),
        ((60, 15), CAUSE, "✗ config.yaml: u… Did you mean chat.stop? F6 N: whole text"),
        ((120, 40), CAUSE, f"✗ {CAUSE} {MENDS} "),
    ],
)
async def test_cause_and_remedy_of_a_notice_are_seen_at_every_size(
    tmp_path: Path, size: tuple[int, int], cause: str, said: str
) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        prompt = app.chat.composer.prompt
        at = prompt.region
        app.show_error(R1tuiError(cause, MENDS))
        await until(pilot, lambda: line(app).startswith(said))
        (shown,) = app.screen.query(NoticeLine)
        await until(pilot, lambda: shown.region.height == 1 + said.count("\n"))
        assert prompt.region == at
        assert shown.region.bottom == app.chat.composer.region.y
        app.notify("Short.", severity="error")
        await until(pilot, lambda: shown.region.height == 1 and "Short." in line(app))


async def test_the_log_and_the_notices_take_turns(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    app.paths.logs.mkdir(parents=True)
    app.paths.server_log.write_text("a line\n")
    async with opened(app) as pilot:
        app.notify("A notice.")
        await app.push_screen(LogScreen(app.paths.server_log))
        view = app.screen.query_one(LogView)
        for shown in ("a line", "A notice.", "a line"):
            await until(pilot, lambda shown=shown: [row.text.endswith(shown) for row in view.lines] == [True])  # type: ignore[misc]
            await pilot.press("n")


async def test_a_notice_that_comes_while_the_log_is_shown_leaves_the_log_there(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    app.paths.logs.mkdir(parents=True)
    app.paths.server_log.write_text("a line\n")
    async with opened(app) as pilot:
        await app.push_screen(LogScreen(app.paths.server_log))
        view = app.screen.query_one(LogView)
        await until(pilot, lambda: [row.text for row in view.lines] == ["a line"])
        app.notify("Here.")
        await says(app, pilot, "Here.")
        assert [row.text for row in view.lines] == ["a line"]


async def test_many_at_once_are_shown_once_and_of_a_huge_one_the_beginning_is_kept(tmp_path: Path) -> None:
    class Counts(StillApp):
        n_shown = 0

        def _refresh_notifications(self) -> None:
            self.n_shown += 1
            super()._refresh_notifications()

    app = Counts(tmp_path)
    async with opened(app) as pilot:
        before = app.n_shown
        for number in range(1000):
            app.notify(f"Number {number}.", severity="error")
        await says(app, pilot, "Number 999.")
        assert app.n_shown - before < 10
        app.show_error(R1tuiError("word " * 100_000))
        await says(app, pilot, "word word")
        text = app.notices.kept[-1].text
        assert len(text) < 2 * LONGEST_CHARS
        assert text.endswith("… (500,001 characters)")


@sizes
@pytest.mark.parametrize("over", ["question", "panel", "palette", "models"])
async def test_on_other_screens_it_is_at_the_bottom_and_after_them_above_the_prompt(
    tmp_path: Path, size: tuple[int, int], over: str
) -> None:
    app = StillApp(tmp_path)
    async with opened(app, size) as pilot:
        match over:
            case "question":
                await app.push_screen(AskScreen(STOP_FOREIGN.text, STOP_FOREIGN.choices))
            case "panel":
                await pilot.press("ctrl+o")
            case "palette":
                await pilot.press("ctrl+p")
            case _:
                await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not app.chat and app.screen.is_mounted)
        app.notify("Before.", severity="error")
        app.notify("Here.", severity="error")
        await says(app, pilot, "✗ Here.")
        (shown,) = app.screen.query(NoticeLine)
        keys = app.screen.query(KeyLine)
        assert shown.region.bottom == size[1] - (1 if keys else 0)
        await until(
            pilot,
            lambda: (
                not any(
                    shown.region.overlaps(other.region)
                    for other in app.screen.children
                    if other is not shown and other.display and other.styles.background.a
                )
            ),
        )
        assert not any(one.display for one in app.chat.query(NoticeLine))
        await app.pop_screen()
        await says(app, pilot, "✗ Here.")
        await pilot.press("escape")
        await says(app, pilot, "✗ Before.")


async def test_it_goes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices_module, "SHORTEST_S", 0.0)
    monkeypatch.setattr(notices_module, "S_PER_CHARACTER", 0.001)
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        app.notify("an error", severity="error")
        app.notify("in passing")
        await until(pilot, lambda: [one.text for one in app.notices.waiting] == ["an error"])
        await says(app, pilot, "✗ an error")


async def test_escape_stops_the_answer_first_and_another_key_dismisses_meanwhile(paths: Paths, tmp_path: Path) -> None:
    async def on_token(number: int) -> None:
        """Nothing to note."""

    server = await Replay(Script(0, 100_000, tps=100.0), on_token).serve(tmp_path / "s.sock")
    app = R1App(paths, StillApp(tmp_path).config, attach=Endpoint.parse(f"unix:{tmp_path}/s.sock"))
    async with server, opened(app) as pilot:
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.content))
        app.notify("One.", severity="error")
        app.notify("Two.", severity="error")
        await says(app, pilot, "Two.")
        await pilot.press("alt+x")
        await says(app, pilot, "One.")
        assert answer.running
        await pilot.press("escape")
        await until(pilot, lambda: not answer.running and not app.chat.answers.can_stop)
        assert "One." in line(app)
        await pilot.press("escape")
        await says(app, pilot, "")


async def test_an_error_of_a_work_is_over_when_the_work_succeeds(tmp_path: Path) -> None:
    fails = True

    async def work() -> None:
        if fails:
            raise R1tuiError("It failed.")

    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        app.chat.run_worker(work(), name="The work")
        await says(app, pilot, "✗ It failed.")
        fails = False
        app.chat.run_worker(work(), name="Another work")
        await pilot.pause()
        assert "It failed." in line(app)
        app.chat.run_worker(work(), name="The work")
        await says(app, pilot, "")


async def test_a_notice_that_is_clicked_is_dismissed(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        app.notify("Click.", severity="error")
        await says(app, pilot, "Click.")
        await pilot.click(NoticeLine)
        await says(app, pilot, "")
