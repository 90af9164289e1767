"""The conversations of the screen and the disk: all that waits for the disk does so in one thread of its own.

What has changed is worked out on the event loop, where conversations change, and written in that thread; what could not
be written stays and is tried again.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from r1tui.chat.changes import Changes, Tracker
from r1tui.chat.conversation import Conversation
from r1tui.chat.rows import Recorded
from r1tui.chat.store import GoneError, HeldError, Opened, Store
from r1tui.errors import R1tuiError, os_error

SOON_S = 1.0
"""At most so much of a running answer is lost with the process."""
RETRY_S = 5.0
T = TypeVar("T")


class Saver:
    """Reads and writes conversations for the event loop that it is made in.

    `tell` hears, on the loop, what the user should know: once when saving fails, and again only after it has worked.
    `purged` hears, in the disk's thread, of conversations that are gone for good.
    """

    def __init__(
        self,
        folder: Path,
        server: str,
        recorded: Recorded,
        tell: Callable[[R1tuiError], None],
        purged: Callable[[list[str]], object] = lambda _: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, "conversations")
        self._store = Store(folder, server=server, recorded=recorded, tell=self._tell_from_thread, purged=purged)
        self._trackers: dict[str, Tracker] = {}
        self._left: dict[str, Tracker] = {}
        """Conversations that were left and are held on to until what waits of them is written."""
        self._elsewhere: dict[str, int] = {}
        """Conversations that are only read: another process holds them."""
        self._waiting: list[Changes] = []
        """What is not written yet, oldest first: the loop adds, the thread takes away."""
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._is_failing = False

    async def save(self, conversation: Conversation) -> None:
        """Write what has changed of it; returns when that is done, or has failed and been told."""
        if (pid := self.elsewhere(conversation)) is not None:
            self._tell(HeldError(pid))
        self._collect(conversation)
        await asyncio.wrap_future(self._write_soon())

    def save_soon(self) -> None:
        """Write within a second what has changed of the conversations that are open; call it as often as you like."""
        if self._timer is None:
            self._timer = self._loop.call_later(SOON_S, self._save_now)

    async def last(self) -> Opened | None:
        """The conversation that this r1tui goes on with, if there is one."""
        return self._opened(await self.read(Store.last))

    async def open(self, conversation_id: str) -> Opened | None:
        """A conversation by its id; None when there is none any more. Raises R1tuiError, as `written` does."""
        return self._opened(await self.written(conversation_id, lambda store: store.open(conversation_id)))

    async def written(self, conversation_id: str, work: Callable[[Store], T]) -> T:
        """As `read`, for what needs all of this conversation on disk; raises R1tuiError when that cannot be written."""

        def after_writing(store: Store) -> T:
            self._write_waiting()
            if any(one.id == conversation_id for one in self._waiting):
                raise R1tuiError(
                    "What was said there last is not written yet.", "Make room on the disk; then try again."
                )
            return work(store)

        self._collect_all()
        return await self.read(after_writing)

    async def read(self, work: Callable[[Store], T]) -> T:
        """What `work` gives, in the thread of the disk, after all writing that was asked for. Raises R1tuiError."""
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

    async def close(self) -> None:
        """Write what there is, and let go of everything."""
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        self._collect_all()
        self._write_soon()
        await asyncio.wrap_future(self._thread.submit(self._store.close))
        self._thread.shutdown(wait=False)

    def _opened(self, opened: Opened | None) -> Opened | None:
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
        return self._thread.submit(self._write_waiting)

    def _write_waiting(self) -> None:
        """In the thread: write all that waits, or leave it for the next time."""
        while waiting := self._waiting:
            try:
                self._write(waiting[0])
            except HeldError as error:  # another r1tui was faster
                self._tell_from_thread(error)
            except GoneError:
                self._loop.call_soon_threadsafe(self._write_anew)
                break
            except R1tuiError as error:
                if not self._is_failing:
                    self._tell_from_thread(error)
                self._is_failing = True
                self._loop.call_soon_threadsafe(self._try_again)
                break
            self._is_failing = False
            del waiting[0]
        unwritten = {one.id for one in self._waiting}
        for one in [one for one in list(self._left) if one not in unwritten]:
            self._left.pop(one, None)
            self._store.let_go([one])

    def _write(self, changes: Changes) -> None:
        _with_our_errors(lambda store: store.write([changes]), self._store)

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
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._tell, error)


def _with_our_errors(work: Callable[[Store], T], store: Store) -> T:
    try:
        return work(store)
    except OSError as error:
        raise os_error(error) from error
