"""Themes as YAML, r1tui's own and the user's, checked so that a bad one is a message; and which one was chosen last."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml
from textual.color import Color, ColorParseError
from textual.css.constants import VALID_STYLE_FLAGS
from textual.theme import Theme

from r1tui.system.files import read_json_if_any, write_json

DEFAULT = "r1-dark"
TERMINAL = "r1-terminal"
MAX_BYTES = 1 << 16
KEYS = tuple(field.name for field in fields(Theme))
SWITCHES, NUMBERS = ("dark", "ansi"), ("luminosity_spread", "text_alpha")
COLORS = tuple(key for key in KEYS if key not in (*SWITCHES, *NUMBERS, "name", "variables"))
ANSI_VARIABLES = {"ansi-background": "ansi_default", "ansi-foreground": "ansi_default"}
"""What Textual's own styles want from a theme of the terminal's colours and does not generate."""


class Themes(NamedTuple):
    """The good themes, a user's in place of ours of the same name, and a sentence for each file that is not good."""

    themes: list[Theme]
    problems: list[str]


class ThemeError(ValueError):
    """A theme's file cannot be used; the message says what in it is wrong."""


def find_theme(name: str, user_folder: Path | None = None) -> Theme | None:
    """The theme of this name, as `load_themes` has it, in a fraction of its time. Never raises."""
    for folder in (user_folder, own_folder()):
        for path in _files(folder):
            with suppress(ThemeError):
                raw = _read(path)
                if name.encode(errors="replace") in raw and (theme := parse_theme(raw)).name == name:
                    return theme
    return None


def load_themes(user_folder: Path | None = None) -> Themes:
    """Every theme there is. Never raises."""
    themes: dict[str, Theme] = {}
    problems = []
    for folder in (own_folder(), user_folder):
        seen: dict[str, Path] = {}
        for path in _files(folder):
            try:
                theme = read_theme(path)
            except ThemeError as error:
                problems.append(f"{path}: {error}.")
                continue
            if theme.name in seen:
                problems.append(f"{path}: {seen[theme.name].name} already has the name {theme.name!r}.")
                continue
            seen[theme.name] = path
            themes[theme.name] = theme
    return Themes(list(themes.values()), problems)


def own_folder() -> Path:
    """Folder of r1tui's own themes: in the package of a wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    return package / "themes" if (package / "themes").is_dir() else package.parent / "themes"


def read_theme(path: Path) -> Theme:
    """The theme of a file; raises ThemeError, nothing else."""
    return parse_theme(_read(path))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ThemeError(f"cannot be read ({error.strerror})") from error
    if len(raw) > MAX_BYTES:
        raise ThemeError("larger than 64 KiB")
    return raw


def parse_theme(raw: bytes) -> Theme:
    """The theme of a file's bytes; raises ThemeError, nothing else."""
    data = _parse_yaml(raw)
    if not isinstance(data, dict):
        raise ThemeError("not a mapping of keys to values")
    if unknown := [key for key in data if key not in KEYS]:
        raise ThemeError(f"{unknown[0]!r} is not a theme key (keys: {', '.join(KEYS)})")
    for key in ("name", "primary"):
        if data.get(key) is None:
            raise ThemeError(f"{key!r} is missing")
    if not isinstance(data["name"], str) or not re.fullmatch(r"[A-Za-z][\w-]{0,63}", data["name"], re.ASCII):
        raise ThemeError("'name' may have only letters, digits, - and _")
    values = {key: value for key, value in data.items() if value is not None}
    ansi = values.get("ansi", False)
    for key, value in values.items():
        if key in SWITCHES and not isinstance(value, bool):
            raise ThemeError(f"{key!r} is not true or false")
        if key in NUMBERS and not (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1):
            raise ThemeError(f"{key!r} is not a number from 0 to 1")
        if key in COLORS:
            _check_color(key, value, ansi=bool(ansi))
    if "variables" in values:
        _check_variables(values["variables"])
    if ansi:
        values["variables"] = ANSI_VARIABLES | values.get("variables", {})
    return Theme(**values)


class ThemeChoice(msgspec.Struct, frozen=True):
    """A theme, and which one `ui.theme` named when it was chosen; empty: none."""

    theme: str
    instead_of: str


def chosen_theme(file: Path, configured: str | None) -> str | None:
    """The choice, unless `ui.theme` was changed since or there is none; None where nothing was chosen. Never raises."""
    choice = read_json_if_any(file, ThemeChoice)
    if choice is None:
        return configured
    counted = (configured,) if configured else ("", DEFAULT)  # where the config says nothing, nothing of it was changed
    return choice.theme if choice.instead_of in counted else configured


def keep_theme(file: Path, theme: str, configured: str | None) -> None:
    """Remember the choice. Raises OSError."""
    write_json(file, ThemeChoice(theme, configured or ""))


def default_theme(environment: Mapping[str, str]) -> str:
    """The theme of a user who chose none: the terminal's own colours where r1tui's would be rounded to others.

    That is with 256 colours too, where the backgrounds become one. Behind SSH a terminal says more than 256 only by
    COLORTERM or its name; GNU screen keeps the COLORTERM of its terminal and does not pass its colours on.
    """
    term = environment.get("TERM", "").lower()
    in_screen = term.startswith("screen") and not environment.get("TMUX")
    if in_screen or term in ("screen", "linux"):
        return TERMINAL
    colours = environment.get("COLORTERM", "").strip().lower()
    return DEFAULT if colours in ("truecolor", "24bit") or term.endswith("-direct") else TERMINAL


def _check_color(key: str, value: Any, *, ansi: bool) -> None:
    """A colour; the terminal's own colours only in a theme of them, since Textual computes shades of all others."""
    color = _color(value)
    if color is None:
        raise ThemeError(f"{key!r} is not a colour: {value!r}")
    if color.ansi is not None and not ansi:
        raise ThemeError(f"{key!r} is one of the terminal's colours ({value}), which needs `ansi: true`")


@cache
def _known_variables() -> frozenset[str]:
    """What Textual's own styles use of any theme."""
    color, ansi = Theme("any", "red"), Theme("any", "ansi_red", ansi=True)
    return frozenset(ANSI_VARIABLES).union(*(theme.to_color_system().generate() for theme in (color, ansi)))


def _check_variables(variables: Any) -> None:
    if not isinstance(variables, dict):
        raise ThemeError("'variables' is not a mapping of names to values")
    for name, value in variables.items():
        if name not in _known_variables():
            raise ThemeError(f"'variables' has unknown {name!r}")
        if not isinstance(value, str):
            raise ThemeError(f"variable {name!r} is not text: {value!r}")
        words = value.split()
        if re.search(r"-style(-|$)", name):
            good = bool(words) and all(word in VALID_STYLE_FLAGS for word in words) and words[-1] != "not"
        else:
            good = _is_css_color(words)
        if not good:
            raise ThemeError(f"variable {name!r} cannot be {value!r}")


def _is_css_color(words: list[str]) -> bool:
    """A colour, or `auto`, and perhaps a percentage behind it."""
    if len(words) == 2 and not re.fullmatch(r"(100|\d?\d)%", words[1], re.ASCII):
        return False
    return len(words) in (1, 2) and (words[0] == "auto" or _color(words[0]) is not None)


def _color(value: Any) -> Color | None:
    """As Textual reads it; a name, #hex, or rgb() and hsl() without spaces."""
    if not isinstance(value, str) or not value.isascii() or re.search(r"[\s;{}]", value):
        return None
    try:
        return Color.parse(value)
    except (ColorParseError, ValueError, ArithmeticError):
        return None


def _files(folder: Path | None) -> Iterator[Path]:
    if folder is not None and folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))


def _parse_yaml(raw: bytes) -> Any:
    try:
        return yaml.safe_load(raw)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ThemeError(f"line {mark.line + 1 if mark else 1} is not valid YAML ({error.problem})") from error
    except yaml.YAMLError as error:
        raise ThemeError(f"not valid YAML ({str(error).splitlines()[0]})") from error
    except (ValueError, RecursionError, TypeError, AttributeError, OverflowError, KeyError, IndexError) as error:
        raise ThemeError(f"not valid YAML ({type(error).__name__})") from error
