"""What was asked before, and what was typed and not sent, on disk for the next start; private, for several r1tui."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from r1tui.chat.typed import Typed
from r1tui.errors import R1tuiError, os_error
from r1tui.messages import decode_foreign
from r1tui.system.files import read_bytes, read_json, write_json, write_private
from r1tui.system.locks import holder, locked
from r1tui.system.paths import private_folder

MOST_ENTRIES = 1_000
MOST_BYTES = 4 << 20
MOST_DRAFTS = 16


class PromptHistory:
    """A file with a JSON line for each question, the newest last."""

    def __init__(self, folder: Path, *, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._path = folder / "history.jsonl"
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._added: bytes | None = None
        """The line that was added last, if any was."""

    def entries(self) -> list[Typed]:
        """The questions, oldest first; lines that are none are left out."""
        found: list[Typed] = []
        with suppress(OSError):
            for line in self._lines()[-self._most_entries :]:
                with suppress(msgspec.DecodeError):
                    found.append(decode_foreign(line, Typed))
        return found

    def add(self, typed: Typed) -> None:
        """Add a question that is not the newest already; the oldest go where there are too many. Raises R1tuiError."""
        new = msgspec.json.encode(typed)
        with self._locked():
            lines = self._lines()
            self._added = None if lines[-1:] == [new] else new
            if self._added is not None:
                self._write([*lines, new])

    def forget(self, typed: Typed) -> None:
        """Take a question out again that was added just now: it was refused. Raises R1tuiError."""
        with self._locked():
            lines = self._lines()
            if lines and lines[-1] == msgspec.json.encode(typed) == self._added:
                self._write(lines[:-1])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            private_folder(self._path.parent)
            with locked(self._path.with_suffix(".lock"), "The prompt's history", waiting=lambda _: None):
                yield
        except OSError as error:
            raise os_error(error, self._path) from error

    def _lines(self) -> list[bytes]:
        with suppress(FileNotFoundError):  # any other error must not make a file that is there an empty one
            return [line for line in read_bytes(self._path).split(b"\n") if line]
        return []

    def _write(self, lines: list[bytes]) -> None:
        """Write the last lines within the bounds; the very last in any case."""
        kept: list[bytes] = []
        n_bytes = 0
        for line in reversed(lines[-self._most_entries :]):
            n_bytes += len(line) + 1
            if kept and n_bytes > self._most_bytes:
                break
            kept.insert(0, line + b"\n")
        write_private(self._path, b"".join(kept))


class Drafts:
    """One small file for each r1tui that runs; what one that is gone has left is taken by the next. For any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = ExitStack()
        self._path: Path | None = None
        self._lock = threading.RLock()
        self._left = False

    def take(self) -> Typed | None:
        """The newest draft that belongs to no running r1tui, which from now on is ours."""
        with suppress(OSError):
            for path in sorted(
                self._folder.glob("draft-*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True
            ):
                if self._hold(path):
                    with suppress(OSError):
                        return read_json(path, Typed, forgiving=True)
        return None

    def save(self, typed: Typed) -> None:
        """Keep this in place of what was kept before; nothing where it is empty. Raises R1tuiError."""
        with self._lock:
            if self._left:
                return
            try:
                if self._path is None:
                    if not typed:
                        return
                    private_folder(self._folder)
                    paths = (self._folder / f"draft-{number}.json" for number in range(MOST_DRAFTS))
                    any(not path.exists() and self._hold(path) for path in paths)  # what is there is another's draft
                if self._path is not None and typed:
                    write_json(self._path, typed)
                elif self._path is not None:
                    self._path.unlink(missing_ok=True)
            except OSError as error:
                raise os_error(error, self._folder) from error

    def leave(self, typed: Typed | None) -> None:
        """Leave this to the next r1tui, or what is there; what another thread still wants to keep comes too late.

        Raises R1tuiError.
        """
        with self._lock:
            try:
                if typed is not None:
                    self.save(typed)
            finally:
                self._left = True
                self._held.close()

    def _hold(self, path: Path) -> bool:
        lock = path.with_suffix(".lock")
        if holder(lock) is not None:
            return False
        try:
            self._held.enter_context(locked(lock, "The draft"))
        except R1tuiError:
            return False
        self._path = path
        for partial in self._folder.glob(f".{path.name}.*"):  # of one that was killed while it wrote
            partial.unlink(missing_ok=True)
        return True
