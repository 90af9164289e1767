"""The keys that commands have by the user's config, how a key is written for people, and what is wrong with them."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from string import punctuation
from unicodedata import name as unicode_name

from textual.keys import KEY_NAME_REPLACEMENTS, Keys, format_key

from r1tui.config import UiSettings
from r1tui.tui.commands import COMMANDS, FOCUSED_ON, Command, of_context

SPELLED = {"escape": "Esc", "pageup": "Page Up", "pagedown": "Page Down"}
MODIFIERS = ("ctrl", "alt", "shift", "super", "hyper", "meta")
OTHER_NAMES = {"control": "ctrl", "esc": "escape", "return": "enter", "del": "delete", "ins": "insert",
               "pgup": "pageup", "page_up": "pageup", "pgdn": "pagedown", "page_down": "pagedown"}  # fmt: skip
"""How other programs call a key, and how Textual does."""
GIVES_WAY = "f11"
"""Many terminals go full screen by it: it is a second key only, and the user may give it to another command."""


def keymap(settings: UiSettings) -> dict[str, str]:
    """Other keys than the default ones, by the ids of their commands; names that no key has are left out."""
    given = {} if settings.vim else {one.id: _without_letters(one.keys) for one in of_context("transcript")}
    given |= _given_way(settings.keys)
    usable = {name: ",".join(filter(is_key, keys_in(keys))) for name, keys in settings.keys.items()}
    return given | {name: keys for name, keys in usable.items() if keys or not keys_in(settings.keys[name])}


def is_key(key: str) -> bool:
    """True for a name that Textual has for a key: `ctrl+x`, `f3`, `?`, `question_mark`."""
    *modifiers, last = key.split("+") if key not in ("+", "") else [key]
    is_letter = len(last) == 1 and (last.islower() or last.isdigit() or (not modifiers and last.isprintable()))
    return set(modifiers) <= set(MODIFIERS) and (is_letter or last in _key_names()) and key != "shift+" + last[:1]


def nearest_key(key: str) -> str:
    """The key that was most likely meant by a name that is none; empty where nothing is near."""
    *modifiers, last = [OTHER_NAMES.get(part, part) for part in key.lower().replace("-", "+").split("+")]
    if modifiers and len(last) == 1 and last in punctuation:
        last = _name_of(last)
    if modifiers == ["shift"] and len(last) == 1:
        return last.upper()
    if is_key(meant := "+".join([*modifiers, last])):
        return meant
    near = [*get_close_matches(last, _key_names(), n=1), last][0]
    meant = "+".join([*((*get_close_matches(part, MODIFIERS, n=1), part)[0] for part in modifiers), near])
    return meant if is_key(meant) else ""


@cache
def _key_names() -> frozenset[str]:
    named = {key.value.rpartition("+")[2] for key in Keys if not key.value.startswith(("<", "ctrl-"))}
    return frozenset(named | set(map(_name_of, punctuation)))


def _name_of(sign: str) -> str:
    """Textual's name of a sign: `slash`, `question_mark`."""
    name = unicode_name(sign).lower().replace("-", "_").replace(" ", "_")
    return KEY_NAME_REPLACEMENTS.get(name, name)


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
    """A sentence for each unknown id, for each name that no key has, and for each key with two meanings."""
    known = [command.id for command in COMMANDS.values() if command.keys]
    for name in own:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            yield f"Unknown action {name!r}." + (f" Did you mean {near[0]}?" if near else "")
        for key in keys_in(own[name]):
            if not is_key(key):
                near_key = nearest_key(key)
                yield f"{name}: no key is called {key!r}." + (f" Did you mean {near_key}?" if near_key else "")
    yield from dict.fromkeys(
        f"{key} is used for both {first.id} and {second.id}."
        for key, first, second in clashes(own)
        if {first.id, second.id} & own.keys() and not set(keys_in(first.keys)) & set(keys_in(second.keys))
    )


def clashes(own: Mapping[str, str]) -> Iterator[tuple[str, Command, Command]]:
    """Each key that two commands have in one place, and the two. Those that share one by default take turns."""
    own = {**_given_way(own), **own}
    focused = {screen for screens in FOCUSED_ON.values() for screen in screens}
    for context in dict.fromkeys(command.context for command in COMMANDS.values()):
        if context in focused:
            continue  # with what has the focus there
        for screen in FOCUSED_ON.get(context, (context,)):
            owners: dict[str, Command] = {}
            for place in dict.fromkeys(("app", screen, context)):
                for command in of_context(place):
                    for key in keys_in(own.get(command.id, command.keys)):
                        owner = owners.setdefault(key, command)
                        if owner is not command:
                            yield key, owner, command


def _given_way(own: Mapping[str, str]) -> dict[str, str]:
    """The keys of the commands that lose one to the user's."""
    if not any(GIVES_WAY in keys_in(keys) for keys in own.values()):
        return {}
    losing = [command for command in COMMANDS.values() if GIVES_WAY in keys_in(command.keys)]
    return {one.id: ",".join(key for key in keys_in(one.keys) if key != GIVES_WAY) for one in losing}


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
