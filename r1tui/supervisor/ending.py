"""How a llama-server is ended, and what is cleaned up after it; with a supervisor or without one."""

import asyncio
import sys
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic, sleep

from r1tui.errors import R1tuiError
from r1tui.machine.nvml import NvmlSession
from r1tui.machine.nvml_binding import NvmlError
from r1tui.messages import ProcessId, ServerSpec
from r1tui.server.sse import stream_target
from r1tui.supervisor.http import request
from r1tui.supervisor.key import read_key_if_any
from r1tui.supervisor.prompts import read_slots, save_at_end
from r1tui.supervisor.protocol import asker_of
from r1tui.supervisor.worker import in_thread, log_errors
from r1tui.system.files import make_way
from r1tui.system.paths import Paths
from r1tui.system.processes import STOP_WAITS_S, identify, stop

ANSWERS_S = 2.0
"""Time to end running answers."""
HANGING_WAITS_S = (1.0, 0.0, 2.0)
SLOTS_POLL_S = 0.02
VRAM_S = 10.0
"""How long a driver may take to let go of an ended process's memory; a second is usual."""
VRAM_POLL_S = 0.1
STEADY_BYTES = 16 << 20
NVIDIA_DEVICE = Path("/dev/nvidiactl")


async def end_server(server: ProcessId, spec: ServerSpec, answers: Sequence[str], *, hangs: bool = False) -> bool:
    """End the running answers, keep what was computed, end the process; True when it has ended.

    Bounded by the sum of the waits (`stopping.STOP_S` is more), shorter for one that hangs.
    llama-server that is generating stops its tokens at SIGTERM and may then wait for ever, so the answers go first.
    """
    key = None
    with suppress(TimeoutError):
        key = await asyncio.wait_for(in_thread(read_key_if_any, spec), ANSWERS_S)
    if answers:
        with log_errors("Ending the answers"), suppress(TimeoutError):
            await asyncio.wait_for(_end_answers(Path(spec.socket), key, answers), ANSWERS_S)
    if not hangs:
        with log_errors("Saving the prompt cache"):
            await save_at_end(spec.argv, server, Path(spec.socket), key)
    if not await in_thread(stop, server, HANGING_WAITS_S if hangs else STOP_WAITS_S):
        return False
    with log_errors("Reading the VRAM use"):
        await in_thread(wait_vram_free, server.pid)
    return True


def did_not_exit_error(server: ProcessId) -> R1tuiError:
    return R1tuiError(
        f"llama-server (PID {server.pid}) did not end after SIGKILL.",
        "It waits for a disk or a driver; only a restart of the machine ends it.",
    )


def wait_vram_free(pid: int) -> None:
    """Wait, up to VRAM_S, until the ended process's VRAM is free, as the next plan needs; at once without a GPU."""
    if sys.platform == "linux" and not NVIDIA_DEVICE.exists():
        return
    watching = threading.Thread(target=_watch_vram, args=(pid,), daemon=True)
    watching.start()
    watching.join(VRAM_S)


def _watch_vram(pid: int) -> None:
    deadline_s = monotonic() + VRAM_S
    with suppress(NvmlError), closing(NvmlSession()) as session:
        before_bytes: int | None = None
        while monotonic() < deadline_s:
            used_bytes = sum(use.used_bytes or 0 for use in session.read())
            steady = before_bytes is not None and abs(before_bytes - used_bytes) <= STEADY_BYTES
            if steady and pid not in session.pids():
                return
            before_bytes = used_bytes
            sleep(VRAM_POLL_S)


async def _end_answers(socket: Path, key: str | None, answers: Sequence[str]) -> None:
    """Stop these answers and wait until no slot computes any more, which is some time after llama-server says so."""
    await asyncio.gather(*(request(socket, "DELETE", stream_target(answer), key) for answer in answers))
    while any(slot.is_processing for slot in await read_slots(socket, key)):  # noqa: ASYNC110  in another process
        await asyncio.sleep(SLOTS_POLL_S)


def clean_up(paths: Paths, spec: ServerSpec, *, keep_state: bool = False) -> None:
    """Remove the sockets, key and state file of an ended server, and the spec files of killed starters."""
    leftovers = [paths.server_socket, paths.supervisor_socket, paths.api_key]
    named = [Path(name) for name in (spec.socket, spec.key_file) if name]
    leftovers += [one for one in named if one.parent == paths.run]  # what a file names elsewhere is not ours to remove
    if not keep_state:
        leftovers.append(paths.state_file)
    for spec_file in paths.run.glob("spec-*.json"):
        starter = asker_of(spec_file.name.removeprefix("spec-"))
        if starter is not None and identify(starter) is None:
            leftovers.append(spec_file)
    for leftover in leftovers:
        with suppress(OSError, ValueError):
            make_way(leftover)
            leftover.unlink(missing_ok=True)
