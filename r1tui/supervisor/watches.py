"""The tasks that go on while a server runs, until they are cancelled: health, owner, log, memory that runs out."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from r1tui.machine.hardware import oom_kills
from r1tui.messages import ServerSpec
from r1tui.planning.history import remember_out_of_memory
from r1tui.remedies import RestartServer
from r1tui.supervisor.askers import is_asked_by_others
from r1tui.supervisor.book import Book
from r1tui.supervisor.http import check_health
from r1tui.supervisor.log import cap_log
from r1tui.supervisor.worker import WorkerThread
from r1tui.system.paths import Paths
from r1tui.system.processes import wait_ended

FIRST_POLL_S = 0.1
LONGEST_POLL_S = 1.0
PULSE_S = 5.0
"""Between two looks at a ready server; a crash is noticed at once, a hang need not be."""
PULSE_TIMEOUT_S = 5.0
SLEEP_POLL_S = 1.0
LOOK_S = 1.0
OWNER_CHECK_S = 1.0

HANGS = "llama-server is running but has stopped answering."


RECENT_LOOKS = 60
"""Looks are a second apart. A killed server may take that long to give its memory back, and only then it has ended."""
LEARN_S = 10.0


class OomWatch:
    """Tells a kill for want of memory of the last minute from one of long ago, which was of something else."""

    def __init__(self) -> None:
        self._seen = deque([oom_kills()], maxlen=RECENT_LOOKS)

    def look(self) -> None:
        self._seen.append(oom_kills())

    def killed(self) -> bool:
        return oom_kills() > self._seen[0]


def learn_too_large(paths: Paths, spec: ServerSpec, gpu: str) -> None:
    """Have the next plan know that a GPU's memory did not suffice; bounded, also when a driver hangs."""
    learning = threading.Thread(target=remember_out_of_memory, args=(paths, spec, gpu), daemon=True)
    learning.start()
    learning.join(LEARN_S)


async def follow_health(book: Book, key: str | None) -> None:
    """Keep the state true while the server runs; loading may take as long as it takes."""
    spec, pause_s, well_s = book.record.spec, FIRST_POLL_S, monotonic()
    timeout_s = min(PULSE_TIMEOUT_S, spec.silence_s)
    while True:
        pulse = await check_health(Path(spec.socket), key, sleeps=spec.sleeps, timeout_s=timeout_s)
        state, hangs = book.record.state, book.status().hangs
        loading = state == "loading"
        if pulse is not None:
            well_s = monotonic()
        if pulse is not None and (pulse != state or hangs) and pulse != "loading":
            ready_s = book.record.ready_s or monotonic()
            await book.change(pulse, ready_s=ready_s, cause=None, evidence=[])
        elif pulse is None and not loading and monotonic() - well_s >= spec.silence_s and not hangs:
            await book.change(state, cause=HANGS, remedies=(RestartServer(hangs=True),))
        rest_s = min(SLEEP_POLL_S if spec.sleeps else PULSE_S, spec.silence_s)
        await asyncio.sleep(pause_s if loading else rest_s)
        pause_s = min(pause_s * 1.2, LONGEST_POLL_S)


async def follow_owner(book: Book, stop: Callable[[], None]) -> None:
    """Stop with the process that the server is for, and with the last answer that somebody else still waits for."""
    if (owner := book.record.spec.owner) is not None:
        await wait_ended(owner)
        while is_asked_by_others(book.record.answers, owner.pid):  # noqa: ASYNC110
            await asyncio.sleep(OWNER_CHECK_S)
        stop()


async def maintain_files(book: Book, paths: Paths, disk: WorkerThread, oom_watch: OomWatch) -> None:
    """Keep the log small, the state file as new as the record, and in mind whom the kernel kills."""
    limit_bytes = book.record.spec.log_max_mib << 20
    while True:
        await asyncio.sleep(LOOK_S)
        oom_watch.look()
        with suppress(OSError):
            if await disk.do(cap_log, paths.server_log, limit_bytes):
                await book.note(log_capped=True)
        await book.catch_up()
