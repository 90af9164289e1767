"""The managed server as the screen knows it: its status, followed for ever, and what its keeper is told."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress

from textual.message import Message

from r1tui.errors import R1tuiError
from r1tui.keeper import client as keeper
from r1tui.log import as_told
from r1tui.messages import Status
from r1tui.paths import Paths
from r1tui.tui.messages import AnswerWaits, ServerChanged

LOOK_S = 1.0
"""Between two looks for a server while none runs, or while its keeper hangs."""
LONGEST_PAUSE_S = 60.0
AGE_S = 3.0
"""How old a look at the system's list of processes may be for one who looks again and again."""
_log = logging.getLogger(__name__)


class KeptServer:
    """The server of this home; a keeper that does not answer is part of its status until one does."""

    def __init__(self, paths: Paths, post: Callable[[Message], object]) -> None:
        self._paths = paths
        self._post = post
        self._adopting = asyncio.Lock()
        """Held while a keeper is replaced, and while it is stopped with its server."""
        self._hanging_pid: int | None = None
        """The keeper that was last seen not to answer."""

    def status(self) -> Status:
        """What is true now; quick."""
        now = keeper.glance(self._paths)
        hangs = self._hanging_pid is not None and self._hanging_pid == now.keeper_pid
        return keeper.hanging(now, keeper.KeeperHangsError()) if hangs else now

    def note_hanging(self) -> None:
        """The keeper that there is does not answer; posted, and part of the status from now on."""
        self._hanging_pid = keeper.glance(self._paths).keeper_pid
        self._post(ServerChanged(self.status()))

    async def watch(self, answering: Callable[[], str | None]) -> None:
        """Post each change, taking the server over when its keeper was killed, for ever.

        Each new keeper is told of the answer that `answering` names then.
        """
        told: int | None = None
        pause_s = LOOK_S
        while True:
            try:
                await self.adopt(AGE_S)
                async with aclosing(keeper.watch_async(self._paths, AGE_S)) as changes:
                    async for status in changes:
                        self._hanging_pid = None
                        self._post(ServerChanged(status))
                        if status.keeper_pid != told and (answer := answering()) is not None:
                            await self.tell(answer, running=True)  # the one before may have been killed
                        told = status.keeper_pid
                pause_s = LOOK_S
            except keeper.KeeperHangsError:
                self.note_hanging()
            except (R1tuiError, OSError) as error:  # a full disk passes
                _log.info("watching the server: %s", error)
                pause_s = LOOK_S
            except Exception as error:  # this must go on, or the screen would show what is past
                if pause_s == LOOK_S:
                    failed = as_told(error, "Watching the server")
                    self._post(AnswerWaits(f"{failed.cause} {failed.remedy}"))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)  # nothing runs: look again for one that another r1tui started

    async def adopt(self, max_age_s: float = 0.0) -> None:
        """Give a server whose keeper was killed a new one, once."""
        async with self._adopting:
            await asyncio.to_thread(keeper.adopt, self._paths, max_age_s)

    async def tell(self, conversation_id: str, *, running: bool) -> None:
        """Tell the keeper that an answer begins or is over; one that hangs is not told, and known to hang."""
        if self.status().keeper_hangs:
            return
        tell = keeper.answer_started if running else keeper.answer_ended
        try:
            await asyncio.to_thread(tell, self._paths, conversation_id)
        except keeper.KeeperHangsError:
            self.note_hanging()
        except Exception as error:  # only a stop in the middle of the answer would miss it
            as_told(error, "Telling the supervisor of the answer")

    async def have_recorded(self, conversation_id: str) -> None:
        """Have the keeper, a new one in place of a killed one, record what the server still has of an answer."""
        with suppress(R1tuiError, OSError):
            await self.adopt()
        await self.tell(conversation_id, running=True)
        await self.tell(conversation_id, running=False)  # whoever asked is gone

    async def restart(self) -> bool:
        """Have the server ended and started again; one whose keeper does not answer is only ended: False.

        Raises R1tuiError when it cannot be ended.
        """
        try:
            await asyncio.to_thread(keeper.restart, self._paths)
        except keeper.KeeperHangsError:
            await self.stop()
            return False
        return True

    async def stop(self) -> None:
        """Stop the server in order. Raises R1tuiError when it cannot be ended."""
        async with self._adopting:  # a server whose keeper has just been ended is not taken over
            await asyncio.to_thread(keeper.stop, self._paths)
