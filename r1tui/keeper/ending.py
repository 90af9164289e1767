"""How a llama-server is ended, and what is cleaned up after it; with a keeper or without one."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from r1tui.keeper.http import request
from r1tui.keeper.state import ServerSpec
from r1tui.paths import Paths
from r1tui.process import STOP_WAITS_S, ProcessId, stop

STREAMS_S = 2.0
"""How long the ending of running answers may take."""
END_S = STREAMS_S + sum(STOP_WAITS_S)
"""The longest that `end_server` takes."""


async def end_server(server: ProcessId, spec: ServerSpec, answers: Sequence[str]) -> bool:
    """End the running answers, then the process; True when it has ended. Bounded by END_S.

    llama-server with a stream open stops its tokens at SIGTERM and may then wait for ever, so the streams go first.
    """
    key = read_key(spec)
    deletions = [
        request(Path(spec.socket), "DELETE", f"/v1/stream?conv_id={quote(one, safe='')}", key) for one in answers
    ]
    if deletions:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*deletions), STREAMS_S)
    return await asyncio.to_thread(stop, server)


def read_key(spec: ServerSpec) -> str | None:
    """The API key of the server, if it has one."""
    if spec.key_file is None:
        return None
    try:
        return Path(spec.key_file).read_text().strip() or None
    except OSError:
        return None


def clean_up(paths: Paths, spec: ServerSpec | None, *, keep_state: bool = False) -> None:
    """Remove what an ended server leaves: its sockets, its key and, unless it tells of a failure, the state file."""
    leftovers = [paths.server_socket, paths.keeper_socket]
    if spec is not None:
        leftovers += [Path(name) for name in (spec.socket, spec.key_file) if name]
    if not keep_state:
        leftovers.append(paths.state_file)
    for leftover in leftovers:
        with suppress(OSError):
            leftover.unlink(missing_ok=True)
