"""How a llama-server is ended, and what is cleaned up after it; with a keeper or without one."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from r1tui.keeper.http import request
from r1tui.keeper.state import ServerSpec
from r1tui.paths import Paths
from r1tui.process import STOP_WAITS_S, ProcessId, stop

ANSWERS_S = 2.0
"""How long the ending of running answers may take."""
SLOTS_POLL_S = 0.02
END_S = ANSWERS_S + sum(STOP_WAITS_S)
"""The longest that `end_server` takes."""


async def end_server(server: ProcessId, spec: ServerSpec, answers: Sequence[str]) -> bool:
    """End the running answers, then the process; True when it has ended. Bounded by END_S.

    llama-server that is generating stops its tokens at SIGTERM and may then wait for ever, so the answers go first.
    """
    if answers:
        with suppress(TimeoutError):
            await asyncio.wait_for(_end_answers(Path(spec.socket), read_key(spec), answers), ANSWERS_S)
    return await asyncio.to_thread(stop, server)


async def _end_answers(socket: Path, key: str | None, answers: Sequence[str]) -> None:
    """Stop these answers and wait until no slot computes any more, which is some time after llama-server says so."""
    targets = [f"/v1/stream?conv_id={quote(answer, safe='')}" for answer in answers]
    await asyncio.gather(*(request(socket, "DELETE", target, key) for target in targets))
    while (reply := await request(socket, "GET", "/slots", key)) is not None and _is_busy(*reply):  # noqa: ASYNC110  in another process
        await asyncio.sleep(SLOTS_POLL_S)


def _is_busy(code: int, body: bytes) -> bool:
    try:
        return code == 200 and any(slot.is_processing for slot in msgspec.json.decode(body, type=list[_Slot]))
    except msgspec.DecodeError:
        return False


class _Slot(msgspec.Struct):
    is_processing: bool = False


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
