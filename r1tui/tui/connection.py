"""The screen's connection to its server: one client, made when it is needed, and what the context has room for."""

import asyncio
import os
from contextlib import suppress

from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.remedies import AskAgain, ChooseModel, StartServer
from r1tui.server.client import ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.supervisor.key import address_of
from r1tui.system.environment import KEY_VARIABLE
from r1tui.system.paths import Paths
from r1tui.tui.monitor import ServerMonitor


class Connection:
    """The way to the managed server, or to the one at `attach`."""

    def __init__(self, paths: Paths, monitor: ServerMonitor, attach: Endpoint | None, model_name: str = "") -> None:
        self.model_name = model_name
        """Which of an attached server's models answers; empty until it is known or chosen."""
        self._paths = paths
        self._monitor = monitor
        self._attach = attach
        self._client: ServerClient | None = None

    async def client(self) -> ServerClient:
        """The client of the server that runs now. Raises R1tuiError when none can be asked."""
        if self._client is None:
            if self._attach is not None:
                key = os.environ.get(KEY_VARIABLE)
                self._client = ServerClient(self._attach, key, ours=False, model=self.model_name)
            else:
                address, key = await asyncio.to_thread(self._managed, self._monitor.refresh())
                self._client = self._client or ServerClient(address, key)
        return self._client

    async def choose(self, model_name: str) -> None:
        """Have this one of an attached server's models answer from now on."""
        await self.forget()
        self.model_name = model_name

    async def need_model(self) -> None:
        """Know which model to ask. Raises R1tuiError where an attached server has several and none was chosen, or has
        not the one that was."""
        if self._attach is not None:
            client = await self.client()
            if names := await client.choose_model():
                cause = f"The server has {len(names)} models, and none is chosen."
                raise R1tuiError(cause, ChooseModel(), AskAgain())
            self.model_name = client.model

    async def forget(self) -> None:
        """Let go of the server: the next one may be another."""
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)

    async def has_thinking_switch(self) -> bool | None:
        """Whether the model can be told not to think; None where no server says."""
        with suppress(R1tuiError):
            return (await (await self.client()).props()).has_thinking_switch
        return None

    async def count_tokens(self, text: str) -> int | None:
        """The tokens of a text; None where no server says, or one would have to load its model for it."""
        with suppress(R1tuiError, LookupError):
            if self._attach is not None or self._monitor.status.state == "ready":
                return len(await (await self.client()).tokenize(text, parse_special=False))
        return None

    def _managed(self, status: Status) -> tuple[Endpoint, str | None]:
        """The address and the key of the server that runs."""
        if status.endpoint is None or status.state not in ("ready", "sleeping"):
            raise R1tuiError(f"The server is {status.state}.", StartServer(), "Wait until it is ready.", AskAgain())
        return address_of(status, self._paths)
