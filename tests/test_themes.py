"""Themes: ours are readable, a user's are checked, and whatever a file holds is a theme that works or one message."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.color import Color
from textual.dom import DOMNode
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import Button, Input, Label, OptionList, Switch

from r1tui.config import Config, UiSettings
from r1tui.tui.themes import DEFAULT, TERMINAL, ThemeError, load_themes, parse_theme
from r1tui.tui.widgets.key_line import KeyLine
from tests.screen_rig import StillApp
from tests.tui_rig import opened

OURS = {theme.name: theme for theme in load_themes().themes}
INK = ("foreground", "primary", "secondary", "accent", "success", "warning", "error")
GROUND = ("background", "surface", "panel")

# Red, green, magenta, bright red, bright blue, bright magenta of common terminals: VGA, xterm, Windows, GNOME, macOS,
# VS Code; between their usual backgrounds, #0c0c0c and white.
PALETTES = {
    "ansi_green": ("00aa00", "00cd00", "13a10e", "4e9a06", "00a600", "0dbc79"),
    "ansi_magenta": ("aa00aa", "cd00cd", "881798", "75507b", "b200b2", "bc3fbc"),
    "ansi_bright_red": ("ff5555", "ff0000", "e74856", "ef2929", "e50000", "f14c4c"),
    "ansi_bright_blue": ("5555ff", "5c5cff", "3b78ff", "729fcf", "0000ff", "3b8eea"),
    "ansi_bright_magenta": ("ff55ff", "ff00ff", "b4009e", "ad7fa8", "e500e5", "d670d6"),
}


def linear(color: Color) -> list[float]:
    parts = (color.r / 255, color.g / 255, color.b / 255)
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(first: Color, second: Color) -> float:
    """WCAG 2's contrast ratio, 1 to 21."""

    def luminance(color: Color) -> float:
        red, green, blue = linear(color)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_ours_are_six_and_without_fault() -> None:
    assert sorted(OURS) == ["r1-colorblind", "r1-contrast", DEFAULT, "r1-ember", "r1-light", TERMINAL]
    assert load_themes().problems == []


@pytest.mark.parametrize("name", sorted(OURS.keys() - {TERMINAL}))
def test_text_stands_out(name: str) -> None:
    """4.5 to 1, which WCAG AA asks of text; 7 to 1, its AAA, in the theme that is there for it."""
    variables = OURS[name].to_color_system().generate()
    for ground in GROUND:
        for ink in (*INK, "text-muted", "foreground-muted"):
            ratio = contrast(Color.parse(variables[ink]), Color.parse(variables[ground]))
            assert ratio >= wanted_contrast(name), f"{ink} on {ground}: {ratio:.2f}"


@pytest.mark.parametrize("name", sorted(OURS.keys() - {TERMINAL}))
def test_red_is_for_errors_alone(name: str) -> None:
    for ink in INK[1:-1]:
        hue = 360 * Color.parse(getattr(OURS[name], ink)).hsl.h
        assert 20 < hue < 335, f"{ink}: {hue:.0f}°"


def test_the_terminal_s_red_is_for_errors_alone() -> None:
    theme = OURS[TERMINAL]
    values = [*(getattr(theme, ink) for ink in INK), *theme.variables.values()]
    assert [value for value in values if "red" in value] == [theme.error]


def wanted_contrast(name: str) -> float:
    return 7.0 if name == "r1-contrast" else 4.5


@pytest.mark.parametrize("name", sorted(OURS.keys() - {TERMINAL}))
async def test_what_is_really_drawn_stands_out(name: str, tmp_path: Path) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(theme=name)))
    async with opened(app) as pilot:
        app.show_chat()
        app.show_figures()
        for key in ((), ("ctrl+t",), ("ctrl+o",), ("escape", "f1"), ("escape", "ctrl+underscore")):
            await pilot.press(*key)
            await pilot.pause()
            app.draw_all()
            ratios = {ratio: words for widget in app.screen.walk_children() for ratio, words in drawn(widget)}
            low = min(ratios)
            assert low >= wanted_contrast(name), f"{ratios[low]!r}: {low:.2f}"


def drawn(widget: DOMNode) -> Iterator[tuple[float, str]]:
    """Each piece of text in a leaf of the screen, and its contrast."""
    if not isinstance(widget, Widget) or widget.children:
        return
    for y in range(widget.size.height):
        for text, style, _ in widget.render_line(y):
            if any(char.isalnum() for char in text) and style and style.color and style.bgcolor:
                yield contrast(*map(Color.from_rich_color, (style.color, style.bgcolor))), text


# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
PROTANOPIA = (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)
DEUTERANOPIA = (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)
NORMAL = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
JUST_NOTICEABLE = 2.3
"""Of a difference in CIELAB."""


def lab(rgb: Sequence[float]) -> tuple[float, float, float]:
    """CIELAB of linear sRGB, under D65."""
    to_xyz = (0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)
    white = (0.9505, 1.0, 1.089)
    xyz = [sum(a * b for a, b in zip(row, rgb, strict=True)) / part for row, part in zip(to_xyz, white, strict=True)]
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def difference(one: Color, other: Color, eye: Sequence[Sequence[float]]) -> float:
    """How far apart two colours are to this eye, in CIELAB."""
    seen = [lab([sum(a * b for a, b in zip(row, linear(color), strict=True)) for row in eye]) for color in (one, other)]
    return math.dist(*seen)


@pytest.mark.parametrize("eye", [NORMAL, PROTANOPIA, DEUTERANOPIA], ids=["normal", "protanopia", "deuteranopia"])
def test_the_colour_blind_safe_theme_keeps_success_warning_and_error_apart(eye: Sequence[Sequence[float]]) -> None:
    theme = OURS["r1-colorblind"]
    marks = [Color.parse(hue) for hue in (theme.success, theme.warning, theme.error) if hue]
    assert len(marks) == 3
    for one, other in combinations(marks, 2):
        assert difference(one, other, eye) > 10 * JUST_NOTICEABLE


def test_a_theme_that_is_not_made_for_it_does_not_keep_them_apart() -> None:
    """The simulation sees what it should."""
    theme = OURS[DEFAULT]
    marks = [Color.parse(hue) for hue in (theme.success, theme.warning, theme.error) if hue]
    assert min(difference(*pair, DEUTERANOPIA) for pair in combinations(marks, 2)) < 10 * JUST_NOTICEABLE


def test_the_terminal_s_theme_has_no_colour_of_its_own() -> None:
    theme = OURS[TERMINAL]
    assert theme.ansi
    generated = theme.to_color_system().generate()
    assert [name for name, value in generated.items() if "#" in value or "rgb" in value] == []


@pytest.mark.parametrize("ground", ["#0c0c0c", "#ffffff"])
def test_the_terminal_s_theme_can_be_read_on_dark_and_on_light(ground: str) -> None:
    """Its hues are marks beside text; no palette of sixteen has one that reaches 4.5 on both grounds."""
    theme = OURS[TERMINAL]
    for hue in (theme.primary, theme.secondary, theme.accent, theme.success, theme.warning, theme.error):
        assert hue is not None
        for shade in PALETTES[hue]:
            assert contrast(Color.parse(f"#{shade}"), Color.parse(ground)) > 2.1, hue
    assert theme.foreground == theme.background == "ansi_default"


class Everything(App[None]):
    """Widgets that use most of a theme's variables."""

    def compose(self) -> ComposeResult:
        yield Label("label")
        yield Input("input")
        yield Button("button", variant="primary")
        yield OptionList("one", "two")
        yield Switch()
        yield KeyLine()


BARE = parse_theme(b"{name: bare, primary: ansi_red, ansi: true}")


@pytest.mark.parametrize("name", [*sorted(OURS), "bare"])
async def test_each_can_be_used_and_left_again(name: str) -> None:
    app = Everything()
    for theme in (*OURS.values(), BARE):
        app.register_theme(theme)
    async with app.run_test() as pilot:
        app.theme = name
        await pilot.pause()
        ansi = name in (TERMINAL, "bare")
        assert app.native_ansi_color == ansi
        styles = app.query_one(Label).rich_style
        assert styles.bgcolor is not None
        assert styles.bgcolor.is_default == ansi
        app.theme = DEFAULT
        await pilot.pause()


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_user_s_theme_joins_ours_or_takes_the_place_of_one(tmp_path: Path) -> None:
    write(tmp_path, mine="{name: mine, primary: red}", dark=f"{{name: {DEFAULT}, primary: green}}")
    found = load_themes(tmp_path)
    assert found.problems == []
    primaries = {theme.name: theme.primary for theme in found.themes}
    assert primaries["mine"] == "red"
    assert primaries[DEFAULT] == "green"
    assert len(primaries) == len(OURS) + 1


def test_all_bad_files_are_told_at_once_and_the_good_ones_work(tmp_path: Path) -> None:
    write(tmp_path, a="{name: a}", b="{name: b, primary: red}", c="{name: [", d="{name: b, primary: blue}")
    (tmp_path / "e.yaml").mkdir()
    (tmp_path / "f.yaml").write_bytes(b"\0" * 100_000)
    found = load_themes(tmp_path)
    assert {theme.name for theme in found.themes} == {*OURS, "b"}
    assert [Path(problem.partition(":")[0]).name for problem in found.problems] == [f"{x}.yaml" for x in "acdef"]
    assert load_themes(tmp_path / "none").problems == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a mapping of keys to values"),
        ("{primary: red}", "'name' is missing"),
        ("{name: x}", "'primary' is missing"),
        ("{name: 'x y', primary: red}", "'name' may have only letters"),
        ("{name: x, primry: red}", "'primry' is not a theme key (keys: name, primary,"),
        ("{name: x, primary: reddish}", "'primary' is not a colour: 'reddish'"),
        ("{name: x, primary: '#12345'}", "'primary' is not a colour: '#12345'"),
        ("{name: x, primary: 7}", "'primary' is not a colour: 7"),
        ("{name: x, primary: ansi_red}", "needs `ansi: true`"),
        ("{name: x, primary: red, dark: maybe}", "'dark' is not true or false"),
        ("{name: x, primary: red, text_alpha: 7}", "'text_alpha' is not a number from 0 to 1"),
        ("{name: x, primary: red, variables: [a]}", "'variables' is not a mapping"),
        ("{name: x, primary: red, variables: {bordr: red}}", "'variables' has unknown 'bordr'"),
        ("{name: x, primary: red, variables: {border: roud}}", "variable 'border' cannot be 'roud'"),
        ("{name: x, primary: red, variables: {border: 'red; }'}}", "variable 'border' cannot be 'red; }'"),
        ("{name: x, primary: red, variables: {link-style: loud}}", "variable 'link-style' cannot be 'loud'"),
        ("name: x\nprimary: [", "line 2 is not valid YAML"),
        ("[" * 5000, "not valid YAML (RecursionError)"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(ThemeError) as caught:
        parse_theme(text.encode())
    assert said in str(caught.value)


@pytest.mark.parametrize("value", ["auto 60%", "red 50%", "transparent", "#1234", "rgb(1,2,3)", "ansi_default"])
def test_a_variable_may_be_any_colour(value: str) -> None:
    assert parse_theme(f"{{name: x, primary: red, variables: {{border: '{value}'}}}}".encode()).variables


WORDS = [
    "name",
    "primary",
    "variables",
    "dark",
    "ansi",
    "border",
    "link-style",
    "red",
    "ansi_red",
    "#12",
    "auto 5%",
    "x",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(WORDS) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=5),
)


def usable(raw: bytes) -> None:
    try:
        theme = parse_theme(raw)
    except ThemeError:
        return
    assert isinstance(theme, Theme)
    assert theme.to_color_system().generate()


@given(st.binary())
def test_any_bytes_are_a_theme_or_a_message(raw: bytes) -> None:
    usable(raw)


@given(st.dictionaries(st.sampled_from(WORDS), VALUES))
def test_any_yaml_is_a_theme_or_a_message(data: dict[str, object]) -> None:
    import yaml  # noqa: PLC0415

    usable(yaml.safe_dump({"name": "x", "primary": "red", **data}).encode())
