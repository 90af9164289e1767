"""Text files that a question mentions as `@path`: offered, found, read, and put below it, each in its own fence."""

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

from r1tui.chat.typed import Typed, cleaned, label_for, typed_of
from r1tui.errors import R1tuiError
from r1tui.text import one_line, size

MOST_BYTES = 1 << 20
"""A larger file has more tokens than any context of R1."""
_MENTION = re.compile(r"""(?<![^\s(\[{<'"`])@(?:"(?P<quoted>[^"\n]+)"|(?P<bare>[^\s"]+))""")
_UNFINISHED = re.compile(r"""(?<![^\s(\[{<'"`])@("[^"\n]*|[^\s"]*)$""")
_PUNCTUATION = ".,;:!?)]}>'\"`"
MOST_LABELS = 50
MOST_LOOKED_AT = 20_000
MOST_FOUND = 200
LONGEST_LOOK_S = 1.0
"""A folder on a slow disk is listed as far as that goes."""
_HEAD = re.compile(r"^Attached file: (.*)\n\n(`{3,})[^`\n]*\n", re.MULTILINE)
_FENCE_AT_END = re.compile(r"^`{3,}\Z", re.MULTILINE)


@dataclass(frozen=True)
class Attachment:
    """A file's text, by the name that the question calls it."""

    name: str
    text: str

    def block(self) -> str:
        """Its Markdown in the question: the name, and the text in a fence that it cannot close."""
        longest = max((len(run) for run in re.findall("`+", self.text)), default=0)
        fence = "`" * max(3, longest + 1)
        kind = Path(self.name).suffix.lstrip(".")
        head = f"Attached file: {one_line(self.name)}\n\n{fence}{kind if kind.isalnum() else ''}"
        return f"{head}\n{self.text}{'' if self.text.endswith(chr(10)) or not self.text else chr(10)}{fence}"


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
    """Paths found: first those that start with the typed text, then those that contain it."""

    found: list[Candidate]
    partial: bool = False
    """True if there are more that were not looked at."""


def mentions(text: str) -> list[str]:
    """Possible file names in a question, in order, each once."""
    found = [match["quoted"] or match["bare"] for match in _MENTION.finditer(text)]
    return list(dict.fromkeys(found))


def mentions_pasted(text: str) -> set[str]:
    """Possible file names in a pasted text, with and without the characters that may follow a name."""
    return {one for name in mentions(text) for one in (name, name.rstrip(_PUNCTUATION))}


def unfinished_mention(before: str) -> str | None:
    """The unfinished mention before the cursor, without its `@`; None if there is none."""
    found = _UNFINISHED.search(before)
    return found[1] if found else None


def mention(name: str) -> str:
    """The mention of this file name in a question."""
    return f'@"{name}"' if re.search(r"\s", name) or name[-1:] in _PUNCTUATION else f"@{name}"


def find_attached(text: str, pasted: Collection[str] = ()) -> dict[str, Path]:
    """The files that a question mentions, by what it calls them; what is the name of no file, or `pasted`, is text."""
    found: dict[str, Path] = {}
    for name in mentions(text):
        for candidate in (name, name.rstrip(_PUNCTUATION)):
            path = file_of(candidate) if candidate not in pasted else None
            if path is not None:
                found[candidate] = path
                break
    return found


def file_of(name: str) -> Path | None:
    """The file of this name, if there is one."""
    try:
        path = Path(name).expanduser()
        return path if stat.S_ISREG(path.stat().st_mode) else None
    except (OSError, RuntimeError, ValueError):
        return None


def read_attachment(name: str, path: Path) -> Attachment:
    """The file as text. Raises R1tuiError for one that cannot be read, is none, or is too large for any context."""
    said = one_line(name)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise R1tuiError(
            f"{said} cannot be read: {error.strerror}.", f"Remove @{said}, or make it readable."
        ) from error
    if len(data) > MOST_BYTES:
        remedy = f"Attach a part of it: no context holds more than {size(MOST_BYTES)}."
        raise R1tuiError(f"{said} is too large to attach.", remedy)
    if b"\0" in data:
        raise R1tuiError(f"{said} is not a text file.", f"Remove @{said}, or put a space after the @.")
    try:
        return Attachment(name, cleaned(data.decode("utf-8-sig")))
    except UnicodeDecodeError:
        remedy = f"Convert it: iconv -f latin1 -t utf-8 {said}"
        raise R1tuiError(f"{said} is not a text file in UTF-8.", remedy) from None


def question_of(typed: Typed) -> str:
    """All of what is typed; what was attached before has lines of its own, so that its fences stay fences."""
    text = typed.text
    for label, piece in typed.pieces.items():
        if _HEAD.match(piece):
            text = re.sub(rf"(?<=[^\n]){re.escape(label)}", lambda one: f"\n\n{one[0]}", text)
        if _FENCE_AT_END.search(piece):
            text = re.sub(rf"{re.escape(label)}(?=[^\n])", lambda one: f"{one[0]}\n\n", text)
    return Typed(text, typed.pieces).whole


def with_files(typed: Typed) -> str:
    """The question with the files that it mentions below it, but those that it has already, and what was only pasted.

    Raises R1tuiError for one that cannot be.
    """
    question = question_of(typed)
    there = files_there(question)
    wanted = find_attached(typed.text, typed.pasted).items()
    blocks = [read_attachment(name, path).block() for name, path in wanted if one_line(name) not in there]
    return "\n\n".join([question.rstrip(), *blocks]) if blocks else question


def as_asked(question: str) -> Typed:
    """A question that was asked, to be edited: what it mentions is attached to it already, or was not to be."""
    typed = typed_of(question, files_in(question))
    return Typed(typed.text, typed.pieces, tuple(sorted(mentions_pasted(typed.text) - files_there(question))))


def files_in(question: str) -> dict[str, str]:
    """The blocks of attached files in a question, by a label for each: `[src/app.py, 98 lines, 3.1 KiB]`."""
    labels: dict[str, str] = {}
    never_closed: set[str] = set()
    end = 0
    while len(labels) < MOST_LABELS and (head := _HEAD.search(question, end)):
        end = head.end()
        if head[2] in never_closed:
            continue
        closing = f"\n{head[2]}"
        close = question.find(f"{closing}\n", end - 1)
        if close < 0 and question.endswith(closing):
            close = len(question) - len(closing)
        if close < 0:  # a head that somebody has typed
            never_closed.add(head[2])
            continue
        label = label_for(question[end:close], dict.fromkeys(labels, ""), what=f"{head[1]},")
        end = close + len(closing)
        labels[label] = question[head.start() : end]
    return labels


def files_there(question: str) -> set[str]:
    """The names of the files whose text a question has already, as they stand in it: on one line."""
    return {head[1] for head in _HEAD.finditer(question)}


def find_candidates(typed: str) -> Candidates:
    """Completions of the typed path; hidden names only after a typed dot. Blocks on the disk."""
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
