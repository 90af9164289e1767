"""Whether a server is well: what its health says, and whether it sleeps."""

from pathlib import Path
from typing import Literal

import msgspec

from r1tui.supervisor.http import ask, request

Pulse = Literal["loading", "ready", "sleeping"]


class _Props(msgspec.Struct):
    is_sleeping: bool = False


async def check_health(socket: Path, key: str | None, *, sleeps: bool, timeout_s: float) -> Pulse | None:
    """How the server is; None when it does not say so in time. Neither question keeps it from sleeping."""
    health = await request(socket, "GET", "/health", key, timeout_s)
    if health is None:
        return None
    if health[0] != 200:
        return "loading"
    if not sleeps:
        return "ready"
    props = await ask(socket, "GET", "/props", _Props, key, timeout_s=timeout_s)
    return "sleeping" if props is not None and props.is_sleeping else "ready"
