"""Print the rows of text in which the snapshots differ from a commit's: `python -m tests.tools.snapshots [COMMIT]`."""

import difflib
import html
import re
import subprocess
import sys
from pathlib import Path

FOLDER = "tests/__snapshots__"
_TEXT = re.compile(r'<text class="[^"]*" x="([\d.]+)" y="([\d.]+)" textLength[^>]*>(.*?)</text>')
TOP, CELL, LINE = 20.0, 12.2, 24.4
"""The first row, and the width and height of a cell, in the pictures that Textual makes."""


def rows_of(picture: str) -> list[str]:
    """The text of a picture of a screen, a line for each of its rows."""
    rows: dict[int, str] = {}
    found = [(round((float(y) - TOP) / LINE), float(x), html.unescape(text)) for x, y, text in _TEXT.findall(picture)]
    for y, x, text in sorted(found):
        rows[y] = rows.get(y, "").ljust(round(x / CELL)) + text.replace("\xa0", " ")
    return [rows.get(y, "").rstrip() for y in range(max(rows, default=-1) + 1)]


def main(commit: str = "HEAD") -> None:
    """Print the difference between this commit and the working tree."""
    listed = _git("diff", "--name-only", "-z", commit, "--", FOLDER)
    for name in filter(None, listed.split("\0")):
        before = rows_of(_git("show", f"{commit}:{name}", check=False))
        after = rows_of(Path(name).read_text(encoding="utf-8")) if Path(name).exists() else []
        changed = list(difflib.unified_diff(before, after, name, name, lineterm="", n=0))
        print("\n".join(changed or [f"{name}: the same text; styles differ"]))


def _git(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["git", *arguments], stdout=subprocess.PIPE, check=check, text=True).stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
