"""Choosing a theme: shown at once, kept or not, remembered; what a terminal without colours, or a slow one, is sent."""

import re
from pathlib import Path

import pytest
from textual.widgets import OptionList

from r1tui.config import Config, UiSettings
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.overlays import ThemeScreen
from r1tui.tui.themes import DEFAULT, TERMINAL, chosen_theme, keep_theme
from tests.bench.replay import Replay, Script
from tests.ptys import Terminal
from tests.screen_rig import StillApp
from tests.tui_rig import ask, notices, opened, until

COLOUR = re.compile(rb"(?:^|;)(?:[34]8;[25]|3[0-7]|4[0-7]|9[0-7]|10[0-7])(?:;|$)")
MANY = re.compile(rb"(?:^|;)[34]8;[25](?:;|$)")


def background(app: R1App) -> str:
    return app.screen_stack[0].styles.background.hex


async def test_the_cursor_shows_a_theme_at_once_and_escape_brings_the_old_one_back(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        before = background(app)
        await pilot.press("ctrl+underscore")
        await until(pilot, lambda: isinstance(app.screen, ThemeScreen))
        assert app.screen.query_one(OptionList).highlighted_option.id == DEFAULT  # type: ignore[union-attr]
        await pilot.press("down", "down")
        await until(pilot, lambda: app.theme == "r1-light" and background(app) == "#F7F7F4")
        await pilot.press("ctrl+underscore")  # it is talready here
        await pilot.press("escape")
        await until(pilot, lambda: app.theme == DEFAULT and background(app) == before)
        assert app.screen is app.chat
        assert not app.paths.theme_choice.exists()


async def test_what_was_chosen_last_counts_on_the_screen_or_in_the_config(tmp_path: Path) -> None:
    def started(theme: str | None) -> str:
        return StillApp(tmp_path, Config(ui=UiSettings(theme=theme))).theme

    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await pilot.press("ctrl+underscore", "down", "enter")
        await until(pilot, app.paths.theme_choice.exists)
        assert app.theme == "r1-ember"
        assert app.screen is app.chat
    assert started(None) == "r1-ember"
    assert started(DEFAULT) == DEFAULT, "the config says so since"
    assert started("r1-light") == "r1-light"
    assert started("nothing") == DEFAULT


@pytest.mark.parametrize(
    ("environment", "theme"),
    [
        ("TERM=xterm-256color COLORTERM=truecolor", DEFAULT),
        ("TERM=xterm-256color COLORTERM=24bit", DEFAULT),
        ("TERM=xterm-direct", DEFAULT),
        ("TERM=screen-256color COLORTERM=truecolor TMUX=socket,1,0", DEFAULT),
        ("TERM=tmux-256color COLORTERM=truecolor TMUX=socket,1,0", DEFAULT),
        ("TERM=tmux-256color TMUX=socket,1,0", TERMINAL),
        ("TERM=xterm-256color", TERMINAL),
        ("TERM=xterm", TERMINAL),
        ("TERM=linux COLORTERM=truecolor", TERMINAL),
        ("TERM=screen COLORTERM=truecolor", TERMINAL),
        ("TERM=screen COLORTERM=truecolor TMUX=socket,1,0", TERMINAL),
        ("TERM=screen.xterm-256color COLORTERM=truecolor", TERMINAL),
    ],
)
def test_who_chose_no_theme_has_the_terminal_s_own_colours_where_it_has_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str, theme: str
) -> None:
    for name in ("COLORTERM", "TMUX"):
        monkeypatch.delenv(name, raising=False)
    for variable in environment.split():
        monkeypatch.setenv(*variable.split("="))
    app = StillApp(tmp_path)
    assert app.theme == theme
    assert StillApp(tmp_path, Config(ui=UiSettings(theme="r1-light"))).theme == "r1-light"
    keep_theme(app.paths.theme_choice, DEFAULT, None)
    assert StillApp(tmp_path).theme == DEFAULT


@pytest.mark.parametrize("content", [b"", b"\0", b"[1]", b'{"theme": 7}', b'{"theme": "r1-light"}'])
def test_a_choice_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "theme.json"
    file.write_bytes(content)
    assert chosen_theme(file, DEFAULT) == DEFAULT
    keep_theme(file, "r1-light", DEFAULT)
    assert chosen_theme(file, DEFAULT) == "r1-light"


@pytest.mark.parametrize("content", [b'{"theme": "\xff"}', b"[" * 100_000, b""])
async def test_a_damaged_choice_costs_only_the_choice_and_is_said(tmp_path: Path, content: bytes) -> None:
    choice = StillApp(tmp_path).paths.theme_choice
    choice.parent.mkdir(parents=True, exist_ok=True)
    choice.write_bytes(content)
    app = StillApp(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "theme.json.damaged" in told(app))
        assert app.theme == DEFAULT
    assert choice.with_name("theme.json.damaged").read_bytes() == content


async def test_a_theme_that_is_gone_is_told_and_a_choice_that_cannot_be_kept_too(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    keep_theme(app.paths.theme_choice, "mine", DEFAULT)
    app = StillApp(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "unknown theme 'mine'" in told(app))
        app.paths.theme_choice.unlink()
        app.paths.theme_choice.mkdir()
        (app.paths.theme_choice / "x").touch()
        await pilot.press("ctrl+underscore", "down", "enter")
        await until(pilot, lambda: "could not be saved" in told(app))
        assert app.theme == "r1-ember"


def told(app: R1App) -> str:
    return " ".join(notices(app))


async def test_without_colours_there_is_one_theme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = StillApp(tmp_path, Config(ui=UiSettings(theme="r1-light")))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.chat.is_complete)
        assert app.theme == TERMINAL
        await pilot.press("ctrl+underscore")
        await until(pilot, lambda: "NO_COLOR" in told(app))
        await pilot.press("f10")
        await until(pilot, lambda: "Slow link: on" in told(app))
        assert app.theme == TERMINAL


async def test_a_key_makes_little_of_a_slow_link_and_all_of_it_again(paths: Paths, tmp_path: Path) -> None:
    async def on_token(number: int) -> None:
        """Nothing to note."""

    server = await Replay(Script(200, 100_000, tps=200.0), on_token).serve(tmp_path / "s.sock")
    app = R1App(
        paths, Config(ui=UiSettings(theme="r1-light", refresh_hz=20)), attach=Endpoint.parse(f"unix:{tmp_path}/s.sock")
    )
    async with server, opened(app) as pilot:
        assert app.services.session.chat.batch_s == 0.05
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: bool(answer.thinking))
        for key, theme, hz, animation in (
            ("f10", TERMINAL, 2, "none"), ("f10", "r1-light", 20, "full"), ("f10", TERMINAL, 2, "none")
        ):  # fmt: skip
            await pilot.press(key)
            await until(pilot, lambda theme=theme: app.theme == theme)  # type: ignore[misc]
            assert (app.refresh_hz, app.animation_level) == (hz, animation)
            assert app.services.session.chat.batch_s == 1 / hz
            await until(pilot, lambda before=answer.tokens: answer.tokens > before + 10)  # type: ignore[misc]
        await pilot.press("ctrl+underscore", "home", "down", "enter")  # another theme, all the same
        await until(pilot, lambda: app.theme == "r1-contrast")
        await pilot.press("f10")
        await until(pilot, lambda: app.refresh_hz == 20)
        assert app.theme == "r1-contrast"


async def test_a_slow_link_in_the_config_is_one_from_the_first_screen(tmp_path: Path) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(slow_link=True, refresh_hz=0.5)))
    assert (app.theme, app.animation_level, app.refresh_hz) == (TERMINAL, "none", 0.5)
    async with opened(app) as pilot:
        await pilot.press("f10")
        await until(pilot, lambda: app.theme == DEFAULT)


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_a_slow_link_is_said_for_as_long_as_it_is_one(tmp_path: Path, size: tuple[int, int]) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(slow_link=True)))

    def said() -> bool:
        instruments = app.chat.instruments
        return any("slow link" in instruments.render_line(y).text for y in range(instruments.size.height))

    async with opened(app, size) as pilot:
        app.show_figures()
        await until(pilot, said)
        for there in (False, True):
            await pilot.press("f10")
            await until(pilot, lambda there=there: said() is there)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("ui", "no_color", "colours", "many"),
    [
        ("{theme: r1-dark}", False, True, True),
        ("{theme: r1-terminal}", False, True, False),
        ("{theme: r1-light, slow_link: true}", False, True, False),
        ("{slow_link: false}", False, True, True),
        ("{theme: r1-dark}", True, False, False),
        ("{theme: r1-terminal}", True, False, False),
    ],
)
def test_the_bytes_that_the_terminal_is_sent(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, *, ui: str, no_color: bool, colours: bool, many: bool
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    paths.config_file.parent.mkdir(parents=True)
    paths.config_file.write_text(f"ui: {ui}\n")
    with Terminal("--attach", f"unix:{paths.run}/none.sock") as terminal:
        terminal.wait_for("Enter sends")
        terminal.wait_for("no server")
        terminal.type("\x1bOP")  # F1
        terminal.wait_for("ui.keys")
        terminal.kill()
    styles = re.findall(rb"\x1b\[([0-9;]*)m", terminal.shown)
    assert any(map(COLOUR.search, styles)) == colours
    assert any(map(MANY.search, styles)) == many


@pytest.mark.parametrize("term", ["screen", "linux", "xterm-256color"])
def test_a_terminal_without_truecolor_is_sent_its_own_sixteen_colours(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.delenv("COLORTERM")
    with Terminal("--attach", f"unix:{paths.run}/none.sock", term=term) as terminal:
        terminal.wait_for("no server")
        terminal.kill()
    styles = re.findall(rb"\x1b\[([0-9;]*)m", terminal.shown)
    assert any(map(COLOUR.search, styles))
    assert not any(map(MANY.search, styles))
