"""The database of conversations where nothing can be written: a read-only disk, a full one, another's folder."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from r1tui.chat.database import BUSY_S, NAME, TEXT, VERSION, Database, NewerError, is_refusal, refused, version_of
from r1tui.errors import R1tuiError, os_error


class ReadOnlyDatabase(Database):
    """What can be read of it; whoever wants to write is told why that is impossible."""

    def __init__(self, path: Path, why: R1tuiError) -> None:
        """Open it without making any file beside it. Raises R1tuiError, OSError and sqlite3.Error."""
        self.path = path
        self._why = why
        self._file = path.stat()
        self._copy = ExitStack()
        self.connection = self._opened()

    @property
    def is_read_only(self) -> bool:
        return True

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Raises R1tuiError: the reason."""
        if self.is_read_only:
            raise self._why
        yield self.connection

    def close(self) -> None:
        super().close()
        self._copy.close()

    def _opened(self) -> sqlite3.Connection:
        how = "mode=ro" if _has_log(self.path) else "mode=ro&immutable=1"  # immutable: its log is not read
        with suppress(sqlite3.OperationalError):
            connection = _connect(f"{self.path.absolute().as_uri()}?{how}")
            with ExitStack() as closing:
                closing.callback(connection.close)
                version = version_of(connection)
                connection.execute("SELECT shown FROM conversations LIMIT 0")
                if version == VERSION:
                    closing.pop_all()
                    return connection
            if version > VERSION:
                raise NewerError(self.path, version)
        return self._of_copy()

    def _of_copy(self) -> sqlite3.Connection:
        """A copy where there is room, with what the log has, brought to this version."""
        folder = Path(
            self._copy.enter_context(tempfile.TemporaryDirectory(prefix="r1tui-", ignore_cleanup_errors=True))
        )
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{self.path}{suffix}", folder / f"{NAME}{suffix}")
        return Database(folder / NAME).connection


def read_only(folder: Path, error: OSError | sqlite3.Error) -> ReadOnlyDatabase:
    """The folder's database for reading, if `error` says that it cannot be written; else raises `error`."""
    if not is_refusal(error) or not (folder / NAME).exists():
        raise error
    why = os_error(error, folder) if isinstance(error, OSError) else refused(error, folder)
    return ReadOnlyDatabase(folder / NAME, why)


def _has_log(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"{path}-wal").stat().st_size > 0
    return False


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    connection.text_factory = TEXT
    connection.execute("PRAGMA query_only = ON")
    return connection
