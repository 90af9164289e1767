"""Themes: ours are readable, a user's are checked, and whatever a file holds is a theme that works or one message."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.color import Color
from textual.theme import Theme
from textual.widgets import Button, Footer, Input, Label, OptionList, Switch

from r1tui.tui.themes import DEFAULT, TERMINAL, ThemeError, load_themes, parse_theme

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


def contrast(first: Color, second: Color) -> float:
    """WCAG 2's contrast ratio, 1 to 21."""

    def luminance(color: Color) -> float:
        parts = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in (color.r / 255, color.g / 255, color.b / 255)
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_ours_are_three_and_without_fault() -> None:
    assert sorted(OURS) == [DEFAULT, "r1-light", TERMINAL]
    assert load_themes().problems == []


@pytest.mark.parametrize("name", [DEFAULT, "r1-light"])
def test_text_stands_out(name: str) -> None:
    """4.5 to 1, which WCAG AA asks of text."""
    variables = OURS[name].to_color_system().generate()
    for ground in GROUND:
        for ink in (*INK, "text-muted", "foreground-muted"):
            ratio = contrast(Color.parse(variables[ink]), Color.parse(variables[ground]))
            assert ratio >= 4.5, f"{ink} on {ground}: {ratio:.2f}"


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
        yield Footer()


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
        ("{name: 'x y', primary: red}", "'name' is not a word"),
        ("{name: x, primry: red}", "'primry' is not a key of a theme (they are: name, primary,"),
        ("{name: x, primary: reddish}", "'primary' is no colour: 'reddish'"),
        ("{name: x, primary: '#12345'}", "'primary' is no colour: '#12345'"),
        ("{name: x, primary: 7}", "'primary' is no colour: 7"),
        ("{name: x, primary: ansi_red}", "needs `ansi: true`"),
        ("{name: x, primary: red, dark: maybe}", "'dark' is neither true nor false"),
        ("{name: x, primary: red, text_alpha: 7}", "'text_alpha' is no number from 0 to 1"),
        ("{name: x, primary: red, variables: [a]}", "'variables' is not a mapping"),
        ("{name: x, primary: red, variables: {bordr: red}}", "'variables' has no 'bordr'"),
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
