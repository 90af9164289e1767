"""The conversations on disk, in one SQLite database, and which of them this r1tui holds.

A conversation belongs to one r1tui at a time, by a lock that its end releases; the others may read it.
"""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Self, TypeVar

from r1tui.chat import listing, rows
from r1tui.chat.database import (
    NAME,
    Database,
    Tell,
    is_damage,
    is_refusal,
    legible,
    open_database,
    refused,
)
from r1tui.chat.listing import ConversationSummary
from r1tui.chat.rows import Changes, Loaded, Recorded
from r1tui.errors import R1tuiError
from r1tui.remedies import ListConversations, Run
from r1tui.system.locks import holder, locked
from r1tui.system.paths import stem_of

T = TypeVar("T")


class GoneError(R1tuiError):
    """The row to change is gone: the database was set aside, or the conversation was purged."""


class HeldError(R1tuiError):
    """The conversation is another r1tui's at the moment."""

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"The conversation is open in another r1tui (PID {pid}).", "Change it there, or close it there first."
        )


class Store:
    """The conversations of a folder. Use it in one thread. Its errors are R1tuiError and OSError.

    `server` is the address of a server that is not r1tui's own; `recorded` says which answers have a record; `tell`
    hears of a database that had to be passed over; `purged` of the ids of conversations that are gone for good.
    """

    def __init__(
        self,
        folder: Path,
        *,
        server: str = "",
        recorded: Recorded = lambda _: False,
        tell: Tell = lambda _: None,
        purged: Callable[[list[str]], object] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._server = server
        self._recorded = recorded
        self._tell = tell
        self._purged = purged
        self._database: Database | None = None
        self._held: dict[str, ExitStack] = {}

    def last(self) -> Loaded | None:
        """The one that was open last with this server, held from now on; None while another r1tui holds it.

        Beside another r1tui only one whose answer is running is taken up: its own was killed.
        """
        others = False
        for conversation_id, running in self._read(lambda connection: _last_opened(connection, self._server)) or []:
            if self._held_by_other(conversation_id) is not None:
                others = True
            elif not others or running:
                if self._hold(conversation_id, must=False) is None:
                    return self.open(conversation_id)
                others = True  # another was faster
        return None

    def open(self, conversation_id: str) -> Loaded | None:
        """The conversation, held from now on unless another r1tui holds it; None when there is none."""
        if not self._is_there:
            return None
        open_in = self._hold(conversation_id, must=False)
        loaded = self._do(lambda db: rows.load(db.connection, conversation_id, self._recorded, open_in))
        if loaded is None:
            self.let_go([conversation_id])
            return None
        if open_in is None:
            with suppress(R1tuiError):  # a full disk does not keep it closed
                self._change("UPDATE conversations SET opened_s = ? WHERE id = ?", time(), conversation_id)
        return loaded

    def look(self, conversation_id: str) -> Loaded:
        """The conversation as it was written last, whoever holds it; not for changing it."""
        loaded = self._read(lambda connection: rows.load(connection, conversation_id))
        if loaded is None:
            raise _unknown(conversation_id)
        return loaded

    def write(self, changes: Iterable[Changes]) -> None:
        """Bring the database up to date, all or nothing. Raises GoneError when it lacks what is not among them."""
        wanted = list(changes)
        for one in wanted:
            if (pid := self._hold(one.id)) is not None:
                raise HeldError(pid)

        def work(database: Database) -> None:
            with database.transaction() as connection:
                for one in wanted:
                    if not rows.write(connection, one, self._server):
                        raise GoneError("The conversation is no longer in its database.", "It is saved again.")

        self._do(work, writes=True)

    def let_go(self, conversation_ids: Iterable[str]) -> None:
        """Release these conversations for other r1tuis."""
        for conversation_id in conversation_ids:
            if (held := self._held.pop(conversation_id, None)) is not None:
                held.close()

    def newest(self, limit: int = -1, offset: int = 0, *, deleted: bool = False) -> list[ConversationSummary]:
        """The conversations that changed last; `deleted`: those that were deleted last and can be brought back."""
        return self._with_holders(lambda connection: listing.newest(connection, limit, offset, deleted=deleted))

    def search(self, text: str, limit: int = 1000) -> list[ConversationSummary]:
        """Conversations with these words, each with the matching passage; see `listing.found`."""
        return self._with_holders(lambda connection: listing.found(connection, text, limit))

    def rename(self, conversation_id: str, title: str) -> None:
        """Give it another title; without one it is called by its first question."""
        self._must_be_free(conversation_id)
        if not self._change("UPDATE conversations SET title = ? WHERE id = ?", title, conversation_id):
            raise _unknown(conversation_id)

    def delete(self, conversation_id: str) -> None:
        """Take it out of the list; `restore` brings it back as long as KEPT_DELETED_S."""
        self._must_be_free(conversation_id)
        deleted = "UPDATE conversations SET deleted_s = ?, deleted_own_s = NULL WHERE id = ? AND deleted_s IS NULL"
        if not self._change(deleted, time(), conversation_id):
            raise _unknown(conversation_id)
        self.let_go([conversation_id])

    def restore(self, conversation_id: str | None = None) -> str:
        """Bring a deleted one back, by default the one that was deleted last; its id."""
        if conversation_id is None:
            conversation_id = next((one.id for one in self.newest(1, deleted=True)), None)
        if conversation_id is None:
            raise R1tuiError("No conversation was deleted.", "")
        restored = "UPDATE conversations SET deleted_s = NULL WHERE id = ? AND deleted_s IS NOT NULL"
        if not self._change(restored, conversation_id):
            raise R1tuiError(
                f"No conversation {conversation_id} was deleted.",
                Run("r1tui chats list --deleted", "lists those"),
            )
        return conversation_id

    def close(self) -> None:
        self.let_go(list(self._held))
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _is_there(self) -> bool:
        """True if there is anything to read; nothing is made for a reader."""
        with suppress(OSError):
            return self._database is not None or (self._folder / NAME).exists()
        return False

    def _now(self, *, writes: bool) -> Database:
        """The database, opened anew when another r1tui has set it aside, or to find out if it can be written now."""
        is_stale = self._database is not None and not self._database.is_in_place
        if self._database is not None and (is_stale or (writes and self._database.why_read_only)):
            self._database.close()
            self._database = None
        if self._database is None:
            self._database = self._opened()
        return self._database

    def _opened(self) -> Database:
        database = open_database(self._folder, self._tell)
        if database.why_read_only is None:
            with suppress(sqlite3.OperationalError, OSError):  # a full disk puts it off
                if gone := database.purge():
                    self._purged(gone)
            not_read = sorted(self._folder.glob("conversations-v*.db")) + sorted(self._folder.glob("[!.]*.json"))
            if not_read:
                self._tell(_not_read_error(not_read))
        return database

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        return self._do(lambda database: work(database.connection)) if self._is_there else None

    def _do(self, work: Callable[[Database], T], *, writes: bool = False) -> T:
        """Do the work; a database that turns out to be damaged is set aside, and the work done on a new one."""
        rebuilt = set_aside = False  # each helps once at most
        while True:
            try:
                with legible():
                    return work(self._now(writes=writes))
            except sqlite3.Error as error:
                is_index = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT_VTAB
                if self._database is not None and is_index and not rebuilt:
                    rebuilt = True
                    with suppress(sqlite3.Error):
                        self._database.rebuild_index()
                elif self._database is not None and is_damage(error) and not set_aside:
                    set_aside = True
                    damaged, self._database = self._database, None
                    damaged.set_aside(error, self._tell)
                else:
                    raise refused(error, self._folder) from error

    def _change(self, statement: str, *values: object) -> bool:
        if not self._is_there:
            return False

        def work(database: Database) -> bool:
            with database.transaction() as connection:
                return connection.execute(statement, values).rowcount > 0

        return self._do(work, writes=True)

    def _lock(self, conversation_id: str) -> Path:
        return self._folder / f"{stem_of(conversation_id)}.lock"

    def _held_by_other(self, conversation_id: str) -> int | None:
        return None if conversation_id in self._held else holder(self._lock(conversation_id))

    def _hold(self, conversation_id: str, *, must: bool = True) -> int | None:
        """Hold it; the process that holds it instead, if one does.

        Where no lock can be made, because nothing can be written, OSError is raised only when it `must` be held.
        """
        if conversation_id in self._held:
            return None
        if (pid := self._held_by_other(conversation_id)) is not None:
            return pid
        held = ExitStack()
        try:
            held.enter_context(locked(self._lock(conversation_id), "The conversation"))
        except R1tuiError:
            return holder(self._lock(conversation_id)) or 0
        except OSError as error:
            if must or not is_refusal(error):
                raise
            return None
        self._held[conversation_id] = held
        return None

    def _must_be_free(self, conversation_id: str) -> None:
        if (pid := self._held_by_other(conversation_id)) is not None:
            raise HeldError(pid)

    def _with_holders(
        self, find: Callable[[sqlite3.Connection], list[ConversationSummary]]
    ) -> list[ConversationSummary]:
        found = self._read(find) or []
        locks = {path.stem for path in self._folder.glob("*.lock")} - set(map(stem_of, self._held))
        return [replace(one, open_in=self._held_by_other(one.id)) if stem_of(one.id) in locks else one for one in found]


def _last_opened(connection: sqlite3.Connection, server: str) -> list[tuple[str, bool]]:
    """Ids, those opened last first, and whether the answer at the end of each had not ended."""
    found = connection.execute(
        "SELECT c.id, coalesce(e.state IN ('waiting', 'reading', 'thinking', 'answering'), 0) FROM conversations c"
        " LEFT JOIN exchanges e ON e.conversation = c.key AND e.number = c.shown"
        " WHERE c.deleted_s IS NULL AND c.server = ? AND EXISTS (SELECT 1 FROM exchanges WHERE conversation = c.key)"
        " ORDER BY c.opened_s DESC, c.key DESC",
        (server,),
    )
    return [(conversation_id, bool(running)) for conversation_id, running in found]


def _not_read_error(files: list[Path]) -> R1tuiError:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    remedy = "Move them to another folder to stop this message."
    if files[0].suffix == ".db":
        remedy = f"To open it, quit r1tui, move {NAME} away and rename that file to {NAME}."
    return R1tuiError(f"Conversations of another r1tui version are not read: {files[0]}{more}.", remedy)


def _unknown(conversation_id: str) -> R1tuiError:
    return R1tuiError(f"There is no conversation {conversation_id}.", ListConversations())
