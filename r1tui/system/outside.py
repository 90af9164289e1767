"""Names from outside (the hub, files, archives, models, titles), made paths that stay where they belong."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from r1tui.errors import R1tuiError
from r1tui.text import shortened

LONGEST_BYTES = 255
"""Of one name in a path, on every file system of note."""
LONGEST_PATH_BYTES = 2048
"""Of a path below a folder; the system's limit for all of it is twice that."""
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, and what ends a line."""


class OutsideError(R1tuiError):
    """A name from outside that must not become a path."""

    def __init__(self, name: str, why: str) -> None:
        shown = shortened(name.encode(errors="backslashreplace").decode(), 80)
        super().__init__(f"{shown!r} is not a valid file name: {why}.", "Get it from another place.")


def component(name: str) -> str:
    """The name itself, if it can be one name in a path; raises OutsideError."""
    if name in ("", ".", ".."):
        raise OutsideError(name, "it names a folder" if name else "it is empty")
    if "/" in name:
        raise OutsideError(name, "it contains a /")
    if any(unicodedata.category(char) in _UNFIT for char in name):
        raise OutsideError(name, "it contains control characters")
    if len(name.encode()) > LONGEST_BYTES:
        raise OutsideError(name, f"it is longer than {LONGEST_BYTES} bytes")
    return name


def relative(name: str) -> str:
    """The name itself, if it can be a path below some folder, with / between its parts; raises OutsideError."""
    if name.startswith("/"):
        raise OutsideError(name, "it is absolute")
    for part in name.split("/"):
        component(part)
    if len(name.encode()) > LONGEST_PATH_BYTES:
        raise OutsideError(name, f"it is longer than {LONGEST_PATH_BYTES} bytes")
    return name


def inside(folder: Path, name: str) -> Path:
    """The path of a name, with / between its parts, below a folder; raises OutsideError when it would lie elsewhere.

    Neither `..` nor a link that is already there leads out; a link in the last part is the caller's: replace it by a
    rename, or open it with O_NOFOLLOW.
    """
    path = folder / relative(name)
    if "/" in name and not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):
        raise OutsideError(name, f"a link in {folder} leads out of it")
    return path


def is_relative(name: str) -> bool:
    try:
        relative(name)
    except OutsideError:
        return False
    return True


def stem_of(identifier: str) -> str:
    """What a file for anything with this identifier is called, without its ending: itself where it is plain."""
    if re.fullmatch(r"[0-9A-Za-z_-]{1,100}", identifier):
        return identifier
    return hashlib.sha256(identifier.encode(errors="surrogatepass")).hexdigest()
