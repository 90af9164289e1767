"""The keys that commands have by the user's config, how a key is written for people, and what is wrong with them."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from string import punctuation

from textual.keys import format_key

from r1tui.config import UiSettings
from r1tui.tui.commands import COMMANDS, FOCUSED_ON, Command, of_context

SPELLED = {"escape": "Esc", "pageup": "Page Up", "pagedown": "Page Down"}


def keymap(settings: UiSettings) -> dict[str, str]:
    """Other keys than the default ones, by the ids of their commands."""
    given = {} if settings.vim else {one.id: _without_letters(one.keys) for one in of_context("transcript")}
    return given | settings.keys


def keys_of(command: Command, own: Mapping[str, str]) -> str:
    """The keys of a command, written for people; `own` are the user's."""
    return spelled(own.get(command.id, command.keys))


def key_of(name: str, own: Mapping[str, str]) -> str | None:
    """The first key of the command with this id; None where it has none, or there is no such command."""
    keys = own.get(name, COMMANDS[name].keys) if name in COMMANDS else ""
    return spelled(keys.partition(",")[0]) or None


def spelled(keys: str) -> str:
    """`ctrl+j,alt+enter` as `Ctrl+J, Alt+Enter`, `g,G` as `G, Shift+G`."""
    return ", ".join(_spelled(key.strip()) for key in keys.split(","))


def complaints(own: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each unknown id, and for each key with two meanings."""
    known = [command.id for command in COMMANDS.values() if command.keys]
    for name in own:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            yield f"There is no action {name!r}." + (f" Did you mean {near[0]}?" if near else "")
    yield from dict.fromkeys(
        f"{key} is the key of {first.id} and of {second.id}."
        for key, first, second in clashes(own)
        if {first.id, second.id} & own.keys() and not set(keys_in(first.keys)) & set(keys_in(second.keys))
    )


def clashes(own: Mapping[str, str]) -> Iterator[tuple[str, Command, Command]]:
    """Each key that two commands have in one place, and the two. Those that share one by default take turns."""
    for context in dict.fromkeys(command.context for command in COMMANDS.values()):
        if context in FOCUSED_ON.values():
            continue  # with what has the focus there
        owners: dict[str, Command] = {}
        for place in dict.fromkeys(("app", FOCUSED_ON.get(context, context), context)):
            for command in of_context(place):
                for key in keys_in(own.get(command.id, command.keys)):
                    owner = owners.setdefault(key, command)
                    if owner is not command:
                        yield key, owner, command


def keys_in(keys: str) -> list[str]:
    """The keys of a comma-separated list."""
    return [key.strip() for key in keys.split(",") if key.strip()]


def _spelled(key: str) -> str:
    *modifiers, last = key.split("+")
    if last.isupper() and len(last) == 1:
        modifiers.append("shift")
    sign = format_key(last)  # `slash` is "/"
    word = sign if sign in punctuation else SPELLED.get(last, last.capitalize())
    return "+".join([*(part.capitalize() for part in modifiers), word])


def _without_letters(keys: str) -> str:
    return ",".join(key for key in keys_in(keys) if len(key) > 1 and key != "space")
