"""What the managed server's supervisor is told: of answers, and to start the server again or to end it."""

import asyncio
from contextlib import suppress

from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.supervisor import client as keeper
from r1tui.system.logs import as_user_error
from r1tui.system.paths import Paths
from r1tui.tui.monitor import ServerMonitor


class KeptServer:
    """The server of this home; what is done to it is seen in the status at once."""

    def __init__(self, paths: Paths, monitor: ServerMonitor) -> None:
        self._paths = paths
        self._monitor = monitor

    @property
    def status(self) -> Status:
        """Its status, as it was last seen."""
        return self._monitor.status

    def refresh(self) -> Status:
        """Look at it again; quick."""
        return self._monitor.refresh()

    def is_being_stopped(self) -> bool:
        """Whether it is being stopped in order, or was and is gone."""
        return self._monitor.is_being_stopped()

    async def tell(self, conversation_id: str, *, running: bool) -> None:
        """Tell the keeper that an answer begins or is over; one that hangs is not told, and known to hang."""
        if self._monitor.status.keeper_hangs:
            return
        tell = keeper.answer_started if running else keeper.answer_ended
        try:
            await asyncio.to_thread(tell, self._paths, conversation_id)
        except keeper.SupervisorHangsError:
            self._monitor.note_hanging()
        except Exception as error:  # only a stop in the middle of the answer would miss it
            as_user_error(error, "Telling the supervisor of the answer")

    async def have_recorded(self, conversation_id: str) -> None:
        """Have the keeper, a new one in place of a killed one, record what the server still has of an answer."""
        with suppress(R1tuiError, OSError):
            await self._monitor.adopt()
        await self.tell(conversation_id, running=True)
        await self.tell(conversation_id, running=False)  # whoever asked is gone

    async def restart(self) -> bool:
        """Have the server ended and started again; one whose keeper does not answer is only ended: False.

        Raises R1tuiError when it cannot be ended.
        """
        try:
            await asyncio.to_thread(keeper.restart, self._paths)
        except keeper.SupervisorHangsError:
            await self.stop()
            return False
        return True

    async def stop(self) -> None:
        """Stop the server in order. Raises R1tuiError when it cannot be ended."""
        async with self._monitor.replacing:  # a server whose keeper has just been ended is not taken over
            try:
                await asyncio.to_thread(keeper.stop, self._paths)
            finally:
                self._monitor.refresh()
