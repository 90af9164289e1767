"""Takes over the conversations that an older r1tui kept beside a newer one's database, as it told its user."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import msgspec

from r1tui.chat import rows
from r1tui.chat.changes import Tracker
from r1tui.chat.database import NAME, Database, Tell
from r1tui.errors import R1tuiError


def take_over(database: Database, is_held: Callable[[str], bool], tell: Tell) -> None:
    """Put into the database what only those beside it have, and rename them; one that cannot be read stays.

    One of whose conversations an older r1tui holds, which still runs, is taken later.
    """
    for path in database.path.parent.glob(f"{Path(NAME).stem}-v*.db"):
        if database.path.name != NAME:
            return
        try:
            found = _read(path, is_held)
        except (R1tuiError, sqlite3.Error, msgspec.MsgspecError) as error:
            tell(R1tuiError(f"{path} cannot be read: {error}", "It is left as it is."))
            continue
        if found is not None:
            for one, server in found:
                _insert(database, one, server)
            names = (path.with_suffix(f".taken{f'-{number}' if number else ''}") for number in count())
            path.replace(next(name for name in names if not name.exists()))


def _read(path: Path, is_held: Callable[[str], bool]) -> list[tuple[rows.Loaded, str]] | None:
    """All that is in it, with the servers' addresses; None while somebody holds one of them."""
    with closing(Database(path)) as other:  # whose errors must not be taken for those of the one that is in use
        known = other.connection.execute("SELECT id, server FROM conversations WHERE deleted_s IS NULL").fetchall()
        if any(is_held(conversation_id) for conversation_id, _ in known):
            return None
        loaded = [
            (rows.load(other.connection, conversation_id, lambda _: False), server) for conversation_id, server in known
        ]
        return [(one, server) for one, server in loaded if one is not None]


def _insert(database: Database, one: rows.Loaded, server: str) -> None:
    """Add a conversation unless it is empty, or there is one with its id."""
    changes = Tracker(one.conversation).changes()
    if changes is None:
        return
    with database.transaction() as connection:
        if connection.execute("SELECT 1 FROM conversations WHERE id = ?", (changes.id,)).fetchone() is None:
            rows.write(connection, changes, server)
            dated = "UPDATE conversations SET created_s = ?, updated_s = ?, opened_s = ? WHERE id = ?"
            connection.execute(dated, (one.created_s, one.updated_s, one.updated_s, changes.id))
