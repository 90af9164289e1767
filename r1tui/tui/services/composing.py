"""What the prompt needs beside itself: its history and draft on disk, the weight of its files, the user's editor."""

import asyncio
import os
import shlex
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from textual.app import App, SuspendNotSupported
from textual.content import Content

from r1tui.chat.attachments import files_there, find_attached, question_of, read_attachment
from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.chat.typed import Recall, Typed, defuse
from r1tui.errors import R1tuiError, os_error
from r1tui.system.paths import private_folder
from r1tui.text import one_line

DRAFT, HISTORY = "the draft", "the prompt's history"
DRAFT_S = 1.0
"""A draft is written at most so often."""
RETRY_S = 5.0
"""Pause before a refused write is tried again."""

Hear = Callable[[str, R1tuiError | None], None]
"""Hears why something, by its name, is not saved; without a reason: it is."""
BYTES_PER_TOKEN = 3.5
"""Of English and of code, roughly; where no server can be asked."""
MOST_NAMED = 3

Count = Callable[[str], Awaitable[int | None]]
"""The tokens of a text; None where no server says."""
FALLBACKS = ("nano", "vim", "vi", "micro", "emacs")


class HistorySaver:
    """Adds each question to the history once, and to the walk through it at once."""

    def __init__(self, folder: Path, recall: Recall, hear: Hear) -> None:
        self._file = PromptHistory(folder)
        self._recall = recall
        self._hear = hear
        self._waiting: list[Typed] = []
        """Questions that the file does not have yet."""
        self._writing = asyncio.Lock()
        """Two at once would write a question twice."""

    async def read(self) -> None:
        """Have what was asked before, by any r1tui."""
        self._recall.entries = [*await asyncio.to_thread(self._file.entries), *self._waiting]

    async def add(self, typed: Typed) -> None:
        """Add a question; returns when the disk has taken it."""
        self._recall.entries = [*self._recall.entries, typed]
        self._waiting.append(typed)
        async with self._writing:
            while self._waiting:
                first = self._waiting[0]
                try:
                    await asyncio.to_thread(self._file.add, first)
                except R1tuiError as error:
                    self._hear(HISTORY, error)
                    await asyncio.sleep(RETRY_S)
                else:
                    self._drop(first)
            self._hear(HISTORY, None)
            await self.read()

    async def forget(self, typed: Typed) -> None:
        """Take out a question that was added just now: it was refused."""
        self._drop(typed)
        async with self._writing:  # it may be on its way
            with suppress(R1tuiError):  # a question too many costs nothing
                await asyncio.to_thread(self._file.forget, typed)
            await self.read()

    def _drop(self, typed: Typed) -> None:
        self._waiting = [one for one in self._waiting if one is not typed]


class DraftSaver:
    """Keeps what is typed and not sent, as it is `now`."""

    def __init__(self, folder: Path, now: Callable[[], Typed], hear: Hear) -> None:
        self._files = Drafts(folder)
        self._now = now
        self._hear = hear
        self._has_taken = False
        """True if what was left by another r1tui is known; before that nothing may take its place."""
        self._saved: Typed | None = None
        self._following = asyncio.Lock()

    @property
    def is_following(self) -> bool:
        """True if changes are written by themselves now."""
        return self._following.locked()

    @property
    def is_settled(self) -> bool:
        """True if the draft has been written, and changes no more."""
        return self._saved is not None and not self.is_following

    async def take(self, put: Callable[[Typed], None]) -> None:
        """Put what an r1tui that is gone has left."""
        try:
            if draft := await asyncio.to_thread(self._files.take):
                put(draft)
        except Exception:
            self._has_taken = True
            raise
        self._has_taken = True

    async def follow(self) -> None:
        """Write the draft until it changes no more, at most so often."""
        async with self._following:
            while self._now() != self._saved:
                is_saved = await self.save()
                await asyncio.sleep(DRAFT_S if is_saved else RETRY_S)

    async def save(self) -> bool:
        """Write the draft now; whether that worked is heard, and returned."""
        if not self._has_taken:
            return False
        draft = self._now()
        try:
            await asyncio.to_thread(self._files.save, draft)
        except R1tuiError as error:
            self._hear(DRAFT, error if draft.whole.strip() else None)
            return False
        self._saved = draft
        self._hear(DRAFT, None)
        return True

    def leave(self) -> None:
        """Leave the draft to the next r1tui; nothing is written after it."""
        with suppress(R1tuiError):  # nobody is there to be told
            self._files.leave(self._now() if self._has_taken else None)


@dataclass(frozen=True)
class Weight:
    """A file, and its tokens, or why it cannot be attached."""

    name: str
    tokens: int = 0
    exact: bool = True
    problem: str = ""
    is_text: bool = False
    """True if it is mentioned in what was pasted only, and so is not attached."""


class Scales:
    """Weighs files; what has not changed since is not read again."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._known: dict[tuple[Path, int, int], Weight] = {}
        self._known_pieces: dict[str, Weight] = {}

    async def weigh(self, typed: Typed) -> list[Weight]:
        """Its pieces and the files that it mentions, each once; those that it does not attach weigh nothing."""
        self._known_pieces = {piece: one for piece, one in self._known_pieces.items() if piece in typed.pieces.values()}
        files = await asyncio.to_thread(find_attached, typed.text)
        there = files_there(question_of(typed)) if files and typed.pieces else ()
        weights = [await self._weigh_piece(label, piece) for label, piece in typed.pieces.items()]
        for name, path in files.items():
            if one_line(name) in there:
                continue  # its text is one of the pieces
            weights.append(Weight(name, is_text=True) if name in typed.pasted else await self._weigh(name, path))
        return weights

    async def _weigh_piece(self, label: str, piece: str) -> Weight:
        """A large piece, called by the first word of its label."""
        name = label.strip("[]").partition(" ")[0].rstrip(",")
        if (weight := self._known_pieces.get(piece)) is None:
            if (tokens := await self._count(defuse(piece)[0])) is None:
                return Weight(name, round(len(piece.encode(errors="replace")) / BYTES_PER_TOKEN), exact=False)
            weight = self._known_pieces[piece] = Weight(name, tokens)
        return weight

    async def _weigh(self, name: str, path: Path) -> Weight:
        try:
            stat = await asyncio.to_thread(path.stat)
            key = (path, stat.st_mtime_ns, stat.st_size)
            if key not in self._known:
                block = (await asyncio.to_thread(read_attachment, name, path)).block()
                tokens = await self._count(defuse(block)[0])
                if tokens is None:
                    return Weight(name, round(len(block.encode()) / BYTES_PER_TOKEN), exact=False)
                self._known[key] = Weight(name, tokens)
            return self._known[key]
        except OSError as error:
            return Weight(name, problem=f"{name}: {error.strerror}")
        except R1tuiError as error:
            return Weight(name, problem=error.cause)


def too_heavy(weights: list[Weight], left: int | None) -> bool:
    """True if something cannot be attached, or all of it does not fit."""
    return any(one.problem for one in weights) or (left is not None and sum(one.tokens for one in weights) > left)


def format_weights(weights: list[Weight], left: int | None) -> Content:
    """`app.py 1,204 + notes.md 1,227 = 2,431 tokens of 5,900 left`, or what is wrong."""
    left_out = [Path(one.name).name for one in weights if one.is_text]
    weights = [one for one in weights if not one.is_text]
    if left_out and not weights:
        return Content(one_line(f"{', '.join(left_out[:MOST_NAMED])}: pasted text, not attached"))
    problems = [one.problem for one in weights if one.problem]
    if problems or not weights:
        return Content(one_line(" ".join(problems)))
    about = "" if all(one.exact for one in weights) else "~"
    total = f"{about}{sum(one.tokens for one in weights):,} tokens"
    names = [f"{Path(one.name).name} {about}{one.tokens:,}" for one in weights[:MOST_NAMED]]
    more = len(weights) - len(names)
    parts = " + ".join([*names, *([f"{more} more"] if more else [])])
    said = f"{parts} = {total}" if len(weights) > 1 else f"{Path(weights[0].name).name} {total}"
    if left is None:
        return Content(one_line(said))
    fits = f"of {left:,} left" if not too_heavy(weights, left) else f"do not fit: {left:,} left"
    return Content(one_line(f"{said} {fits}"))


def editor_command(env: Mapping[str, str]) -> list[str]:
    """The words of the editor's command line: `$VISUAL`, `$EDITOR`, else what is installed. Raises R1tuiError."""
    for name in ("VISUAL", "EDITOR"):
        if not env.get(name, "").strip():
            continue
        try:
            words = shlex.split(env[name])
        except ValueError as error:
            raise R1tuiError(f"${name} cannot be parsed: {error}.", f"export {name}=nano") from error
        if shutil.which(words[0], path=env.get("PATH")) is None:
            raise R1tuiError(f"The program {words[0]!r} in ${name} does not exist.", f"export {name}=nano")
        return words
    for program in FALLBACKS:
        if shutil.which(program, path=env.get("PATH")) is not None:
            return [program]
    raise R1tuiError("No editor found on this machine.", "Install one and set it: export EDITOR=nano")


async def edited(app: App[Any], text: str, folder: Path) -> str:
    """The text as the user has left it; its file, in a private folder, is gone afterwards. Raises R1tuiError."""
    command = editor_command(os.environ)
    try:
        with TemporaryDirectory(dir=private_folder(folder), prefix="edit-") as place:
            file = Path(place) / "prompt.md"
            file.write_text(text, encoding="utf-8")
            await _run(app, [*command, str(file)])
            return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
    except OSError as error:
        raise os_error(error, folder) from error


async def _run(app: App[Any], command: list[str]) -> None:
    try:
        # Nothing is painted meanwhile: the terminal is the editor's. The loop goes on, and with it the answer.
        with app.batch_update(), app.suspend(), _signals_of_the_terminal():
            process = await asyncio.create_subprocess_exec(*command)
            try:
                status = await process.wait()
            except asyncio.CancelledError:  # the screen ends
                process.terminate()
                raise
    except SuspendNotSupported as error:
        raise R1tuiError(
            "This terminal cannot run an editor.", "Type here; <prompt.newline> starts a new line."
        ) from error
    if status:
        raise R1tuiError(
            f"{Path(command[0]).name} ended with status {status}; the prompt is unchanged.",
            "Save and quit the editor normally, or set another: export EDITOR=nano",
        )


@contextmanager
def _signals_of_the_terminal() -> Iterator[None]:
    """Ctrl+C and Ctrl+\\ are the editor's for the block: they reach the whole foreground group."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
