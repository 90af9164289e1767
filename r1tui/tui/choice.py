"""The theme that was chosen on the screen, for the next start. What was decided last counts, there or in the config."""

from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.files import write_private


class Choice(msgspec.Struct, frozen=True):
    """A theme, and which one `ui.theme` named when it was chosen."""

    theme: str
    instead_of: str


def chosen_theme(file: Path, configured: str) -> str:
    """The choice, unless `ui.theme` was changed since or there is none. Never raises."""
    with suppress(OSError, msgspec.DecodeError):
        choice = msgspec.json.decode(file.read_bytes(), type=Choice)
        if choice.instead_of == configured:
            return choice.theme
    return configured


def keep_theme(file: Path, theme: str, configured: str) -> None:
    """Remember the choice. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, msgspec.json.encode(Choice(theme, configured)))
