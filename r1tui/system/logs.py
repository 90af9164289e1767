"""r1tui's own log, `state/logs/r1tui.log`, of all its processes; secrets and what people wrote stay out of it."""

import fcntl
import logging
import os
import queue
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import localtime, monotonic, sleep, strftime
from types import TracebackType

from r1tui.errors import R1tuiError, os_error
from r1tui.system.environment import is_secret
from r1tui.system.paths import Paths, private_folder

LIMIT_BYTES = 1 << 20
"""A larger log is put aside as `r1tui.log.1`, which takes the place of the one before."""
FLUSH_S = 1.0
"""The longest wait for a slow disk when the program ends."""
_WAITING = 500
"""Records that wait for the disk; more are dropped."""
_LONGEST = 300
_TRACE_LEVELS = 8

_VALUE = r"[\"']?\s*[:=]\s*[\"']?"
SECRETS = (
    (re.compile(rf"(?i)(authorization{_VALUE}(?:(?:bearer|basic|digest)\s+)?)[^\s\"',;]+"), r"\1***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\bhf_\w{8,}"), "hf_***"),
    (re.compile(r"\bsk-[\w-]{8,}"), "sk-***"),
    (re.compile(rf"(?i)((?:api[-_]?key|token|passwd|password|secret){_VALUE})[^\s\"',;&]{{4,}}"), r"\1***"),
    (re.compile(r"(?<=://)[^\s/@]+@"), "***@"),
)
_QUOTED = re.compile(r"(?s)'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"")
_NAME = re.compile(r"[\w.:/+-]{0,60}")


class LogHandler(logging.Handler):
    """Appends records to a shared file, opened anew for each; a disk that refuses or hangs holds up nobody."""

    def __init__(self, file: Path, who: str) -> None:
        super().__init__()
        self.file = file
        self._who = who
        self._lines: queue.Queue[str] = queue.Queue(_WAITING)
        self._writing: threading.Thread | None = None
        self.tell: Callable[[R1tuiError], object] | None = None
        """Shows what was raised where nobody catches it."""
        self.makes_folder = True
        """Make the folder above the log's where there is none."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take the record; it is written in a moment."""
        with suppress(queue.Full):
            self._lines.put_nowait(self._line(record))
        if self._writing is None or not self._writing.is_alive():
            self._writing = threading.Thread(target=self._write_all, name="r1tui-log", daemon=True)
            try:
                self._writing.start()
            except RuntimeError:  # no more threads, or the interpreter is ending
                self._write_all(waits=False)

    def flush(self) -> None:
        """Wait until all is written, for FLUSH_S at most."""
        until_s = monotonic() + FLUSH_S
        while self._lines.unfinished_tasks and monotonic() < until_s:
            sleep(0.005)

    def _line(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] == "r1tui"
        said = record.getMessage() if ours else _cut(record.getMessage())
        when = strftime("%F %T", localtime(record.created))
        head = f"{when} {self._who}[{os.getpid()}] {record.levelname} {record.name}: {said}\n"
        error = record.exc_info[1] if record.exc_info else None
        return without_secrets(head + "".join(_trace(error) if error is not None else ()))

    def _write_all(self, *, waits: bool = True) -> None:
        with suppress(queue.Empty):
            while True:
                line = self._lines.get(block=waits)
                with suppress(OSError, R1tuiError):  # a full or read-only disk ends nothing
                    self._append(line.encode(errors="backslashreplace"))
                self._lines.task_done()

    def _append(self, line: bytes) -> None:
        if self.makes_folder or self.file.parent.parent.is_dir():
            private_folder(self.file.parent)
        fd = os.open(  # a pipe in its place keeps nobody waiting
            self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
        )
        try:
            os.write(fd, line)
            if os.fstat(fd).st_size > LIMIT_BYTES:
                with suppress(OSError):  # on a disk without locks two may do this at once, and some lines are lost
                    fcntl.flock(fd, fcntl.LOCK_EX)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), self.file.stat()):  # else another process was first
                        self.file.replace(self.file.with_name(self.file.name + ".1"))
        finally:
            os.close(fd)


def begin_log(paths: Paths, who: str) -> None:
    """Log this process, named `who`, and its uncaught exceptions to r1tui's log; makes no file before it is needed."""
    handler = LogHandler(paths.own_log, who)
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, LogHandler)]:
        root.removeHandler(old)
        old.flush()
    root.addHandler(handler)
    logging.getLogger("r1tui").setLevel(logging.INFO)
    _hook_strays()


def on_stray_error(tell: Callable[[R1tuiError], object] | None) -> None:
    """Have this called, in whatever thread, with what was raised where nobody catches it; it is logged in any case."""
    if (handler := _handler()) is not None:
        handler.tell = tell


def make_no_log_folder() -> None:
    """Log only while there is a state folder: one that somebody removes does not come back for this process's sake."""
    if (handler := _handler()) is not None:
        handler.makes_folder = False


def log_file() -> Path | None:
    """The file that this process logs to; None before `begin_log`."""
    handler = _handler()
    return handler.file if handler else None


def flush_log() -> None:
    """Wait a moment for the log; for ways out that Python knows nothing of (`os._exit`)."""
    if (handler := _handler()) is not None:
        handler.flush()


def log_unexpected(error: BaseException, what: str) -> R1tuiError:
    """Log an unexpected exception with its traceback; the error to show. `what` begins a sentence: "The search"."""
    logging.getLogger("r1tui").error("%s ended unexpectedly", what, exc_info=error)
    return R1tuiError(
        f"{what} ended with an unexpected error ({type(error).__name__}).",
        f"Details: {file}" if (file := log_file()) else "",
    )


def as_user_error(error: BaseException, what: str) -> R1tuiError:
    """The error as a user should read it: our own; or, logged, what the system refused or nobody expected."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return as_user_error(error.exceptions[0], what)
    if isinstance(error, R1tuiError):
        return error
    if not isinstance(error, OSError):
        return log_unexpected(error, what)
    # With its traceback: the name alone may not tell who asked.
    logging.getLogger("r1tui").warning("%s ended: the system refused something", what, exc_info=error)
    return os_error(error)


def without_secrets(text: str) -> str:
    """The text with API keys, tokens, Authorization values and the passwords in URLs replaced by `***`."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    for name, value in os.environ.items():
        if len(value) >= 8 and is_secret(name):
            text = text.replace(value, "***")
    return text


def _handler() -> LogHandler | None:
    return next((one for one in logging.getLogger().handlers if isinstance(one, LogHandler)), None)


def _trace(error: BaseException, depth: int = 0) -> Iterator[str]:
    """The traceback as Python prints it, but for texts in the messages: they may be what a person wrote."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and depth < _TRACE_LEVELS:
        yield from _trace(before, depth + 1)
        yield "  which led to:\n"
    yield from traceback.format_tb(error.__traceback__)
    name = type(error).__qualname__
    yield f"{name}: {error if isinstance(error, OSError) else _cut(_message(error))}\n"
    if isinstance(error, BaseExceptionGroup) and depth < _TRACE_LEVELS:
        for n, one in enumerate(error.exceptions, 1):
            yield f"  {name} {n} of {len(error.exceptions)}:\n"
            yield from _trace(one, depth + 1)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(no message)"


def _cut(message: str) -> str:
    """The first line of a message, without the longer texts that it quotes."""
    line = message.partition("\n")[0]
    line = _QUOTED.sub(
        lambda found: found[0] if _NAME.fullmatch(found[0][1:-1]) else f"({len(found[0]) - 2} characters)", line
    )
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… ({len(line)} characters)"


def _hook_strays() -> None:
    if getattr(threading.excepthook, "is_r1tui", False):
        return
    earlier, earlier_unraisable = threading.excepthook, sys.unraisablehook

    def in_thread(stray: threading.ExceptHookArgs) -> None:
        if stray.exc_value is not None and stray.exc_type is not SystemExit:
            shown = log_unexpected(stray.exc_value, f"The thread {stray.thread.name if stray.thread else '?'}")
            if (handler := _handler()) is not None and handler.tell is not None:
                handler.tell(shown)
        if earlier is not threading.__excepthook__:
            earlier(stray)

    def unraisable(stray: "sys.UnraisableHookArgs") -> None:
        if stray.exc_value is not None:
            log_unexpected(stray.exc_value, "Cleaning up")
        if earlier_unraisable is not sys.__unraisablehook__:
            earlier_unraisable(stray)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, Exception):
            sys.__excepthook__(kind, error, trace)
            return
        shown = log_unexpected(error, "r1tui")
        if sys.stderr is not None:
            sys.stderr.write(f"Error: {shown}\n")

    in_thread.is_r1tui = True  # type: ignore[attr-defined]
    threading.excepthook, sys.unraisablehook, sys.excepthook = in_thread, unraisable, uncaught
