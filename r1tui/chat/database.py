"""The file of the conversations' database: private, in the newest schema, and never overwritten.

A damaged one is set aside under another name, one that a newer r1tui wrote is left alone, and one that cannot be
written (a read-only disk, a full one, another's folder) is only read.
"""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from time import localtime, monotonic, strftime, time

from r1tui.errors import R1tuiError, is_full, os_error
from r1tui.system.locks import locked
from r1tui.system.paths import private_folder

NAME = "conversations.db"
UPGRADES = tuple(sorted(Path(__file__).with_name("upgrades").glob("*.sql")))
"""The SQL that makes each version out of the one before; the first makes it out of nothing."""
VERSION = len(UPGRADES)
LAST_TIME_S = 253_402_214_400
"""The end of the year 9999, a day before the last that Python knows."""
BUSY_S = 5.0
"""Longest wait for another r1tui's writing."""
KEPT_DELETED_S = 30 * 86400.0
"""Time in which a deleted conversation can be restored."""
MOST_PASSED_S = 7 * 86400.0
"""At most so much time passes between two starts, whatever the clock says."""
_SELDOM_S = 3600.0
_NEEDED = (
    "key, id, title, server, created_s, updated_s, opened_s, deleted_s, shown FROM conversations",
    "key, conversation, number, parent, asked_s, state, base, cut, tokens, thinking_tokens, thinking_s, cause, remedy,"
    " answer_id, inside_thinking, model, figures, question, answer, thinking FROM exchanges",
    "key, exchange, answer, thinking, tokens, thinking_tokens, thinking_s FROM pieces",
    "title FROM titles",
    "question, answer FROM words",
)
Tell = Callable[[R1tuiError], None]
TEXT = partial(str, encoding="utf-8", errors="replace")
"""One byte that is no UTF-8 must not hide the row that it is in, and with it all the others."""


@dataclass
class Database:
    """An open database, for the thread that opened it."""

    path: Path
    connection: sqlite3.Connection
    why_read_only: R1tuiError | None = None
    """Reason why nothing can be written; None: it can."""
    _copy: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._file = self.path.stat()

    @property
    def is_in_place(self) -> bool:
        """True if its file still has its name; another r1tui may have set it aside."""
        try:
            return os.path.samestat(self._file, self.path.stat())
        except FileNotFoundError:
            return False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: everything that the block writes, or nothing. Raises R1tuiError where it is read-only."""
        if self.why_read_only is not None:
            raise self.why_read_only
        with _transaction(self.connection):
            yield self.connection

    def rebuild_index(self) -> None:
        """Rebuild what only searching needs."""
        with self.transaction() as connection:
            for index in ("titles", "words"):
                connection.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")  # noqa: S608

    def set_aside(self, error: sqlite3.Error, tell: Tell) -> None:
        """Close it, since it turned out to be damaged, and give it another name unless somebody has done so already."""
        with closing(self.connection), _alone(self.path.parent):
            if self.is_in_place:
                tell(_set_aside(self.path, error))

    def close(self) -> None:
        self.connection.close()
        self._copy.close()

    def purge(self) -> list[str]:
        """Delete for good what was deleted long ago, and return its ids.

        It was long ago by a calendar of r1tui's own, which a wrong clock cannot turn far.
        """
        with self.transaction() as connection:
            now_s = time()
            own_s = _advance_calendar(connection, now_s)
            connection.execute(
                "UPDATE conversations SET deleted_own_s = ? WHERE deleted_s IS NOT NULL AND deleted_own_s IS NULL",
                (own_s,),
            )
            old = (
                "FROM conversations WHERE (deleted_s IS NOT NULL AND deleted_own_s < ?) OR (opened_s < ?"
                " AND NOT EXISTS (SELECT 1 FROM exchanges WHERE conversation = conversations.key))"
            )
            before = (own_s - KEPT_DELETED_S, now_s - KEPT_DELETED_S)
            gone = [id_ for (id_,) in connection.execute(f"SELECT id {old}", before)]
            connection.execute(f"DELETE {old}", before)
            return gone


def open_database(folder: Path, tell: Tell) -> Database:
    """Open the folder's database, made where there is none; `tell` hears of one that had to be set aside.

    Raises R1tuiError, OSError and sqlite3.Error.
    """
    path = folder / NAME
    try:
        private_folder(folder)
        with _alone(folder):
            try:
                return Database(path, _opened(path))
            except sqlite3.DatabaseError as error:
                has_other_tables = _code(error) == sqlite3.SQLITE_ERROR and "no such module" not in str(error)
                if not (is_damage(error) or has_other_tables):
                    raise
                tell(_set_aside(path, error))
            return Database(path, _opened(path))
    except (OSError, sqlite3.OperationalError) as error:
        if not is_refusal(error) or not path.exists():
            raise
        why = os_error(error, folder) if isinstance(error, OSError) else refused(error, folder)
        return _for_reading(path, why)


def text_of(value: object) -> str:
    """A column's text, as far as there is one where it is damaged."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else "" if value is None else str(value)


def time_of(value: object) -> float:
    """A column's Unix time; the beginning of 1970 where it is damaged, so that what shows it can."""
    return float(value) if isinstance(value, int | float) and 0 <= value < LAST_TIME_S else 0.0


@contextmanager
def legible() -> Iterator[None]:
    """Raise sqlite3.DatabaseError for a schema so damaged that SQLite's own words about it are no text."""
    try:
        yield
    except UnicodeDecodeError as error:  # never of a row: see TEXT
        damage = sqlite3.DatabaseError("its schema is damaged")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage from error


def is_damage(error: sqlite3.Error) -> bool:
    """True if the file is damaged, or no database."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_refusal(error: Exception) -> bool:
    """True if a file system had no room for what must be written, or takes nothing at all."""
    if isinstance(error, OSError):
        return is_full(error) or error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    refusals = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return isinstance(error, sqlite3.Error) and _code(error) in refusals


def refused(error: sqlite3.Error, path: Path) -> R1tuiError:
    """SQLite's refusal in our words."""
    match _code(error):
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR if _code(error) == sqlite3.SQLITE_FULL or _has_no_room(path):
            return R1tuiError(f"The disk that holds {path} is full.", "Free some space: then r1tui saves the rest.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return R1tuiError(f"Another program keeps {path} locked.", "r1tui tries again.")
    return R1tuiError(f"{path}: {error}.", "Make it readable and writable for you.")


def _has_no_room(folder: Path) -> bool:
    """True on a full disk: SQLite calls the shared memory for which there was no room an I/O error."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free == 0
    return False


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@legible()
def _opened(path: Path) -> sqlite3.Connection:
    """Open or make a database, and bring it to the newest schema."""
    for part in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if part.exists() and not part.is_file():  # SQLite would wait for a pipe for ever
            raise OSError(errno.EINVAL, "Not a regular file", str(part))
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite gives its other files this mode
    if path.stat().st_size:
        with closing(_connect(path, "ro")) as connection:  # a newer r1tui's is not even touched
            _version(connection, path)
    with ExitStack() as undo:
        connection = undo.enter_context(closing(_connect(path, "rw")))
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
        for number, file in enumerate(UPGRADES, 1):
            with _transaction(connection):
                if _version(connection, path) < number:
                    for statement in _statements(file.read_text("utf-8")):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {number}")
        for columns_and_table in _NEEDED:
            connection.execute(f"SELECT {columns_and_table} LIMIT 0")
        undo.pop_all()
        return connection


def _for_reading(path: Path, why: R1tuiError) -> Database:
    """Open a database without making any file beside it; where that is impossible, a copy with what its log has."""
    log = Path(f"{path}-wal")
    mode = "ro" if log.exists() and log.stat().st_size else "ro&immutable=1"  # immutable: its log is not read
    with suppress(sqlite3.OperationalError), ExitStack() as undo:
        connection = undo.enter_context(closing(_connect(path, mode)))
        connection.execute("SELECT shown FROM conversations LIMIT 0")
        if _version(connection, path) == VERSION:
            undo.pop_all()
            return Database(path, connection, why)
    with ExitStack() as undo:
        temporary = tempfile.TemporaryDirectory(prefix="r1tui-", ignore_cleanup_errors=True)
        copy = Path(undo.enter_context(temporary)) / NAME
        shutil.copyfile(path, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(log, f"{copy}-wal")
        return Database(path, _opened(copy), why, undo.pop_all())


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    connection.text_factory = TEXT
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise R1tuiError(
            f"{path} was written by a newer r1tui (version {version}; this one reads {VERSION}).",
            "Update r1tui; until then nothing is saved there.",
        )
    return version


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _set_aside(path: Path, error: sqlite3.Error) -> R1tuiError:
    """Give the database and its companions a name with the date; what is told of it."""
    stamp = strftime("%Y-%m-%d-%H%M%S", localtime())
    names = (f"{path.stem}.damaged-{stamp}{f'-{n}' if n else ''}{path.suffix}" for n in count())
    aside = next(one for one in map(path.with_name, names) if not one.exists())
    for suffix in ("-wal", "-shm", ""):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(f"{aside}{suffix}")
    return R1tuiError(
        f"The conversation database is damaged ({error}). It was renamed to {aside} and a new one was created.",
        f"Recover the readable part: sqlite3 '{aside}' .recover",
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other r1tui makes, upgrades or sets aside a database of the folder meanwhile."""
    deadline_s = monotonic() + 2 * BUSY_S

    def poll() -> None:
        if monotonic() > deadline_s:
            raise R1tuiError("Another r1tui has locked the conversations.", "r1tui tries again.")

    with locked(folder / "opening.lock", "The conversations", lambda _: None, poll):
        yield


def _advance_calendar(connection: sqlite3.Connection, now_s: float) -> float:
    """Advance the calendar to now and return its time; a clock that was set back stops it for once."""
    wall_s, own_s = connection.execute("SELECT wall_s, own_s FROM calendar").fetchone()
    passed_s = min(max(now_s - wall_s, 0.0), MOST_PASSED_S) if wall_s else 0.0
    if not wall_s or abs(now_s - wall_s) >= _SELDOM_S:  # a start that only reads writes nothing
        connection.execute("UPDATE calendar SET wall_s = ?, own_s = ?", (now_s, own_s + passed_s))
    return float(own_s + passed_s)
