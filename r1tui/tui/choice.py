"""The theme that was chosen on the screen, for the next start. What was decided last counts, there or in the config."""

from pathlib import Path

import msgspec

from r1tui.system.files import read_json_if_any, write_json


class Choice(msgspec.Struct, frozen=True):
    """A theme, and which one `ui.theme` named when it was chosen."""

    theme: str
    instead_of: str


def chosen_theme(file: Path, configured: str) -> str:
    """The choice, unless `ui.theme` was changed since or there is none. Never raises."""
    choice = read_json_if_any(file, Choice)
    return choice.theme if choice is not None and choice.instead_of == configured else configured


def keep_theme(file: Path, theme: str, configured: str) -> None:
    """Remember the choice. Raises OSError."""
    write_json(file, Choice(theme, configured))
