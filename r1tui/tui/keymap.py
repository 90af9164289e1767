"""Which keys actions have: the config's own, and how a key is written for people."""

from r1tui.config import UiSettings
from r1tui.tui.widgets.transcript_keys import SCROLLING

SPELLED = {
    "escape": "Esc", "pageup": "Page Up", "pagedown": "Page Down", "slash": "/", "backslash": "\\", "underscore": "_",
}  # fmt: skip


def keymap(settings: UiSettings) -> dict[str, str]:
    """Other keys than the default ones, by the ids of their bindings."""
    given = {} if settings.vim else {binding.id or "": _without_letters(binding.key) for binding in SCROLLING}
    return given | settings.keys


def spelled(keys: str) -> str:
    """`ctrl+j,alt+enter` as `Ctrl+J, Alt+Enter`, `g,G` as `G, Shift+G`."""
    return ", ".join(_spelled(key.strip()) for key in keys.split(","))


def _spelled(key: str) -> str:
    *modifiers, last = key.split("+")
    if last.isupper() and len(last) == 1:
        modifiers.append("shift")
    return "+".join([*(part.capitalize() for part in modifiers), SPELLED.get(last) or last.capitalize()])


def _without_letters(keys: str) -> str:
    return ",".join(key for key in keys.split(",") if len(key) > 1 and key != "space")
