"""The GGUF files below a folder that may be anybody's: a walk with an end, whatever is there."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from r1tui.hub.listing.names import is_gguf

MAX_DEPTH = 4
MAX_ENTRIES = 20_000
"""Names looked at below one folder; a folder of models has hundreds."""

Complain = Callable[[Path, str], None]


def keep_silent(path: Path, why: str) -> None:
    """Report nothing of places that cannot be looked into."""


def gguf_files(root: Path, complain: Complain = keep_silent, depth: int = MAX_DEPTH) -> list[Path]:
    """The files below `root` whose name ends in .gguf or .GGUF, links followed, in order; none for a missing folder.

    `complain` is told of folders that cannot be read, and of a walk that was given up.
    """
    return [path for path in files_below(root, complain, depth) if is_gguf(path.name)]


def files_below(root: Path, complain: Complain, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """All files below `root`, hidden ones and those in hidden folders left out; otherwise as `gguf_files`."""
    seen: set[tuple[int, int]] = set()
    left = MAX_ENTRIES
    waiting = [(root, depth)]
    while waiting:
        folder, below = waiting.pop()
        try:
            info = folder.stat()
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            complain(folder, error.strerror or str(error))
            continue
        left -= len(listed)
        if left < 0:
            complain(root, f"more than {MAX_ENTRIES:,} names below it; the rest was not looked at")
            return
        folders = []
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if not entry.name.isascii() and not _is_utf8(entry.name):
                complain(folder, "a name in it is no UTF-8; it was left out")
                continue
            if _is(entry.is_dir):
                folders.append((folder / entry.name, below - 1))
            elif _is(entry.is_file):
                yield folder / entry.name
        waiting += reversed(folders if below > 0 else [])


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # it could be neither shown nor put into JSON
        return False
    return True


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a loop of links, a place that may not be looked into
        return False
