"""The colours and attributes that are sent to the terminal, without those that it has already.

Rich ends each segment with a reset and begins the next with all of its style, which is half of what a screen takes.
"""

import re
from functools import lru_cache

RESET = "\x1b[0m"
_STYLE = re.compile(r"(\x1b\[0m((?:\r?\n|\x1b\[\d+;\d+H)*))?\x1b\[([0-9;]+)m")
"""A style; most follow the reset of another one, and moves of the cursor, which show no style."""


def without_repeated_styles(data: str) -> str:
    """The same for the terminal, where of a style that follows another one only what differs is sent."""
    before = ""

    def shorten(found: re.Match[str]) -> str:
        nonlocal before
        last, before = before, found[3] if found[3] != "0" else ""
        return found[2] + _change(last, before) if found[1] and last else found[0]

    return _STYLE.sub(shorten, data)


@lru_cache(4096)
def _change(before: str, after: str) -> str:
    """The sequence that makes one style of the other."""
    old, new = _parts(before), _parts(after)
    changed = [colour for colour, had in zip(new[1:], old[1:], strict=True) if colour != had]
    if old[0] != new[0] or "" in changed:
        return f"{RESET}\x1b[{after}m"
    return f"\x1b[{';'.join(changed)}m" if changed else ""


def _parts(style: str) -> tuple[tuple[str, ...], str, str]:
    """Its attributes, the colour of its text and that of its background."""
    attributes, colours = [], {"3": "", "4": ""}
    codes = iter(style.split(";"))
    for code in codes:
        if code in ("38", "48"):
            kind = next(codes, "")
            rest = [next(codes, "") for _ in range(3 if kind == "2" else 1)]
            colours[code[0]] = ";".join([code, kind, *rest])
        elif code[:-1] in ("3", "9"):
            colours["3"] = code
        elif code[:-1] in ("4", "10"):
            colours["4"] = code
        else:
            attributes.append(code)
    return tuple(attributes), colours["3"], colours["4"]
