"""The conversations of the screen and the disk: all that waits for the disk does so in one thread of its own.

What has changed is worked out on the event loop, where conversations change, and written in that thread; what could not
be written stays, is told for as long as that is so, and is tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TypeVar

from r1tui.chat.conversation import Conversation
from r1tui.chat.export import Unsaved
from r1tui.chat.rows import Changes, Loaded, Recorded, Tracker
from r1tui.chat.store import GoneError, HeldError, Store
from r1tui.errors import R1tuiError, os_error

SOON_S = 1.0
"""At most so much of a running answer is lost with the process."""
RETRY_S = 5.0
PATIENCE_S = 5.0
"""A disk that takes longer than that over a writing is said to hang, and nobody waits for it any more."""
HANGS = R1tuiError("The disk does not answer.", "r1tui saves the rest when it answers again.")
T = TypeVar("T")


class Saver:
    """Reads and writes conversations for the event loop that it is made in.

    `tell` hears, on the loop, what the user should know. `unsaved` hears there of what the disk refuses, again and
    again while that is so, and None when all is written. `purged` hears, in the disk's thread, of conversations that
    are gone for good.
    """

    def __init__(
        self,
        folder: Path,
        server: str,
        recorded: Recorded,
        tell: Callable[[R1tuiError], None],
        *,
        purged: Callable[[list[str]], object] = lambda _: None,
        unsaved: Callable[[Unsaved | None], object] = lambda _: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._tell_unsaved = unsaved
        self._thread = ThreadPoolExecutor(1, "conversations")
        self._store = Store(folder, server=server, recorded=recorded, tell=self._tell_from_thread, purged=purged)
        self._trackers: dict[str, Tracker] = {}
        self._left: dict[str, Tracker] = {}
        """Conversations that were left and are held on to until what waits of them is written."""
        self._elsewhere: dict[str, int] = {}
        """Conversations that are only read: another process holds them."""
        self._waiting: list[Changes] = []
        """Changes not written yet, oldest first: the loop adds, the thread removes."""
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._refusal: R1tuiError | None = None
        """Reason why the last write failed; None if it succeeded."""
        self._writing_from_s: float | None = None
        """Since when something is to be written, if it is: the thread may be held up by what it reads before that."""
        self._told_unsaved = False

    async def save(self, conversation: Conversation) -> None:
        """Write what has changed of it; returns when that is done, or has failed and been told, or takes too long."""
        if (pid := self.elsewhere(conversation)) is not None:
            self._tell(HeldError(pid))
        self._collect(conversation)
        await asyncio.wait([asyncio.wrap_future(self._write_soon())], timeout=PATIENCE_S)

    async def flush(self) -> Unsaved | None:
        """Write all that there is; what is not on disk after that, because the disk refuses it or takes too long."""
        self._collect_all()
        await asyncio.wait([asyncio.wrap_future(self._write_soon())], timeout=PATIENCE_S)
        return self._unsaved(HANGS)

    def flush_at_once(self) -> Unsaved | None:
        """As `flush`, for a process that is about to end: the event loop stands still meanwhile."""
        self._collect_all()
        writing = Thread(
            target=lambda: self._write_soon().result(), daemon=True
        )  # whoever was interrupted may be at it
        writing.start()
        writing.join(PATIENCE_S)
        return self._unsaved(HANGS)

    def save_soon(self) -> None:
        """Write within a second what has changed of the conversations that are open; call it as often as you like."""
        if self._timer is None:
            self._timer = self._loop.call_later(SOON_S, self._save_now)

    async def last(self) -> Loaded | None:
        """The conversation that this r1tui goes on with, if there is one."""
        return self._opened(await self.read(Store.last))

    async def open(self, conversation_id: str) -> Loaded | None:
        """A conversation by its id; None when there is none any more. Raises R1tuiError, as `written` does."""
        return self._opened(await self.written(conversation_id, lambda store: store.open(conversation_id)))

    async def written(self, conversation_id: str, work: Callable[[Store], T]) -> T:
        """As `read`, for what needs all of this conversation on disk; raises R1tuiError when that cannot be written."""

        def after_writing(store: Store) -> T:
            self._write_waiting()
            if any(one.id == conversation_id for one in self._waiting):
                raise R1tuiError("Its last messages are not saved yet.", "Free some disk space and try again.")
            return work(store)

        self._collect_all()
        return await self.read(after_writing)

    async def read(self, work: Callable[[Store], T]) -> T:
        """Run `work` in the disk's thread after all requested writes; its result. Raises R1tuiError."""
        return await asyncio.wrap_future(self._thread.submit(_with_our_errors, work, self._store))

    def elsewhere(self, conversation: Conversation) -> int | None:
        """The process that has the conversation, which then is only read here."""
        return self._elsewhere.get(conversation.id)

    def keep_only(self, conversations: Iterable[Conversation]) -> None:
        """Leave all others to whoever opens them, as soon as all of them is written."""
        kept = {one.id for one in conversations}
        self._collect_all()
        for one in self._trackers.keys() - kept:
            self._left[one] = self._trackers.pop(one)
        for one in self._elsewhere.keys() - kept:
            del self._elsewhere[one]
        self._write_soon()

    async def close(self) -> Unsaved | None:
        """Write what there is, and let go of everything; what could not be written."""
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        unsaved = await self.flush()
        await asyncio.wait([asyncio.wrap_future(self._thread.submit(self._store.close))], timeout=PATIENCE_S)
        self._thread.shutdown(wait=False)
        return unsaved

    def _opened(self, opened: Loaded | None) -> Loaded | None:
        if opened is not None and opened.open_in is None:
            self._elsewhere.pop(opened.conversation.id, None)
            self._trackers[opened.conversation.id] = opened.tracker
        elif opened is not None and opened.open_in is not None:
            self._elsewhere[opened.conversation.id] = opened.open_in
        return opened

    def _save_now(self) -> None:
        self._timer = None
        self._collect_all()
        self._write_soon()

    def _collect_all(self) -> None:
        for tracker in list(self._trackers.values()):
            self._collect(tracker.conversation)

    def _collect(self, conversation: Conversation) -> None:
        if conversation.id in self._elsewhere:
            return
        tracker = self._trackers.get(conversation.id)
        if tracker is None or tracker.conversation is not conversation:
            left = self._left.pop(conversation.id, None)
            tracker = left if left is not None and left.conversation is conversation else Tracker(conversation)
            self._trackers[conversation.id] = tracker
        if (changes := tracker.changes()) is not None:
            self._waiting.append(changes)

    def _write_soon(self) -> "Future[None]":
        if self._waiting:
            self._writing_from_s = self._writing_from_s or monotonic()
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_later(PATIENCE_S, self._report)
        return self._thread.submit(self._write_waiting)

    def _write_waiting(self) -> None:
        """In the thread: write all that waits, or leave it for the next time."""
        self._writing_from_s = self._writing_from_s or monotonic()
        try:
            self._write_each()
        except Exception as error:  # whatever it is, what waits is not written and must be told
            logging.getLogger(__name__).exception("A conversation could not be saved.")
            self._refusal = R1tuiError(f"Saving failed ({type(error).__name__}).", "See r1tui's log.")
            self._from_thread(self._try_again)
        finally:
            self._writing_from_s = None
        if self._told_unsaved or self._refusal is not None:
            self._from_thread(self._report)

    def _write_each(self) -> None:
        while waiting := self._waiting:
            try:
                self._write(waiting[0])
            except HeldError as error:  # another r1tui was faster
                self._tell_from_thread(error)
            except GoneError:
                self._from_thread(self._write_anew)
                break
            except R1tuiError as error:
                self._refusal = error
                self._from_thread(self._try_again)
                break
            self._refusal = None
            waiting.pop(0)
        unwritten = {one.id for one in self._waiting}
        for one in [one for one in list(self._left) if one not in unwritten]:
            self._left.pop(one, None)
            self._store.let_go([one])

    def _write(self, changes: Changes) -> None:
        _with_our_errors(lambda store: store.write([changes]), self._store)

    def _unsaved(self, hangs: R1tuiError) -> Unsaved | None:
        """Changes that wait for the disk, because it refused them or `hangs`."""
        waiting = list(self._waiting)
        if not waiting:
            return None
        trackers = {one.conversation.id: one for one in [*self._left.values(), *self._trackers.values()]}
        found = [trackers[id_].conversation for id_ in dict.fromkeys(one.id for one in waiting) if id_ in trackers]
        return Unsaved(self._refusal or hangs, sum(one.words for one in waiting), tuple(found))

    def _report(self) -> None:
        """Tell what the disk refuses, or that it refuses nothing any more."""
        from_s = self._writing_from_s
        is_stuck = self._refusal is not None or (from_s is not None and monotonic() - from_s >= PATIENCE_S)
        unsaved = self._unsaved(HANGS) if is_stuck else None
        if unsaved is not None or self._told_unsaved:
            self._told_unsaved = unsaved is not None
            self._tell_unsaved(unsaved)
        if from_s is not None and not self._loop.is_closed():  # look again: it may still wait then
            self._loop.call_later(PATIENCE_S, self._report)

    def _write_anew(self) -> None:
        """The database is another one: all of the open conversations, and of those not written yet, goes there."""
        self._waiting = []  # the thread may be at the one before
        trackers = [*self._trackers.values(), *self._left.values()]
        for tracker in trackers:
            tracker.forget()
            if (changes := tracker.changes()) is not None:
                self._waiting.append(changes)
        self._write_soon()

    def _try_again(self) -> None:
        def again() -> None:
            self._retry = None
            self._write_soon()

        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, again)

    def _tell_from_thread(self, error: R1tuiError) -> None:
        self._from_thread(lambda: self._tell(error))

    def _from_thread(self, call: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call)


def _with_our_errors(work: Callable[[Store], T], store: Store) -> T:
    try:
        return work(store)
    except OSError as error:
        raise os_error(error) from error
