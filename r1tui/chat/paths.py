"""The files and folders whose names begin as somebody has typed, for a list to choose from."""

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

MOST_LOOKED_AT = 20_000
MOST_FOUND = 200
LONGEST_LOOK_S = 1.0
"""A folder on a slow disk is listed as far as that goes."""


@dataclass(frozen=True)
class Candidate:
    """A file or folder, by the name that would stand in the prompt; a folder's ends with a slash."""

    name: str
    n_bytes: int | None = None
    """A file's size."""

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


@dataclass(frozen=True)
class Candidates:
    """What was found, those that begin as typed before those that only have it in them."""

    found: list[Candidate]
    partial: bool = False
    """Whether there are more that were not looked at."""


def candidates(typed: str) -> Candidates:
    """What the typed path may become; hidden names only where a dot is typed. Takes as long as the disk does."""
    if typed == "~":
        return Candidates([Candidate("~/")])
    head, slash, begun = typed.rpartition("/")
    folder, wanted = head + slash, begun.casefold()
    try:
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            until_s = monotonic() + LONGEST_LOOK_S
            matching: list[os.DirEntry[str]] = []
            for entry in islice(entries, MOST_LOOKED_AT):
                name = entry.name.casefold()
                if name.startswith(wanted) if begun.startswith(".") else wanted in name and not name.startswith("."):
                    matching.append(entry)
                if monotonic() > until_s:
                    break
            partial = next(entries, None) is not None
    except (OSError, RuntimeError, ValueError):
        return Candidates([])
    matching.sort(key=lambda one: (not one.name.casefold().startswith(wanted), one.name.casefold(), one.name))
    found = [one for entry in matching[:MOST_FOUND] if (one := _candidate(folder, entry)) is not None]
    return Candidates(found, partial or len(matching) > MOST_FOUND)


def _candidate(folder: str, entry: os.DirEntry[str]) -> Candidate | None:
    """None for what is neither a folder nor a file with a name that can be typed."""
    try:
        if not entry.name.isprintable() or '"' in entry.name:
            return None
        if entry.is_dir():
            return Candidate(f"{folder}{entry.name}/")
        return Candidate(folder + entry.name, entry.stat().st_size) if entry.is_file() else None
    except OSError:
        return None
