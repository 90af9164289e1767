"""Styles are sent to the terminal once: what it shows is the same as of all that Rich writes."""

from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style
from rich.text import Text

from r1tui.tui.escapes import without_repeated_styles

COLOURS = st.sampled_from([None, "#c8d0e8", "#12141c", "red", "bright_blue", "color(120)", "default"])
FLAGS = st.sampled_from([None, True])
STYLES = st.builds(Style, color=COLOURS, bgcolor=COLOURS, bold=FLAGS, italic=FLAGS, dim=FLAGS, reverse=FLAGS)
SEGMENTS = st.lists(st.tuples(st.sampled_from(["a", "b ", "é│", "\x1b[3;4H", "\n"]), STYLES), max_size=8)


def written(segments: list[tuple[str, Style]], system: ColorSystem) -> str:
    return "".join(text if "\x1b" in text else style.render(text, color_system=system) for text, style in segments)


def seen(data: str) -> list[tuple[str, Style]]:
    """The characters, and how a terminal shows each."""
    console, text = Console(), Text.from_ansi(data.replace("\x1b[3;4H", ""))
    return [(character, text.get_style_at_offset(console, at)) for at, character in enumerate(text.plain)]


@given(SEGMENTS, st.sampled_from(list(ColorSystem)))
def test_the_terminal_shows_the_same(segments: list[tuple[str, Style]], system: ColorSystem) -> None:
    data = written(segments, system)
    short = without_repeated_styles(data)
    assert seen(short) == seen(data)
    assert len(short) <= len(data)


def test_a_background_that_stays_and_a_style_that_stays_are_sent_once() -> None:
    grey, red = Style(color="#c8d0e8", bgcolor="#12141c"), Style(color="#ff0000", bgcolor="#12141c")
    data = written([("a", grey), ("b", grey), ("c", red)], ColorSystem.TRUECOLOR)
    assert without_repeated_styles(data) == "\x1b[38;2;200;208;232;48;2;18;20;28mab\x1b[38;2;255;0;0mc\x1b[0m"
